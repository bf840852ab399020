from __future__ import annotations

from typing import Any

import msgspec

from tests.observability.export.cases import SPAN, TRACE, ExportCase, record
from tests.observability.export.collectors import attributes


class Document(ExportCase):
    """A3: logs are a JSON document, posted to ``/v1/logs``."""

    async def test_every_field(self) -> None:
        collector = self.http()
        hub = self.exports(logs_exporter="otlp", endpoint=collector.endpoint)

        hub.add_logs(
            [
                record(
                    trace_id=TRACE,
                    span_id=SPAN,
                    attributes={"orderId": "o-1"},
                    resource={"service.name": "orders", "host.name": "h"},
                    scope_name="app",
                    scope_version="2",
                )
            ]
        )
        self.timers.advance(5)

        (body,) = await collector.requests()
        path, headers, _ = collector.taken[0]
        self.assertEqual((path, headers["content-type"]), ("/v1/logs", "application/json"))
        self.assertEqual(
            msgspec.json.decode(body),
            {
                "resourceLogs": [
                    {
                        "resource": {
                            "attributes": [
                                {"key": "service.name", "value": {"stringValue": "orders"}},
                                {"key": "host.name", "value": {"stringValue": "h"}},
                            ]
                        },
                        "scopeLogs": [
                            {
                                "scope": {"name": "app", "version": "2"},
                                "logRecords": [
                                    {
                                        "timeUnixNano": "1760000000000000000",
                                        "observedTimeUnixNano": "1760000000000000001",
                                        "severityNumber": 9,
                                        "severityText": "INFO",
                                        "body": {"stringValue": "order stored"},
                                        "attributes": [
                                            {"key": "orderId", "value": {"stringValue": "o-1"}}
                                        ],
                                        "traceId": TRACE,
                                        "spanId": SPAN,
                                    }
                                ],
                            }
                        ],
                    }
                ]
            },
        )

    async def test_every_value(self) -> None:
        values: dict[str, tuple[Any, Any]] = {
            "text": ("t", {"stringValue": "t"}),
            "int": (-7, {"intValue": "-7"}),
            "float": (1.5, {"doubleValue": 1.5}),
            "bool": (True, {"boolValue": True}),
            "null": (None, {"stringValue": ""}),
            "list": (
                [1, "a"],
                {"arrayValue": {"values": [{"intValue": "1"}, {"stringValue": "a"}]}},
            ),
            "object": (
                {"k": {"n": 1}},
                {
                    "kvlistValue": {
                        "values": [
                            {
                                "key": "k",
                                "value": {
                                    "kvlistValue": {
                                        "values": [{"key": "n", "value": {"intValue": "1"}}]
                                    }
                                },
                            }
                        ]
                    }
                },
            ),
            "infinite": (float("inf"), {"doubleValue": "Infinity"}),
            "too large for an int64": (2**63, {"stringValue": "9223372036854775808"}),
        }
        sent = await self.posted(record(attributes={k: given for k, (given, _) in values.items()}))
        found = {pair["key"]: pair["value"] for pair in sent["attributes"]}
        self.assertEqual(found, {key: expected for key, (_, expected) in values.items()})

    async def test_very_deep_attributes_end_as_text(self) -> None:
        deep: Any = 1
        for _ in range(100):
            deep = [deep]
        sent = await self.posted(record(attributes={"deep": deep}))
        value = sent["attributes"][0]["value"]
        depth = 0
        while "arrayValue" in value:
            value = value["arrayValue"]["values"][0]
            depth += 1
        self.assertEqual((depth, value), (32, {"stringValue": "[" * 68 + "1" + "]" * 68}))

    async def test_ids_that_are_none_are_left_out(self) -> None:
        sent = await self.posted(record(trace_id="nope", span_id="x" * 16, severity_number=99))
        self.assertNotIn("traceId", sent)
        self.assertNotIn("spanId", sent)
        self.assertEqual(sent["severityNumber"], 0)

    async def posted(self, given: Any) -> Any:
        """How one record looks in the document."""
        collector = self.http()
        hub = self.exports(logs_exporter="otlp", endpoint=collector.endpoint)
        hub.add_logs([given])
        self.timers.advance(5)
        (body,) = await collector.requests()
        (resource,) = msgspec.json.decode(body)["resourceLogs"]
        return resource["scopeLogs"][0]["logRecords"][0]

    async def test_headers_go_along(self) -> None:
        collector = self.http()
        environ = {
            "OTEL_EXPORTER_OTLP_HEADERS": "x-tenant=all",
            "OTEL_EXPORTER_OTLP_LOGS_HEADERS": "x-tenant=logs%20only",
        }
        hub = self.exports(environ, logs_exporter="both", endpoint=collector.endpoint)
        hub.add_logs([record()])
        self.timers.advance(5)
        await collector.requests()
        self.assertEqual(collector.taken[0][1]["x-tenant"], "logs only")


class Services(ExportCase):
    """A log goes out as its service's, not as the engine's."""

    async def services(self, *records: Any) -> list[dict[str, str]]:
        """The resources under which these go out."""
        collector = self.http()
        hub = self.exports(
            logs_exporter="otlp", endpoint=collector.endpoint, logs_batch_size=len(records)
        )
        hub.add_logs(list(records))
        (body,) = await collector.requests()
        return [
            {pair["key"]: pair["value"]["stringValue"] for pair in each["resource"]["attributes"]}
            for each in msgspec.json.decode(body)["resourceLogs"]
        ]

    async def test_every_service_has_its_resource_once(self) -> None:
        pay = {"service.name": "pay"}
        sent = await self.services(
            record(), record(resource=pay, service_name="pay"), record(resource={**pay})
        )
        self.assertEqual(sent, [{"service.name": "orders"}, {"service.name": "pay"}])

    async def test_what_came_through_a_function_is_its_callers(self) -> None:
        engine = {
            "service.name": "iii",
            "service.version": "1",
            "service.namespace": "shop",
            "deployment.environment": "prod",
        }
        sent = await self.services(record(resource=engine, service_name="billing"))
        self.assertEqual(
            sent,
            [
                {
                    "service.name": "billing",
                    "service.namespace": "shop",
                    "deployment.environment": "prod",
                }
            ],
        )

    async def test_a_resource_without_a_name_gets_it(self) -> None:
        sent = await self.services(record(resource={"host.name": "h"}))
        self.assertEqual(sent, [{"host.name": "h", "service.name": "orders"}])


class Batches(ExportCase):
    async def test_a_full_batch_goes_at_once_and_the_rest_after_the_interval(self) -> None:
        collector = self.http()
        hub = self.exports(
            logs_exporter="otlp",
            endpoint=collector.endpoint,
            logs_batch_size=2,
            logs_flush_interval_ms=400,
        )
        hub.add_logs([record(body=body) for body in "abc"])
        await collector.requests(1)
        self.timers.advance(0.39)
        self.assertEqual(len(collector.taken), 1)
        self.timers.advance(0.01)
        bodies = [
            [
                each["body"]["stringValue"]
                for each in msgspec.json.decode(body)["resourceLogs"][0]["scopeLogs"][0][
                    "logRecords"
                ]
            ]
            for body in await collector.requests(2)
        ]
        self.assertEqual(bodies, [["a", "b"], ["c"]])

    async def test_not_while_logs_are_off(self) -> None:
        collector = self.http()
        hub = self.exports(logs_exporter="otlp", logs_enabled=False, endpoint=collector.endpoint)
        hub.add_logs([record()])
        self.timers.advance(5)
        await self.stop()
        self.assertEqual(collector.taken, [])


class OtherProtocols(ExportCase):
    def check(self, request: Any) -> None:
        (resource,) = request.resource_logs
        self.assertEqual(attributes(resource.resource.attributes), {"service.name": "orders"})
        (scope,) = resource.scope_logs
        self.assertEqual((scope.scope.name, scope.scope.version), ("app", "2"))
        (sent,) = scope.log_records
        self.assertEqual(sent.time_unix_nano, 1760000000000000000)
        self.assertEqual(sent.observed_time_unix_nano, 1760000000000000001)
        self.assertEqual((sent.severity_number, sent.severity_text), (17, "ERROR"))
        self.assertEqual(sent.body.string_value, "order stored")
        self.assertEqual((sent.trace_id.hex(), sent.span_id.hex()), (TRACE, SPAN))
        (pair,) = sent.attributes
        self.assertEqual(pair.value.kvlist_value.values[0].value.int_value, 1)

    def given(self) -> Any:
        return record(
            trace_id=TRACE,
            span_id=SPAN,
            severity_number=17,
            severity_text="ERROR",
            attributes={"o": {"n": 1}},
            scope_name="app",
            scope_version="2",
        )

    async def test_grpc(self) -> None:
        collector = self.grpc()
        hub = self.exports(logs_protocol="grpc", logs_exporter="otlp", endpoint=collector.endpoint)
        hub.add_logs([self.given()])
        self.timers.advance(5)
        self.check((await collector.requests())[0])

    async def test_protobuf_over_http(self) -> None:
        collector = self.http()
        hub = self.exports(
            logs_protocol="http/protobuf", logs_exporter="otlp", endpoint=collector.endpoint
        )
        hub.add_logs([self.given()])
        self.timers.advance(5)
        self.check((await collector.requests())[0])
        self.assertEqual(collector.taken[0][0], "/v1/logs")

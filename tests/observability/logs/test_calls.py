"""``engine::log::*`` and ``engine::baggage::*`` (05 A6.1, A6.2)."""

from __future__ import annotations

from typing import Any

from iii._version import __version__
from iii.modules.observability.logs.baggage import NOTE
from iii.modules.observability.logs.calls import LogCalls
from iii.modules.observability.model import LogRecord
from tests.observability.logs.cases import CONTEXT, SPAN, TRACE, LogsCase
from tests.support.probes import probe


class Logging(LogsCase):
    """05 A6.1: a call makes a record."""

    settings = {"enabled": False, "service_name": "shop", "service_version": "7"}
    environ = {"DEPLOYMENT_ENVIRONMENT": "staging"}

    @probe("05.1")
    async def test_a_call_makes_one_record_and_has_no_value(self) -> None:
        sent = self.client.invoke(
            "engine::log::info", {"message": "m1", "data": {"a": 1}, "service_name": "s"}
        )
        self.assertIsNone((await self.client.result_of(sent)).get("result"))
        (row,) = await self.rows()
        times = (row.pop("timestamp_unix_nano"), row.pop("observed_timestamp_unix_nano"))
        self.assertEqual(times[0], times[1])
        self.assertEqual(
            row,
            {
                "severity_number": 9,
                "severity_text": "INFO",
                "body": "m1",
                "attributes": {"a": 1},
                "trace_id": None,
                "span_id": None,
                "resource": {
                    "service.name": "shop",
                    "service.version": "7",
                    "deployment.environment": "staging",
                },
                "service_name": "s",
                "instrumentation_scope_name": "iii",
                "instrumentation_scope_version": __version__,
            },
        )

    @probe("05.2")
    async def test_each_level_has_its_number(self) -> None:
        expected = {"warn": 13, "error": 17, "debug": 5, "trace": 1}
        for level, number in expected.items():
            await self.client.call(f"engine::log::{level}", {"message": level})
            (row,) = await self.rows(severity_text=level)
            self.assertEqual(
                (row["severity_number"], row["severity_text"]), (number, level.upper())
            )

    @probe("05.3")
    async def test_a_message_is_needed(self) -> None:
        error = await self.client.error_of("engine::log::info", {})
        self.assertEqual(error["code"], "deserialization_error")
        self.assertEqual(await self.rows(), [])

    @probe("05.4")
    async def test_whoever_gives_no_name_is_unknown(self) -> None:
        await self.client.call("engine::log::info", {"message": "m", "service_name": None})
        (row,) = await self.rows()
        self.assertEqual(row["service_name"], "unknown")

    async def test_ids_are_kept_as_given(self) -> None:
        """05 A6.1: also when the call has a context."""
        ids = {"trace_id": "mine", "span_id": "too"}
        await self.client.call("engine::log::info", {"message": "m", **ids}, traceparent=CONTEXT)
        (row,) = await self.rows()
        self.assertEqual((row["trace_id"], row["span_id"]), ("mine", "too"))

    async def test_without_ids_they_are_the_callers(self) -> None:
        """05 A13: falls back to the caller's context."""
        await self.client.call("engine::log::info", {"message": "m"}, traceparent=CONTEXT)
        (row,) = await self.rows()
        self.assertEqual((row["trace_id"], row["span_id"]), (TRACE, SPAN))

    async def test_data_that_is_no_object_is_only_printed(self) -> None:
        """05 A6.1."""
        await self.client.call("engine::log::info", {"message": "m", "data": [1, 2]})
        (row,) = await self.rows()
        self.assertEqual(row["attributes"], {})
        (event,) = self.printed("iii::log")
        self.assertEqual(event["data"], [1, 2])

    async def test_it_is_printed_once_with_its_fields(self) -> None:
        """05 A6.1: service, trace_id, span_id, data."""
        said = {"message": "{odd}", "data": {"password": "x", "n": 1}, "service_name": "s"}
        await self.client.call("engine::log::trace", said, traceparent=CONTEXT)
        (event,) = self.printed("iii::log")
        self.assertEqual(event["log_text"], "{odd}")
        self.assertEqual(
            {name: event.get(name) for name in ("service", "trace_id", "span_id", "data")},
            {
                "service": "s",
                "trace_id": TRACE,
                "span_id": SPAN,
                "data": {"password": "[REDACTED]", "n": 1},
            },
        )

    async def test_secrets_and_colours_are_not_kept(self) -> None:
        """05 A15 head, 0.17: redaction at any depth, ANSI stripped."""
        data = {"headers": [{"Authorization": "Bearer 1", "accept": "*/*"}]}
        await self.client.call("engine::log::info", {"message": "\x1b[31mred\x1b[0m", "data": data})
        (row,) = await self.rows()
        self.assertEqual(row["body"], "red")
        hidden = {"Authorization": "[REDACTED]", "accept": "*/*"}
        self.assertEqual(row["attributes"], {"headers": [hidden]})


class WhileTracing(LogsCase):
    """05 A13: the context that counts is the caller's, not that of the call itself."""

    settings = {"level": "off"}

    async def test_a_callers_context_is_taken(self) -> None:
        await self.client.call("engine::log::info", {"message": "m"}, traceparent=CONTEXT)
        (row,) = await self.rows()
        self.assertEqual((row["trace_id"], row["span_id"]), (TRACE, SPAN))

    async def test_without_one_there_are_no_ids(self) -> None:
        await self.client.call("engine::log::info", {"message": "m"})
        (row,) = await self.rows()
        self.assertEqual((row["trace_id"], row["span_id"]), (None, None))


class Sampling(LogsCase):
    """05 A6.1: `logs_sampling_ratio` comes before storing and printing."""

    settings = {"enabled": False, "logs_sampling_ratio": 0.5}

    def prepare(self) -> None:
        super().prepare()
        self.kept: list[str] = []
        chances = iter((0.4, 0.5, 0.1))
        LogCalls(self.hub, self._keep, {}, chances.__next__).offer()

    def _keep(self, record: LogRecord, trace_id: str | None, worker: str | None) -> None:
        self.kept.append(record.body)

    async def test_a_part_of_the_calls_counts(self) -> None:
        for body in "abc":
            await self.client.call("engine::log::info", {"message": body})
        self.assertEqual(self.kept, ["a", "c"])
        self.assertEqual([event["log_text"] for event in self.printed("iii::log")], ["a", "c"])


class SwitchedOff(LogsCase):
    """05 A15 0.11: `logs_enabled: false`."""

    settings = {"enabled": True, "logs_enabled": False}

    async def test_nothing_is_kept_and_nobody_is_told(self) -> None:
        follower = await self.follower()
        await self.client.call("engine::log::info", {"message": "m"})
        answer = await self.client.call("engine::logs::list", {})
        self.assertEqual(set(answer), {"logs", "total", "timestamp"})
        self.assertEqual((answer["logs"], answer["total"]), ([], 0))
        self.assertEqual(await self.heard(follower), [])
        self.assertEqual(len(self.printed("iii::log")), 1)

    async def test_there_is_nothing_to_clear(self) -> None:
        answer = await self.client.call("engine::logs::clear", {})
        self.assertEqual(answer, {"success": True, "message": "No log storage initialized"})


class Baggage(LogsCase):
    """05 A6.2: what the call brought along."""

    async def get(self, key: str, baggage: str | None) -> Any:
        more = {} if baggage is None else {"baggage": baggage}
        return await self.client.call("engine::baggage::get", {"key": key}, **more)

    @probe("05.5")
    async def test_set_says_that_it_has_no_effect(self) -> None:
        answer = await self.client.call("engine::baggage::set", {"key": "k", "value": "v"})
        self.assertEqual(answer, {"success": True, "note": NOTE})
        self.assertEqual(
            NOTE, "Baggage set in new context. For propagation, use SDK-level baggage headers."
        )

    @probe("05.6")
    async def test_get_finds_what_is_there(self) -> None:
        self.assertEqual(await self.get("k", "k=v"), {"value": "v"})
        self.assertEqual(await self.get("other", "k=v"), {"value": None})
        self.assertEqual(await self.get("k", None), {"value": None})

    async def test_values_are_decoded_and_properties_left_out(self) -> None:
        """05 A6.2: W3C baggage."""
        found = await self.client.call(
            "engine::baggage::get_all", baggage=" a = x%20y%2Cz ;ttl=5, b=%C3%A4=1 ,nothing,=no"
        )
        self.assertEqual(found, {"baggage": {"a": "x y,z", "b": "ä=1"}})

    async def test_without_baggage_there_is_none(self) -> None:
        """05 A6.2."""
        found = await self.client.call("engine::baggage::get_all")
        self.assertEqual(found, {"baggage": {}})

from __future__ import annotations

import datetime
import os
from pathlib import Path
from typing import Any

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from twisted.logger import globalLogPublisher

from iii.engine.native import Empty
from iii.modules.observability.export import exports, senders
from iii.modules.observability.model import Event, Link
from tests.observability.export.cases import PARENT, SPAN, T0, TRACE, ExportCase, span
from tests.observability.export.collectors import attributes, spans_of

FULL = span(
    parent_span_id=PARENT,
    name="call orders::create",
    kind="consumer",
    start_ns=T0,
    end_ns=T0 + 120_000_000,
    status="error",
    status_description="boom",
    attributes=[("faas.trigger", "other"), ("n", "1")],
    events=[Event("exception", T0 + 7, [("exception.type", "E")])],
    links=[Link("a" * 32, "b" * 16, "x=y", [("why", "batch")], 0x301), Link("c" * 32, "d" * 16)],
    scope_name="iii-sdk",
    scope_version="1.0.0",
    flags=0x301,
    trace_state="vendor=1",
    resource={"service.name": "orders", "telemetry.sdk.language": "nodejs"},
)


class Fields(ExportCase):
    """A span arrives with all that is known of it, whatever the protocol."""

    def check(self, request: Any) -> None:
        (resource,) = request.resource_spans
        self.assertEqual(
            attributes(resource.resource.attributes),
            {"service.name": "orders", "telemetry.sdk.language": "nodejs"},
        )
        (scope,) = resource.scope_spans
        self.assertEqual((scope.scope.name, scope.scope.version), ("iii-sdk", "1.0.0"))
        (sent,) = scope.spans
        self.assertEqual(sent.trace_id.hex(), TRACE)
        self.assertEqual(sent.span_id.hex(), SPAN)
        self.assertEqual(sent.parent_span_id.hex(), PARENT)
        self.assertEqual(sent.trace_state, "vendor=1")
        self.assertEqual(sent.name, "call orders::create")
        self.assertEqual(sent.kind, 5)
        self.assertEqual(sent.start_time_unix_nano, T0)
        self.assertEqual(sent.end_time_unix_nano, T0 + 120_000_000)
        self.assertEqual(attributes(sent.attributes), {"faas.trigger": "other", "n": "1"})
        self.assertEqual((sent.status.code, sent.status.message), (2, "boom"))
        self.assertEqual(sent.flags & 0x300, 0x300)
        (event,) = sent.events
        self.assertEqual((event.name, event.time_unix_nano), ("exception", T0 + 7))
        self.assertEqual(attributes(event.attributes), {"exception.type": "E"})
        link, other = sent.links
        self.assertEqual((link.trace_id.hex(), link.span_id.hex()), ("a" * 32, "b" * 16))
        self.assertEqual(attributes(link.attributes), {"why": "batch"})
        self.assertEqual((link.flags, link.trace_state), (0x301, "x=y"))
        self.assertEqual((other.trace_id.hex(), other.flags & 0xFF), ("c" * 32, 0))
        self.assertEqual(other.trace_state, "")

    async def test_over_grpc(self) -> None:
        collector = self.grpc()
        hub = self.exports(exporter="otlp", endpoint=collector.endpoint)

        hub.add_spans([FULL])
        self.timers.advance(1)

        (request,) = await collector.requests()
        self.check(request)
        self.assertEqual(collector.taken[0][0], "traces")

    async def test_over_http(self) -> None:
        collector = self.http()
        environ = {"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf"}
        hub = self.exports(environ, exporter="both", endpoint=collector.endpoint)

        hub.add_spans([FULL])
        self.timers.advance(1)

        (request,) = await collector.requests()
        self.check(request)
        self.assertEqual(collector.taken[0][0], "/v1/traces")

    async def test_links_of_many_spans_stay_with_theirs(self) -> None:
        """Also of spans with the same ids, and of those whose links lose nothing."""
        collector = self.http()
        environ = {"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf"}
        hub = self.exports(environ, exporter="otlp", endpoint=collector.endpoint)
        states = ["a=1", "b=2", "", "c=3"]
        ids = ["1" * 16, "2" * 16, "3" * 16, "1" * 16]
        hub.add_spans(
            [
                span(
                    name=state,
                    span_id=id,
                    links=[Link("a" * 32, f"{number:016}", state)],
                    resource={"service.name": "bd"[number % 2]},
                )
                for number, (id, state) in enumerate(zip(ids, states, strict=True), 1)
            ]
        )
        self.timers.advance(1)
        (request,) = await collector.requests()
        sent = {each.name: each.links[0] for each in spans_of(request)}
        self.assertEqual(
            {name: link.trace_state for name, link in sent.items()},
            dict(zip(states, states, strict=True)),
        )

    async def test_an_exporter_without_the_parts_we_know_still_sends(self) -> None:
        """One of a later release: links are as its encoder makes them."""
        self.patch(senders, "_CLIENT", "_gone")
        environ = {"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf"}
        for collector, over in ((self.http(), environ), (self.grpc(), {})):
            hub = self.exports(over, exporter="otlp", endpoint=collector.endpoint)
            hub.add_spans([FULL])
            self.timers.advance(1)
            (request,) = await collector.requests()
            (sent,) = spans_of(request)
            self.assertEqual(len(sent.links), 2)

    async def test_every_kind_and_status_has_its_number(self) -> None:
        collector = self.grpc()
        hub = self.exports(exporter="otlp", endpoint=collector.endpoint)
        kinds = ["internal", "server", "client", "producer", "consumer"]
        statuses = ["unset", "ok", "error"]

        hub.add_spans([span(name=kind, kind=kind) for kind in kinds])
        hub.add_spans([span(name=status, status=status) for status in statuses])
        self.timers.advance(1)

        (request,) = await collector.requests()
        sent = {each.name: each for each in spans_of(request)}
        self.assertEqual([sent[kind].kind for kind in kinds], [1, 2, 3, 4, 5])
        self.assertEqual([sent[status].status.code for status in statuses], [0, 1, 2])

    async def test_headers_go_along(self) -> None:
        overs = {"grpc": self.grpc(), "http/protobuf": self.http()}
        for protocol, collector in overs.items():
            environ = {
                "OTEL_EXPORTER_OTLP_HEADERS": "X-Tenant=a%20b,x-other=c",
                "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
            }
            hub = self.exports(environ, exporter="otlp", endpoint=collector.endpoint)
            hub.add_spans([span()])
            self.timers.advance(1)
            await collector.requests()
            headers = collector.taken[0][1]
            self.assertEqual((headers["x-tenant"], headers["x-other"]), ("a b", "c"))


class WhatGoesOut(ExportCase):
    async def test_the_engines_own_spans_have_the_engines_resource(self) -> None:
        collector = self.grpc()
        hub = self.exports(
            exporter="otlp",
            endpoint=collector.endpoint,
            service_name="shop",
            service_version="7",
            service_instance_id="one",
            service_namespace="ns",
        )
        hub.engine.function("hello", lambda _: None, takes=Empty)
        await hub.engine.invoke("hello", {})
        hub.flush()
        self.timers.advance(1)

        (request,) = await collector.requests()
        (resource,) = request.resource_spans
        self.assertEqual(
            attributes(resource.resource.attributes),
            {
                "service.name": "shop",
                "service.version": "7",
                "service.instance.id": "one",
                "service.namespace": "ns",
            },
        )
        self.assertEqual([each.name for each in spans_of(request)], ["call hello"])

    async def test_every_service_keeps_its_resource(self) -> None:
        collector = self.grpc()
        hub = self.exports(exporter="otlp", endpoint=collector.endpoint)

        hub.add_spans(
            [
                span(name="a", resource={"service.name": "orders", "host.name": "h1"}),
                span(name="b", resource={"service.name": "pay"}),
                span(name="c", resource={"service.name": "orders", "host.name": "h1"}),
            ]
        )
        self.timers.advance(1)

        (request,) = await collector.requests()
        by_service = {
            attributes(resource.resource.attributes)["service.name"]: [
                each.name for scope in resource.scope_spans for each in scope.spans
            ]
            for resource in request.resource_spans
        }
        self.assertEqual(by_service, {"orders": ["a", "c"], "pay": ["b"]})

    async def test_not_what_is_under_way_and_not_what_was_not_sampled(self) -> None:
        collector = self.grpc()
        hub = self.exports(exporter="otlp", endpoint=collector.endpoint)

        hub.add_spans(
            [
                span(name="pending", end_ns=0),
                span(name="unsampled", flags=0x300),
                span(name="sampled", flags=0x301),
                span(name="unsaid"),
            ]
        )
        self.timers.advance(1)

        (request,) = await collector.requests()
        self.assertEqual([each.name for each in spans_of(request)], ["sampled", "unsaid"])
        self.assertEqual(hub.dropped, {})

    async def test_a_span_with_ids_that_are_none_is_counted_and_the_others_go(self) -> None:
        collector = self.grpc()
        hub = self.exports(exporter="otlp", endpoint=collector.endpoint)

        wrong = ["short", "x" * 32, "-" + "1" * 31, "1_" * 16, " " + "1" * 31, "0" * 32]
        spans = [*(span(trace_id=id) for id in wrong), span(span_id="-" + "1" * 15)]
        hub.add_spans([*spans, span(name="good")])
        self.timers.advance(1)

        (request,) = await collector.requests()
        self.assertEqual([each.name for each in spans_of(request)], ["good"])
        await self.eventually(lambda: hub.dropped == {"export.traces.unreadable": len(spans)})

    async def test_a_span_goes_without_a_parent_or_links_that_are_none(self) -> None:
        collector = self.grpc()
        hub = self.exports(exporter="otlp", endpoint=collector.endpoint)

        links = [Link("short", "b" * 16), Link("a" * 32, "-" + "1" * 15), Link("a" * 32, "b" * 16)]
        hub.add_spans([span(parent_span_id="nobody", links=links)])
        self.timers.advance(1)

        (request,) = await collector.requests()
        (sent,) = spans_of(request)
        self.assertEqual(sent.parent_span_id, b"")
        self.assertEqual([link.span_id.hex() for link in sent.links], ["b" * 16])
        self.assertEqual(hub.dropped, {})

    async def test_what_is_a_number_by_convention_is_sent_as_one(self) -> None:
        """Collectors compare it; other values, and numbers nobody can send, stay text."""
        collector = self.grpc()
        hub = self.exports(exporter="otlp", endpoint=collector.endpoint)

        said = [("http.response.status_code", "503"), ("attempt", "9" * 40), ("n", "1")]
        hub.add_spans([span(attributes=said)])
        self.timers.advance(1)

        (request,) = await collector.requests()
        (sent,) = spans_of(request)
        kinds = [each.value.WhichOneof("value") for each in sent.attributes]
        self.assertEqual(kinds, ["int_value", "string_value", "string_value"])
        self.assertEqual(sent.attributes[0].value.int_value, 503)

    async def test_nothing_while_the_exporter_is_memory_or_tracing_is_off(self) -> None:
        collector = self.grpc()
        for config in ({"exporter": "memory"}, {"exporter": "otlp", "enabled": False}):
            hub = self.exports(endpoint=collector.endpoint, **config)
            hub.add_spans([span()])
            self.timers.advance(5)
            await self.stop()
        self.assertEqual(collector.taken, [])

    async def test_an_endpoint_that_is_no_url_is_told_and_nothing_is_sent(self) -> None:
        lines: list[str] = []

        def hear(event: Any) -> None:
            if event.get("log_namespace") == exports.log.namespace:
                lines.append(event["log_format"].format(**event))

        globalLogPublisher.addObserver(hear)
        self.addCleanup(globalLogPublisher.removeObserver, hear)
        hub = self.exports(exporter="otlp", metrics_exporter="otlp", endpoint="ftp://collector")
        hub.add_spans([span()])
        self.timers.advance(120)
        await self.stop()
        self.assertEqual(hub.dropped, {})
        self.assertEqual(
            lines,
            [
                f"{signal} can't be exported and are kept in memory only: "
                "endpoint 'ftp://collector' is no http:// or https:// URL"
                for signal in ("traces", "metrics")
            ],
        )


class Tls(ExportCase):
    async def test_https_means_tls(self) -> None:
        key, certificate = self_signed()
        collector = self.grpc(credentials=grpc.ssl_server_credentials([(key, certificate)]))
        self.trust(certificate)
        hub = self.exports(exporter="otlp", endpoint=collector.endpoint)

        hub.add_spans([span()])
        self.timers.advance(1)

        (request,) = await collector.requests()
        self.assertEqual(len(list(spans_of(request))), 1)

    def trust(self, certificate: bytes) -> None:
        """Have the exporters accept this one."""
        file = Path(self.mktemp())
        file.write_bytes(certificate)
        os.environ["OTEL_EXPORTER_OTLP_CERTIFICATE"] = str(file)
        self.addCleanup(os.environ.pop, "OTEL_EXPORTER_OTLP_CERTIFICATE")


def self_signed() -> tuple[bytes, bytes]:
    """A key and a certificate for ``localhost``."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    return (
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
        certificate.public_bytes(serialization.Encoding.PEM),
    )

from __future__ import annotations

from typing import Any

import grpc
import msgspec
from twisted.internet import reactor
from twisted.internet.defer import Deferred

from iii.modules.observability.export.exports import STOP_LIMIT_S
from tests.observability.export.cases import ExportCase, record, span
from tests.observability.export.collectors import Inbox, free_port, spans_of

OVER_HTTP = {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}


class OutageCase(ExportCase):
    async def comes_through(self, inbox: Inbox, names: set[str]) -> None:
        """Time passes until a collector has these spans, each once."""
        for _ in range(1_000):
            if len(inbox.taken) and len(self.names(inbox)) >= len(names):
                break
            self.timers.advance(1)
            await self.moment()
        self.assertEqual(sorted(self.names(inbox)), sorted(names))

    async def moment(self) -> None:
        """Let the threads work."""
        passed: Deferred[None] = Deferred()
        reactor.callLater(0.01, passed.callback, None)  # type: ignore[attr-defined]
        await passed

    def names(self, inbox: Inbox) -> list[str]:
        """The spans that a collector has."""
        return [each.name for _, _, request in inbox.taken for each in spans_of(request)]


class Down(OutageCase):
    """A collector that is down, and comes back, gets what was kept meanwhile."""

    async def over(self, start: Any, environ: dict[str, str]) -> None:
        port = free_port()
        hub = self.exports(environ, exporter="otlp", endpoint=f"http://127.0.0.1:{port}")
        names = {f"span {number}" for number in range(600)}
        hub.add_spans([span(name=name) for name in names])
        for _ in range(5):
            self.timers.advance(1)
            await self.moment()
        self.assertEqual(hub.dropped, {})

        await self.comes_through(start(port=port), names)
        self.assertEqual(hub.dropped, {})

    async def test_over_grpc(self) -> None:
        await self.over(self.grpc, {})

    async def test_over_http(self) -> None:
        await self.over(self.http, OVER_HTTP)

    async def test_logs_wait_too(self) -> None:
        port = free_port()
        hub = self.exports(
            logs_exporter="otlp", logs_batch_size=2, endpoint=f"http://127.0.0.1:{port}"
        )
        hub.add_logs([record(body="a"), record(body="b")])
        for _ in range(3):
            self.timers.advance(1)
            await self.moment()
        collector = self.http(port=port)
        for _ in range(1_000):
            if collector.taken:
                break
            self.timers.advance(1)
            await self.moment()
        ((_, _, body),) = collector.taken
        (resource,) = msgspec.json.decode(body)["resourceLogs"]
        self.assertEqual(len(resource["scopeLogs"][0]["logRecords"]), 2)
        self.assertEqual(hub.dropped, {})


class Refusing(OutageCase):
    async def test_unavailable_is_tried_again(self) -> None:
        collector = self.grpc()
        collector.refusals = [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED]
        hub = self.exports(exporter="otlp", endpoint=collector.endpoint)
        hub.add_spans([span(name="a")])
        await self.comes_through(collector, {"a"})
        self.assertEqual((collector.refused, hub.dropped), (2, {}))

    async def test_503_is_tried_again(self) -> None:
        collector = self.http()
        collector.refusals = [503, (429, {"Retry-After": "3"})]
        hub = self.exports(OVER_HTTP, exporter="otlp", endpoint=collector.endpoint)
        hub.add_spans([span(name="a")])
        await self.comes_through(collector, {"a"})
        self.assertEqual((collector.refused, hub.dropped), (2, {}))

    async def test_logs_answered_with_503_are_tried_again(self) -> None:
        collector = self.http()
        collector.refusals = [503]
        hub = self.exports(logs_exporter="otlp", endpoint=collector.endpoint)
        hub.add_logs([record()])
        for _ in range(1_000):
            if collector.taken:
                break
            self.timers.advance(5)
            await self.moment()
        self.assertEqual((collector.refused, len(collector.taken), hub.dropped), (1, 1, {}))

    async def test_what_is_wrong_stays_wrong(self) -> None:
        for collector, refusal, environ in (
            (self.grpc(), grpc.StatusCode.INVALID_ARGUMENT, {}),
            (self.http(), 400, OVER_HTTP),
        ):
            collector.refusals = [refusal]
            hub = self.exports(environ, exporter="otlp", endpoint=collector.endpoint)
            hub.add_spans([span(name="poison")])
            self.timers.advance(1)
            await self.eventually(lambda: hub.dropped == {"export.traces.refused": 1})  # noqa: B023
            hub.add_spans([span(name="a")])
            await self.comes_through(collector, {"a"})
            self.assertEqual(collector.refused, 1)


class Hanging(OutageCase):
    """A collector that does not answer holds up nothing."""

    async def check(self, collector: Any, environ: dict[str, str]) -> None:
        collector.open.clear()
        hub = self.exports(
            environ, exporter="otlp", logs_exporter="otlp", endpoint=collector.endpoint
        )
        hub.engine.function("hello", lambda _: "there")
        hub.add_spans([span() for _ in range(300)])
        await collector.until(lambda: collector.hanging > 0)
        answer = await hub.engine.invoke("hello", {})
        self.assertEqual(msgspec.json.decode(answer), "there")

        stopped = self._exports.pop().stop()
        self.assertNoResult(stopped)
        self.timers.advance(STOP_LIMIT_S)
        self.successResultOf(stopped)
        lost = hub.dropped["export.traces.stopped"]
        self.assertEqual(lost, 301)  # and the one of the call

    async def test_over_grpc(self) -> None:
        await self.check(self.grpc(), {})

    async def test_over_http(self) -> None:
        await self.check(self.http(), OVER_HTTP)

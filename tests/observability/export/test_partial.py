"""What collectors reject of requests that they take."""

from __future__ import annotations

from typing import Any
from unittest import TestCase

from twisted.logger import globalLogPublisher

from iii.modules.observability.export import lane
from iii.modules.observability.export.answers import MAX_REASON_CHARS, Partial, of_response
from iii.modules.observability.hub import Hub
from iii.modules.observability.model import Metric, NumberPoint
from tests.observability.export.cases import T0, ExportCase, record, span
from tests.observability.export.collectors import Inbox

OVER_HTTP = {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}
JSON = "application/json"


def gauge() -> Metric:
    """A metric of a worker."""
    return Metric(
        name="g",
        type="gauge",
        points=[NumberPoint(1.0, [], T0, 0)],
        service_name="orders",
        received_ns=T0,
    )


class PartialCase(ExportCase):
    """Hears what lanes log."""

    def setUp(self) -> None:
        super().setUp()
        self.lines: list[str] = []
        globalLogPublisher.addObserver(self.hear)
        self.addCleanup(globalLogPublisher.removeObserver, self.hear)

    def hear(self, event: Any) -> None:
        """Keep what the lanes log."""
        if event.get("log_namespace") == lane.log.namespace:
            self.lines.append((event["log_format"] or "").format(**event))

    async def sent(self, inbox: Inbox, count: int) -> None:
        """What waits goes out; this many requests have come in since the beginning."""
        self.timers.advance(1)
        await inbox.until(lambda: len(inbox.taken) >= count)


class Rejected(PartialCase):
    """Counted, told, and not sent again."""

    async def over(self, inbox: Any, environ: dict[str, str], logs_protocol: Any) -> None:
        inbox.partial = (3, "too old")
        hub = self.exports(
            environ,
            logs_protocol,
            exporter="otlp",
            metrics_exporter="otlp",
            logs_exporter="otlp",
            logs_flush_interval_ms=1_000,
            metrics_enabled=False,
            endpoint=inbox.endpoint,
        )
        hub.add_spans([span()])
        hub.add_metrics([gauge()])
        hub.add_logs([record()])
        await self.sent(inbox, 3)
        signals = ("traces", "metrics", "logs")
        expected = {f"export.{signal}.rejected": 3 for signal in signals}
        await self.eventually(lambda: hub.dropped == expected)
        for signal in signals:
            (line,) = [line for line in self.lines if f"takes {signal}" in line]
            self.assertIn("but rejected 3 of them: too old", line)
        await self.stop()
        self.assertEqual(len(inbox.taken), 3)

    async def test_over_grpc(self) -> None:
        await self.over(self.grpc(), {}, "grpc")

    async def test_over_http(self) -> None:
        await self.over(self.http(), OVER_HTTP, "http/protobuf")

    async def test_logs_as_json(self) -> None:
        await self.over(self.http(), OVER_HTTP, "http/json")

    async def test_after_a_connection_was_lost(self) -> None:
        """The exporter makes a new stub then."""
        collector = self.grpc()
        collector.partial = (1, "no")
        hub = self.exports(exporter="otlp", endpoint=collector.endpoint)
        hub.add_spans([span()])
        await self.sent(collector, 1)
        await self.eventually(lambda: hub.dropped == {"export.traces.rejected": 1})
        port = collector.port
        collector.stop()
        hub.add_spans([span()])
        self.timers.advance(1)
        await self.eventually(lambda: any("does not take" in line for line in self.lines))
        again = self.grpc(port=port)
        again.partial = (1, "no")
        for _ in range(1_000):
            if hub.dropped == {"export.traces.rejected": 2}:
                break
            self.timers.advance(1)
            await self.moment()
        self.assertEqual(hub.dropped, {"export.traces.rejected": 2})

    async def moment(self) -> None:
        """Let the threads work for a moment."""
        looks = iter((False, True))
        await self.eventually(lambda: next(looks))


class Told(PartialCase):
    """Batches come every second: the log is not filled with them."""

    async def hub_of(self, inbox: Any) -> Hub:
        """Traces go there."""
        return self.exports(OVER_HTTP, exporter="otlp", endpoint=inbox.endpoint)

    async def test_once_a_minute_with_what_was_rejected_meanwhile(self) -> None:
        collector = self.http()
        collector.partial = (2, "no")
        hub = await self.hub_of(collector)
        for number in range(1, 4):
            hub.add_spans([span()])
            await self.sent(collector, number)
            total = number * 2
            await self.eventually(lambda total=total: hub.dropped.get(self.what) == total)
        self.assertEqual(len(self.lines), 1)
        self.timers.advance(lane.REJECTED_TOLD_S)
        hub.add_spans([span()])
        await self.sent(collector, 4)
        await self.eventually(lambda: len(self.lines) == 2)
        self.assertIn("rejected 6 of them: no", self.lines[1])

    what = "export.traces.rejected"

    async def test_a_warning_without_a_loss(self) -> None:
        collector = self.http()
        collector.partial = (0, "use the new endpoint")
        hub = await self.hub_of(collector)
        hub.add_spans([span()])
        await self.sent(collector, 1)
        await self.eventually(lambda: bool(self.lines))
        self.assertIn("takes traces and warns: use the new endpoint", self.lines[0])
        self.assertEqual(hub.dropped, {})

    async def test_an_empty_partial_success_says_nothing(self) -> None:
        """Some collectors always send one."""
        collector = self.http()
        collector.partial = (0, "")
        hub = await self.hub_of(collector)
        hub.add_spans([span()])
        await self.sent(collector, 1)
        await self.stop()
        self.assertEqual((self.lines, hub.dropped), ([], {}))


class Answers(TestCase):
    """Bodies of good answers over HTTP."""

    def test_numbers_are_text_or_numbers(self) -> None:
        for number in ("7", '"7"'):
            body = b'{"partialSuccess":{"rejectedLogRecords":%s}}' % number.encode()
            for kind in (JSON, "Application/JSON; charset=utf-8"):
                self.assertEqual(of_response("logs", kind, body), Partial(7, ""))

    def test_what_is_no_answer_says_nothing(self) -> None:
        """The request was taken all the same."""
        for kind, body in (
            (JSON, b""),
            (JSON, b"{}"),
            (JSON, b"null"),
            (JSON, b"[1"),
            (JSON, b"\xff"),
            (JSON, b'{"partialSuccess":null}'),
            (JSON, b'{"partialSuccess":{"rejectedSpans":"many"}}'),
            (JSON, b'{"partialSuccess":{"rejectedSpans":-1}}'),
            ("text/html", b"<p>ok"),
            ("application/x-protobuf", b"\xff\xff"),
        ):
            self.assertIsNone(of_response("traces", kind, body), body)

    def test_a_reason_is_cut(self) -> None:
        body = b'{"partialSuccess":{"errorMessage":"%s"}}' % (b"x" * 9_000)
        self.assertEqual(of_response("logs", JSON, body), Partial(0, "x" * MAX_REASON_CHARS))

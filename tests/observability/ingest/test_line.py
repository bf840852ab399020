"""Frames wait in one line, and nobody waits for them."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from iii.engine.clock import Clock
from iii.modules.observability.ingest import part, reader
from tests.observability.ingest.cases import IngestCase, frame, resource, span

TICK_S = part.SLICE_S / 10


class SlicedCase(IngestCase):
    """The clock moves by a tenth of a slice whenever somebody looks at it."""

    def make_clock(self) -> Clock:
        """Every item takes a tick."""
        self.ticks = 0.0
        return Clock(self.timers, wall=lambda: 1_760_000_000.0, monotonic=self._tick)

    def _tick(self) -> float:
        self.ticks += TICK_S
        return self.ticks

    def names(self) -> list[str]:
        """Of the spans that came out."""
        return [s.name for s in self.heard.spans]

    def finish(self) -> None:
        """Let the reactor go on until nothing waits."""
        self.timers.advance(0)
        self.assertEqual(self.ingest.waiting_bytes, 0)


class Slices(SlicedCase):
    """A turn of the reactor reads as much as fits in a slice."""

    def test_a_small_frame_is_read_at_once(self) -> None:
        """Who asks for its spans next finds them."""
        self.send("OTLP", span(name="a"))
        self.assertEqual(self.names(), ["a"])
        self.assertEqual(self.ingest.waiting_bytes, 0)

    def test_a_large_frame_is_read_in_slices(self) -> None:
        """A turn brings some of its spans, all come, in order."""
        names = [str(n) for n in range(50)]
        self.send("OTLP", *(span(name=name) for name in names))
        self.assertEqual(len(self.heard.batches), 1)
        self.finish()
        self.assertGreater(len(self.heard.batches), 5)
        self.assertLessEqual(max(self.heard.batches), 10)
        self.assertEqual(self.names(), names)

    def test_many_connections_share_a_slice(self) -> None:
        """One turn's frames get one slice, not one each."""
        for n in range(30):
            self.send("OTLP", span(name=str(n)))
        self.assertLessEqual(len(self.names()), 10)
        self.finish()
        self.assertEqual(self.names(), [str(n) for n in range(30)])

    def test_frames_keep_their_order_across_kinds(self) -> None:
        """A small one does not overtake a large one."""
        heard: list[str] = []
        self.hub.on_logs(lambda logs: heard.append("logs"))
        self.hub.on_ingested(lambda spans: heard.append("spans"))
        self.send("OTLP", *[span()] * 40)
        self.send("LOGS", {})
        self.finish()
        self.assertEqual(heard[-1], "logs")
        self.assertGreater(heard.count("spans"), 1)

    def test_a_frame_that_comes_while_one_is_read_waits(self) -> None:
        """A listener may cause it; the other listeners hear of the first one first."""
        heard: list[str] = []
        self.hub.on_logs(lambda logs: self.send("OTLP", span(name="late")))
        self.hub.on_logs(lambda logs: heard.append("logs"))
        self.hub.on_ingested(lambda spans: heard.append("spans"))
        self.send("LOGS", {})
        self.finish()
        self.assertEqual(heard, ["logs", "spans"])

    def test_what_waits_is_read_before_the_end(self) -> None:
        """``stop`` waits for it, and nothing new is taken."""
        self.send("OTLP", *[span()] * 50)
        stopped = self.ingest.stop()
        assert isinstance(stopped, Deferred)
        self.assertNoResult(stopped)
        self.send("OTLP", span(name="too late"))
        self.finish()
        self.successResultOf(stopped)
        self.assertEqual(len(self.names()), 50)
        self.assertNotIn("too late", self.names())
        self.assertEqual(self.hub.dropped, {"frames.stopped": 1})
        self.assertEqual(self.timers.getDelayedCalls(), [])


class Bounds(SlicedCase):
    """What does not fit is dropped and counted."""

    def test_bytes(self) -> None:
        """Frames beyond are dropped until there is room."""
        self.patch(part, "MAX_WAITING_BYTES", 20_000)
        large = [span()] * 100
        size = len(frame("OTLP", *large))
        self.assertLess(size, 20_000)
        self.send("OTLP", *large)
        self.send("OTLP", *large)
        self.assertEqual(self.ingest.waiting_bytes, size)
        self.assertEqual(self.hub.dropped, {"frames.backlog_full": 1})
        self.finish()
        self.send("OTLP", *large)
        self.finish()
        self.assertEqual(len(self.names()), 200)
        self.assertEqual(self.ingest.waiting_bytes, 0)

    def test_one_frame_is_always_taken(self) -> None:
        """However large; the connection has a bound of its own."""
        self.patch(part, "MAX_WAITING_BYTES", 10)
        self.send("OTLP", *[span()] * 30)
        self.finish()
        self.assertEqual(len(self.names()), 30)

    def test_frames(self) -> None:
        """Small ones are counted too."""
        self.patch(part, "MAX_WAITING_FRAMES", 2)
        for _ in range(5):
            self.send("OTLP", *[span()] * 20)
        self.assertEqual(self.hub.dropped, {"frames.backlog_full": 3})

    def test_items(self) -> None:
        """One that is too large is lost alone."""
        self.patch(reader, "WHOLE_BYTES", 0)
        self.patch(reader, "MAX_ITEM_BYTES", 1_000)
        self.send("OTLP", span(name="a"), span(name="x" * 1_000), span(name="b"))
        self.finish()
        self.assertEqual(self.names(), ["a", "b"])
        self.assertEqual(self.hub.dropped, {"spans.unreadable": 1})

    def test_items_that_are_none(self) -> None:
        """A frame that is full of them is given up."""
        self.patch(reader, "MAX_BAD_ITEMS", 5)
        self.send("OTLP", *[0] * 4, span(name="a"), *[0] * 20, span(name="b"))
        self.finish()
        self.assertEqual(self.names(), ["a"])
        self.assertEqual(self.hub.dropped, {"spans.unreadable": 6, "frames.unreadable": 1})


class Faults(IngestCase):
    """A fault in here is told of; the line goes on."""

    def test_the_next_frame_is_read(self) -> None:
        """And nothing is raised into the connection."""

        def fails(*args: Any) -> Any:
            raise KeyError("fault")

        made = self.ingest._kinds["OTLP"].reader
        self.patch(made, "_make", fails)
        self.send("OTLP", span(), resource=resource("a"))
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)
        self.send("LOGS", {})
        self.assertEqual(len(self.heard.logs), 1)
        self.assertEqual(self.hub.dropped, {"frames.unreadable": 1})
        self.assertEqual(self.ingest.waiting_bytes, 0)

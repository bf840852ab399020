from __future__ import annotations

from threading import Event
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.logger import globalLogPublisher

from iii.modules.observability.export import backlog, lane
from iii.modules.observability.export.lane import Lane, Refused
from tests.observability.export.cases import ExportCase

FOR_GOOD = Refused("400 Bad Request", final=True)
NOT_NOW = Refused("503 Service Unavailable")


class Sender:
    """Takes batches of text; says when.

    :ivar outcomes: what happens first; then everything is taken
    """

    target = "http://collector"

    def __init__(self) -> None:
        self.outcomes: list[Exception] = []
        self.taken: list[list[str]] = []
        self.prepared = 0
        self.tries = 0
        self.closed = False
        self.open = Event()
        self.open.set()

    def prepare(self, items: list[str]) -> tuple[list[str], int]:
        self.prepared += 1
        good = [item for item in items if item != "bad"]
        return good, len(items) - len(good)

    def send(self, request: list[str]) -> None:
        self.tries += 1
        self.open.wait(10)
        if self.outcomes:
            raise self.outcomes.pop(0)
        self.taken.append(request)

    def close(self) -> None:
        self.closed = True
        self.open.set()


class LaneCase(ExportCase):
    def setUp(self) -> None:
        super().setUp()
        self.hub = self.exports()
        self.sender = Sender()
        self.addCleanup(self.sender.open.set)
        self.lines: list[str] = []
        globalLogPublisher.addObserver(self.hear)
        self.addCleanup(globalLogPublisher.removeObserver, self.hear)

    def hear(self, event: Any) -> None:
        """Keep what the lane logs."""
        if event.get("log_namespace") == lane.log.namespace:
            self.lines.append((event["log_format"] or "").format(**event))

    def lane(self, batch: int = 2) -> Lane[str]:
        """A lane that ends with the test."""
        made: Lane[str] = Lane("traces", self.hub, self.sender, len, batch_items=batch, flush_s=1)
        self.addCleanup(made.abandon)
        return made

    async def over(self, made: Lane[str]) -> None:
        """Wait until the lane did what it could for now: all that it gave its thread."""
        nothing: Deferred[None] = made.courier.call(lambda: None)
        await nothing.addTimeout(10, reactor)  # type: ignore[arg-type]


class Batches(LaneCase):
    async def test_full_ones_go_at_once_the_rest_after_a_while(self) -> None:
        made = self.lane()
        made.put(["a", "b", "c"])
        await self.eventually(lambda: self.sender.taken == [["a", "b"]])
        self.timers.advance(1)
        await self.eventually(lambda: self.sender.taken == [["a", "b"], ["c"]])
        await self.eventually(lambda: made.waiting == 0)
        self.assertEqual(self.hub.dropped, {})

    async def test_one_is_no_larger_than_a_request_may_be(self) -> None:
        self.patch(backlog, "MAX_BATCH_BYTES", 10)
        made = self.lane(batch=100)
        made.put(["aaaa", "bbbb", "cccc"])
        self.timers.advance(1)
        await self.eventually(lambda: self.sender.taken == [["aaaa", "bbbb"], ["cccc"]])

    async def test_what_is_larger_than_a_request_is_dropped(self) -> None:
        self.patch(backlog, "MAX_BATCH_BYTES", 10)
        made = self.lane(batch=1)
        made.put(["a" * 11, "b"])
        await self.eventually(lambda: self.sender.taken == [["b"]])
        self.assertEqual(self.hub.dropped, {"export.traces.too_large": 1})

    async def test_what_is_unreadable_is_counted_and_the_rest_goes(self) -> None:
        made = self.lane()
        made.put(["bad", "a"])
        await self.eventually(lambda: made.waiting == 0)
        self.assertEqual(self.sender.taken, [["a"]])
        made.put(["bad", "bad"])
        await self.eventually(lambda: made.waiting == 0)
        self.assertEqual(self.sender.taken, [["a"]])
        self.assertEqual(self.hub.dropped, {"export.traces.unreadable": 3})

    async def test_an_accident_costs_its_batch_only(self) -> None:
        self.sender.outcomes = [KeyError("oops")]
        made = self.lane()
        made.put(["a", "b", "c", "d"])
        await self.eventually(lambda: self.sender.taken == [["c", "d"]])
        await self.eventually(lambda: made.waiting == 0)
        self.assertEqual(self.hub.dropped, {"export.traces.unreadable": 2})
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)


class Bounds(LaneCase):
    async def test_beyond_so_many_the_oldest_go(self) -> None:
        self.patch(backlog, "MAX_QUEUED_ITEMS", 3)
        made = self.lane(batch=100)
        made.put(list("abcde"))
        self.assertEqual((made.waiting, self.hub.dropped), (3, {"export.traces.queue_full": 2}))
        self.timers.advance(1)
        await self.eventually(lambda: self.sender.taken == [["c", "d", "e"]])

    async def test_beyond_so_many_bytes_the_oldest_go(self) -> None:
        self.patch(backlog, "MAX_QUEUED_BYTES", 10)
        made = self.lane(batch=100)
        made.put(["aaaa", "bbbb", "cccc"])
        self.assertEqual((made.waiting, self.hub.dropped), (2, {"export.traces.queue_full": 1}))
        self.timers.advance(1)
        await self.eventually(lambda: self.sender.taken == [["bbbb", "cccc"]])

    async def test_what_is_under_way_counts_until_it_is_there(self) -> None:
        self.patch(backlog, "MAX_QUEUED_ITEMS", 3)
        self.sender.open.clear()
        made = self.lane(batch=2)
        made.put(["a", "b"])
        made.put(["c", "d", "e"])
        self.assertEqual((made.waiting, self.hub.dropped), (3, {"export.traces.queue_full": 2}))
        self.sender.open.set()
        await self.eventually(lambda: self.sender.taken == [["a", "b"]])
        self.timers.advance(1)
        await self.eventually(lambda: self.sender.taken == [["a", "b"], ["e"]])
        await self.eventually(lambda: made.waiting == 0)
        made.put(["f", "g", "h"])
        await self.eventually(lambda: ["f", "g"] in self.sender.taken)
        self.assertEqual(self.hub.dropped, {"export.traces.queue_full": 2})


class Retries(LaneCase):
    async def refused(self, times: int) -> None:
        """Wait until the collector has refused so often, and the lane knows."""
        await self.eventually(lambda: self.sender.tries == times)
        await self.over(self.made)

    async def test_at_growing_intervals_with_the_same_request(self) -> None:
        self.sender.outcomes = [NOT_NOW] * 8
        made = self.made = self.lane()
        made.put(["a", "b"])
        waits = []
        for times in range(1, 9):
            await self.refused(times)
            (due,) = [call.getTime() for call in self.timers.getDelayedCalls()]
            waits.append(due - self.timers.seconds())
            self.timers.advance(waits[-1])
        await self.eventually(lambda: self.sender.taken == [["a", "b"]])
        for wait, full in zip(waits, [1, 2, 4, 8, 16, 30, 30, 30], strict=True):
            self.assertTrue(full / 2 <= wait <= full + 0.001, f"{wait} of {full}")
        self.assertEqual(self.sender.prepared, 1)
        self.assertEqual(self.hub.dropped, {})

    async def test_not_before_the_collector_wants(self) -> None:
        self.sender.outcomes = [Refused("429", after_s=20)]
        made = self.made = self.lane()
        made.put(["a", "b"])
        await self.refused(1)
        self.timers.advance(19.9)
        await self.over(made)
        self.assertEqual(self.sender.tries, 1)
        self.timers.advance(0.1)
        await self.eventually(lambda: self.sender.taken == [["a", "b"]])

    async def test_not_what_is_refused_for_good(self) -> None:
        self.sender.outcomes = [FOR_GOOD]
        made = self.lane()
        made.put(["a", "b", "c", "d"])
        await self.eventually(lambda: self.sender.taken == [["c", "d"]])
        self.assertEqual(self.hub.dropped, {"export.traces.refused": 2})

    async def test_not_for_ever(self) -> None:
        self.sender.outcomes = [NOT_NOW] * 2
        made = self.made = self.lane()
        made.put(["a", "b", "c", "d"])
        await self.refused(1)
        self.timers.advance(lane.RETRY_LIMIT_S)
        await self.eventually(lambda: self.sender.taken == [["c", "d"]])
        self.assertEqual(self.hub.dropped, {"export.traces.given_up": 2})

    async def test_are_told_once_and_so_is_the_recovery(self) -> None:
        self.sender.outcomes = [NOT_NOW] * 3
        made = self.made = self.lane()
        made.put(["a", "b"])
        for times in range(1, 4):
            await self.refused(times)
            self.timers.advance(4)
        await self.eventually(lambda: made.waiting == 0)
        first, last = self.lines
        self.assertIn("http://collector does not take traces: 503 Service Unavailable", first)
        self.assertIn("http://collector takes traces again, after 12 s; 0 were lost", last)


class Ends(LaneCase):
    async def test_everything_that_waits_is_sent(self) -> None:
        made = self.lane()
        made.put(["a"])
        await made.stop().addTimeout(10, reactor)  # type: ignore[arg-type]
        self.assertEqual((self.sender.taken, self.sender.closed), ([["a"]], True))
        made.put(["late"])
        self.assertEqual(self.hub.dropped, {"export.traces.stopped": 1})

    async def test_a_collector_that_is_down_gets_one_more_chance(self) -> None:
        self.sender.outcomes = [NOT_NOW] * 2
        made = self.lane()
        made.put(["a", "b", "c"])
        await self.eventually(lambda: self.sender.tries == 1)
        await self.over(made)
        await made.stop().addTimeout(10, reactor)  # type: ignore[arg-type]
        self.assertEqual(self.sender.tries, 2)
        self.assertEqual(self.hub.dropped, {"export.traces.stopped": 3})
        self.assertEqual(self.timers.getDelayedCalls(), [])

    async def test_one_that_hangs_is_left_alone(self) -> None:
        self.sender.open.clear()
        made = self.lane()
        made.put(["a", "b", "c"])
        await self.eventually(lambda: self.sender.tries == 1)
        stopped = made.stop()
        self.assertNoResult(stopped)
        made.abandon()
        self.successResultOf(stopped)
        self.assertEqual(self.hub.dropped, {"export.traces.stopped": 3})
        await self.eventually(lambda: self.sender.closed)

"""Timestamps and envelopes of streams (04 §5.1)."""

from __future__ import annotations

import random

import msgspec
from msgspec import Raw
from twisted.internet import task
from twisted.trial.unittest import TestCase

from iii.engine.clock import Clock
from iii.modules.stream import events
from iii.modules.stream.events import Timestamps, envelope, sync_frame, unauthorized_frame
from tests.stream.cases import StreamCase
from tests.support.probes import probe


class Wall:
    """A wall clock one can set."""

    def __init__(self) -> None:
        self.ms = 1_760_000_000_000
        self.clock = Clock(task.Clock(), wall=lambda: (self.ms + 0.5) / 1000)


class Growing(TestCase):
    """04 §5.1: no client may take an event for an old one."""

    def setUp(self) -> None:
        self.wall = Wall()
        self.stamps = Timestamps(self.wall.clock)

    def next(self, item: str | None = "i", group: str = "g") -> int:
        """Milliseconds after the start."""
        return self.stamps.next("s", group, item) - 1_760_000_000_000

    def sync(self, item: str | None = None, group: str = "g") -> int:
        """The same of a sync."""
        return self.stamps.for_sync("s", group, item) - 1_760_000_000_000

    def test_it_is_now(self) -> None:
        """As long as nothing else was in this millisecond."""
        self.assertEqual(self.next(), 0)
        self.wall.ms += 7
        self.assertEqual(self.next(), 7)

    def test_one_millisecond_has_many_events_of_an_item(self) -> None:
        """Each one later than the one before; other items and groups don't matter."""
        self.assertEqual([self.next() for _ in range(3)], [0, 1, 2])
        self.assertEqual((self.next("other"), self.next("i", "other")), (0, 0))
        self.wall.ms += 1
        self.assertEqual(self.next(), 3)
        self.assertEqual(self.next("other"), 1)

    def test_the_wall_may_catch_up(self) -> None:
        """What ran ahead of it is not repeated when it gets there."""
        self.assertEqual([self.next() for _ in range(3)], [0, 1, 2])
        self.wall.ms += 2
        self.assertEqual(self.next(), 3)

    def test_names_are_not_joined(self) -> None:
        """Item b of group a is not item c of group a:b, and no item is not an empty one."""
        self.assertEqual(self.stamps.next("s", "a", "b"), self.stamps.next("s", "a:b", "b"))
        self.assertEqual((self.next(None), self.next("")), (0, 0))

    def test_the_clock_may_go_back(self) -> None:
        """Events don't."""
        self.wall.ms += 5
        self.assertEqual((self.next(), self.next("other")), (5, 5))
        self.wall.ms -= 3_600_000
        self.assertEqual((self.next(), self.next(), self.next("third")), (6, 7, 5))

    def test_the_sync_of_an_item_is_an_event_of_it(self) -> None:
        """Later than the last one, earlier than the next."""
        self.assertEqual((self.next(), self.sync("i"), self.next()), (0, 1, 2))

    def test_the_sync_of_a_group_is_as_new_as_its_newest_item(self) -> None:
        """Or a client that saw that one would not take it."""
        self.assertEqual(self.sync(), 0)
        self.assertEqual([self.next() for _ in range(4)], [0, 1, 2, 3])
        self.assertEqual((self.sync(), self.sync(), self.sync(None, "other")), (3, 3, 0))
        self.wall.ms += 2
        self.assertEqual(self.sync(), 3)
        self.wall.ms += 2
        self.assertEqual(self.sync(), 4)

    def test_events_of_the_group_itself_are_later_than_everything_in_it(self) -> None:
        """And of its syncs."""
        self.assertEqual((self.next(), self.next(), self.next(None)), (0, 1, 2))
        self.assertEqual((self.sync(), self.next(None)), (2, 3))

    def test_what_other_clocks_say_counts_when_it_is_later(self) -> None:
        """Of an item every message is later than the one before, whoever wrote it."""
        start = 1_760_000_000_000

        def heard(item: str | None, after: int, group: str = "g") -> int:
            return self.stamps.heard("s", group, item, start + after) - start

        self.assertEqual([heard("i", 0), heard("i", 0), heard("i", -99)], [0, 1, 2])
        self.assertEqual((heard("i", 50), heard("i", 10), heard("other", 0)), (50, 51, 51))
        self.assertEqual((heard(None, 0), self.sync(), heard("other", 0)), (52, 52, 52))
        self.wall.ms += 200
        # What was before is forgotten, and older than now.
        self.assertEqual((heard("i", 60), heard("i", 60, "h")), (200, 200))
        self.assertEqual(heard("i", 2**60), 200 + events.MAX_AHEAD_MS)

    def test_what_is_older_than_now_is_forgotten(self) -> None:
        """It can't matter any more."""
        for number in range(1000):
            self.next(f"i{number}", f"g{number}")
        for _ in range(3):
            self.next("busy")
        self.wall.ms += 1
        self.next("x", "y")
        # busy and its group are ahead of the clock, x and y are now
        self.assertEqual(len(self.stamps), 4)
        self.wall.ms += 10
        self.next("x", "y")
        self.assertEqual(len(self.stamps), 2)

    def test_a_clock_that_stands_still_does_not_fill_the_memory(self) -> None:
        """Then it goes a little ahead of the wall."""
        last = self.next("i0")
        for number in range(3 * events.MAX_REMEMBERED):
            self.next(f"i{number}", f"g{number % 10}")
            self.assertLessEqual(len(self.stamps), events.MAX_REMEMBERED + 2)
        self.assertGreater(self.next("i0"), last)
        self.assertLess(self.next("i0"), 20)

    def test_whatever_happens_it_grows(self) -> None:
        """Random clocks, items and syncs against the rule."""
        self.patch(events, "MAX_REMEMBERED", 20)
        chance = random.Random(4)
        seen: dict[tuple[str, str | None], int] = {}
        newest: dict[str, int] = {}
        for _ in range(20_000):
            self.wall.ms += chance.choice((0, 0, 0, 0, 1, 1, 2, -1, -500, 400))
            group = chance.choice("abcd")
            item = chance.choice((None, *"ijklmnop"))
            is_sync = chance.random() < 0.2
            stamp = self.sync(item, group) if is_sync else self.next(item, group)
            if is_sync and item is None:
                self.assertGreaterEqual(stamp, newest.get(group, 0))
            else:
                self.assertGreater(stamp, seen.get((group, item), -1))
                seen[group, item] = stamp
            newest[group] = max(newest.get(group, 0), stamp)
            self.assertGreaterEqual(stamp, self.wall.ms - 1_760_000_000_000)


class Envelopes(TestCase):
    """04 §5.1: what it looks like."""

    def test_the_envelope_of_the_specification(self) -> None:
        """Byte for byte."""
        data = Raw(b'{"id":"m-9","text":"hi"}')
        payload = envelope("chat", "room-1", "m-9", 1767225600123, events.Updated(data))
        self.assertEqual(
            payload,
            b'{"type":"stream","timestamp":1767225600123,"streamName":"chat","groupId":"room-1",'
            b'"id":"m-9","event":{"type":"update","data":{"id":"m-9","text":"hi"}}}',
        )

    def test_every_kind_of_event(self) -> None:
        """The names clients match on."""
        null = Raw(b"null")
        rows = (
            (events.Created(null), {"type": "create", "data": None}),
            (events.Updated(null), {"type": "update", "data": None}),
            (events.Deleted(null), {"type": "delete", "data": None}),
            (
                events.Custom(events.CustomBody("t", null)),
                {"type": "event", "event": {"type": "t", "data": None}},
            ),
        )
        for what, expected in rows:
            told = msgspec.json.decode(envelope("s", "g", None, 1, what))
            self.assertEqual((told["event"], told["id"]), (expected, None))

    def test_frames_of_subscriptions(self) -> None:
        """sync, and the refusal without data."""
        told = msgspec.json.decode(sync_frame("s", "g", None, 5, Raw(b"[1]")))
        self.assertEqual(told["event"], {"type": "sync", "data": [1]})
        self.assertEqual((told["timestamp"], told["id"]), (5, None))
        told = msgspec.json.decode(unauthorized_frame("s", "g", "i", 5))
        self.assertEqual(told["event"], {"type": "unauthorized"})
        self.assertEqual((told["streamName"], told["groupId"], told["id"]), ("s", "g", "i"))


class OnTheWire(StreamCase):
    """04 §5.1, as clients see it."""

    @probe("04.35")
    async def test_two_updates_back_to_back_have_two_timestamps(self) -> None:
        """The second is larger, for triggers and subscribers alike."""
        client = await self.subscriber()
        hook = await self.hooked()
        ids = [
            self.caller.invoke(
                "stream::set",
                {"stream_name": "chat", "group_id": "g", "item_id": "i", "data": number},
            )
            for number in range(50)
        ]
        for id in ids:
            await self.caller.result_of(id)
        for told in (
            [await client.next() for _ in ids],
            [(await hook.invoked("hook"))["data"] for _ in ids],
        ):
            self.assertEqual([e["event"]["data"] for e in told], list(range(50)))
            stamps = [e["timestamp"] for e in told]
            self.assertEqual(stamps, sorted(set(stamps)))

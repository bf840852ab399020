"""Channels without sockets (``iii.engine.channels``)."""

from __future__ import annotations

from collections import deque
from unittest import mock

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock as Ticks
from twisted.trial.unittest import SynchronousTestCase

from iii.engine.channels import (
    DEFAULT_SIZE,
    MAX_SIZE,
    SWEEP_S,
    UNTAKEN_TTL_S,
    Channel,
    Channels,
    Offer,
)
from iii.engine.clock import Clock


class WriterEnd:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.paused = False
        self.reader_went = False

    def pause(self) -> None:
        """Writer."""
        assert not self.paused
        self.paused = True

    def resume(self) -> None:
        """Writer."""
        assert self.paused
        self.paused = False

    def reader_gone(self) -> None:
        """Writer."""
        self.reader_went = True


class ReaderEnd:
    """Takes ``credit`` frames before it says "no more"."""

    def __init__(self, credit: int = 1_000_000) -> None:
        self.credit = credit
        self.got: list[tuple[bytes, bool]] = []
        self.ended: bool | None = None

    def deliver(self, payload: bytes, text: bool) -> bool:
        """Reader."""
        assert self.credit > 0, "delivered although the reader said no more"
        assert self.ended is None
        self.credit -= 1
        self.got.append((payload, text))
        return self.credit > 0

    def end(self, clean: bool) -> None:
        """Reader."""
        assert self.ended is None
        self.ended = clean


class ChannelCase(SynchronousTestCase):
    """Channels on a clock that the test moves."""

    def setUp(self) -> None:
        self.ticks = Ticks()
        self.channels = Channels(Clock.virtual(self.ticks))


class Life(ChannelCase):
    """Creating, finding, forgetting."""

    def test_sizes(self) -> None:
        """Default 64, at least 1, at most 1024."""
        rows = ((None, DEFAULT_SIZE), (0, 1), (-5, 1), (7, 7), (10_000, MAX_SIZE))
        for wanted, size in rows:
            self.assertEqual(self.channels.create(wanted).size, size)

    def test_only_the_key_opens_it(self) -> None:
        """Ids are no secret."""
        channel = self.channels.create()
        self.assertIs(self.channels.find(channel.id, channel.key), channel)
        for key in ("", "x", channel.id, "é"):
            self.assertIsNone(self.channels.find(channel.id, key))
        self.assertIsNone(self.channels.find("x", channel.key))

    def test_untaken_ends_are_swept(self) -> None:
        """After five minutes; the end that waits is told."""
        neither, lonely_reader, lonely_writer, both = (self.channels.create() for _ in range(4))
        reader, writer = ReaderEnd(), WriterEnd()
        lonely_reader.attach_reader(reader)
        lonely_writer.attach_writer(writer)
        both.attach_reader(ReaderEnd())
        both.attach_writer(WriterEnd())
        self.ticks.pump([SWEEP_S] * int(UNTAKEN_TTL_S / SWEEP_S - 1))
        self.assertEqual(len(self.channels), 4)
        self.ticks.pump([SWEEP_S] * 2)
        self.assertEqual(len(self.channels), 1)
        self.assertIsNotNone(reader.ended)
        self.assertTrue(writer.reader_went)
        self.assertTrue(neither.closed)
        self.assertFalse(both.closed)

    def test_no_channel_no_timer(self) -> None:
        """An idle engine sleeps."""
        self.assertEqual(self.ticks.getDelayedCalls(), [])
        self.channels.create().close()
        self.ticks.pump([SWEEP_S] * 2)
        self.assertEqual(self.ticks.getDelayedCalls(), [])

    def test_stop_ends_all(self) -> None:
        """Both ends are told and no timer is left."""
        channel = self.channels.create()
        reader, writer = ReaderEnd(), WriterEnd()
        channel.attach_reader(reader)
        channel.attach_writer(writer)
        self.channels.stop()
        self.assertEqual((reader.ended, writer.reader_went), (False, True))
        self.assertEqual((len(self.channels), self.ticks.getDelayedCalls()), (0, []))

    def test_withdrawn_it_can_not_be_found(self) -> None:
        """An attached end works on, a fresh one is refused when nobody is there."""
        alone, used = self.channels.create(), self.channels.create()
        reader = ReaderEnd()
        used.attach_reader(reader)
        for channel in (alone, used):
            channel.withdraw()
            self.assertIsNone(self.channels.find(channel.id, channel.key))
        self.assertFalse(alone.attach_writer(WriterEnd()))
        self.assertTrue(used.attach_writer(WriterEnd()))
        used.put(b"x")
        self.assertEqual(reader.got, [(b"x", False)])

    def test_a_reader_that_goes_ends_it(self) -> None:
        """The writer is told; nobody else attaches."""
        channel = self.channels.create()
        writer, reader = WriterEnd(), ReaderEnd()
        channel.attach_writer(writer)
        channel.attach_reader(reader)
        channel.reader_gone()
        self.assertTrue(writer.reader_went)
        self.assertIsNone(reader.ended)
        channel.put(b"late")
        channel.finish()
        self.assertEqual(len(self.channels), 0)


class Model(ChannelCase):
    """Any order of events against a list."""

    @settings(max_examples=150, deadline=None)
    @given(
        size=st.integers(1, 4),
        steps=st.lists(
            st.one_of(
                st.tuples(st.just("put"), st.binary(max_size=3), st.booleans()),
                st.tuples(st.just("credit"), st.integers(1, 5)),
                st.sampled_from([("reader",), ("finish", True), ("finish", False)]),
            ),
            max_size=40,
        ),
    )
    def test_frames_arrive_in_order_and_the_end_last(
        self, size: int, steps: list[tuple[object, ...]]
    ) -> None:
        """Nothing is lost, nothing overtakes, a full channel pauses the writer."""
        channel = Channels(Clock.virtual(Ticks())).create(size)
        writer, reader = WriterEnd(), ReaderEnd(credit=2)
        channel.attach_writer(writer)
        waiting: deque[tuple[bytes, bool]] = deque()
        expected: list[tuple[bytes, bool]] = []
        credit = 2
        attached = False
        finished: bool | None = None

        def flow() -> None:
            nonlocal credit
            while attached and waiting and credit > 0:
                expected.append(waiting.popleft())
                credit -= 1

        for name, *args in steps:
            if name == "put":
                # A paused writer may still have frames under way: they are kept.
                channel.put(*args)  # type: ignore[arg-type]
                if finished is None:
                    waiting.append(tuple(args))  # type: ignore[arg-type]
            elif name == "credit":
                (more,) = args
                credit += more  # type: ignore[operator]
                reader.credit = credit
                channel.drain()
            elif name == "reader":
                self.assertEqual(channel.attach_reader(reader), not attached)
                attached = True
            elif finished is None:
                (finished,) = args  # type: ignore[assignment]
                channel.finish(finished)
            flow()
            self.assertEqual(reader.got, expected)
            if finished is None:
                self.assertEqual(writer.paused, len(waiting) >= size)
            over = finished is not None and attached and not waiting and credit > 0
            self.assertEqual(reader.ended, finished if over else None)
            self.assertEqual(channel.closed, over)
            if over:
                return


class Offers(SynchronousTestCase):
    """A channel that is made when somebody asks for it."""

    def setUp(self) -> None:
        self.ticks = Ticks()
        self.channels = Channels(Clock.virtual(self.ticks))
        self.made: list[Channel] = []
        self.channel_id = self.channels.offer(Offer("secret", self.made.append))

    def test_the_key_makes_it(self) -> None:
        channel = self.channels.find(self.channel_id, "secret")
        self.assertEqual(self.made, [channel])
        self.assertIs(self.channels.find(self.channel_id, "secret"), channel)
        self.assertEqual(len(self.made), 1)

    def test_without_the_key_nothing_is_made(self) -> None:
        self.assertIsNone(self.channels.find(self.channel_id, "guess"))
        self.assertEqual(self.made, [])

    def test_a_withdrawn_offer_is_gone(self) -> None:
        self.channels.withdraw(self.channel_id)
        self.assertIsNone(self.channels.find(self.channel_id, "secret"))
        self.assertEqual(len(self.channels), 0)

    def test_the_sweep_leaves_offers_alone(self) -> None:
        """Whoever offers withdraws; only channels have a time limit."""
        self.channels.create()
        self.ticks.pump([60.0] * 10)
        self.assertEqual(len(self.channels), 1)
        self.assertIsNotNone(self.channels.find(self.channel_id, "secret"))


class Bytes(SynchronousTestCase):
    """docs/limits.md: what is kept for a reader is bounded in bytes, too."""

    def test_few_large_frames_pause_the_writer(self) -> None:
        channel = Channels(Clock.virtual(Ticks())).create(1024)
        writer = mock.Mock()
        channel.attach_writer(writer)
        for _ in range(7):
            channel.put(b"x" * 1024 * 1024)
        writer.pause.assert_not_called()
        channel.put(b"x" * 1024 * 1024)
        writer.pause.assert_called_once_with()
        reader = mock.Mock()
        reader.deliver.return_value = True
        channel.attach_reader(reader)
        writer.resume.assert_called_once_with()

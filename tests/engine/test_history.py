"""Calls that are kept: which, how many, how large."""

from __future__ import annotations

from unittest import mock

from msgspec import Raw
from twisted.trial.unittest import SynchronousTestCase

from iii.engine import history as of
from iii.engine.history import History
from iii.engine.invocations import Call, ErrorBody, ignore_outcome
from iii.engine.tracecontext import UNRECORDED


class Kept(SynchronousTestCase):
    """What ``History`` holds."""

    def ended(
        self,
        history: History,
        id: str,
        data: bytes = b"{}",
        result: bytes | None = b"1",
        error: ErrorBody | None = None,
        metadata: bytes | None = None,
    ) -> None:
        """A call that begins and ends."""
        call = Call(id, "f", Raw(data), ignore_outcome)
        call.metadata = None if metadata is None else Raw(metadata)
        history.begin(call)
        history.add(call, None if result is None else Raw(result), error, 1.0)

    def test_the_newest_first(self) -> None:
        history = History()
        for number in range(3):
            self.ended(history, str(number))
        self.assertEqual([call.id for call in history.newest()], ["2", "1", "0"])
        self.assertEqual(history.added, 3)

    def test_so_many_and_no_more(self) -> None:
        history = History()
        for number in range(of.MAX_KEPT_CALLS + 2 * of.BLOCK_CALLS + 7):
            self.ended(history, str(number))
        self.assertEqual(len(history), of.MAX_KEPT_CALLS)
        newest = [int(call.id) for call in history.newest()]
        last = of.MAX_KEPT_CALLS + 2 * of.BLOCK_CALLS + 6
        self.assertEqual(newest, list(range(last, last - of.MAX_KEPT_CALLS, -1)))
        self.assertEqual(history.added, last + 1)

    def test_so_many_bytes_and_no_more(self) -> None:
        history = History(max_bytes=1_000_000)
        for number in range(500):
            self.ended(history, str(number), data=b'"%b"' % (b"x" * 50_000))
            self.assertLessEqual(history.size, 1_000_000)
        kept = list(history.newest())
        self.assertEqual(kept[0].id, "499")
        self.assertGreater(len(kept), 5)
        self.assertLess(len(kept), 20)

    def test_one_that_is_too_large_is_not_kept(self) -> None:
        history = History(max_bytes=10_000)
        self.ended(history, "1")
        self.ended(history, "2", metadata=b'"%b"' % (b"x" * 50_000))
        self.assertEqual(history.size, 0)
        self.ended(history, "3")
        self.assertEqual([call.id for call in history.newest()], ["3"])

    def test_of_long_values_the_beginning_stays(self) -> None:
        history = History()
        long = b'"%b"' % (b"x" * 200_000)
        self.ended(history, "1", data=long, result=long)
        (call,) = history.newest()
        self.assertEqual((len(call.input), call.input_size), (of.KEPT_VALUE_BYTES, 200_002))
        self.assertEqual(
            (len(call.result or b""), call.result_size), (of.KEPT_VALUE_BYTES, 200_002)
        )
        self.assertFalse(call.is_whole)
        self.assertLess(history.size, 2 * of.KEPT_VALUE_BYTES + 2_000)

    def test_long_errors_are_cut(self) -> None:
        history = History()
        error = ErrorBody("c" * 9_000, "m" * 90_000, "s" * 900_000)
        self.ended(history, "1", result=None, error=error)
        self.assertLess(history.size, 30_000)

    def test_what_is_not_kept(self) -> None:
        history = History()
        for id, context in (("engine::log::info", None), ("f", UNRECORDED)):
            call = Call("1", id, Raw(b"1"), ignore_outcome, traceparent=context)
            history.begin(call)
            self.assertIsNone(call.input)

    def test_replays_are_remembered_up_to_a_number(self) -> None:
        history = History()
        with mock.patch.object(of, "MAX_REPLAYS", 2):
            for number in range(3):
                history.replayed(f"new {number}", "old")
        self.assertEqual(list(history.replays), ["new 1", "new 2"])

    def test_clear(self) -> None:
        history = History()
        self.ended(history, "1")
        history.clear()
        self.assertEqual((len(history), history.size, history.added), (0, 0, 1))

    def test_listeners_hear_of_each(self) -> None:
        history = History()
        heard: list[int] = []
        history.heard = lambda: heard.append(history.added)
        self.ended(history, "1")
        self.ended(history, "2")
        self.assertEqual(heard, [1, 2])

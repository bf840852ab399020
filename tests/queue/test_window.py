"""The window shows a long row in order, whatever happens while it reads."""

from __future__ import annotations

import random
from collections.abc import Callable

from msgspec import Raw
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from iii.modules.queue.message import Details, Message
from iii.modules.queue.rows import Piece, Place, waiting_place
from iii.modules.queue.window import Window

SIZE = 8
MAX_BYTES = 1_000


def message(seq: int, *, priority: int = 4, rank: int | None = None, size: int = 2) -> Message:
    """A message with data of ``size`` bytes."""
    return Message.new(
        seq, f"id{seq}", 1, Raw(b"1" * size), Details(), created_ms=0, priority=priority, rank=rank
    )


class Disk:
    """A row on disk; its reads see it when ``look`` is called, and answer at ``answer``.

    Like the journal, an answer leaves out what was changed since it was asked for.
    """

    def __init__(self) -> None:
        self.rows: dict[int, Message] = {}
        self.asked: list[tuple[Callable[[], Piece], set[int], Deferred[Piece]]] = []
        self.seen: list[tuple[Piece, set[int], Deferred[Piece]]] = []

    def read(self, after: Place, limit: int, max_bytes: int) -> Deferred[Piece]:
        answer: Deferred[Piece] = Deferred()

        def look() -> Piece:
            behind = sorted(
                (row for row in self.rows.values() if waiting_place(row) > after),
                key=waiting_place,
            )
            piece: list[Message] = []
            size = 0
            for row in behind:
                piece.append(row)
                size += len(row.data)
                if len(piece) == limit or size >= max_bytes:
                    return Piece(piece, waiting_place(row))
            return Piece(piece, None)

        self.asked.append((look, set(), answer))
        return answer

    def change(self, seq: int, row: Message | None) -> None:
        if row is None:
            del self.rows[seq]
        else:
            self.rows[seq] = row
        for _, touched, _ in (*self.asked, *self.seen):
            touched.add(seq)

    def look(self) -> bool:
        """A read that was asked for happens."""
        if not self.asked:
            return False
        look, touched, answer = self.asked.pop(0)
        self.seen.append((look(), touched, answer))
        return True

    def answer(self) -> bool:
        """The answer of a read comes back."""
        if not self.seen:
            return False
        piece, touched, answer = self.seen.pop(0)
        piece.messages[:] = [row for row in piece.messages if row.seq not in touched]
        answer.callback(piece)
        return True

    def settle(self) -> None:
        while self.look() or self.answer():
            pass


class Properties(TestCase):
    """Random walks beside a plain dictionary."""

    def walk(self, seed: int, *, backlog: int) -> None:
        """One random walk."""
        chance = random.Random(seed)
        disk = Disk()
        for seq in range(1, backlog + 1):
            disk.rows[seq] = message(seq, priority=chance.choice((0, 4, 4, 4, 9)))
        running: dict[int, Message] = {}
        popped: list[int] = []
        window = Window(
            waiting_place,
            disk.read,
            lambda: None,
            running,
            complete=not backlog,
            size=SIZE,
            max_bytes=MAX_BYTES,
        )
        last_seq = backlog

        def offer() -> None:
            nonlocal last_seq
            last_seq += 1
            size = chance.choice((2, 2, 2, 100, 3_000))
            new = message(last_seq, priority=chance.choice((0, 4, 4, 4, 4, 9)), size=size)
            disk.rows[new.seq] = new  # an add is left out of reads by its number only
            window.offer(new)

        def pop() -> None:
            taken = window.pop()
            if taken is None:
                window.refill()
                return
            if window.complete and not disk.asked and not disk.seen:
                waiting = (row for row in disk.rows.values() if row.seq not in running)
                self.assertEqual(min(map(waiting_place, waiting)), waiting_place(taken))
            self.assertNotIn(taken.seq, running)
            self.assertIn(taken.seq, disk.rows)
            running[taken.seq] = taken
            window.refill()

        def end() -> None:
            if not running:
                return
            seq = chance.choice(list(running))
            ended = running.pop(seq)
            how = chance.random()
            if how < 0.6:
                disk.change(seq, None)
                popped.append(seq)
            elif how < 0.8:
                window.offer(ended)
            else:
                again = message(seq, rank=chance.randrange(-1_000_000, -1))
                disk.change(seq, again)
                window.offer(again)

        def cancel() -> None:
            waiting = [seq for seq in disk.rows if seq not in running]
            if waiting:
                seq = chance.choice(waiting)
                window.remove(disk.rows[seq])
                disk.change(seq, None)
                popped.append(seq)

        def reset() -> None:
            window.reset()
            window.refill()

        steps: list[Callable[[], object]] = [offer, pop, end, disk.look, disk.answer, cancel, reset]
        weights = [6, 6, 6, 4, 4, 1, 0.3]
        for _ in range(250):
            chance.choices(steps, weights)[0]()
            self.assertLessEqual(len(window), 2 * SIZE)
            window.refill()
        # Everything that is left comes out, in order.
        order = []
        for _ in range(20_000):
            disk.settle()
            for ended in list(running.values()):
                del running[ended.seq]
                window.offer(ended)
            taken = window.pop()
            if taken is None:
                window.refill()
                disk.settle()
                taken = window.pop()
                if taken is None:
                    break
            order.append(waiting_place(taken))
            disk.change(taken.seq, None)
            popped.append(taken.seq)
            window.refill()
        self.assertEqual(order, sorted(order))
        self.assertEqual(sorted(popped), list(range(1, last_seq + 1)), f"seed {seed}")

    def test_every_message_comes_out_once_and_in_order(self) -> None:
        for seed in range(150):
            self.walk(seed, backlog=random.Random(seed).choice((0, 0, 3, 40, 200)))


class Rules(TestCase):
    """Single situations."""

    def setUp(self) -> None:
        self.disk = Disk()
        self.running: dict[int, Message] = {}
        self.changes = 0

    def window(self, *, complete: bool = False, size: int = SIZE) -> Window:
        """A window on the disk."""

        def changed() -> None:
            self.changes += 1

        return Window(
            waiting_place,
            self.disk.read,
            changed,
            self.running,
            complete=complete,
            size=size,
            max_bytes=MAX_BYTES,
        )

    def drain(self, window: Window) -> list[int]:
        """Pop and finish everything."""
        order = []
        while True:
            window.refill()
            self.disk.settle()
            taken = window.pop()
            if taken is None:
                return order
            self.disk.change(taken.seq, None)
            order.append(taken.seq)

    def test_what_is_offered_during_a_read_in_front_of_its_end_is_not_lost(self) -> None:
        self.disk.rows = {seq: message(seq) for seq in range(1, 30)}
        window = self.window()
        window.refill()
        self.disk.look()
        urgent = self.disk.rows[99] = message(99, priority=9)
        window.offer(urgent)
        self.assertEqual(self.drain(window), [99, *range(1, 30)])

    def test_more_urgent_ones_than_there_is_room_for_during_a_read(self) -> None:
        self.disk.rows = {seq: message(seq) for seq in range(1, 5)}
        window = self.window()
        window.refill()
        self.disk.look()
        for seq in range(50, 90):
            self.disk.rows[seq] = message(seq, priority=9)
            window.offer(self.disk.rows[seq])
            self.assertLessEqual(len(window), 2 * SIZE)
        self.assertEqual(self.drain(window), [*range(50, 90), 1, 2, 3, 4])

    def test_a_read_that_failed_is_tried_again(self) -> None:
        self.disk.rows = {1: message(1)}
        window = self.window()
        window.refill()
        _, _, answer = self.disk.asked.pop()
        answer.errback(OSError("no such luck"))
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)
        self.assertEqual(self.drain(window), [1])

    def test_a_read_of_before_a_reset_brings_nothing(self) -> None:
        self.disk.rows = {1: message(1)}
        window = self.window()
        window.refill()
        self.disk.look()
        window.reset()
        self.disk.answer()
        self.assertEqual((len(window), window.complete), (0, False))
        self.assertEqual(self.drain(window), [1])

    def test_is_told_after_every_read(self) -> None:
        window = self.window()
        window.refill()
        self.disk.settle()
        self.assertEqual((self.changes, window.complete), (1, True))

    def test_no_read_while_half_of_it_is_left(self) -> None:
        self.disk.rows = {seq: message(seq) for seq in range(1, 30)}
        window = self.window()
        window.refill()
        self.disk.settle()
        for _ in range(SIZE // 2 - 1):
            window.pop()
            window.refill()
        self.assertEqual(self.disk.asked, [])
        window.pop()
        window.refill()
        self.assertEqual(len(self.disk.asked), 1)

    def test_large_messages_count_by_their_bytes(self) -> None:
        window = self.window(complete=True)
        for seq in range(1, 40):
            self.disk.rows[seq] = message(seq, size=400)
            window.offer(self.disk.rows[seq])
        self.assertLessEqual(len(window) * 400, 2 * MAX_BYTES)
        self.assertEqual(self.drain(window), list(range(1, 40)))

    def test_a_message_larger_than_the_window_passes_through_it(self) -> None:
        window = self.window(complete=True)
        for seq in (1, 2, 3):
            self.disk.rows[seq] = message(seq, size=5 * MAX_BYTES)
            window.offer(self.disk.rows[seq])
        self.assertEqual(self.drain(window), [1, 2, 3])

    def test_offered_and_removed_again_and_again_leaves_nothing(self) -> None:
        window = self.window(complete=True)
        first = message(1, priority=9)
        window.offer(first)
        for seq in range(2, 5_000):
            other = message(seq)
            window.offer(other)
            window.remove(other)
        self.assertLess(len(window._heap), 200)
        self.assertIs(window.pop(), first)

    def test_the_same_message_offered_twice_is_there_once(self) -> None:
        window = self.window(complete=True)
        window.offer(message(1))
        window.offer(message(1, rank=-5))
        self.assertEqual(len(window), 1)
        taken = window.pop()
        assert taken is not None
        self.assertEqual(taken.rank, -5)
        self.assertIsNone(window.pop())

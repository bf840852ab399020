"""Messages with keys: everybody's turn comes, nothing is lost, memory is bounded."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Callable

from msgspec import Raw
from twisted.trial.unittest import TestCase

from iii.modules.queue import keyed
from iii.modules.queue.keyed import HEAD_MESSAGES, KeyedRow
from iii.modules.queue.message import Details, Message, State
from tests.queue.lanes import DONE, NUMBER, FakeJournal, LaneCase, failed

MAX_KEYS = 8


class Properties(TestCase):
    """Random walks beside a model."""

    def setUp(self) -> None:
        self.patch(keyed, "MAX_KEYS", MAX_KEYS)
        self.patch(keyed, "HEAD_MESSAGES", 3)

    def walk(self, seed: int, *, per_key: int, ordered: bool, keys: int, backlog: int) -> None:
        """One random walk."""
        chance = random.Random(seed)
        journal = FakeJournal()
        journal.held = True
        last = 0

        def new() -> Message:
            nonlocal last
            last += 1
            key = f"k{chance.randrange(keys)}"
            row = Message.new(last, "", NUMBER, Raw(b"1"), Details(), created_ms=0, key=key)
            return journal.put(row)

        for _ in range(backlog):
            new()
        running: dict[int, Message] = {}
        blocked: set[str] = set()
        done: list[int] = []
        row = KeyedRow(
            journal,  # type: ignore[arg-type]
            NUMBER,
            per_key,
            lambda: None,
            running,
            lambda: (),
            complete=not backlog,
        )

        def pop() -> bool:
            message = row.pop()
            row.refill()
            if message is None:
                return False
            key = message.key or ""
            self.assertNotIn(key, blocked)
            self.assertNotIn(message.seq, running)
            of_key = [other for other in running.values() if other.key == key]
            self.assertLess(len(of_key), per_key, f"seed {seed}")
            if ordered:
                first = min(seq for seq, other in journal.rows.items() if other.key == key)
                self.assertEqual(message.seq, first, f"seed {seed}")
            running[message.seq] = message
            return True

        def end(how: float | None = None) -> None:
            if not running:
                return
            message = running.pop(chance.choice(list(running)))
            how = chance.random() if how is None else how
            if how < 0.6:
                journal.finish(message)
                done.append(message.seq)
                row.release(message)
            elif how < 0.8:
                row.offer(message)
                row.release(message)
            elif ordered:
                row.offer(message)
                row.release(message, blocked=True)
                blocked.add(message.key or "")
            else:
                row.release(message)
                message.rank = -message.seq
                journal.change(message, was=State.WAITING)
                row.offer(message)

        def unblock() -> None:
            if blocked:
                key = chance.choice(sorted(blocked))
                blocked.discard(key)
                row.unblock(key)

        def cancel() -> None:
            waiting = [seq for seq in journal.rows if seq not in running]
            if waiting:
                message = journal.rows[chance.choice(waiting)]
                row.remove(message)
                journal.finish(message)
                done.append(message.seq)

        def reset() -> None:
            row.reset()
            row.refill()

        steps: list[Callable[[], object]] = [
            lambda: row.offer(new()),
            pop,
            end,
            unblock,
            cancel,
            reset,
            lambda: journal.answer(1),
        ]
        for _ in range(300):
            chance.choices(steps, [5, 6, 6, 1, 0.3, 0.1, 4])[0]()
            self.assertLessEqual(row.keys, MAX_KEYS + len(running))
            self.assertLessEqual(len(row), 2 * 3 * row.keys)
        while blocked:
            unblock()
        idle = 0
        while idle < 50:
            idle = 0 if journal.answer() or pop() else idle + 1
            while running:
                end(0)
        self.assertEqual(sorted(done), list(range(1, last + 1)), f"seed {seed}")

    def test_everything_runs_once(self) -> None:
        for seed in range(240):
            chance = random.Random(-seed)
            ordered = seed % 2 == 0
            self.walk(
                seed,
                ordered=ordered,
                per_key=1 if ordered else chance.choice((1, 2, 5)),
                keys=chance.choice((1, 4, 9, 40)),
                backlog=chance.choice((0, 0, 10, 100)),
            )


class Fairness(LaneCase):
    """08 §3: one tenant can't starve the others."""

    def test_keys_take_turns(self) -> None:
        self.make(concurrency=1, key_field="t", per_key=1)
        a, b = self.arrive(4, key="a"), self.arrive(2, key="b")
        for _ in range(6):
            self.executor.end_all()
        self.assertEqual(self.order, [a[0], b[0], a[1], b[1], a[2], a[3]])

    def test_so_many_of_a_key_at_once(self) -> None:
        self.make(concurrency=10, key_field="t", per_key=2)
        self.arrive(5, key="a")
        self.arrive(5, key="b")
        running = Counter(message.key for message in self.executor.started)
        self.assertEqual(running, {"a": 2, "b": 2})

    def test_a_hundred_thousand_of_one_tenant_hold_nobody_up(self) -> None:
        for _ in range(100_000):
            self.message(key="big")
        others = [self.message(key=f"small{number}").seq for number in range(20)]
        self.make(complete=False, concurrency=1, key_field="t")
        for _ in range(60):
            self.executor.end_all()
        self.assertLessEqual(set(others), set(self.order))
        self.assertLess(len(self.lane._row), 4 * HEAD_MESSAGES)

    def test_with_more_tenants_than_fit_everybody_gets_a_share(self) -> None:
        self.patch(keyed, "MAX_KEYS", 10)
        for _ in range(200):
            for tenant in range(50):
                self.message(key=f"t{tenant:02}")
        shares: dict[str | None, int] = defaultdict(int)
        self.make(complete=False, concurrency=4, key_field="t")
        for _ in range(1_000):
            self.executor.end_all()
        for message in self.executor.started:
            shares[message.key] += 1
        self.assertEqual(len(shares), 50)
        self.assertLess(max(shares.values()), 3 * min(shares.values()))

    def test_keys_that_came_while_others_were_looked_for(self) -> None:
        self.message(key="a")
        self.journal.held = True
        self.make(complete=False, key_field="t")
        self.arrive(key="b")
        self.arrive(key="a")
        while self.journal.answer():
            self.executor.end_all()
        self.assertEqual(sorted(self.order), [1, 2, 3])

    def test_more_blocked_groups_than_fit_hold_nobody_up(self) -> None:
        self.patch(keyed, "MAX_KEYS", 10)
        for number in range(40):
            self.message(key=f"a{number:02}")
        (last,) = (self.message(key="b").seq,)
        self.executor.at_once = lambda message: DONE if message.key == "b" else failed()
        self.make(complete=False, key_field="g", ordered=True, backoff_ms=60_000)
        self.assertIn(last, self.order)
        self.executor.at_once = lambda message: DONE
        self.timers.advance(61)
        self.assertEqual(self.journal.rows, {})

    def test_other_settings_keep_what_runs(self) -> None:
        self.make(concurrency=10, key_field="t", per_key=3)
        self.arrive(6, key="a")
        self.make_per_key(1)
        self.executor.end(1)
        self.executor.end(2)
        self.assertEqual(self.order, [1, 2, 3])
        self.executor.end(3)
        self.assertEqual(self.order, [1, 2, 3, 4])

    def make_per_key(self, per_key: int) -> None:
        """Another bound."""
        settings = type(self.lane.settings)(concurrency=10, key_field="t", per_key=per_key)
        self.lane.reconfigured(settings)

    def test_grouped_from_now_on_by_another_field(self) -> None:
        self.make(concurrency=10)
        self.arrive(2, data=b'{"t":"a"}')
        waiting = [self.message(key='"a"').seq, self.message(key='"b"').seq]
        self.make_per_key(1)
        self.assertEqual(self.order, [1, 2, waiting[1]])
        self.executor.end_all()
        self.assertEqual(self.order, [1, 2, waiting[1], waiting[0]])

    def test_an_absent_function_holds_back_no_other_of_its_key(self) -> None:
        self.executor.away = {"gone"}
        self.make(concurrency=1, key_field="t")
        self.arrive(3, key="a", function_id="gone")
        here = self.arrive(2, key="a", function_id="here")
        self.executor.end_all()
        self.assertEqual(self.order, here)
        self.executor.away = set()
        self.lane.functions_changed()
        for _ in range(4):
            self.executor.end_all()
        self.assertEqual(self.journal.rows, {})

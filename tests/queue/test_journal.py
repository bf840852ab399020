"""What is promised about the queue's file, with and without a disk that works."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from msgspec import Raw
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.trial.unittest import TestCase

from iii.engine.core import Engine
from iii.engine.module import ModuleApi
from iii.errors import Code
from iii.modules.queue import journal as journal_module
from iii.modules.queue import rows
from iii.modules.queue.batch import Reading
from iii.modules.queue.journal import Journal
from iii.modules.queue.message import Details, Failure, Message, State
from iii.modules.queue.rows import START
from iii.storage.database import Database
from iii.storage.store import StoreError

BIG = 1 << 30


class JournalCase(TestCase):
    """A journal in a directory of its own."""

    timeout = 20

    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.patch(journal_module, "RETRY_S", 0.01)
        self.engine = Engine(reactor)
        self.api = ModuleApi(self.engine, "test")
        self.journal = self.open()

    async def tearDown(self) -> None:
        self.break_disk(False)
        await self.journal.close()
        self.engine.stop()

    def open(self) -> Journal:
        """A journal on the case's file."""
        self.database = Database(self.api, self.folder / "queue.sqlite", "queue", "queue")
        return Journal(self.api, self.database)

    async def reopen(self) -> None:
        """Close it and open the file again."""
        await self.journal.close()
        self.journal = self.open()

    def break_disk(self, broken: bool) -> None:
        """Commits fail from now on, or succeed again."""
        self.database._writer._connection.execute(f"PRAGMA query_only = {int(broken)}")

    async def owe(self) -> None:
        """Wait until what was just written has failed."""
        with self.assertRaises(StoreError):
            await self.journal.settled()

    def message(self, lane: int = 1, data: bytes = b"1", **given: Any) -> Message:
        """A new message, not added."""
        seq = self.journal.next_seq()
        details = Details(namespace=given.pop("namespace", None))
        return Message.new(seq, f"id{seq}", lane, Raw(data), details, created_ms=7, **given)

    async def add(self, how_many: int = 1, **given: Any) -> list[Message]:
        """New messages, committed."""
        messages = [self.message(**given) for _ in range(how_many)]
        await self.journal.add(messages)
        return messages

    def stored(self, where: str = "1") -> list[Message]:
        """What is committed."""
        return self.journal.read_now(where, (), order="seq", limit=10_000)

    def seqs(self, where: str = "1") -> list[int]:
        """The numbers of what is committed."""
        return [message.seq for message in self.stored(where)]

    async def window(self, **given: Any) -> list[int]:
        """The numbers of the messages of lane 1 that wait."""
        piece = await self.journal.window(1, START, 1_000, BIG, **given)
        return [message.seq for message in piece.messages]

    def count(self, state: State, lane: int = 1) -> int:
        """As the journal counts."""
        return self.journal.counts.get((lane, state), 0)

    def assert_counted(self) -> None:
        """The counts are those of the file."""
        self.assertEqual(
            {place: count for place, count in self.journal.counts.items() if count},
            {
                (lane, State(state)): count
                for lane, state, count, _ in self.database.reader.execute(rows.COUNTS)
            },
        )


class Writing(JournalCase):
    """08 §1: accepted means kept."""

    async def test_an_enqueue_is_committed_before_it_is_answered(self) -> None:
        seen: list[list[int]] = []
        added = self.journal.add([self.message()])
        added.addCallback(lambda _: seen.append(self.seqs()))
        self.assertEqual(self.seqs(), [])
        await added
        self.assertEqual(seen, [[1]])

    async def test_a_message_comes_back_as_it_was(self) -> None:
        message = self.message(
            data=b'{"a":"\xc3\xa9"}',
            namespace="n",
            state=State.DELAYED,
            priority=7,
            due_ms=99,
            expires_ms=100,
            key='"k"',
            function_id="f",
        )
        message.details.failures = [Failure(1, "c", 'a "b"', "at\nb", condition=True)]
        await self.journal.add(iter([message]))
        (stored,) = self.stored()
        self.assertEqual(stored.row(), message.row())

    async def test_handled_ones_go(self) -> None:
        first, second = await self.add(2)
        self.journal.finish(first)
        await self.journal.settled()
        self.assertEqual(self.seqs(), [second.seq])
        self.assert_counted()

    async def test_of_several_changes_in_a_turn_the_last_counts(self) -> None:
        first, second = await self.add(2)
        for message in (first, second):
            message.state = State.DELAYED
            self.journal.change(message, was=State.WAITING)
            message.state = State.DEAD
            self.journal.change(message, was=State.DELAYED)
        self.journal.finish(second)
        await self.journal.settled()
        (stored,) = self.stored()
        self.assertEqual((stored.seq, stored.state), (first.seq, State.DEAD))
        self.assert_counted()

    async def test_added_and_changed_in_one_turn(self) -> None:
        first, second = self.message(), self.message()
        added = self.journal.add([first, second])
        first.state = State.DEAD
        self.journal.change(first, was=State.WAITING)
        self.journal.finish(second)
        await added
        self.assertEqual([(m.seq, m.state) for m in self.stored()], [(1, State.DEAD)])
        self.assert_counted()

    async def test_a_moved_one_is_counted_where_it_is(self) -> None:
        (message,) = await self.add()
        message.lane = 2
        self.journal.change(message, was=State.WAITING, lane=1)
        await self.journal.settled()
        self.assertEqual((self.count(State.WAITING), self.count(State.WAITING, 2)), (0, 1))
        self.assert_counted()

    async def test_nothing_to_record_is_recorded_at_once(self) -> None:
        self.successResultOf(self.journal.settled())

    async def test_too_much_for_the_disk_is_refused(self) -> None:
        self.patch(journal_module, "MAX_PENDING_BYTES", 100)
        kept = self.journal.add([self.message(data=b"1" * 60)])
        refused = self.journal.add([self.message(data=b"1" * 60)])
        self.assertEqual(self.failureResultOf(refused, StoreError).value.code, Code.OVERLOADED)
        await kept
        await self.add(data=b"1" * 60)
        self.assertEqual(len(self.seqs()), 2)
        self.assert_counted()

    async def test_every_message_of_a_lane_gets_another_key(self) -> None:
        await self.add(700, data=b'"a"')
        await self.add(lane=2, key="old")
        await self.journal.rekey(1, lambda data: data.decode().upper())
        self.assertEqual({message.key for message in self.stored("lane = 1")}, {'"A"'})
        self.assertEqual({message.key for message in self.stored("lane = 2")}, {"old"})

    async def test_idempotency_keys_are_known_until_their_time_is_over(self) -> None:
        self.journal.remember("q", "k", "id1", 1_000)
        await self.add()
        self.assertEqual(self.journal.known_key("q", "k", 999), "id1")
        self.assertIsNone(self.journal.known_key("q", "k", 1_000))
        self.assertIsNone(self.journal.known_key("other", "k", 0))
        self.journal.forget_keys(1_000)
        await self.journal.settled()
        self.assertIsNone(self.journal.known_key("q", "k", 0))


class Refused(JournalCase):
    """A commit that fails: enqueues are refused, changes are owed."""

    async def test_an_enqueue_is_refused_and_not_counted(self) -> None:
        self.journal.remember("q", "k", "id1", 1_000)
        self.break_disk(True)
        with self.assertRaises(StoreError) as caught:
            await self.add(3)
        self.assertEqual(caught.exception.code, Code.STORE_READ_ONLY)
        self.assertEqual(self.count(State.WAITING), 0)
        self.break_disk(False)
        await self.add()
        self.assertEqual(self.seqs(), [4])
        self.assertIsNone(self.journal.known_key("q", "k", 0))
        self.assert_counted()

    async def test_so_is_one_that_was_changed_or_finished_in_its_turn(self) -> None:
        self.break_disk(True)
        first, second = self.message(), self.message()
        added = self.journal.add([first, second])
        first.state = State.DEAD
        self.journal.change(first, was=State.WAITING)
        self.journal.finish(second)
        with self.assertRaises(StoreError):
            await added
        self.break_disk(False)
        await self.journal.settled()
        self.assertEqual(self.seqs(), [])
        self.assert_counted()

    async def test_an_acknowledgement_is_recorded_when_the_disk_works_again(self) -> None:
        first, _ = await self.add(2)
        self.break_disk(True)
        self.journal.finish(first)
        await self.owe()
        self.assertTrue(self.journal.pending(first.seq))
        self.break_disk(False)
        await self.journal.settled()
        self.assertEqual(self.seqs(), [2])
        self.assertFalse(self.journal.pending(first.seq))
        self.assert_counted()

    async def test_nobody_has_to_ask_for_that(self) -> None:
        (first,) = await self.add()
        self.break_disk(True)
        self.journal.finish(first)
        await self.owe()
        read = self.window()  # waits for it
        self.break_disk(False)
        self.assertEqual(await read, [])
        self.assertEqual(self.seqs(), [])

    async def test_the_newest_of_several_owed_changes_is_recorded(self) -> None:
        (message,) = await self.add()
        self.break_disk(True)
        failures: list[Deferred[None]] = []
        for due_ms in (1, 2, 3, 4, 5):
            message.due_ms = due_ms
            self.journal.change(message, was=State.WAITING)
            failures.append(self.journal.settled())
            self.journal._submit()  # another batch, though the last one's end isn't known
            if due_ms == 3:
                await self.owe()
        for failed in failures:
            with self.assertRaises(StoreError):
                await failed
        self.break_disk(False)
        await self.journal.settled()
        self.assertEqual([m.due_ms for m in self.stored()], [5])

    async def test_facts_are_owed_too_and_in_order(self) -> None:
        self.break_disk(True)
        number = self.journal.lane("a")
        for left_ms in (1, 2, 3):
            with self.assertRaises(StoreError):
                await self.journal.change_facts(number, left_ms=left_ms)
        self.break_disk(False)
        await self.reopen()
        self.assertEqual(self.journal.facts[self.journal.lanes["a"]].left_ms, 3)

    async def test_and_new_keys(self) -> None:
        await self.add(data=b"7")
        self.break_disk(True)
        with self.assertRaises(StoreError):
            await self.journal.rekey(1, lambda data: "new")
        self.break_disk(False)
        await self.journal.settled()
        self.assertEqual([message.key for message in self.stored()], ["new"])

    async def test_closing_records_what_is_owed(self) -> None:
        first, _ = await self.add(2)
        self.break_disk(True)
        self.journal.finish(first)
        await self.owe()
        self.break_disk(False)
        await self.reopen()
        self.assertEqual(self.seqs(), [2])
        self.assert_counted()

    async def test_closing_while_the_disk_is_broken_brings_handled_ones_back(self) -> None:
        first, _ = await self.add(2)
        self.break_disk(True)
        self.journal.finish(first)
        await self.owe()
        await self.reopen()
        self.assertEqual(self.seqs(), [1, 2])
        self.assert_counted()

    async def test_what_comes_after_the_close_is_refused(self) -> None:
        (message,) = await self.add()
        await self.journal.close()
        self.journal.finish(message)
        with self.assertRaises(StoreError) as caught:
            await self.journal.add([self.message()])
        self.assertEqual(caught.exception.code, Code.SHUTTING_DOWN)
        self.journal = self.open()
        self.assertEqual(self.seqs(), [1])


class Reads(JournalCase):
    """Rows are read behind every write, and without what changed meanwhile."""

    async def test_in_order_and_piece_by_piece(self) -> None:
        for priority in (4, 9, 0, 4, 9):
            await self.add(priority=priority)
        order: list[int] = []
        after = START
        while True:
            piece = await self.journal.window(1, after, 2, BIG)
            order += [message.seq for message in piece.messages]
            if piece.end is None:
                break
            after = piece.end
        self.assertEqual(order, [2, 5, 1, 4, 3])

    async def test_behind_writes_of_the_same_turn(self) -> None:
        first, second = await self.add(2)
        self.journal.finish(first)
        self.assertEqual(await self.window(), [second.seq])

    async def test_not_more_than_so_many_bytes(self) -> None:
        await self.add(5, data=b"1" * 100)
        piece = await self.journal.window(1, START, 100, 250)
        self.assertEqual(len(piece.messages), 3)
        self.assertEqual(piece.end, piece.messages[-1].place)

    async def test_without_what_was_changed_since_it_was_asked_for(self) -> None:
        first, second, third = await self.add(3)
        read = self.journal.window(1, START, 10, BIG)
        self.journal.finish(first)
        third.due_ms = 5
        self.journal.change(third, was=State.WAITING)
        piece = await read
        self.assertEqual([message.seq for message in piece.messages], [second.seq])

    async def test_without_what_is_being_added(self) -> None:
        """Its commit may be seen by the reader before the reactor hears of it."""
        await self.add()
        writer = self.database._writer
        tell = writer._call_reactor
        told: list[tuple[Any, ...]] = []
        writer._call_reactor = lambda *work: told.append(work)
        added = self.journal.add([self.message()])
        self.journal._submit()
        # What the keeper would see between the commit and the news of it:
        while not told:
            await self.database.read_at_length(lambda connection: None)
        writer._call_reactor = tell
        reading = Reading(lambda c: [rows.piece_of_lane(c, 1, START, 100, BIG, [])])
        self.journal._begin(reading)
        (piece,) = await reading.answer
        self.assertEqual([message.seq for message in piece.messages], [1])
        for work, *given in told:
            work(*given)
        await added
        self.assertEqual(await self.window(), [1, 2])

    async def test_waits_while_changes_are_owed(self) -> None:
        (first,) = await self.add()
        self.break_disk(True)
        self.journal.finish(first)
        await self.owe()
        read = Deferred.fromCoroutine(self.window())
        await self.owe()
        self.assertNoResult(read)
        self.break_disk(False)
        self.assertEqual(await read, [])

    async def test_a_read_that_failed_is_tried_again(self) -> None:
        await self.add()
        read = self.database.read_at_length
        calls: list[int] = []

        def flaky(work: Any) -> Deferred[Any]:
            calls.append(1)
            if len(calls) < 3:
                failed: Deferred[Any] = Deferred()
                failed.errback(StoreError(Code.STORE_ERROR, "no luck"))
                return failed
            return read(work)

        self.patch(self.database, "read_at_length", flaky)
        self.assertEqual(await self.window(), [1])
        self.assertEqual(len(calls), 3)

    async def test_some_functions_are_left_out(self) -> None:
        for function_id, namespace in (("f", None), ("g", None), ("f", "n"), ("h", None)):
            await self.add(function_id=function_id, namespace=namespace, key="k")
        without = [("f", ""), ("h", "")]
        self.assertEqual(await self.window(without=without), [2, 3])
        piece = await self.journal.of_key(1, "k", START, 10, BIG, without=without)
        self.assertEqual([message.seq for message in piece.messages], [2, 3])
        many = [(f"f{number}", "") for number in range(50_000)]
        self.assertEqual(await self.window(without=many), [1, 2, 3, 4])

    async def test_keys_and_their_first_messages(self) -> None:
        for key in ("b", "a", "c", "a", "a"):
            await self.add(key=key)
        await self.add(key="z", lane=2)
        pieces = await self.journal.heads(1, "", 2, 2, BIG, known={"b"})
        self.assertEqual(
            [(piece.key, [message.seq for message in piece.messages]) for piece in pieces],
            [("a", [2, 4]), ("b", [])],
        )
        self.assertEqual([piece.end is None for piece in pieces], [False, False])
        (piece,) = await self.journal.heads(1, "b", 2, 2, BIG)
        self.assertEqual((piece.key, len(piece.messages), piece.end), ("c", 1, None))

    async def test_delayed_ones_of_all_lanes_by_their_time(self) -> None:
        for lane, due_ms in ((1, 300), (2, 100), (1, 200), (3, 100)):
            await self.add(lane=lane, state=State.DELAYED, due_ms=due_ms)
        await self.add()
        first = await self.journal.delayed(START, 2, BIG)
        self.assertEqual([message.seq for message in first.messages], [2, 4])
        assert first.end is not None
        second = await self.journal.delayed(first.end, 10, BIG)
        self.assertEqual([message.seq for message in second.messages], [3, 1])
        self.assertIsNone(second.end)

    async def test_for_people(self) -> None:
        await self.add(5)
        found = await self.journal.select("lane = ?", (1,), order="seq DESC", limit=2, offset=1)
        self.assertEqual([message.seq for message in found], [4, 3])

    async def test_the_next_to_expire(self) -> None:
        self.assertIsNone(await self.journal.next_expiry(0))
        for expires_ms in (50, 20, None, 30):
            await self.add(expires_ms=expires_ms)
        self.assertEqual(await self.journal.next_expiry(20), 30)

    async def test_every_read_of_a_row_uses_an_index(self) -> None:
        plans = {
            f"{rows.SELECT} {rows._OF_LANE}{rows._IN_ORDER}": (1, -1, -1, 10),
            f"{rows.SELECT} {rows._OF_KEY}{rows._IN_ORDER}": (1, "k", -1, -1, 10),
            rows._NEXT_KEY: (1, "k"),
            f"{rows.SELECT} {rows._DELAYED}": (-1, -1, 10),
            rows.NEXT_EXPIRY: (1,),
            rows.KNOWN_KEY: ("q", "k", 1),
            rows.FORGET_KEYS: (1,),
            rows.COUNTS: (),
        }
        for statement, parameters in plans.items():
            steps = self.database.reader.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)
            text = "; ".join(step[3] for step in steps)
            self.assertRegex(text, "INDEX|PRIMARY KEY", statement)
            self.assertNotIn("TEMP B-TREE", text, statement)


class Opening(JournalCase):
    """A restart finds everything as it was."""

    async def test_lanes_facts_and_counts(self) -> None:
        first, second = self.journal.lane("a"), self.journal.lane("b")
        self.assertEqual(self.journal.lane("a"), first)
        await self.journal.change_facts(second, paused=True, settings={"x": 1}, key_field="k")
        await self.add(2, lane=first)
        await self.add(lane=second, state=State.DELAYED, due_ms=5)
        await self.reopen()
        self.assertEqual(self.journal.lanes, {"a": first, "b": second})
        facts = self.journal.facts[second]
        self.assertEqual((facts.paused, facts.settings, facts.key_field), (True, {"x": 1}, "k"))
        self.assertEqual(self.count(State.WAITING, first), 2)
        self.assert_counted()

    async def test_a_dropped_lane_is_gone_and_its_name_is_free(self) -> None:
        number = self.journal.lane("a")
        self.journal.lane("b")
        await self.journal.settled()
        self.journal.drop_lane(number)
        again = self.journal.lane("a")
        self.assertNotEqual(number, again)
        await self.reopen()
        self.assertEqual(set(self.journal.lanes.values()), {again, 2})

    async def test_numbers_go_on_behind_every_rank(self) -> None:
        (message,) = await self.add()
        message.rank = self.journal.next_seq()  # redriven: behind everything that waits
        self.journal.change(message, was=State.WAITING)
        await self.reopen()
        (fresh,) = await self.add()
        self.assertEqual(await self.window(), [1, fresh.seq])
        self.assertGreater(fresh.rank, 2)

    async def test_many_turns_at_once(self) -> None:
        await gatherResults([self.journal.add([self.message()]) for _ in range(500)])
        self.assertEqual(len(await self.window()), 500)

"""The accounts of messages and ticks: what they let pass and what they find."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from unittest import TestCase

from tests.durability.broker_account import BrokerAccount
from tests.durability.queue_account import FIFO, MAX_ATTEMPTS, Delivery, Message, Worker
from tests.durability.ticks import Ticks


class AccountCase(TestCase):
    """An account of a few messages."""

    def setUp(self) -> None:
        self.account = BrokerAccount(ordered=True)
        self.worker = Worker()

    def message(self, number: int, target: str = "jobs", **more: Any) -> Message:
        """A message with a receipt."""
        message = Message(number, target, **more)
        self.account.sent(message)
        self.account.receipted(message, f"receipt {number}")
        return message

    def handled(self, number: int, consumer: str = "jobs", *, succeeded: bool = True) -> Delivery:
        """A handler is called and answers."""
        delivery = self.account.delivered(self.worker, consumer, number, 0)
        self.account.answered(delivery, succeeded=succeeded)
        return delivery

    def letter(self, number: int, **changes: Any) -> dict[str, Any]:
        """A dead letter."""
        told = {"id": f"receipt {number}", "payload": {"n": number}, "retries": MAX_ATTEMPTS}
        return {**told, **changes}

    def settled(self, *letters: dict[str, Any]) -> list[str]:
        """What is wrong in the end."""
        return self.account.settle({"jobs": letters})


class Losses(AccountCase):
    """0 acknowledged messages lost."""

    def test_what_was_handled_is_fine_also_twice(self) -> None:
        self.message(1)
        self.handled(1)
        self.handled(1)
        self.assertEqual(self.settled(), [])
        self.assertEqual(self.account.repeats, 1)

    def test_an_acknowledged_message_must_be_handled(self) -> None:
        self.message(1)
        self.handled(1, succeeded=False)
        self.assertEqual(self.settled(), ["1 for jobs: acknowledged and lost after 1 deliveries"])

    def test_every_copy_counts(self) -> None:
        self.message(1, "mail")
        self.handled(1, "mail")
        wrong = "1 for archive: acknowledged and lost after 0 deliveries"
        self.assertEqual(self.settled(), [wrong])

    def test_what_was_not_acknowledged_may_be_lost(self) -> None:
        self.account.sent(Message(1, "jobs"))
        message = Message(2, "jobs")
        self.account.sent(message)
        self.account.refused(message)
        self.handled(2)
        self.assertEqual(self.settled(), [])

    def test_a_deadly_message_is_a_dead_letter(self) -> None:
        self.message(1, failing=MAX_ATTEMPTS)
        self.assertEqual(self.settled(), ["1: 0 dead letters: a copy is lost"])
        self.account.problems.clear()
        self.assertEqual(self.settled(self.letter(1)), [])

    def test_others_are_not(self) -> None:
        self.message(1, failing=2)
        self.handled(1)
        self.assertEqual(self.settled(self.letter(1)), ["1: dead after 2 failures"])

    def test_a_dead_letter_tells_the_truth(self) -> None:
        self.message(1, failing=MAX_ATTEMPTS)
        found = self.settled(self.letter(1, id="x", retries=2))
        self.assertEqual(found, ["1: dead as x, not receipt 1", "1: dead after 2 attempts"])


class Order(AccountCase):
    """A group of a FIFO queue."""

    def test_in_order(self) -> None:
        for number in (1, 2):
            self.message(number, FIFO, group="g")
        for number in (1, 1, 2, 1):
            self.handled(number, FIFO)
        self.assertEqual(self.settled(), [])

    def test_overtaking_is_wrong(self) -> None:
        for number in (1, 2):
            self.message(number, FIFO, group="g")
        self.handled(2, FIFO)
        self.handled(1, FIFO)
        wrong = ["2: delivered before 1 was finished", "1: first delivered after 2"]
        self.assertEqual(self.settled(), wrong)


class TicksOfACronJob(TestCase):
    """One run for each tick."""

    def setUp(self) -> None:
        self.ticks = Ticks()

    def run_tick(self, tick: int, engine: int = 0, late_s: float = 0.0) -> None:
        """A run of the job, which is answered."""
        at_s = tick + late_s
        run = self.ticks.run(datetime.fromtimestamp(tick, UTC).isoformat(), engine, at_s)
        run.answered_s = at_s + 0.1

    def test_one_each(self) -> None:
        for tick in range(100, 110):
            self.run_tick(tick, tick % 2)
        self.assertEqual(self.ticks.problems(100, 110), [])
        self.assertEqual(self.ticks.undisturbed, 6)

    def test_a_missing_one(self) -> None:
        for tick in (100, 101, 102, 103, 104, 106, 107, 108, 109):
            self.run_tick(tick)
        wrong = ["105: 0 runs, though nobody was killed"]
        self.assertEqual(self.ticks.problems(100, 110), wrong)
        self.ticks.killed(1, 105.5, 106)
        self.assertEqual(self.ticks.problems(100, 110), [])

    def test_one_that_ran_twice(self) -> None:
        self.run_tick(105, 0)
        self.run_tick(105, 1, 0.5)
        wrong = "105: ran again after engine 0 had run it and lived"
        self.assertIn(wrong, self.ticks.problems(104, 106))
        self.ticks.killed(0, 105.2, 106)
        self.assertEqual(self.ticks.problems(104, 106), [])
        self.assertEqual(self.ticks.again, 2)

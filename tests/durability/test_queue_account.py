"""The account itself: what it lets pass and what it finds."""

from __future__ import annotations

from typing import Any
from unittest import TestCase

from tests.durability.queue_account import FIFO, MAX_ATTEMPTS, Account, Delivery, Message, Worker


class AccountCase(TestCase):
    """An account of a few messages."""

    def setUp(self) -> None:
        self.account = Account()
        self.worker = Worker()

    def message(self, number: int, target: str = "jobs", **more: Any) -> Message:
        """A message with a receipt."""
        message = Message(number, target, **more)
        self.account.sent(message)
        self.account.receipted(message, f"receipt {number}")
        return message

    def delivered(self, number: int, consumer: str = "jobs", now_ms: float = 0) -> Delivery:
        """A handler is called."""
        return self.account.delivered(self.worker, consumer, number, now_ms)

    def handled(self, number: int, consumer: str = "jobs", *, succeeded: bool = True) -> Delivery:
        """A handler is called and answers."""
        delivery = self.delivered(number, consumer)
        self.account.answered(delivery, succeeded=succeeded)
        return delivery

    def worker_dies(self) -> None:
        """And another one comes."""
        self.worker.alive = False
        self.worker = Worker()

    def assert_fine(self) -> None:
        """Nothing is wrong so far."""
        self.assertEqual(self.account.problems, [])

    def assert_wrong(self, *problems: str) -> None:
        """Exactly this is wrong."""
        self.assertEqual(self.account.problems, list(problems))


class Deliveries(AccountCase):
    """08 §1: none twice unless its worker or the engine died while it ran."""

    def test_a_death_may_bring_a_message_back(self) -> None:
        self.message(1)
        self.delivered(1)
        self.worker_dies()
        self.handled(1)
        self.worker_dies()
        self.handled(1)
        self.assert_fine()

    def test_a_message_that_runs_is_not_delivered_again(self) -> None:
        self.message(1)
        self.delivered(1)
        self.delivered(1)
        self.assert_wrong("1 for jobs: delivered again while it runs")

    def test_a_message_that_was_handled_is_not_delivered_again(self) -> None:
        self.message(1)
        self.handled(1)
        self.delivered(1)
        self.assert_wrong("1 for jobs: delivered again after it was handled")

    def test_no_death_brings_back_what_is_certain(self) -> None:
        self.message(1)
        self.handled(1)
        self.worker.certain(1)
        self.worker_dies()
        self.delivered(1)
        self.assert_wrong("1 for jobs: delivered again after it was handled")

    def test_a_failure_brings_a_message_back_so_often_and_no_more(self) -> None:
        self.message(1)
        for _ in range(MAX_ATTEMPTS):
            self.handled(1, succeeded=False)
        self.assert_fine()
        self.delivered(1)
        self.assert_wrong("1 for jobs: delivered again after 3 failures")

    def test_a_refused_message_and_one_that_is_too_early(self) -> None:
        early = self.message(1)
        early.due_ms = 1000
        self.delivered(1, now_ms=990)
        refused = Message(2, "jobs")
        self.account.sent(refused)
        self.account.refused(refused)
        self.delivered(2)
        self.assert_wrong(
            "1 for jobs: delivered 10 ms too early",
            "2 for jobs: delivered, though it was refused",
        )


class Groups(AccountCase):
    """03 §1.7: FIFO per group, across retries and restarts."""

    def setUp(self) -> None:
        super().setUp()
        for number in (1, 2, 3):
            self.message(number, FIFO, group="a")
        self.message(4, FIFO, group="b")

    def test_in_order(self) -> None:
        self.handled(1, FIFO, succeeded=False)
        self.handled(4, FIFO)
        for number in (1, 2, 3):
            self.handled(number, FIFO)
        self.assert_fine()

    def test_a_retry_holds_its_group_back(self) -> None:
        self.handled(1, FIFO, succeeded=False)
        self.handled(2, FIFO)
        self.assert_wrong(
            "2 for ledger: delivered before 1 for ledger of the same group was finished"
        )

    def test_one_at_a_time(self) -> None:
        self.delivered(1, FIFO)
        self.delivered(4, FIFO)
        self.assert_wrong("4 for ledger: delivered while 1 for ledger runs")

    def test_after_a_restart_a_group_may_begin_again_but_in_order(self) -> None:
        self.handled(1, FIFO)
        self.handled(2, FIFO)
        self.worker_dies()
        self.account.new_life()
        self.handled(1, FIFO)
        self.handled(2, FIFO)
        self.assert_fine()
        self.worker_dies()
        self.handled(1, FIFO)
        self.assert_wrong("1 for ledger: delivered after 2 of the same group")

    def test_a_message_without_a_receipt_does_not_come_late(self) -> None:
        self.account.sent(Message(5, FIFO, group="a"))
        self.message(6, FIFO, group="a")
        for number in (1, 2, 3, 6):
            self.handled(number, FIFO)
        self.assert_fine()
        self.worker_dies()
        self.account.new_life()
        self.handled(5, FIFO)
        self.assert_wrong("5 for ledger: first delivered after 6 of the same group")


class Ends(AccountCase):
    """08 §1, §3: every acknowledged message was handled or is dead, and the DLQ is exact."""

    def letter(self, number: int, **changes: Any) -> dict[str, Any]:
        """A dead letter as it should be."""
        letter = {
            "id": f"receipt {number}",
            "payload": {"n": number},
            "retries": MAX_ATTEMPTS,
            "attempts": [{}] * MAX_ATTEMPTS,
        }
        return {**letter, **changes}

    def setUp(self) -> None:
        super().setUp()
        self.message(1)
        self.message(2, "mail", failing=MAX_ATTEMPTS)
        self.handled(1)
        for consumer in ("mail", "archive"):
            for _ in range(MAX_ATTEMPTS):
                self.handled(2, consumer, succeeded=False)

    def test_all_is_well(self) -> None:
        self.account.settle({"jobs": [], "mail": [self.letter(2)] * 2})
        self.assert_fine()

    def test_a_lost_message(self) -> None:
        self.message(3, "mail")
        self.handled(3, "archive")
        self.account.settle({})
        self.assert_wrong("3 for mail: acknowledged and lost after 0 deliveries")

    def test_dead_letters_that_are_missing_or_too_many(self) -> None:
        self.account.settle({"jobs": [self.letter(1)], "mail": [self.letter(2)]})
        self.assert_wrong("1: 1 dead letters, due: 0", "2: 1 dead letters, due: 2")

    def test_dead_letters_that_say_something_wrong(self) -> None:
        self.account.settle({"mail": [self.letter(2, id="x"), self.letter(2, retries=2)]})
        self.assert_wrong("2: dead as x, not receipt 2", "2: dead after (2, 3) attempts")

    def test_a_message_without_a_receipt_may_be_dead_or_gone(self) -> None:
        self.account.sent(Message(3, "jobs", failing=MAX_ATTEMPTS))
        self.account.settle({"jobs": []})
        self.account.settle({"jobs": [self.letter(3)]})
        self.assert_fine()

    def test_two_receipts_for_one_key(self) -> None:
        self.account.receipted(self.account.messages[1], "another")
        self.assert_wrong("1: receipts receipt 1 and another")

"""What a queue owes whose engine or broker may die at any instant.

Nothing acknowledged is lost: every copy is handled, or a dead letter if all its attempts
were to fail.  A copy may come again, because an answer may have died with the engine that
got it; such repeats are counted.  A put that was refused may be kept all the same: the
broker can have died with its word on the way.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from tests.durability.queue_account import (
    EARLY_MS,
    FIFO,
    MAX_ATTEMPTS,
    Account,
    Delivery,
    Message,
    Worker,
)


class BrokerAccount(Account):
    """All messages, and what was wrong so far.

    :param ordered: groups of the FIFO queue keep their order whatever dies
    :ivar repeats: deliveries of copies that a handler had finished
    """

    def __init__(self, *, ordered: bool) -> None:
        super().__init__()
        self._ordered = ordered
        self._first: Counter[str] = Counter()
        self.repeats = 0

    def delivered(self, worker: Worker, consumer: str, number: int, now_ms: float) -> Delivery:
        """Account: a handler was called."""
        message = self.messages[number]
        copy = message.copies[consumer]
        if now_ms < message.due_ms - EARLY_MS:
            self._wrong(f"{copy}: delivered {message.due_ms - now_ms:.0f} ms too early")
        self.repeats += copy.finished
        if self._ordered and message.target == FIFO and not copy.deliveries:
            self._check_first(message)
        delivery = Delivery(copy, worker)
        copy.deliveries.append(delivery)
        return delivery

    def _check_first(self, message: Message) -> None:
        group = message.group
        if message.receipt is not None and message.number < self._first[group]:
            self._wrong(f"{message.number}: first delivered after {self._first[group]}")
        for number, earlier in self._groups[group].items():
            if number < message.number and earlier.message.receipt is not None:
                self._wrong(f"{message.number}: delivered before {number} was finished")
        self._first[group] = max(self._first[group], message.number)

    def settle(self, dead: dict[str, Iterable[dict[str, Any]]]) -> list[str]:
        """Account: everything that is wrong when the queues are empty."""
        letters: Counter[int] = Counter()
        for target_letters in dead.values():
            for letter in target_letters:
                self._check_letter(letter)
                letters[letter["payload"]["n"]] += 1
        for message in self.messages.values():
            if message.receipt is not None:
                self._check_end(message, letters[message.number])
        return self.problems

    def _check_letter(self, letter: dict[str, Any]) -> None:
        message = self.messages[letter["payload"]["n"]]
        if message.receipt not in (None, letter["id"]):
            self._wrong(f"{message.number}: dead as {letter['id']}, not {message.receipt}")
        if letter["retries"] != MAX_ATTEMPTS:
            self._wrong(f"{message.number}: dead after {letter['retries']} attempts")
        if not message.deadly:
            self._wrong(f"{message.number}: dead after {message.failing} failures")

    def _check_end(self, message: Message, letters: int) -> None:
        if message.deadly:
            if letters < len(message.copies):
                self._wrong(f"{message.number}: {letters} dead letters: a copy is lost")
            self.repeats += max(0, letters - len(message.copies))
            return
        for copy in message.copies.values():
            if not any(delivery.succeeded for delivery in copy.deliveries):
                count = len(copy.deliveries)
                self._wrong(f"{copy}: acknowledged and lost after {count} deliveries")

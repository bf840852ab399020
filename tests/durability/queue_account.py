"""What the queues owe: which deliveries may come, and what must be there in the end.

A *copy* is one message for one consumer.  It may be delivered again after a failed
attempt, and when the worker or the engine died before its end was certain.  An answer is
*certain* once its connection got the receipt of something it enqueued later: the journal
commits in order, so the end of the copy is on the disk as well.  While worker and engine
live, an answer counts at once.

In a FIFO group a copy may come when all before it are finished, and only one at a time.
Nothing here speaks to an engine; ``queue_load`` does.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

MAX_ATTEMPTS = 3
#: Clocks of engine and test are one, but the engine cuts off to milliseconds.
EARLY_MS = 2

#: where it was sent to → its copies
COPIES = {"jobs": ("jobs",), "ledger": ("ledger",), "mail": ("mail", "archive")}
FIFO = "ledger"


@dataclass(eq=False)
class Worker:
    """A connection that runs handlers and enqueues.

    :ivar answered: ends that are not certain yet, in the order of the answers
    """

    alive: bool = True
    answered: list[Delivery] = field(default_factory=list)

    def certain(self, count: int) -> None:
        """The first ``count`` answers of ``answered`` reached the disk."""
        for delivery in self.answered[:count]:
            delivery.certain = True


@dataclass(eq=False)
class Delivery:
    """One call of a handler.

    :ivar succeeded: its answer; None: there is none yet
    """

    copy: Copy
    worker: Worker
    succeeded: bool | None = None
    certain: bool = False

    @property
    def stands(self) -> bool:
        """The engine can't have missed its answer."""
        return self.succeeded is not None and (self.certain or self.worker.alive)

    @property
    def runs(self) -> bool:
        """The handler is at work."""
        return self.succeeded is None and self.worker.alive


@dataclass(eq=False)
class Copy:
    """A message for one consumer."""

    message: Message
    consumer: str
    deliveries: list[Delivery] = field(default_factory=list)

    @property
    def failures(self) -> int:
        """Failed attempts, as its handlers saw it."""
        return sum(delivery.succeeded is False for delivery in self.deliveries)

    @property
    def finished(self) -> bool:
        """No handler has anything to do for it any more."""
        succeeded = any(delivery.succeeded for delivery in self.deliveries)
        return succeeded or self.failures >= MAX_ATTEMPTS

    @property
    def runs(self) -> bool:
        """A handler is at work."""
        return any(delivery.runs for delivery in self.deliveries)

    def __str__(self) -> str:
        return f"{self.message.number} for {self.consumer}"


@dataclass(eq=False)
class Message:
    """One message.

    :ivar failing: how many attempts are to fail; ``MAX_ATTEMPTS`` are too many
    :ivar due_ms: not before
    :ivar key: its idempotency key; it may be sent again
    """

    number: int
    target: str
    failing: int = 0
    group: str = ""
    due_ms: float = 0
    key: str | None = None
    receipt: str | None = None
    refused: bool = False
    copies: dict[str, Copy] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.copies = {consumer: Copy(self, consumer) for consumer in COPIES[self.target]}

    @property
    def deadly(self) -> bool:
        """Its end is the dead letter queue."""
        return self.failing >= MAX_ATTEMPTS


class Account:
    """All messages, and what was wrong so far.

    :ivar problems: in words
    :ivar unfinished: acknowledged copies whose handlers have something left to do
    """

    def __init__(self) -> None:
        self.unfinished: set[Copy] = set()
        self.messages: dict[int, Message] = {}
        self.problems: list[str] = []
        self._groups: dict[str, dict[int, Copy]] = defaultdict(dict)
        self._newest: Counter[str] = Counter()
        self._newest_in_life: Counter[str] = Counter()
        self._fifo_running: list[Delivery] = []

    # What happens ----------------------------------------------------------------------

    def sent(self, message: Message) -> None:
        """``message`` left for the engine for the first time."""
        self.messages[message.number] = message
        if message.target == FIFO:
            self._groups[message.group][message.number] = message.copies[FIFO]

    def receipted(self, message: Message, receipt: str) -> None:
        """The engine has acknowledged it."""
        if message.receipt not in (None, receipt):
            self._wrong(f"{message.number}: receipts {message.receipt} and {receipt}")
        message.receipt = receipt
        self.unfinished.update(copy for copy in message.copies.values() if not copy.finished)

    def refused(self, message: Message) -> None:
        """The engine has not."""
        message.refused = True
        if message.target == FIFO:
            self._groups[message.group].pop(message.number, None)

    def new_life(self) -> None:
        """Another engine runs."""
        self._newest_in_life.clear()

    def delivered(self, worker: Worker, consumer: str, number: int, now_ms: float) -> Delivery:
        """A handler was called."""
        message = self.messages[number]
        copy = message.copies[consumer]
        if message.refused:
            self._wrong(f"{copy}: delivered, though it was refused")
        if now_ms < message.due_ms - EARLY_MS:
            self._wrong(f"{copy}: delivered {message.due_ms - now_ms:.0f} ms too early")
        self._check_again(copy)
        if message.target == FIFO:
            self._check_order(copy)
        delivery = Delivery(copy, worker)
        copy.deliveries.append(delivery)
        if message.target == FIFO:
            self._fifo_running.append(delivery)
        return delivery

    def answered(self, delivery: Delivery, *, succeeded: bool) -> None:
        """A handler has answered."""
        delivery.succeeded = succeeded
        delivery.worker.answered.append(delivery)
        copy, message = delivery.copy, delivery.copy.message
        if copy.finished:
            self.unfinished.discard(copy)
            if message.target == FIFO:
                self._groups[message.group].pop(message.number, None)

    # Rules -----------------------------------------------------------------------------

    def _check_again(self, copy: Copy) -> None:
        if not copy.deliveries:
            return
        last = copy.deliveries[-1]
        if last.runs:
            self._wrong(f"{copy}: delivered again while it runs")
        if any(delivery.succeeded and delivery.stands for delivery in copy.deliveries):
            self._wrong(f"{copy}: delivered again after it was handled")
        failures = sum(d.succeeded is False and d.stands for d in copy.deliveries)
        if failures >= MAX_ATTEMPTS:
            self._wrong(f"{copy}: delivered again after {failures} failures")

    def _check_order(self, copy: Copy) -> None:
        message, group = copy.message, copy.message.group
        self._fifo_running = [delivery for delivery in self._fifo_running if delivery.runs]
        for other in self._fifo_running:
            if other.copy is not copy:
                self._wrong(f"{copy}: delivered while {other.copy} runs")
        for number, earlier in self._groups[group].items():
            exists = earlier.message.receipt is not None or earlier.deliveries
            if number < message.number and exists:
                self._wrong(f"{copy}: delivered before {earlier} of the same group was finished")
        if message.number < self._newest[group] and not copy.deliveries:
            self._wrong(f"{copy}: first delivered after {self._newest[group]} of the same group")
        if message.number < self._newest_in_life[group]:
            self._wrong(f"{copy}: delivered after {self._newest_in_life[group]} of the same group")
        for newest in (self._newest, self._newest_in_life):
            newest[group] = max(newest[group], message.number)

    def _wrong(self, what: str) -> None:
        self.problems.append(what)

    # The end ---------------------------------------------------------------------------

    def settle(self, dead: dict[str, Iterable[dict[str, Any]]]) -> list[str]:
        """Everything that is wrong when the queues are empty.

        :param dead: the dead letters by target
        """
        for copy in self.unfinished:
            self._wrong(f"{copy}: acknowledged and lost after {len(copy.deliveries)} deliveries")
        for target, letters in dead.items():
            self._check_dead(target, list(letters))
        return self.problems

    def _check_dead(self, target: str, letters: list[dict[str, Any]]) -> None:
        found = Counter(letter["payload"]["n"] for letter in letters)
        for letter in letters:
            message = self.messages[letter["payload"]["n"]]
            if message.receipt not in (None, letter["id"]):
                self._wrong(f"{message.number}: dead as {letter['id']}, not {message.receipt}")
            attempts = (letter["retries"], len(letter["attempts"]))
            if attempts != (MAX_ATTEMPTS, MAX_ATTEMPTS):
                self._wrong(f"{message.number}: dead after {attempts} attempts")
        for message in self.messages.values():
            if message.target != target:
                continue
            due = len(message.copies) if message.deadly else 0
            if found[message.number] != due and (message.receipt is not None or not due):
                self._wrong(f"{message.number}: {found[message.number]} dead letters, due: {due}")
            elif found[message.number] not in (0, due):
                self._wrong(f"{message.number}: {found[message.number]} of {due} copies are dead")

"""Producers and workers of queues, on plain sockets, for engines that are killed.

Two producers fill two named queues and a topic; three workers handle what comes, fail as
planned, enqueue as well, and are cut off now and then.  What may happen is the business
of ``queue_account``; here messages are only moved.
"""

from __future__ import annotations

import heapq
import select
from collections.abc import Callable, Iterator
from itertools import count
from random import Random
from time import monotonic, time
from typing import Any

import msgspec

from tests.durability.link import Link
from tests.durability.queue_account import (
    COPIES,
    FIFO,
    MAX_ATTEMPTS,
    Account,
    Delivery,
    Message,
    Worker,
)

PRODUCERS = 2
WORKERS = 3
IN_FLIGHT = 8
GROUPS = 6
#: with so much undone nobody enqueues more
MAX_UNFINISHED = 250
END_LIMIT_S = 20.0
RECEIPT_LIMIT_S = 0.5
DRAIN_LIMIT_S = 40.0
LOOK_S = 0.05
PAGE = 500
MAX_DELAY_MS = 700
#: how long a handler takes
MAX_WORK_S = 0.02
CUTS_PER_S = 4.0

TOPIC = "mail"
FUNCTIONS = {f"work::{copy}": copy for copies in COPIES.values() for copy in copies}
TRIGGERS = {"work::mail": "queue", "work::archive": "durable:subscriber"}


class _Frame(msgspec.Struct):
    """What an engine sends: an answer or a call."""

    type: str
    invocation_id: str | None = None
    function_id: str = ""
    data: Any = None
    result: Any = None
    error: dict[str, Any] | None = None


class _Side:
    """One connection.

    :ivar link: the socket
    :ivar worker: its side of the account
    :ivar under_way: what it has enqueued, by invocation, and how many answers came before
    """

    def __init__(self, port: int, *, works: bool) -> None:
        self.link = Link(port)
        self.worker = Worker()
        self.works = works
        self.under_way: dict[str, tuple[Message, int]] = {}
        if works:
            for function in FUNCTIONS:
                self.link.tell("registerfunction", id=function)
            for function, type in TRIGGERS.items():
                self.link.tell(
                    "registertrigger",
                    id=f"{id(self)} {function}",
                    trigger_type=type,
                    function_id=function,
                    config={"topic": TOPIC},
                )


class QueueLoad:
    """The messages of many engines, one after the other.

    :cvar delays: whether messages may be due later
    :cvar keys: whether messages may have idempotency keys
    :ivar account: what they did with them
    :ivar refused: what errors said
    """

    delays = True
    keys = True

    def __init__(self, chance: Random, account: Account | None = None) -> None:
        self._chance = chance
        self.account = account or Account()
        self.refused: list[str] = []
        self._numbers = count(1)
        #: keyed messages whose answer got lost
        self._again: list[Message] = []
        self._sides: list[_Side] = []
        self._work: list[tuple[float, int, _Side, str, Delivery]] = []
        self._order = count()
        self._told_now = False

    @property
    def acknowledged(self) -> int:
        """Messages with a receipt."""
        return sum(m.receipt is not None for m in self.account.messages.values())

    @property
    def deliveries(self) -> int:
        """Calls of handlers."""
        copies = (c for m in self.account.messages.values() for c in m.copies.values())
        return sum(len(copy.deliveries) for copy in copies)

    def prepare(self, port: int) -> None:
        """Make the topic's groups: what is published before is for whoever comes first."""
        self._connect(port)
        for side in self._sides:
            side.link.call("engine::functions::list", {})
        self._end()

    # Running ---------------------------------------------------------------------------

    def run(self, port: int, seconds: float, stop: Callable[[], None]) -> None:
        """Produce and work, call ``stop`` after a while, go on until everything has ended.

        Every other time it is called right behind a receipt, where most is owed.
        """
        self._connect(port)
        stop_at = monotonic() + seconds
        patience_s = self._chance.choice((0.0, RECEIPT_LIMIT_S))
        stopped = False
        cut_at = monotonic() + self._chance.expovariate(CUTS_PER_S)
        while alive := [side for side in self._sides if not side.link.ended]:
            now = monotonic()
            told = now >= stop_at and self._told_now
            if not stopped and (told or now >= stop_at + patience_s):
                stop()
                stopped = True
            if not stopped and now >= cut_at:
                self._replace_worker(port)
                cut_at = now + self._chance.expovariate(CUTS_PER_S)
                continue
            if now > stop_at + END_LIMIT_S:
                raise AssertionError(f"{len(alive)} connections still open after {END_LIMIT_S} s")
            if not stopped:
                self._produce()
            self._step(alive)
        self._end()

    def drain(self, port: int) -> list[str]:
        """Work until the queues are empty; everything that is not as it must be."""
        self._connect(port)
        for message in self._again:
            self._send(self._sides[0], message)
        self._again.clear()
        looker = Link(port)
        end_at = monotonic() + DRAIN_LIMIT_S
        while not self._empty(looker):
            if monotonic() > end_at:
                self.account.problems.append(f"not empty after {DRAIN_LIMIT_S} s")
                break
            look_at = monotonic() + LOOK_S
            while monotonic() < look_at:
                self._step(self._sides)
        problems = self.account.settle({target: _dead(looker, target) for target in COPIES})
        looker.close()
        self._end()
        return problems

    def _empty(self, looker: Link) -> bool:
        if any(side.under_way for side in self._sides):
            return False
        stats = (looker.call("engine::queue::topic_stats", {"topic": t}) for t in COPIES)
        return not any(found["depth"] or found["delayed"] for found in stats)

    # Connections -----------------------------------------------------------------------

    def _connect(self, port: int) -> None:
        self.account.new_life()
        self._sides = [
            _Side(port, works=number >= PRODUCERS) for number in range(PRODUCERS + WORKERS)
        ]

    def _replace_worker(self, port: int) -> None:
        """A worker dies, with all that it was doing, and another one comes."""
        place = self._chance.randrange(PRODUCERS, len(self._sides))
        side = self._sides[place]
        if side.link.ended:
            return
        side.link.cut() if self._chance.random() < 0.5 else side.link.close()
        self._gone(side)
        try:
            self._sides[place] = _Side(port, works=True)
        except ConnectionError:
            return

    def _gone(self, side: _Side) -> None:
        side.worker.alive = False
        self._again += [m for m, _ in side.under_way.values() if m.key is not None]
        side.under_way.clear()

    def _end(self) -> None:
        for side in self._sides:
            side.link.close()
            self._gone(side)
        self._work.clear()

    # Producing -------------------------------------------------------------------------

    def _produce(self) -> None:
        busy = len(self.account.unfinished) > MAX_UNFINISHED
        for number, side in enumerate(self._sides):
            limit = 0 if busy else 1 if side.works else IN_FLIGHT
            while side.link.open and len(side.under_way) < limit:
                if self._again:
                    self._send(side, self._again.pop())
                else:
                    self._send(side, self._new(number))

    def _new(self, side: int) -> Message:
        chance = self._chance
        # A group belongs to one producer, so the order of its messages is known.
        target = chance.choice(("jobs", "mail", FIFO) if side < PRODUCERS else ("jobs", "mail"))
        fate = chance.random()
        failing = MAX_ATTEMPTS if fate < 0.04 else chance.randint(1, 2) if fate < 0.15 else 0
        message = Message(next(self._numbers), target, failing)
        if target == FIFO:
            message.group = f"{side} {chance.randrange(GROUPS)}"
        else:
            if self.delays and chance.random() < 0.1:
                message.due_ms = time() * 1000 + chance.randint(1, MAX_DELAY_MS)
            if self.keys and chance.random() < 0.2:
                message.key = f"key {message.number}"
        self.account.sent(message)
        return message

    def _send(self, side: _Side, message: Message) -> None:
        data = {"n": message.number, "g": message.group, "fill": "x" * self._chance.choice(_FILL)}
        more: dict[str, Any] = {}
        if message.due_ms:
            more["deliver_at"] = int(message.due_ms)
        if message.key is not None:
            more["idempotency_key"] = message.key
        if message.target == TOPIC:
            asked = {"topic": TOPIC, "data": data, "receipt": True, **more}
            invocation_id = side.link.send("enqueue", asked)
        else:
            action = {"type": "enqueue", "queue": message.target, **more}
            invocation_id = side.link.send(f"work::{message.target}", data, action=action)
        side.under_way[invocation_id] = (message, len(side.worker.answered))

    # Receiving -------------------------------------------------------------------------

    def _step(self, sides: list[_Side]) -> None:
        """Handle what comes within a moment."""
        self._told_now = False
        alive = [side for side in sides if not side.link.ended]
        wait_s = min(0.02, max(0.0, self._work[0][0] - monotonic())) if self._work else 0.02
        ready, _, _ = select.select([side.link for side in alive], [], [], wait_s)
        for side in alive:
            if side.link in ready:
                self._receive(side)
        while self._work and self._work[0][0] <= monotonic():
            _, _, side, invocation_id, delivery = heapq.heappop(self._work)
            self._answer(side, invocation_id, delivery)

    def _receive(self, side: _Side) -> None:
        for text in side.link.texts():
            frame = msgspec.json.decode(text, type=_Frame)
            if frame.type == "invocationresult":
                self._told(side, frame)
            elif frame.type == "invokefunction":
                self._called(side, frame)
        if side.link.ended:
            self._gone(side)

    def _told(self, side: _Side, frame: _Frame) -> None:
        assert frame.invocation_id is not None
        message, answers = side.under_way.pop(frame.invocation_id)
        if frame.error is None:
            self.account.receipted(message, frame.result["messageReceiptId"])
            side.worker.certain(answers)
            self._told_now = True
        else:
            self.refused.append(f"{frame.error['code']}: {frame.error['message']}")
            if message.key is None:
                self.account.refused(message)
            else:
                self._again.append(message)

    def _called(self, side: _Side, frame: _Frame) -> None:
        assert frame.invocation_id is not None
        consumer, number = FUNCTIONS[frame.function_id], frame.data["n"]
        delivery = self.account.delivered(side.worker, consumer, number, time() * 1000)
        ready_at = monotonic() + self._chance.random() * MAX_WORK_S * (self._chance.random() < 0.5)
        heapq.heappush(
            self._work, (ready_at, next(self._order), side, frame.invocation_id, delivery)
        )

    def _answer(self, side: _Side, invocation_id: str, delivery: Delivery) -> None:
        if not side.link.open:
            return
        copy = delivery.copy
        fails = copy.message.deadly or copy.failures < copy.message.failing
        self.account.answered(delivery, succeeded=not fails)
        outcome: dict[str, Any] = {"result": None}
        if fails:
            outcome = {"error": {"code": "planned", "message": "it was to fail"}}
        function = f"work::{copy.consumer}"
        side.link.tell(
            "invocationresult", invocation_id=invocation_id, function_id=function, **outcome
        )


def _dead(looker: Link, target: str) -> Iterator[dict[str, Any]]:
    for offset in count(0, PAGE):
        asked = {"topic": target, "offset": offset, "limit": PAGE}
        letters = looker.call("engine::queue::dlq_messages", asked)
        yield from letters
        if len(letters) < PAGE:
            return


_FILL = (0, 0, 10, 100, 1_000, 10_000)

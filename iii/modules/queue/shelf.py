"""What people ask of messages that are there: look, cancel, move, redrive.

Between reading a message and changing it nothing may happen to it.  So everything here
reads what is committed, at once and in the reactor thread, leaves out what runs or has
a change on its way to the disk (``_busy``), and changes the rest before it waits again.
Many messages are gone through piece by piece.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from msgspec import Raw
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from iii.modules.queue.adapter import DeadFilter, QueueAdapter, Status
from iii.modules.queue.keys import key_in
from iii.modules.queue.message import Message, State
from iii.modules.queue.names import QueueName
from iii.modules.queue.rows import START
from iii.storage.store import StoreError

if TYPE_CHECKING:
    from iii.engine.module import ModuleApi
    from iii.modules.queue.delays import Delays
    from iii.modules.queue.journal import Journal
    from iii.modules.queue.lane import Lane

log = Logger()

PIECE = 100
#: A message whose change is on its way to the disk is looked at again after it.
TRIES = 20

_STATES: dict[Status | None, tuple[State, ...]] = {
    None: (State.WAITING, State.DELAYED),
    "waiting": (State.WAITING,),
    "delayed": (State.DELAYED,),
    "dead": (State.DEAD,),
}
_STATUS: dict[State, Status] = {
    State.WAITING: "waiting",
    State.DELAYED: "delayed",
    State.DEAD: "dead",
}


class Shelf(QueueAdapter):
    """The part of ``BuiltinAdapter`` that changes messages by request."""

    _engine: ModuleApi
    _journal: Journal
    _delays: Delays
    _lanes: dict[int, Lane]
    _numbers: dict[QueueName, int]
    _names: dict[int, QueueName]

    # One message -----------------------------------------------------------------------

    async def cancel(self, id: str) -> Status:
        """Adapter: take a message back."""
        return await self._change_copies(id, self._cancel)

    async def reschedule(self, id: str, due_ms: int) -> Status:
        """Adapter: another time."""

        def change(message: Message) -> None:
            self._forget(message)
            was = message.state
            message.state = State.DELAYED if due_ms > self._engine.clock.wall_ms() else was
            if was is State.DELAYED and due_ms <= self._engine.clock.wall_ms():
                message.state = State.WAITING
            message.due_ms = due_ms if message.state is State.DELAYED else 0
            self._journal.change(message, was=was)
            self._place(message)

        return await self._change_copies(id, change)

    async def _change_copies(self, id: str, change: Callable[[Message], None]) -> Status:
        """Change the copies of one message that wait; the state they were in."""
        status: Status = "unknown"
        for _ in range(TRIES):
            await self._journal.settled()
            copies = self._journal.read_now("id = ?", (id,), order="seq", limit=PIECE)
            if any(self._journal.pending(copy.seq) for copy in copies):
                continue
            for copy in copies:
                if self._runs(copy):
                    status = "active" if status == "unknown" else status
                elif copy.state is State.DEAD:
                    status = "dead" if status == "unknown" else status
                else:
                    status = _STATUS[copy.state]
                    change(copy)
            await self._journal.settled()
            return status
        return "active"

    def _cancel(self, message: Message) -> None:
        self._forget(message)
        self._journal.finish(message)

    # Many ------------------------------------------------------------------------------

    async def purge(self, queues: list[QueueName], state: Status | None) -> int:
        """Adapter: throw away."""
        gone = 0
        for queue in queues:
            number = self._numbers.get(queue)
            if number is not None:
                gone += await self._purge_lane(number, _STATES.get(state, ()))
        return gone

    async def _purge_lane(self, number: int, states: tuple[State, ...]) -> int:
        gone = 0
        for state in states:
            after = START
            while piece := await self._piece(number, state, after):
                after = piece[-1].place
                for message in self._free(piece):
                    self._cancel(message)
                    gone += 1
        await self._journal.settled()
        return gone

    async def move(
        self, source: QueueName, targets: list[QueueName], limit: int | None = None
    ) -> int:
        """Adapter: to other queues; the first gets the message itself, the others copies."""
        number = self._numbers.get(source)
        moved = 0
        if number is None or not targets:
            return 0
        for state in (State.WAITING, State.DELAYED):
            after = START
            while (limit is None or moved < limit) and (
                piece := await self._piece(number, state, after)
            ):
                after = piece[-1].place
                for message in self._free(piece):
                    if limit is not None and moved >= limit:
                        break
                    self._move(message, targets)
                    moved += 1
        await self._journal.settled()
        return moved

    def _move(self, message: Message, targets: list[QueueName]) -> None:
        self._forget(message)
        source = message.lane
        copies: list[Message] = []
        for target in targets[1:]:
            copy = message.copy()
            # A rank of its own: the two may meet in one queue again.
            copy.seq = copy.rank = self._journal.next_seq()
            self._assign(copy, target)
            copies.append(copy)
        self._assign(message, targets[0])
        self._journal.change(message, was=message.state, lane=source)
        if copies:
            added = self._journal.add(copies, self._place_all)
            added.addErrback(
                lambda failure: log.failure("copying a message to another queue", failure)
            )
        self._place(message)

    def _assign(self, message: Message, queue: QueueName) -> None:
        message.lane = self._number(queue)
        field = self._journal.facts[message.lane].key_field
        message.key = None if field is None else key_in(message.data, field)

    async def pause(self, queues: list[QueueName], paused: bool) -> None:
        """Adapter: stop or go on."""
        for queue in queues:
            number = self._number(queue)
            recorded = self._journal.change_facts(number, paused=paused)
            lane = self._lanes.get(number)
            if lane is not None:
                lane.pump()
            await recorded

    # Dead letters ----------------------------------------------------------------------

    async def redrive(
        self, queues: list[QueueName], which: DeadFilter, payload: Raw | None = None
    ) -> list[str]:
        """Adapter: try again, oldest first, behind everything that waits."""

        def change(message: Message) -> None:
            details = message.details
            details.attempts, details.failures, details.reason = 0, [], None
            message.state, message.due_ms, message.expires_ms = State.WAITING, 0, None
            message.rank = self._journal.next_seq()
            if payload is not None:
                message.data = payload.copy()
                self._assign(message, self._names[message.lane])
            self._journal.change(message, was=State.DEAD)
            self._place(message)

        return await self._change_dead(queues, which, change)

    async def discard(self, queues: list[QueueName], which: DeadFilter) -> list[str]:
        """Adapter: give up."""
        return await self._change_dead(queues, which, self._journal.finish)

    async def _change_dead(
        self, queues: list[QueueName], which: DeadFilter, change: Callable[[Message], None]
    ) -> list[str]:
        changed: list[str] = []
        for queue in queues:
            number = self._numbers.get(queue)
            if number is None:
                continue
            after = (-1, -1)
            # What dies again while this goes on is not tried twice.
            until_ms = self._engine.clock.wall_ms()
            while piece := await self._dead_piece(number, after, until_ms, which):
                after = (piece[-1].due_ms, piece[-1].seq)
                for message in self._free(piece):
                    if which.takes(message):
                        changed.append(message.id)
                        change(message)
        await self._journal.settled()
        return changed

    async def _dead_piece(
        self, number: int, after: tuple[int, int], until_ms: int, which: DeadFilter
    ) -> list[Message]:
        await self._journal.settled()
        where = "lane = ? AND state = 2 AND (due_ms, seq) > (?, ?) AND due_ms <= ?"
        parameters: tuple[object, ...] = (number, *after, until_ms)
        if which.ids is not None:
            where += f" AND id IN ({', '.join('?' * len(which.ids))})"
            parameters += tuple(which.ids)
        return self._journal.read_now(where, parameters, order="due_ms, seq", limit=PIECE)

    def _trim_dead(self, most: int | None, ttl_ms: int | None) -> None:
        """Dead letters that are too many or too old go."""
        if most is None and ttl_ms is None:
            return
        trimming = Deferred.fromCoroutine(self._trim(most, ttl_ms))
        trimming.addErrback(lambda failure: failure.trap(StoreError) and None)

    async def _trim(self, most: int | None, ttl_ms: int | None) -> None:
        now_ms = self._engine.clock.wall_ms()
        for number in list(self._names):
            dead = self._journal.counts.get((number, State.DEAD), 0)
            if not dead:
                continue
            too_many = 0 if most is None else dead - most
            after = (-1, -1)
            while piece := await self._dead_piece(number, after, now_ms, DeadFilter()):
                after = (piece[-1].due_ms, piece[-1].seq)
                old = 0
                for message in self._free(piece):
                    if too_many > 0 or (ttl_ms is not None and message.due_ms < now_ms - ttl_ms):
                        self._journal.finish(message)
                        too_many -= 1
                        old += 1
                if not old:
                    break

    # Looking ---------------------------------------------------------------------------

    async def messages(
        self, queues: list[QueueName], state: Status | None, offset: int, limit: int
    ) -> list[tuple[QueueName, Status, Message]]:
        """Adapter: for people."""
        numbers = [self._numbers[queue] for queue in queues if queue in self._numbers]
        if not numbers:
            return []
        lanes = [self._lanes[number] for number in numbers if number in self._lanes]
        running = {seq: message for lane in lanes for seq, message in lane.running.items()}
        rows: list[Message] = []
        if state in (None, "active"):
            rows = list(running.values())[offset : offset + limit]
            offset, limit = max(0, offset - len(running)), limit - len(rows)
        if state != "active" and limit > 0:
            states = ", ".join(str(int(one)) for one in _STATES[state])
            marks = ", ".join("?" * len(numbers))
            order = {"dead": "due_ms DESC, seq DESC", "delayed": "due_ms, seq"}.get(
                state or "", "state, urgency, rank"
            )
            runs = ", ".join(map(str, running)) or "-1"
            rows += await self._journal.select(
                f"lane IN ({marks}) AND state IN ({states}) AND seq NOT IN ({runs})",
                tuple(numbers),
                order=order,
                limit=limit,
                offset=offset,
            )
        return [(self._names[row.lane], self._status(row, running), row) for row in rows]

    def _status(self, message: Message, running: dict[int, Message]) -> Status:
        return "active" if message.seq in running else _STATUS[message.state]

    # Inside ----------------------------------------------------------------------------

    async def _piece(self, lane: int, state: State, after: tuple[int, int]) -> list[Message]:
        await self._journal.settled()
        return self._journal.read_now(
            "lane = ? AND state = ? AND (urgency, rank) > (?, ?)",
            (lane, int(state), *after),
            order="urgency, rank",
            limit=PIECE,
        )

    def _free(self, messages: list[Message]) -> Iterator[Message]:
        return (message for message in messages if not self._busy(message))

    def _busy(self, message: Message) -> bool:
        return self._runs(message) or self._journal.pending(message.seq)

    def _runs(self, message: Message) -> bool:
        lane = self._lanes.get(message.lane)
        return lane is not None and message.seq in lane.running

    def _forget(self, message: Message) -> None:
        """Take it out of memory; it is about to be changed."""
        if message.state is State.DELAYED:
            self._delays.remove(message)
        elif message.state is State.WAITING and message.lane in self._lanes:
            self._lanes[message.lane].taken_out(message)

    def _place(self, message: Message) -> None:
        """Bring a changed message to where it is worked on."""
        if message.state is State.DELAYED:
            self._delays.add(message)
        elif message.state is State.WAITING and message.lane in self._lanes:
            self._lanes[message.lane].arrived(message)

    def _place_all(self, messages: list[Message]) -> None:
        for message in messages:
            self._place(message)

    @abstractmethod
    def _number(self, queue: QueueName) -> int:
        """The lane of ``queue``, which is made when it is new."""

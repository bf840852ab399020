"""Messages that are on the broker, for people: look at them, and mend things.

AMQP has no way to look at a message in a queue but to take it and to put it back.  Here
they are taken on a channel of its own and put back by closing that, which keeps their
order; for that moment nobody else gets them.  So much is looked at, and no more.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Raw
from twisted.internet.defer import DeferredLock

from iii.modules.queue.adapter import Counts, DeadFilter, Status
from iii.modules.queue.adapters.rabbitmq.codec import Unreadable, decode, decode_dead
from iii.modules.queue.adapters.rabbitmq.known import Entry
from iii.modules.queue.adapters.rabbitmq.lane import Lane
from iii.modules.queue.adapters.rabbitmq.names import Place
from iii.modules.queue.adapters.rabbitmq.tools import Tools
from iii.modules.queue.message import Details, Message
from iii.modules.queue.names import QueueName
from iii.modules.queue.settings import LaneSettings
from iii.rabbitmq import Desk, Got

#: Messages of one queue that are looked at; older dead letters come first.
MAX_LOOKED_AT = 10_000
MAX_LOOKED_AT_BYTES = 64 * 1024 * 1024
#: How long messages may be on their way back to a queue that is looked at.
CHANGES, PAUSE_S = 50, 0.01

Row = tuple[QueueName, Status, Message]


class Shelf:
    """What the broker has.

    :param entry: what is known of a queue
    :param lane: the lane of a queue that is worked off here
    :param settings: how a queue is worked off
    """

    def __init__(
        self,
        tools: Tools,
        entry: Callable[[QueueName], Entry | None],
        lane: Callable[[QueueName], Lane | None],
        settings: Callable[[QueueName], LaneSettings],
    ) -> None:
        self._tools = tools
        self._entry = entry
        self._lane = lane
        self._settings = settings
        self._desk = tools.broker.desk
        self._turns: dict[str, DeferredLock] = {}

    # Looking ---------------------------------------------------------------------------

    async def counts(self, queue: QueueName) -> Counts:
        """How many messages there are of a queue; of those that run, the ones here."""
        place = self._place(queue)
        counts = Counts()
        async with self._desk() as desk:
            counts.waiting = await self._size(desk, place.queue)
            if place.parked:
                parked = await self._size(desk, place.parked)
                counts.waiting += parked
                counts.waiting_for_worker = parked > 0
            for name in self._waits(queue):
                counts.delayed += await self._size(desk, name)
            counts.dead = await self._size(desk, place.dead)
        lane, entry = self._lane(queue), self._entry(queue)
        if entry is not None:
            counts.paused = entry.facts.paused
        if lane is not None:
            counts.active = len(lane.running)
            counts.waiting += len(lane.waiting_here)
            counts.delayed += len(lane.early_here)
            counts.delivered, counts.failed = lane.delivered_total, lane.failed_total
            waits = lane.waiting_for_worker and counts.waiting > 0
            counts.waiting_for_worker = counts.waiting_for_worker or waits
        return counts

    async def messages(
        self, queues: list[QueueName], state: Status | None, offset: int, limit: int
    ) -> list[Row]:
        """Messages, next ones first; dead ones newest first."""
        rows: list[Row] = []
        for queue in queues:
            if state in ("active", None):
                lane = self._lane(queue)
                here = () if lane is None else lane.running.values()
                rows += [(queue, "active", job.message) for job in here]
        for queue in queues:
            if state in ("waiting", None):
                rows += [(queue, "waiting", m) for m in await self._waiting(queue, offset + limit)]
        delayed: list[Row] = []
        for queue in queues:
            if state in ("delayed", None):
                delayed += [(queue, "delayed", m) for m in await self._delayed(queue)]
        rows += sorted(delayed, key=_due)
        if state == "dead":
            for queue in queues:
                rows += [(queue, "dead", m) for m in await self._dead(queue)]
            rows.sort(key=_due, reverse=True)
        return rows[offset : offset + limit]

    async def _waiting(self, queue: QueueName, limit: int) -> list[Message]:
        place, lane = self._place(queue), self._lane(queue)
        found = []
        for _ in range(CHANGES):
            if lane is None or not lane.consumer.changing:
                break
            await self._tools.clock.pause(PAUSE_S)
        for name in filter(None, (place.queue, place.parked)):
            found += await self._look(queue, name, limit)
        return found if lane is None else _with(lane.waiting_here, found)

    async def _delayed(self, queue: QueueName) -> list[Message]:
        found, lane = [], self._lane(queue)
        for name in self._waits(queue):
            found += await self._look(queue, name, MAX_LOOKED_AT)
        return found if lane is None else _with(lane.early_here, found)

    async def _look(self, queue: QueueName, name: str, limit: int) -> list[Message]:
        async with self.turn(name), self._desk() as desk:
            return [
                self._read(queue, got)
                for got in await self._peek(desk, name, min(limit, MAX_LOOKED_AT))
            ]

    async def _dead(self, queue: QueueName) -> list[Message]:
        """Newest first, also of those that died in one millisecond."""
        place = self._place(queue)
        async with self.turn(place.dead), self._desk() as desk:
            found = await self._peek(desk, place.dead, MAX_LOOKED_AT)
        letters = [
            decode_dead(queue, seq, got.properties, got.body) for seq, got in enumerate(found)
        ]
        return letters[::-1]

    async def _peek(self, desk: Desk, name: str, limit: int) -> list[Got]:
        found: list[Got] = []
        size, left = 0, min(limit, await self._size(desk, name))
        while left and size < MAX_LOOKED_AT_BYTES:
            got = await desk.get(name)
            if got is None:
                break
            found.append(got)
            size += len(got.body)
            left -= 1
        return found

    # Dead letters ----------------------------------------------------------------------

    async def redrive(
        self, queues: list[QueueName], which: DeadFilter, payload: Raw | None
    ) -> list[str]:
        """Dead letters wait again, at the end."""

        async def again(queue: QueueName, message: Message) -> None:
            details = message.details
            message.details = Details(details.namespace, details.traceparent, details.baggage)
            message.due_ms, message.expires_ms = 0, None
            if payload is not None:
                message.data = payload.copy()
            await self._tools.post.hand_over(queue, message, self._settings(queue))

        return await self._each_dead(queues, which, again)

    async def discard(self, queues: list[QueueName], which: DeadFilter) -> list[str]:
        """Dead letters go for good."""

        async def nothing(queue: QueueName, message: Message) -> None:
            return

        return await self._each_dead(queues, which, nothing)

    async def trim(self, queue: QueueName, most: int | None, older_than_ms: int | None) -> None:
        """Dead letters go that are too many or too old."""
        name = self._place(queue).dead
        async with self.turn(name), self._desk() as desk:
            size = await self._size(desk, name)
            for left in range(size, 0, -1):
                too_many = most is not None and left > most
                if not too_many and older_than_ms is None:
                    return
                got = await desk.get(name)
                if got is None:
                    return
                letter = decode_dead(queue, 0, got.properties, got.body)
                if not too_many and (older_than_ms is None or letter.due_ms >= older_than_ms):
                    return
                desk.ack(got)

    async def _each_dead(
        self, queues: list[QueueName], which: DeadFilter, do: Callable[..., object]
    ) -> list[str]:
        done: list[str] = []
        wanted = None if which.ids is None else set(which.ids)
        for queue in queues:
            name = self._place(queue).dead
            async with self.turn(name), self._desk() as desk:
                for _ in range(await self._size(desk, name)):
                    got = await desk.get(name)
                    if got is None:
                        break
                    letter = decode_dead(queue, 0, got.properties, got.body)
                    if not which.takes(letter):
                        continue
                    id = letter.id
                    await do(queue, letter)  # type: ignore[misc]
                    desk.ack(got)
                    done.append(id)
                    if wanted is not None and len(queues) == 1 and wanted <= set(done):
                        break
        return done

    # Whole queues ----------------------------------------------------------------------

    async def purge(self, queue: QueueName, state: Status | None) -> int:
        """Messages that wait, are delayed or are dead go for good."""
        place = self._place(queue)
        names: list[str] = []
        gone, lane = 0, self._lane(queue)
        if state in ("waiting", None):
            gone += 0 if lane is None else lane.purge()
            names += filter(None, (place.queue, place.parked))
        if state in ("delayed", None):
            gone += 0 if lane is None else lane.purge_delayed()
            names += self._waits(queue)
        if state == "dead":
            names.append(place.dead)
        async with self._desk() as desk:
            for name in names:
                gone += await desk.purge(name)
        return gone

    async def move(self, source: QueueName, targets: list[QueueName], limit: int | None) -> int:
        """Messages go from one queue to others, one copy to each."""
        place, moved = self._place(source), 0
        now_ms = self._tools.clock.wall_ms
        for name in (*filter(None, (place.queue, place.parked)), *self._waits(source)):
            async with self.turn(name), self._desk() as desk:
                left = await self._size(desk, name)
                while left and (limit is None or moved < limit):
                    got = await desk.get(name)
                    if got is None:
                        break
                    left -= 1
                    message = self._read(source, got)
                    for target in targets:
                        wait_ms = message.due_ms - now_ms()
                        await self._put(target, message, wait_ms)
                    desk.ack(got)
                    moved += 1
        return moved

    async def _put(self, target: QueueName, message: Message, wait_ms: int) -> None:
        post, settings = self._tools.post, self._settings(target)
        if wait_ms > 0:
            await post.delay(target, message, settings, wait_ms)
        else:
            await post.hand_over(target, message, settings)

    async def expire(self, queue: QueueName) -> None:
        """Messages that wait and whose time is over become dead letters."""
        place, lane = self._place(queue), self._lane(queue)
        if lane is not None:
            lane.expire()
        for name in filter(None, (place.queue, place.parked)):
            async with self.turn(name), self._desk() as desk:
                for _ in range(min(MAX_LOOKED_AT, await self._size(desk, name))):
                    got = await desk.get(name)
                    if got is None:
                        break
                    message, now_ms = self._read(queue, got), self._tools.clock.wall_ms()
                    if message.expires_ms is None or message.expires_ms > now_ms:
                        continue
                    message.details.reason, message.due_ms = "expired", now_ms
                    await self._tools.post.bury(queue, message, self._settings(queue))
                    desk.ack(got)

    # Inside ----------------------------------------------------------------------------

    def turn(self, name: str) -> DeferredLock:
        """One at a time takes messages of a queue, or the others would miss some."""
        return self._turns.setdefault(name, DeferredLock())

    def _place(self, queue: QueueName) -> Place:
        return self._tools.names.place(queue)

    def _waits(self, queue: QueueName) -> list[str]:
        """The queues in which messages of ``queue`` are delayed."""
        entry, place = self._entry(queue), self._place(queue)
        waits = [] if entry is None else [place.wait(ms) for ms in entry.waits]
        if queue.kind == "named":
            waits.append(f"{place.exchange}::retry.queue")
        elif queue.kind == "topic" and entry is not None and entry.delays:
            delayed = self._tools.names.delayed(queue.name)
            waits += [delayed.wait(ms) for ms in entry.delays]
        return waits

    async def _size(self, desk: Desk, name: str) -> int:
        size = await desk.size(name)
        return 0 if size is None else size[0]

    def _read(self, queue: QueueName, got: Got) -> Message:
        try:
            return decode(queue, 0, got.properties, got.body, self._tools.clock.wall_ms())
        except Unreadable:
            return decode_dead(queue, 0, got.properties, got.body)


def _due(row: Row) -> int:
    return row[2].due_ms


def _with(here: list[Message], found: list[Message]) -> list[Message]:
    """Both; a message that was delivered while we looked is one."""
    ids = {message.id for message in here}
    return [*here, *(message for message in found if message.id not in ids)]

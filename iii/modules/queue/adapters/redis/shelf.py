"""What people ask of messages that are there: look, cancel, move, redrive.

Every change is one step in Redis, so nothing can happen to a message between being looked
at and being changed.  Much is done in pieces, and never more than there was at the start.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from msgspec import Raw

from iii.modules.queue.adapter import Counts, DeadFilter, QueueAdapter, QueueName, Status
from iii.modules.queue.adapters.redis.codec import message_of, pieces, with_data
from iii.modules.queue.adapters.redis.facts import Facts
from iii.modules.queue.adapters.redis.hub import Hub
from iii.modules.queue.adapters.redis.keys import name_of
from iii.modules.queue.adapters.redis.lane import Lane
from iii.modules.queue.adapters.redis.shelf_scripts import (
    CANCEL,
    COUNTS,
    DEAD,
    DEAD_BY_ID,
    DISCARD,
    LIST,
    MOVE,
    PURGE,
    REDRIVE,
    RESCHEDULE,
    TRIM,
)
from iii.modules.queue.message import Message, State
from iii.redis import Script

if TYPE_CHECKING:
    from iii.redis.protocol import Part

#: Messages that one step goes through.
PIECE = 100
#: A place among dead letters: the time, then their order within it.
_PER_MS = 1000

_ROW = 9
_Shown = tuple[QueueName, Status, Message, float]
_Found = tuple[str, bytes, Message, str]
"""Id in the queue, the message as it lies in Redis, the same read, its place."""

_LISTED: dict[Status | None, tuple[Status, ...]] = {None: ("active", "waiting", "delayed")}
_GOING: dict[Status | None, tuple[str, ...]] = {
    None: ("waiting", "delayed"),
    "waiting": ("waiting",),
    "delayed": ("delayed",),
    "dead": ("dlq",),
}


class Shelf(QueueAdapter):
    """The part of the adapter that looks at messages and changes them by request."""

    _hub: Hub
    _known: Facts
    _lanes: dict[QueueName, Lane]

    # Looking ---------------------------------------------------------------------------

    async def counts(self, queue: QueueName) -> Counts:
        """Adapter: how many messages there are, over all engines."""
        reply: list[int] = await self._hub.run(COUNTS, name_of(queue))
        waiting, delayed, active, dead, delivered, failed, paused = reply
        lane = self._lanes.get(queue)
        return Counts(
            waiting=waiting,
            delayed=delayed,
            active=active,
            dead=dead,
            delivered=delivered,
            failed=failed,
            waiting_for_worker=lane is not None and bool(lane.absent) and waiting > 0,
            paused=bool(paused),
        )

    async def messages(
        self, queues: list[QueueName], state: Status | None, offset: int, limit: int
    ) -> list[tuple[QueueName, Status, Message]]:
        """Adapter: for people."""
        shown: list[_Shown] = []
        for one in _LISTED.get(state, (state,) if state is not None else ()):
            found: list[_Shown] = []
            for queue in queues:
                found += await self._listed(queue, one, offset + limit - len(shown))
            shown += sorted(found, key=itemgetter(3), reverse=one == "dead")
            if len(shown) >= offset + limit:
                break
        return [(queue, one, message) for queue, one, message, _ in shown[offset : offset + limit]]

    async def _listed(self, queue: QueueName, status: Status, limit: int) -> list[_Shown]:
        is_dead = status == "dead"
        zset = "dlq" if is_dead else status
        reply = await self._hub.run(LIST, name_of(queue), zset, int(is_dead), limit)
        shown: list[_Shown] = []
        for row in pieces(reply, _ROW):
            _, _, message, place = _found(row)
            if is_dead:
                message.state, message.due_ms = State.DEAD, int(float(place)) // _PER_MS
            elif status == "delayed":
                message.state = State.DELAYED
            shown.append((queue, status, message, float(place)))
        return shown

    # One message -----------------------------------------------------------------------

    async def cancel(self, id: str) -> Status:
        """Adapter: take a message back, in all queues."""
        return await self._change_copies(CANCEL, id)

    async def reschedule(self, id: str, due_ms: int) -> Status:
        """Adapter: another time."""
        status = await self._change_copies(RESCHEDULE, due_ms, id)
        for lane in self._lanes.values():
            lane.poke()
        return status

    async def _change_copies(self, script: Script, *parts: Part) -> Status:
        names = [name_of(queue) for queue in self._known.all]
        state: bytes = await self._hub.run(script, *parts, len(names), *names)
        status: Status = state.decode()  # type: ignore[assignment]
        return status

    # Many ------------------------------------------------------------------------------

    async def purge(self, queues: list[QueueName], state: Status | None) -> int:
        """Adapter: throw away."""
        gone = 0
        for queue in queues:
            for zset in _GOING.get(state, ()):
                gone += await self._in_pieces(queue, zset, None, PURGE)
            self._poke(queue)
        return gone

    async def move(
        self, source: QueueName, targets: list[QueueName], limit: int | None = None
    ) -> int:
        """Adapter: to other queues, each in its place by urgency and age."""
        targets = list(dict.fromkeys(one for target in targets for one in self._now(target)))
        if not targets or source in targets:
            return 0
        for target in targets:
            self._known.add(target)
        names = list(map(name_of, targets))
        moved = 0
        for zset in ("waiting", "delayed"):
            left = None if limit is None else limit - moved
            moved += await self._in_pieces(source, zset, left, MOVE, len(names), *names)
        for queue in (source, *targets):
            self._poke(queue)
        return moved

    async def _in_pieces(
        self, queue: QueueName, zset: str, most: int | None, script: Script, *more: Part
    ) -> int:
        """Go through a set, piece by piece; how many messages it were."""
        there: int = await self._hub.redis.call("ZCARD", self._key(queue, zset))
        left = there if most is None else min(there, most)
        done = 0
        while left > 0:
            piece = min(PIECE, left)
            count: int = await self._hub.run(script, name_of(queue), zset, piece, *more)
            if not count:
                break
            done += count
            left -= count
        return done

    async def pause(self, queues: list[QueueName], paused: bool) -> None:
        """Adapter: stop or go on, in all engines."""
        for queue in queues:
            await self._known.remember(queue, {"paused": paused})
            self._poke(queue)

    # Dead letters ----------------------------------------------------------------------

    async def redrive(
        self, queues: list[QueueName], which: DeadFilter, payload: Raw | None = None
    ) -> list[str]:
        """Adapter: try again, oldest first, behind everything that waits."""

        def change(queue: QueueName, letters: list[_Found]) -> Awaitable[list[int]]:
            parts: list[Part] = []
            for id, body, _, _ in letters:
                parts += (id, b"" if payload is None else with_data(body, payload))
            return self._hub.run(REDRIVE, name_of(queue), len(letters), *parts)

        return await self._change_dead(queues, which, change)

    async def discard(self, queues: list[QueueName], which: DeadFilter) -> list[str]:
        """Adapter: give up."""

        def change(queue: QueueName, letters: list[_Found]) -> Awaitable[list[int]]:
            return self._hub.run(DISCARD, name_of(queue), len(letters), *(id for id, *_ in letters))

        return await self._change_dead(queues, which, change)

    async def _change_dead(
        self,
        queues: list[QueueName],
        which: DeadFilter,
        change: Callable[[QueueName, list[_Found]], Awaitable[list[int]]],
    ) -> list[str]:
        changed: list[str] = []
        for queue in queues:
            after = "-inf"
            # What dies again while this goes on is not tried twice.
            until = (self._hub.clock.wall_ms() + 1) * _PER_MS
            asked = sorted(which.ids) if which.ids is not None else None
            while piece := await self._dead_piece(queue, asked, after, until):
                after = piece[-1][3]
                letters = [one for one in piece if which.takes(one[2])]
                if letters:
                    done = await change(queue, letters)
                    found = zip(letters, done, strict=True)
                    changed += [one[2].id for one, was_there in found if was_there]
                if asked is not None and not (asked := asked[PIECE:]):
                    break
            self._poke(queue)
        return changed

    async def _dead_piece(
        self, queue: QueueName, asked: list[str] | None, after: str, until: int
    ) -> list[_Found]:
        name = name_of(queue)
        if asked is None:
            reply = await self._hub.run(DEAD, name, after, until, PIECE)
        else:
            some = asked[:PIECE]
            reply = await self._hub.run(DEAD_BY_ID, name, len(some), *some)
        letters = [_found(row) for row in pieces(reply, _ROW)]
        for _, _, message, place in letters:
            message.state, message.due_ms = State.DEAD, int(float(place)) // _PER_MS
        return letters

    async def _trim(self, most: int | None, ttl_ms: int | None) -> None:
        """Dead letters that are too many or too old go."""
        old = -1 if ttl_ms is None else (self._hub.clock.wall_ms() - ttl_ms) * _PER_MS
        for queue in list(self._known.all):
            gone = PIECE
            while gone == PIECE:
                gone = await self._hub.run(
                    TRIM, name_of(queue), -1 if most is None else most, old, PIECE
                )

    def _now(self, target: QueueName) -> list[QueueName]:
        """Where messages for ``target`` go: a topic's to its groups, of whatever engine."""
        facts = self._known.all
        if target.kind != "topic" or (target in facts and facts[target].subscribed):
            return [target]
        groups = [
            queue
            for queue, known in facts.items()
            if queue.kind == "group" and queue.name == target.name and known.subscribed
        ]
        return groups or [target]

    # Inside ----------------------------------------------------------------------------

    def _poke(self, queue: QueueName) -> None:
        lane = self._lanes.get(queue)
        if lane is not None:
            lane.poke()

    def _key(self, queue: QueueName, name: str) -> str:
        return f"{self._hub.prefix}:{{q:{name_of(queue)}}}:{name}"


def _found(row: list[Any]) -> _Found:
    id, body, past, score, due, expires, key, reason, place = row
    message = message_of(body, past, score, due, expires, key, reason=reason)
    return id.decode(), body, message, place.decode()

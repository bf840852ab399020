"""The role of a connection on the stream port: a client and its subscriptions.

Frames are handled strictly one after the other: a ``join`` has its handlers asked and its
``sync`` sent before the next frame counts.  What comes meanwhile waits, bounded.

The end comes once, whatever ended it: at once nothing more is delivered, then the frame
that is being handled is finished, then the ``stream:leave`` handlers hear of each
subscription that is left, one after the other.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from msgspec import Raw
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from iii.engine.clock import Clock
from iii.modules.stream.admission import NULL, Admission
from iii.modules.stream.events import Timestamps, sync_frame, unauthorized_frame
from iii.modules.stream.frames import Join, Leave, Subscription, frame_of
from iii.modules.stream.subscriptions import Subscriber, Subscriptions
from iii.modules.stream.triggers import RECORDINGS
from iii.websocket.codes import CLOSE_INTERNAL_ERROR, CLOSE_OVERLOAD
from iii.websocket.outbox import Outbox, text_frame

log = Logger()

MAX_SUBSCRIPTIONS = 10_000
MAX_WAITING_FRAMES = 20_000
MAX_WAITING_BYTES = 16 * 1024 * 1024
# With so much not taken by the client yet, its next sync is not even read.
HIGH_WATER_BYTES = 1024 * 1024
LOOK_S = 0.25

EMPTY = Raw(b"[]")


class Wire(Protocol):
    """The connection below."""

    peer: Any

    def sendClose(self, code: int, reason: str | None = None) -> None: ...


class Source(Protocol):
    """What a sync begins with (``iii.modules.stream.service.Streams``)."""

    timestamps: Timestamps

    def read_item(self, stream: str, group: str, item: str) -> Deferred[Raw | None]: ...

    def read_group(self, stream: str, group: str) -> Deferred[Raw | None]: ...


@dataclass(frozen=True)
class Hub:
    """What all sockets share.

    :ivar began: told of every socket that is open
    :ivar ended: told when it is over and its leave handlers have been told
    """

    source: Source
    subscriptions: Subscriptions
    admission: Admission
    clock: Clock
    began: Callable[[StreamSocket], None]
    ended: Callable[[StreamSocket], None]


class StreamSocket:
    """A client.

    :param context: what ``auth_function`` said, JSON
    :param first: what its path joins
    """

    def __init__(self, hub: Hub, wire: Wire, context: Raw, first: Subscription | None) -> None:
        self._hub = hub
        self._wire = wire
        self._context = context
        self._first = first
        self._joined: dict[str, Subscription] = {}
        self._waiting: deque[tuple[Join | Leave | None, int]] = deque()
        self._missed = False
        self._waiting_bytes = 0
        self._working = False
        self._closed = False
        self._deaf = False
        self._limit_told = False
        self._drained: Deferred[None] | None = None
        self._subscriber: Subscriber

    def opened(self, outbox: Outbox) -> None:
        """Role: the upgrade is done."""
        self._subscriber = Subscriber(outbox, self._too_slow)
        self._subscriber.drained = self._go_on_sending
        self._hub.began(self)
        if self._first is not None:
            self._accept(Join(self._first), 0)

    @property
    def recordings(self) -> int:
        """How many of its subscriptions are to what the engine records of itself."""
        streams = (joined.stream_name for joined in self._joined.values())
        return sum(stream.startswith(RECORDINGS) for stream in streams)

    @property
    def joined(self) -> int:
        """How many subscriptions it has."""
        return len(self._joined)

    def received(self, payload: bytes, is_binary: bool) -> None:
        """Role: one frame, text or binary alike."""
        if self._deaf:
            return
        frame = frame_of(payload)
        if frame is None:
            log.debug("{peer}: ignored a frame of {n} bytes", peer=self._wire.peer, n=len(payload))
        elif (
            len(self._waiting) >= MAX_WAITING_FRAMES
            or self._waiting_bytes + len(payload) > MAX_WAITING_BYTES
        ):
            self._cut_off(f"{len(self._waiting)} of its frames wait")
        else:
            self._accept(frame, len(payload))

    def closed(self, clean: bool) -> None:
        """Role: nothing can be sent any more."""
        self._closed = True
        self._give_up()
        for joined in self._joined.values():
            self._hub.subscriptions.remove(self._subscriber, *_target(joined))
        self._go_on_sending()
        self._start()

    def sync_again(self) -> None:
        """Events were missed: every subscription begins anew."""
        if self._joined and not self._missed and not self._deaf:
            self._missed = True
            self._accept(None, 0)

    # One after the other ---------------------------------------------------------------

    def _accept(self, frame: Join | Leave | None, size: int) -> None:
        self._waiting.append((frame, size))
        self._waiting_bytes += size
        self._start()

    def _start(self) -> None:
        if not self._working:
            self._working = True
            Deferred.fromCoroutine(self._work()).addErrback(self._broken)

    async def _work(self) -> None:
        """Handle what waits; after the end, say goodbye."""
        try:
            while self._waiting:
                frame, size = self._waiting.popleft()
                self._waiting_bytes -= size
                if isinstance(frame, Join):
                    await self._join(frame.data)
                elif frame is None:
                    await self._sync_again()
                else:
                    await self._leave(frame.data)
        finally:
            self._working = False
        if self._closed:
            self._working = True
            await self._leave_all()

    def _broken(self, failure: Any) -> None:
        """A fault of ours costs this connection, visibly, and nobody else."""
        log.failure("{peer}: handling its frames failed", failure=failure, peer=self._wire.peer)
        if self._closed:
            self._hub.ended(self)
        else:
            self._give_up()
            self._wire.sendClose(CLOSE_INTERNAL_ERROR, "internal error")

    # Frames ----------------------------------------------------------------------------

    async def _join(self, wanted: Subscription) -> None:
        known = wanted.subscription_id in self._joined
        if not known and len(self._joined) >= MAX_SUBSCRIPTIONS:
            self._tell_of_limit(wanted)
            allowed = False
        else:
            allowed = await self._hub.admission.allows(wanted, self._context)
        if not allowed:
            self._refuse(wanted)
            return
        await self._room()
        former = self._joined.get(wanted.subscription_id)
        self._joined[wanted.subscription_id] = wanted
        if self._closed:
            return  # Its handlers let it in, so they hear of its end, too.
        subscriptions, subscriber = self._hub.subscriptions, self._subscriber
        if former is not None:
            subscriptions.remove(subscriber, *_target(former))
        subscriptions.add(subscriber, *_target(wanted))
        frame = await self._sync(wanted)
        if self._closed:
            return
        subscriptions.synced(subscriber, wanted.stream_name, wanted.group_id, frame)

    def _tell_of_limit(self, wanted: Subscription) -> None:
        """Once; it may go on trying."""
        if not self._limit_told:
            self._limit_told = True
            log.warn(
                "{peer}: refused a join of {stream}, and what follows: it has {n} subscriptions",
                peer=self._wire.peer,
                stream=wanted.stream_name,
                n=len(self._joined),
            )

    async def _room(self) -> None:
        """Wait until the client has taken most of what it was sent."""
        while self._subscriber.outbox.queued > HIGH_WATER_BYTES and not self._closed:
            self._drained = Deferred()
            timer = self._hub.clock.call_later(LOOK_S, self._go_on_sending)
            await self._drained
            if timer.active():
                timer.cancel()

    async def _sync(self, wanted: Subscription) -> bytes | None:
        """The first frame of a subscription, or None when its data can't be read."""
        source = self._hub.source
        stream, group, item = _target(wanted)
        # Before the read: an event that the data has in it is older than the sync.
        timestamp = source.timestamps.for_sync(stream, group, item)
        try:
            if item is None:
                data = await source.read_group(stream, group)
                if data is None or data == NULL:
                    data = EMPTY  # clients expect a list
            else:
                data = await source.read_item(stream, group, item)
                if data is None:
                    data = NULL
        except Exception as error:
            log.warn(
                "{peer}: no sync of {stream}/{group}: {error}",
                peer=self._wire.peer,
                stream=stream,
                group=group,
                error=error,
            )
            return None
        return text_frame(sync_frame(stream, group, item, timestamp, data))

    async def _sync_again(self) -> None:
        """Send what every subscription begins with; when it can't be read, not now."""
        self._missed = False
        subscriptions, subscriber = self._hub.subscriptions, self._subscriber
        for joined in list(self._joined.values()):
            await self._room()
            if self._closed:
                return
            subscriptions.sync_again(subscriber, *_target(joined))
            frame = await self._sync(joined)
            if self._closed:
                return
            subscriptions.synced(subscriber, joined.stream_name, joined.group_id, frame)
            if frame is None:
                return

    def _refuse(self, wanted: Subscription) -> None:
        if not self._closed:
            now = self._hub.clock.wall_ms()
            self._subscriber.send(text_frame(unauthorized_frame(*_target(wanted), now)))

    async def _leave(self, ended: Subscription) -> None:
        """The handlers hear what the client said, even of a subscription nobody knows."""
        joined = self._joined.pop(ended.subscription_id, None)
        if joined is not None:
            self._hub.subscriptions.remove(self._subscriber, *_target(joined))
        await self._hub.admission.left(ended, self._context)

    async def _leave_all(self) -> None:
        joined, self._joined = self._joined, {}
        for subscription in joined.values():
            await self._hub.admission.left(subscription, self._context)
        self._hub.ended(self)

    # Out -------------------------------------------------------------------------------

    def _go_on_sending(self) -> None:
        drained, self._drained = self._drained, None
        if drained is not None:
            drained.callback(None)

    def _too_slow(self) -> None:
        outbox = self._subscriber.outbox
        self._cut_off(f"it does not read: {outbox.queued} bytes wait")

    def _cut_off(self, why: str) -> None:
        log.warn("{peer}: closed, {why}", peer=self._wire.peer, why=why)
        self._give_up()
        self._wire.sendClose(CLOSE_OVERLOAD, why)

    def _give_up(self) -> None:
        """Nothing is heard or sent any more."""
        self._deaf = True
        self._waiting.clear()
        self._waiting_bytes = 0
        self._subscriber.stop()


def _target(subscription: Subscription) -> tuple[str, str, str | None]:
    return subscription.stream_name, subscription.group_id, subscription.id

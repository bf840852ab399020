"""The adapter ``bridge``: streams that another engine keeps.

Each operation is a call of the ``stream::*`` function there.  What happens is published there
on the topic ``stream.events``, by every engine that has a bridge, and by the one that keeps the
streams for what its own workers do; so every engine hears of everything, of its own writes
too, and tells its subscribers.  Triggers are fired by the engine that wrote.

What was published while there was no connection is lost; then subscriptions begin anew.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Raw
from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import Logger

from iii.bridge import BridgeAdapterConfig, BridgeError, Incoming, Link
from iii.bridge.asking import Asked, Written, ask, present, read, updated, written
from iii.bridge.circles import adapter_link
from iii.engine.ids import uuid4_text
from iii.engine.invocations import ErrorBody
from iii.engine.module import ModuleApi
from iii.errors import Code
from iii.modules.stream import events
from iii.modules.stream.adapter import Announcer, Heard
from iii.modules.stream.events import Event, Timestamps, Told
from iii.storage.store import Bucket, Change, Compute, Page, Store, StoreError
from iii.storage.updating import Updating

log = Logger()

#: What the other engine's lists show.
NAME = "iii-stream-bridge"
TOPIC = "stream.events"
PUBLISH = "publish"
LISTENER = "stream::bridge::on_pub::"

_GET = Asked("stream::get", "get value")
_SET = Asked("stream::set", "set value")
_DELETE = Asked("stream::delete", "delete value")
_UPDATE = Asked("stream::update", "update value")
_LIST = Asked("stream::list", "get group")
_GROUPS = Asked("stream::list_groups", "list groups")
_ALL = Asked("stream::list_all", "list streams")

_read_event = msgspec.json.Decoder(Told).decode


class _Stream(msgspec.Struct):
    id: str
    groups: list[str]


class _Streams(msgspec.Struct):
    stream: list[_Stream]


class BridgeStreamStore(Announcer):
    """A ``Store`` whose items are in another engine."""

    def __init__(self, engine: ModuleApi, link: Link) -> None:
        self._link = link
        self._stamps = Timestamps(engine.clock)
        self._told: Heard | None = None
        self._missed: Callable[[], None] | None = None
        self._was_connected = False
        listener = LISTENER + uuid4_text()
        link.offer(listener, self._heard)
        link.trigger("subscribe", listener, {"topic": TOPIC}, self._refused)
        link.on_connected(self._connected)

    # Store -----------------------------------------------------------------------------

    def get(self, bucket: Bucket, key: str) -> Deferred[Raw | None]:
        """Store: the value."""
        return self._ask(_GET, bucket, item_id=key)

    def set(self, bucket: Bucket, key: str, value: Raw) -> Deferred[Change]:
        """Store: keep a value."""
        asking = self._ask(_SET, bucket, item_id=key, data=value)
        return asking.addCallback(written, _SET, value).addCallback(self._tell, bucket, key)

    def delete(self, bucket: Bucket, key: str) -> Deferred[Change]:
        """Store: take a value out."""
        asking = self._ask(_DELETE, bucket, item_id=key)
        return asking.addCallback(_deleted).addCallback(self._tell, bucket, key)

    def update(self, bucket: Bucket, key: str, compute: Compute) -> Deferred[Change]:
        """Store: have the operations done there."""
        assert isinstance(compute, Updating)
        asking = self._ask(_UPDATE, bucket, item_id=key, ops=compute.ops)
        return asking.addCallback(updated, _UPDATE, compute).addCallback(self._tell, bucket, key)

    def values(self, bucket: Bucket) -> Deferred[list[Raw]]:
        """Store: all values of a group."""
        return self._ask(_LIST, bucket).addCallback(read, list[Raw], _LIST, "array")

    def keys(self, bucket: Bucket) -> Deferred[list[str]]:
        """Store: no function of the stream module tells keys."""
        return fail(_unknown("keys"))

    def page(self, bucket: Bucket, after: int, limit: int, max_bytes: int) -> Deferred[Page]:
        """Store: no function of the stream module has pages."""
        return fail(_unknown("pages"))

    def buckets(self, first: str | None = None) -> Deferred[list[Bucket]]:
        """Store: the groups that hold something."""
        if first is not None:
            asking: Deferred[Any] = ask(self._link, _GROUPS, {"stream_name": first})
            asking.addCallback(read, list[str], _GROUPS, "array")
            return asking.addCallback(lambda groups: sorted((first, group) for group in groups))
        asking = ask(self._link, _ALL, {})
        return asking.addCallback(read, _Streams, _ALL, "'stream' field").addCallback(_pairs)

    def close(self) -> Deferred[None]:
        """Store: end the link."""
        self._told = self._missed = None
        return self._link.stop()

    # Announcer -------------------------------------------------------------------------

    def listen(self, stamps: Timestamps, heard: Heard, missed: Callable[[], None]) -> None:
        """Announcer: who is told from now on."""
        self._stamps = stamps
        self._told = heard
        self._missed = missed

    def announce(self, event: Event) -> Deferred[None]:
        """Announcer: publish it."""
        try:
            self._publish(event.payload)
        except BridgeError as error:
            return fail(StoreError(error.code, error.message))
        return succeed(None)

    # Inside ----------------------------------------------------------------------------

    def _ask(self, asked: Asked, bucket: Bucket, **data: Any) -> Deferred[Any]:
        return ask(self._link, asked, {"stream_name": bucket[0], "group_id": bucket[1], **data})

    def _tell(self, change: Change, bucket: Bucket, key: str) -> Change:
        """A write is done: let all engines know."""
        old, new = change
        if new is not None:
            what: Any = events.Created(new) if old is None else events.Updated(new)
        elif old is not None:
            what = events.Deleted(old)
        else:
            return change
        stream, group = bucket
        timestamp = self._stamps.next(stream, group, key)
        try:
            self._publish(events.envelope(stream, group, key, timestamp, what))
        except BridgeError as error:
            log.error("an event of {stream} is lost: {reason}", stream=stream, reason=error.message)
        return change

    def _publish(self, payload: bytes) -> None:
        self._link.send(PUBLISH, {"topic": TOPIC, "data": Raw(payload)})

    def _heard(self, incoming: Incoming) -> None:
        """An engine has published something."""
        try:
            told = _read_event(incoming.data)
        except (msgspec.MsgspecError, RecursionError) as error:
            text = f"this is no stream event: {error}"
            incoming.answer(None, ErrorBody(Code.DESERIALIZATION_ERROR, text))
            return
        incoming.answer(None)
        if self._told is not None:
            self._told(told, bytes(incoming.data))

    def _connected(self) -> None:
        """Events are heard from now on; before the first time nobody has missed anything."""
        if self._was_connected and self._missed is not None:
            self._missed()
        self._was_connected = True

    def _refused(self, error: ErrorBody) -> None:
        log.error(
            "{remote} does not tell of stream events, subscribers here hear of nothing: {reason}",
            remote=str(self._link.remote),
            reason=error.message,
        )


class BridgeStreams:
    """Opens the store."""

    config = BridgeAdapterConfig

    def __init__(self, settings: BridgeAdapterConfig) -> None:
        self._remote = settings.remote

    def open(self, engine: ModuleApi, name: str, stores: dict[str, str]) -> Store:
        """The store; the other engine need not be there yet.

        :raises StartError: its authority's file can't be used
        """
        link = adapter_link(engine, self._remote, NAME, "streams can't be read or written")
        store = BridgeStreamStore(engine, link)
        link.start()
        return store


def _deleted(answer: Raw | None) -> Change:
    return Change(present(read(answer, Written, _DELETE, "'old_value' field").old_value), None)


def _pairs(found: _Streams) -> list[Bucket]:
    return sorted((stream.id, group) for stream in found.stream for group in stream.groups)


def _unknown(what: str) -> StoreError:
    return StoreError(Code.NOT_SUPPORTED, f"there are no {what} of streams through a bridge")

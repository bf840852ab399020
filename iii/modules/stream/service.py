"""The ``stream::*`` functions.

A group of a stream is a bucket of the store, unless a worker provides the stream
(``providers``).  A write becomes an event when it is done: triggers hear of it, then
subscribers, then the caller.  Events have the order of the writes.

Most writes interest nobody but the caller: then there is no timestamp and no envelope.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec
from msgspec import Raw
from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from iii.engine.invocations import NULL, Call
from iii.engine.module import ModuleApi
from iii.errors import IIIError
from iii.modules.stream import events, failures, shapes
from iii.modules.stream.adapter import Announcer
from iii.modules.stream.events import Event, Timestamps, Told
from iii.modules.stream.peers import Peers
from iii.modules.stream.providers import Providers
from iii.modules.stream.triggers import StreamTriggers
from iii.storage.browsing import browse
from iii.storage.refusals import check_size
from iii.storage.store import Bucket, Change, Store, StoreError
from iii.storage.updating import Updating

log = Logger()

Wants = Callable[[str, str, str | None], bool]
Errors = list[Any]


class Outlet(NamedTuple):
    """Where events go besides triggers.

    :ivar wants: whether anybody wants an event of this stream, group and item
    :ivar publish: takes it; a Deferred fires when somebody else has it
    """

    wants: Wants
    publish: Callable[[Event], Deferred[None] | None]


EMPTY = Raw(b"[]")


class Streams:
    """The functions, over a store.

    :param wants: whether a subscriber wants an event of this stream, group and item
    :param publish: gives an event to the subscribers
    :param announcer: the store, when it tells of its writes itself, and of what else it
        is given: then every event, our own too, comes back as one that was heard
    :param max_value_bytes: larger values are refused; None: no limit
    :ivar timestamps: those of what subscribers get
    :ivar stamps: those of what happens here; the same, unless the store is an announcer
    :ivar peers: other engines that want to know what happens here
    """

    def __init__(
        self,
        engine: ModuleApi,
        store: Store,
        triggers: StreamTriggers,
        *,
        wants: Wants,
        publish: Callable[[Event], None],
        announcer: Announcer | None = None,
        max_value_bytes: int | None = None,
    ) -> None:
        self.timestamps = Timestamps(engine.clock)
        self.stamps = self.timestamps
        self._here = self._written_out = self._sent_out = Outlet(wants, publish)
        if announcer is not None:
            # Our own events are heard after others may have been written: two clocks.
            self.stamps = Timestamps(engine.clock)
            self._written_out = Outlet(_nobody, _nowhere)
            self._sent_out = Outlet(_somebody, announcer.announce)
        self._store = store
        self._triggers = triggers
        self._providers = Providers(engine)
        self._max_value_bytes = max_value_bytes
        self.peers: Peers | None = None

    # Writing ---------------------------------------------------------------------------

    def set(self, asked: shapes.SetInput, call: Call) -> Deferred[shapes.Written]:
        """``stream::set``."""
        check_size(asked.data, self._max_value_bytes)
        if self._providers.have("set", asked.stream_name):
            return Deferred.fromCoroutine(self._set_provided(asked, call))
        writing = self._store.set((asked.stream_name, asked.group_id), asked.item_id, asked.data)
        return writing.addCallbacks(
            self._written, failures.SET.refuse, callbackArgs=(asked, call, self._written_out)
        )

    def delete(self, asked: shapes.DeleteInput, call: Call) -> Deferred[shapes.Deleted]:
        """``stream::delete``: an event only when there was something."""
        if self._providers.have("delete", asked.stream_name):
            return Deferred.fromCoroutine(self._delete_provided(asked, call))
        writing = self._store.delete((asked.stream_name, asked.group_id), asked.item_id)
        return writing.addCallbacks(
            self._deleted, failures.DELETE.refuse, callbackArgs=(asked, call, self._written_out)
        )

    def update(self, asked: shapes.UpdateInput, call: Call) -> Deferred[shapes.Updated]:
        """``stream::update``: operations that can't be done are told in ``errors``."""
        updating = Updating(asked.ops, self._max_value_bytes)
        stream, have = asked.stream_name, self._providers.have
        if have("update", stream):
            return Deferred.fromCoroutine(self._update_provided(asked, call))
        if have("get", stream) and have("set", stream):
            return Deferred.fromCoroutine(self._rewrite_provided(asked, call, updating))
        writing = self._store.update((stream, asked.group_id), asked.item_id, updating)
        return writing.addCallbacks(
            self._updated,
            failures.UPDATE.refuse,
            callbackArgs=(asked, call, self._written_out, updating.errors),
        )

    def send(self, asked: shapes.SendInput, call: Call) -> Raw | Deferred[Raw]:
        """``stream::send``: an event of the caller's own; nothing is stored."""
        body = events.CustomBody(asked.type, asked.data)
        stream, out = asked.stream_name, self._sent_out
        try:
            told = self._tell(stream, asked.group_id, asked.id, events.Custom, body, call, out)
        except Exception as error:
            log.failure("an event of {stream} is lost", stream=stream)
            raise failures.SEND.failed(str(error)) from error
        return NULL if told is None else failures.SEND.told(told.addCallback(_null))

    # Reading ---------------------------------------------------------------------------

    def get(
        self, asked: shapes.GetInput, call: Call | None = None
    ) -> Raw | Deferred[Raw | None] | None:
        """``stream::get``: the value; no result when there is none."""
        if self._providers.have("get", asked.stream_name):
            return self._providers.read("get", asked, call)
        try:
            found = self._store.get((asked.stream_name, asked.group_id), asked.item_id)
        except StoreError as error:
            raise failures.GET.failed(error.message) from error
        return failures.GET.told(found) if isinstance(found, Deferred) else found

    def list(self, asked: shapes.ListInput, call: Call | None = None) -> Deferred[Any]:
        """``stream::list``: the values of a group, oldest item first."""
        if self._providers.have("list", asked.stream_name):
            return self._providers.read("list", asked, call)
        return failures.LIST.told(self._store.values((asked.stream_name, asked.group_id)))

    def list_groups(self, asked: shapes.ListGroupsInput, call: Call) -> Deferred[Any]:
        """``stream::list_groups``: those that hold something, sorted."""
        if self._providers.have("list_groups", asked.stream_name):
            return self._providers.read("list_groups", asked, call)
        return failures.LIST_GROUPS.told(
            self._store.buckets(asked.stream_name).addCallback(_groups)
        )

    def list_all(self, asked: shapes.ListAllInput) -> Deferred[shapes.AllStreams]:
        """``stream::list_all``: what the store holds; providers keep theirs to themselves."""
        return failures.LIST_ALL.told(self._store.buckets().addCallback(_all_streams))

    async def items(self, asked: shapes.ItemsInput) -> shapes.Items:
        """``engine::stream::items``: what the store holds of a group, with ids.

        :raises IIIError: the cursor is none, or the store can't say
        """
        bucket = (asked.stream_name, asked.group_id)
        try:
            found = await browse(self._store, bucket, cursor=asked.cursor, limit=asked.limit)
        except StoreError as error:
            raise failures.LIST.failed(error.message) from error
        rows = [shapes.ItemRow(id, data, memoryview(data).nbytes) for id, data in found.entries]
        return shapes.Items(rows, found.cursor, found.total)

    def read_item(self, stream: str, group: str, item: str) -> Deferred[Raw | None]:
        """What ``stream::get`` gives."""
        try:
            found = self.get(shapes.GetInput(stream, group, item))
        except IIIError:
            return fail()
        return found if isinstance(found, Deferred) else succeed(found)

    def read_group(self, stream: str, group: str) -> Deferred[Raw | None]:
        """What ``stream::list`` gives; an empty array where a provider gives nothing."""
        return self.list(shapes.ListInput(stream, group)).addCallback(_array)

    # Heard -----------------------------------------------------------------------------

    def heard(self, told: Told, payload: bytes) -> None:
        """An event of any engine, in the order of the writes: for the subscribers here.

        :param payload: ``told`` as it came
        """
        stream, group, item = told.stream_name, told.group_id, told.id
        if not self._here.wants(stream, group, item):
            return
        timestamp = self.timestamps.heard(stream, group, item, told.timestamp)
        if timestamp != told.timestamp:
            payload = events.envelope(stream, group, item, timestamp, told.event)
        self._here.publish(Event(stream, group, item, payload))

    # Done ------------------------------------------------------------------------------

    async def _set_provided(self, asked: shapes.SetInput, call: Call) -> shapes.Written:
        async with self._providers.alone(asked, failures.SET):
            change = await self._providers.set(asked, call)
            return self._written(change, asked, call, self._sent_out)

    async def _delete_provided(self, asked: shapes.DeleteInput, call: Call) -> shapes.Deleted:
        async with self._providers.alone(asked, failures.DELETE):
            change = await self._providers.delete(asked, call)
            return self._deleted(change, asked, call, self._sent_out)

    async def _update_provided(self, asked: shapes.UpdateInput, call: Call) -> shapes.Updated:
        async with self._providers.alone(asked, failures.UPDATE):
            change, errors = await self._providers.update(asked, call)
            return self._updated(change, asked, call, self._sent_out, errors)

    async def _rewrite_provided(
        self, asked: shapes.UpdateInput, call: Call, updating: Updating
    ) -> shapes.Updated:
        async with self._providers.alone(asked, failures.UPDATE):
            change = await self._providers.update_by_rewriting(asked, call, updating)
            return self._updated(change, asked, call, self._sent_out, updating.errors)

    def _written(
        self, change: Change, asked: shapes.SetInput, call: Call, out: Outlet
    ) -> shapes.Written:
        old, new = self._changed(change, asked, call, out)
        return shapes.Written(old, new)

    def _updated(
        self, change: Change, asked: shapes.UpdateInput, call: Call, out: Outlet, errors: Errors
    ) -> shapes.Updated:
        old, new = self._changed(change, asked, call, out)
        return shapes.Updated(old, new, errors)

    def _changed(
        self, change: Change, asked: shapes.ItemInput, call: Call, out: Outlet
    ) -> tuple[Raw, Raw]:
        """Tell of a value that was stored; what to call it before and after."""
        old, new = change
        if new is None:
            new = NULL
        kind: Any = events.Created if old is None else events.Updated
        self._happened(asked, kind, new, call, out)
        return (NULL if old is None else old), new

    def _deleted(
        self, change: Change, asked: shapes.DeleteInput, call: Call, out: Outlet
    ) -> shapes.Deleted:
        old = change.old
        if old is None:
            return shapes.Deleted(NULL)
        self._happened(asked, events.Deleted, old, call, out)
        return shapes.Deleted(old)

    def _happened(
        self,
        asked: shapes.ItemInput,
        kind: Callable[[Any], Any],
        data: Raw,
        call: Call,
        out: Outlet,
    ) -> None:
        """Tell of a write.  It is done, so what goes wrong here is not the caller's."""
        stream = asked.stream_name
        try:
            told = self._tell(stream, asked.group_id, asked.item_id, kind, data, call, out)
        except Exception:
            log.failure("an event of {stream} is lost", stream=stream)
        else:
            if told is not None:
                told.addErrback(_lost, stream)

    def _tell(
        self,
        stream: str,
        group: str,
        item: str | None,
        kind: Callable[[Any], Any],
        data: Any,
        call: Call,
        out: Outlet,
    ) -> Deferred[None] | None:
        """Tell triggers and subscribers what ``call`` did."""
        concerned = self._triggers.concerned(stream, group, item)
        peers = self.peers
        bridged = peers is not None and peers.there
        if not concerned and not bridged and not out.wants(stream, group, item):
            return None
        timestamp = self.stamps.next(stream, group, item)
        payload = events.envelope(stream, group, item, timestamp, kind(data))
        if concerned:
            self._triggers.tell(concerned, stream, Raw(payload), call)
        if peers is not None and bridged:
            peers.tell(payload, custom=kind is events.Custom, call=call)
        return out.publish(Event(stream, group, item, payload))


def _nobody(stream: str, group: str, item: str | None) -> bool:
    return False


def _somebody(stream: str, group: str, item: str | None) -> bool:
    return True


def _nowhere(event: Event) -> None:
    """The store has told of it."""


def _null(_: None) -> Raw:
    return NULL


def _lost(failure: Failure, stream: str) -> None:
    failure.trap(StoreError)
    log.error("an event of {stream} is lost: {reason}", stream=stream, reason=failure.value)


def _groups(buckets: list[Bucket]) -> list[str]:
    return sorted(group for _, group in buckets)


def _all_streams(buckets: list[Bucket]) -> shapes.AllStreams:
    groups: dict[str, list[str]] = {}
    for stream, group in sorted(buckets):
        groups.setdefault(stream, []).append(group)
    rows = [shapes.StreamRow(stream, names) for stream, names in groups.items()]
    return shapes.AllStreams(rows, len(rows))


def _array(values: Any) -> Raw:
    if isinstance(values, list):
        return Raw(msgspec.json.encode(values))
    return EMPTY if values is None or values == NULL else values

"""The ``stream::*`` functions.

A group of a stream is a bucket of the store, unless a worker provides the stream
(``providers``).  A write becomes an event when it is done: triggers hear of it, then
subscribers, then the caller.  Events have the order of the writes.

Most writes interest nobody but the caller: then there is no timestamp and no envelope.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Raw
from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import Logger

from iii.engine.invocations import NULL, Call
from iii.engine.module import ModuleApi
from iii.errors import IIIError
from iii.modules.stream import events, failures, shapes
from iii.modules.stream.events import Event, Timestamps
from iii.modules.stream.providers import Providers
from iii.modules.stream.triggers import StreamTriggers
from iii.storage import updates
from iii.storage.refusals import check_size
from iii.storage.store import Bucket, Change, Store, StoreError

log = Logger()

Wants = Callable[[str, str, str | None], bool]
Errors = list[Any]

EMPTY = Raw(b"[]")


class Streams:
    """The functions, over a store.

    :param wants: whether a subscriber wants an event of this stream, group and item
    :param publish: gives an event to the subscribers
    :param max_value_bytes: larger values are refused; None: no limit
    :ivar timestamps: those of events, and of what subscriptions begin with
    """

    def __init__(
        self,
        engine: ModuleApi,
        store: Store,
        triggers: StreamTriggers,
        *,
        wants: Wants,
        publish: Callable[[Event], None],
        max_value_bytes: int | None = None,
    ) -> None:
        self.timestamps = Timestamps(engine.clock)
        self._store = store
        self._triggers = triggers
        self._providers = Providers(engine)
        self._wants = wants
        self._publish = publish
        self._max_value_bytes = max_value_bytes

    # Writing ---------------------------------------------------------------------------

    def set(self, asked: shapes.SetInput, call: Call) -> Deferred[shapes.Written]:
        """``stream::set``."""
        check_size(asked.data, self._max_value_bytes)
        if self._providers.have("set", asked.stream_name):
            return Deferred.fromCoroutine(self._set_provided(asked, call))
        writing = self._store.set((asked.stream_name, asked.group_id), asked.item_id, asked.data)
        return writing.addCallbacks(self._written, failures.SET.refuse, callbackArgs=(asked, call))

    def delete(self, asked: shapes.DeleteInput, call: Call) -> Deferred[shapes.Deleted]:
        """``stream::delete``: an event only when there was something."""
        if self._providers.have("delete", asked.stream_name):
            return Deferred.fromCoroutine(self._delete_provided(asked, call))
        writing = self._store.delete((asked.stream_name, asked.group_id), asked.item_id)
        return writing.addCallbacks(
            self._deleted, failures.DELETE.refuse, callbackArgs=(asked, call)
        )

    def update(self, asked: shapes.UpdateInput, call: Call) -> Deferred[shapes.Updated]:
        """``stream::update``: operations that can't be done are told in ``errors``."""
        ops = updates.read_ops(asked.ops)
        errors: Errors = []

        def compute(old: Raw | None) -> Raw:
            outcome = updates.apply(old, ops)
            errors[:] = outcome.errors
            check_size(outcome.new, self._max_value_bytes)
            return outcome.new

        stream, have = asked.stream_name, self._providers.have
        if have("update", stream):
            return Deferred.fromCoroutine(self._update_provided(asked, call))
        if have("get", stream) and have("set", stream):
            return Deferred.fromCoroutine(self._rewrite_provided(asked, call, compute, errors))
        writing = self._store.update((stream, asked.group_id), asked.item_id, compute)
        return writing.addCallbacks(
            self._updated, failures.UPDATE.refuse, callbackArgs=(asked, call, errors)
        )

    def send(self, asked: shapes.SendInput, call: Call) -> Raw:
        """``stream::send``: an event of the caller's own; nothing is stored."""
        body = events.CustomBody(asked.type, asked.data)
        try:
            self._tell(asked.stream_name, asked.group_id, asked.id, events.Custom, body, call)
        except Exception as error:
            log.failure("an event of {stream} is lost", stream=asked.stream_name)
            raise failures.SEND.failed(str(error)) from error
        return NULL

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

    # Done ------------------------------------------------------------------------------

    async def _set_provided(self, asked: shapes.SetInput, call: Call) -> shapes.Written:
        async with self._providers.alone(asked, failures.SET):
            return self._written(await self._providers.set(asked, call), asked, call)

    async def _delete_provided(self, asked: shapes.DeleteInput, call: Call) -> shapes.Deleted:
        async with self._providers.alone(asked, failures.DELETE):
            return self._deleted(await self._providers.delete(asked, call), asked, call)

    async def _update_provided(self, asked: shapes.UpdateInput, call: Call) -> shapes.Updated:
        async with self._providers.alone(asked, failures.UPDATE):
            change, errors = await self._providers.update(asked, call)
            return self._updated(change, asked, call, errors)

    async def _rewrite_provided(
        self,
        asked: shapes.UpdateInput,
        call: Call,
        compute: Callable[[Raw | None], Raw],
        errors: Errors,
    ) -> shapes.Updated:
        async with self._providers.alone(asked, failures.UPDATE):
            change = await self._providers.update_by_rewriting(asked, call, compute)
            return self._updated(change, asked, call, errors)

    def _written(self, change: Change, asked: shapes.SetInput, call: Call) -> shapes.Written:
        old, new = self._changed(change, asked, call)
        return shapes.Written(old, new)

    def _updated(
        self, change: Change, asked: shapes.UpdateInput, call: Call, errors: Errors
    ) -> shapes.Updated:
        old, new = self._changed(change, asked, call)
        return shapes.Updated(old, new, errors)

    def _changed(self, change: Change, asked: shapes.ItemInput, call: Call) -> tuple[Raw, Raw]:
        """Tell of a value that was stored; what to call it before and after."""
        old, new = change
        if new is None:
            new = NULL
        kind: Any = events.Created if old is None else events.Updated
        self._happened(asked, kind, new, call)
        return (NULL if old is None else old), new

    def _deleted(self, change: Change, asked: shapes.DeleteInput, call: Call) -> shapes.Deleted:
        old = change.old
        if old is None:
            return shapes.Deleted(NULL)
        self._happened(asked, events.Deleted, old, call)
        return shapes.Deleted(old)

    def _happened(
        self, asked: shapes.ItemInput, kind: Callable[[Any], Any], data: Raw, call: Call
    ) -> None:
        """Tell of a write.  It is done, so what goes wrong here is not the caller's."""
        try:
            self._tell(asked.stream_name, asked.group_id, asked.item_id, kind, data, call)
        except Exception:
            log.failure("an event of {stream} is lost", stream=asked.stream_name)

    def _tell(
        self,
        stream: str,
        group: str,
        item: str | None,
        kind: Callable[[Any], Any],
        data: Any,
        call: Call,
    ) -> None:
        """Tell triggers and subscribers what ``call`` did."""
        concerned = self._triggers.concerned(stream, group, item)
        if not concerned and not self._wants(stream, group, item):
            return
        timestamp = self.timestamps.next(stream, group, item)
        payload = events.envelope(stream, group, item, timestamp, kind(data))
        if concerned:
            self._triggers.tell(concerned, stream, Raw(payload), call)
        self._publish(Event(stream, group, item, payload))


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

"""The ``state::*`` functions.

A scope is a bucket of the store.  What a caller is told and what a trigger hears
come from the same ``Change`` of the store, after the write is as safe as the store
promises: events first, in the order of the writes, then the reply.  Nobody waits
for the functions of triggers.
"""

from __future__ import annotations

import re
from typing import TypeVar

from msgspec import Raw
from twisted.internet.defer import Deferred

from iii.engine.invocations import NULL, Call
from iii.errors import Code, IIIError
from iii.modules.state import shapes
from iii.modules.state.triggers import StateTriggers
from iii.storage import updates
from iii.storage.refusals import What, check_size
from iii.storage.store import Bucket, Change, Page, Store, StoreError
from iii.storage.updating import Updating

T = TypeVar("T")

DEFAULT_PAGE_ENTRIES = 100
DEFAULT_PAGE_BYTES = 1_000_000

_CURSOR = re.compile(r"(\d{1,18})\.(\d{1,18})", re.ASCII)

# What fails with which code, and how it is put.
_GET = What(Code.GET_ERROR, "Failed to get value")
_SET = What(Code.SET_ERROR, "Failed to set value")
_DELETE = What(Code.DELETE_ERROR, "Failed to delete value")
_UPDATE = What(Code.UPDATE_ERROR, "Failed to update value")
_LIST = What(Code.LIST_ERROR, "Failed to list values")
_LIST_KEYS = What(Code.LIST_KEYS_ERROR, "Failed to list keys")
_LIST_GROUPS = What(Code.LIST_GROUPS_ERROR, "Failed to list groups")
_Errors = list[updates.OpError]


class State:
    """The functions, over a store.

    :param max_value_bytes: larger values are refused; None: no limit
    """

    def __init__(
        self, store: Store, triggers: StateTriggers, max_value_bytes: int | None = None
    ) -> None:
        self._store = store
        self._triggers = triggers
        self._max_value_bytes = max_value_bytes

    def get(self, asked: shapes.GetInput) -> Raw | Deferred[Raw | None] | None:
        """``state::get``: the value; no result when there is none."""
        try:
            found = self._store.get((asked.scope, ""), asked.key)
        except StoreError as error:
            raise _GET.failed(error.message) from error
        if isinstance(found, Deferred):
            _GET.told(found)
        return found

    def set(self, asked: shapes.SetInput, call: Call) -> Deferred[shapes.Written]:
        """``state::set``."""
        check_size(asked.value, self._max_value_bytes)
        writing = self._store.set((asked.scope, ""), asked.key, asked.value)
        return writing.addCallbacks(self._written, _SET.refuse, callbackArgs=(asked, call))

    def delete(self, asked: shapes.DeleteInput, call: Call) -> Deferred[Raw | None]:
        """``state::delete``: the value that was; an event also when there was none."""
        writing = self._store.delete((asked.scope, ""), asked.key)
        return writing.addCallbacks(self._deleted, _DELETE.refuse, callbackArgs=(asked, call))

    def update(self, asked: shapes.UpdateInput, call: Call) -> Deferred[shapes.Updated]:
        """``state::update``: operations that can't be done are told in ``errors``."""
        updating = Updating(asked.ops, self._max_value_bytes)
        writing = self._store.update((asked.scope, ""), asked.key, updating)
        return writing.addCallbacks(
            self._updated, _UPDATE.refuse, callbackArgs=(asked, call, updating.errors)
        )

    def list(self, asked: shapes.ListInput) -> Deferred[list[Raw]]:
        """``state::list``: the values, oldest key first."""
        return _LIST.told(self._store.values((asked.scope, "")))

    def list_keys(self, asked: shapes.ListInput) -> Deferred[shapes.Keys]:
        """``state::list_keys``: the keys, oldest first."""
        return _LIST_KEYS.told(self._store.keys((asked.scope, "")).addCallback(shapes.Keys))

    def list_groups(self, asked: shapes.ListGroupsInput) -> Deferred[shapes.Groups]:
        """``state::list_groups``: the scopes that hold something, sorted."""
        return _LIST_GROUPS.told(self._store.buckets().addCallback(_groups))

    def list_entries(self, asked: shapes.ListEntriesInput) -> Deferred[shapes.Entries]:
        """``state::list_entries``: keys and values, a page at a time."""
        after, offset = _position(asked.cursor)
        max_bytes = asked.max_bytes or DEFAULT_PAGE_BYTES
        page = self._store.page(
            (asked.scope, ""), after, asked.limit or DEFAULT_PAGE_ENTRIES, max_bytes
        )
        return _LIST.told(page.addCallback(_entries, offset, max_bytes))

    def _written(self, change: Change, asked: shapes.SetInput, call: Call) -> shapes.Written:
        self._triggers.changed(asked.scope, asked.key, change, call)
        old, new = change
        return shapes.Written(NULL if old is None else old, NULL if new is None else new)

    def _deleted(self, change: Change, asked: shapes.DeleteInput, call: Call) -> Raw | None:
        self._triggers.changed(asked.scope, asked.key, change, call)
        return change.old

    def _updated(
        self, change: Change, asked: shapes.UpdateInput, call: Call, errors: _Errors
    ) -> shapes.Updated:
        self._triggers.changed(asked.scope, asked.key, change, call)
        old, new = change
        return shapes.Updated(NULL if old is None else old, NULL if new is None else new, errors)


def _groups(buckets: list[Bucket]) -> shapes.Groups:
    return shapes.Groups(sorted({scope for scope, _ in buckets}))


def _position(cursor: str | None) -> tuple[int, int]:
    """Where a page begins: the store's position, and how many entries came before.

    :raises IIIError: ``INVALID_CURSOR``
    """
    if cursor is None:
        return 0, 0
    match = _CURSOR.fullmatch(cursor)
    if match is None:
        raise IIIError(Code.INVALID_CURSOR, "cursor is not the next_cursor of an earlier page")
    return int(match[1]), int(match[2])


def _entries(page: Page, offset: int, max_bytes: int) -> shapes.Entries:
    entries = page.entries
    # The largest page takes any row, or some could never be read.
    if len(entries) == 1 and max_bytes < shapes.MAX_PAGE_BYTES:
        key, value = entries[0]
        size = len(key.encode()) + memoryview(value).nbytes
        if size > max_bytes:
            raise IIIError(
                Code.ROW_TOO_LARGE,
                f"entry '{key[:100]}' has {size} bytes, max_bytes is {max_bytes};"
                f" with {shapes.MAX_PAGE_BYTES} every entry is given",
            )
    following = None if page.done else f"{page.last}.{offset + len(entries)}"
    return shapes.Entries(entries, following, page.done, offset, page.total)

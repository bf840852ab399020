"""The adapter ``bridge``: values that another engine keeps.

Each operation is a call of the ``state::*`` function there, so the values are as safe as
that engine makes them.  Triggers are fired there for what happens there, and here for what
is written through here.

Operations of ``state::update`` are done there as well, with no other write in between.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw
from twisted.internet.defer import Deferred

from iii.bridge import BridgeAdapterConfig, Link
from iii.bridge.asking import Asked, ask, read, updated, written
from iii.bridge.circles import adapter_link
from iii.engine.module import ModuleApi
from iii.storage.store import Bucket, Change, Compute, Page, Store
from iii.storage.updating import Updating

#: What the other engine's lists show.
NAME = "iii-state-bridge"

_GET = Asked("state::get", "get value")
_SET = Asked("state::set", "set value")
_DELETE = Asked("state::delete", "delete value")
_UPDATE = Asked("state::update", "update value")
_LIST = Asked("state::list", "list values")
_KEYS = Asked("state::list_keys", "list keys")
_ENTRIES = Asked("state::list_entries", "list values")
_GROUPS = Asked("state::list_groups", "list groups")


class _Groups(msgspec.Struct):
    groups: list[str]


class _Keys(msgspec.Struct):
    keys: list[str]


class _Entries(msgspec.Struct):
    entries: list[tuple[str, Raw]]
    next_cursor: str | None
    done: bool
    total: int


class BridgeStore:
    """A ``Store`` whose values are in another engine."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def get(self, bucket: Bucket, key: str) -> Deferred[Raw | None]:
        """Store: the value."""
        return self._ask(_GET, bucket, key=key)

    def set(self, bucket: Bucket, key: str, value: Raw) -> Deferred[Change]:
        """Store: keep a value."""
        return self._ask(_SET, bucket, key=key, value=value).addCallback(written, _SET, value)

    def delete(self, bucket: Bucket, key: str) -> Deferred[Change]:
        """Store: take a value out."""
        return self._ask(_DELETE, bucket, key=key).addCallback(lambda old: Change(old, None))

    def update(self, bucket: Bucket, key: str, compute: Compute) -> Deferred[Change]:
        """Store: have the operations done there."""
        assert isinstance(compute, Updating)
        asking = self._ask(_UPDATE, bucket, key=key, ops=compute.ops)
        return asking.addCallback(updated, _UPDATE, compute)

    def values(self, bucket: Bucket) -> Deferred[list[Raw]]:
        """Store: all values."""
        return self._ask(_LIST, bucket).addCallback(read, list[Raw], _LIST, "array")

    def keys(self, bucket: Bucket) -> Deferred[list[str]]:
        """Store: all keys; engines of the original don't tell them."""
        asking = self._ask(_KEYS, bucket).addCallback(read, _Keys, _KEYS, "'keys' field")
        return asking.addCallback(lambda found: found.keys)

    def page(self, bucket: Bucket, after: int, limit: int, max_bytes: int) -> Deferred[Page]:
        """Store: a part of a scope; engines of the original don't have that."""
        more = {"cursor": f"{after}.0"} if after else {}
        asking = self._ask(_ENTRIES, bucket, limit=limit, max_bytes=max_bytes, **more)
        return asking.addCallback(read, _Entries, _ENTRIES, "page").addCallback(_page)

    def buckets(self, first: str | None = None) -> Deferred[list[Bucket]]:
        """Store: the scopes that hold something."""
        asking = ask(self._link, _GROUPS, {})
        return asking.addCallback(read, _Groups, _GROUPS, "'groups' field").addCallback(
            lambda found: [(scope, "") for scope in found.groups if first in (None, scope)]
        )

    def close(self) -> Deferred[None]:
        """Store: end the link."""
        return self._link.stop()

    def _ask(self, asked: Asked, bucket: Bucket, **data: Any) -> Deferred[Any]:
        return ask(self._link, asked, {"scope": bucket[0], **data})


class BridgeState:
    """Opens the store."""

    config = BridgeAdapterConfig

    def __init__(self, settings: BridgeAdapterConfig) -> None:
        self._remote = settings.remote

    def open(self, engine: ModuleApi, name: str, stores: dict[str, str]) -> Store:
        """The store; the other engine need not be there yet.

        :raises StartError: its authority's file can't be used
        """
        link = adapter_link(engine, self._remote, NAME, "state can't be read or written")
        link.start()
        return BridgeStore(link)


def _page(found: _Entries) -> Page:
    last = int(found.next_cursor.partition(".")[0]) if found.next_cursor else 0
    return Page(found.entries, last, found.done, found.total)

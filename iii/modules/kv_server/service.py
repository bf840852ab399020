"""The ``kv_server::*`` functions: a store as it is, without events.

An index is a bucket of the store.  Errors of the store reach the caller with their
own codes (docs/durability.md, "Refused writes").
"""

from __future__ import annotations

import builtins

from msgspec import Raw
from twisted.internet.defer import Deferred

from iii.engine.invocations import NULL
from iii.modules.kv_server import shapes
from iii.storage import updates
from iii.storage.store import Bucket, Change, Store


class KvServer:
    """The functions, over a store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def get(self, asked: shapes.GetInput) -> Raw | Deferred[Raw | None] | None:
        """``kv_server::get``: the value; no result when there is none."""
        return self._store.get((asked.index, ""), asked.key)

    def set(self, asked: shapes.SetInput) -> Deferred[shapes.Written]:
        """``kv_server::set``."""
        writing = self._store.set((asked.index, ""), asked.key, asked.value)
        return writing.addCallback(_written)

    def delete(self, asked: shapes.DeleteInput) -> Deferred[shapes.Deleted]:
        """``kv_server::delete``."""
        writing = self._store.delete((asked.index, ""), asked.key)
        return writing.addCallback(lambda change: shapes.Deleted(_or_null(change.old)))

    def update(self, asked: shapes.UpdateInput) -> Deferred[shapes.Updated]:
        """``kv_server::update``: operations that can't be done are told in ``errors``."""
        ops = updates.read_ops(asked.ops)
        errors: list[updates.OpError] = []

        def compute(old: Raw | None) -> Raw:
            outcome = updates.apply(old, ops)
            # A store may compute again: only the last time counts.
            errors[:] = outcome.errors
            return outcome.new

        writing = self._store.update((asked.index, ""), asked.key, compute)
        return writing.addCallback(_updated, errors)

    def list(self, asked: shapes.ListInput) -> Deferred[builtins.list[Raw]]:
        """``kv_server::list``: the values, oldest key first."""
        return self._store.values((asked.index, ""))

    def list_keys_with_prefix(
        self, asked: shapes.ListKeysWithPrefixInput
    ) -> Deferred[builtins.list[str]]:
        """``kv_server::list_keys_with_prefix``: names of indexes, whatever it is called."""
        return self._store.buckets().addCallback(_starting_with, asked.prefix)

    def list_groups(self, asked: shapes.ListGroupsInput) -> Deferred[shapes.Groups]:
        """``kv_server::list_groups``: the indexes that hold something, sorted."""
        return self._store.buckets().addCallback(_groups)


def _or_null(value: Raw | None) -> Raw:
    return NULL if value is None else value


def _written(change: Change) -> shapes.Written:
    return shapes.Written(_or_null(change.old), _or_null(change.new))


def _updated(change: Change, errors: list[updates.OpError]) -> shapes.Updated:
    return shapes.Updated(_or_null(change.old), _or_null(change.new), errors)


def _starting_with(buckets: list[Bucket], prefix: str) -> list[str]:
    return [index for index, _ in buckets if index.startswith(prefix)]


def _groups(buckets: list[Bucket]) -> shapes.Groups:
    return shapes.Groups(_starting_with(buckets, ""))

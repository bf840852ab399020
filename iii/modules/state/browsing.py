"""``engine::state::scopes`` and ``engine::state::entries``: the state as people look at it."""

from __future__ import annotations

from iii.engine.clock import Clock
from iii.errors import Code
from iii.modules.state import shapes
from iii.storage.browsing import browse
from iii.storage.refusals import What
from iii.storage.store import Store, StoreError

#: Others get their turn after so many scopes were counted.
STRIDE = 50

_SCOPES = What(Code.LIST_GROUPS_ERROR, "Failed to list groups")
_ENTRIES = What(Code.LIST_ERROR, "Failed to list values")


class Browsing:
    """The functions, over a store."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def scopes(self, asked: shapes.ScopesInput) -> shapes.Scopes:
        """``engine::state::scopes``: by name, with the number of their keys.

        :raises IIIError: the store can't say
        """
        try:
            buckets = await self._store.buckets()
            names = sorted({scope for scope, _ in buckets if asked.search in scope})
            rows = []
            for number, scope in enumerate(names[asked.offset : asked.offset + asked.limit], 1):
                page = await self._store.page((scope, ""), 0, 1, 1)
                rows.append(shapes.ScopeRow(scope, page.total))
                if number % STRIDE == 0:
                    await self._clock.pause()
        except StoreError as error:
            raise _SCOPES.failed(error.message) from error
        return shapes.Scopes(rows, len(names))

    async def entries(self, asked: shapes.BrowseInput) -> shapes.Browsed:
        """``engine::state::entries``.

        :raises IIIError: the cursor is none, or the store can't say
        """
        try:
            found = await browse(
                self._store,
                (asked.scope, ""),
                prefix=asked.prefix,
                cursor=asked.cursor,
                limit=asked.limit,
            )
        except StoreError as error:
            raise _ENTRIES.failed(error.message) from error
        rows = [
            shapes.EntryRow(key, value, memoryview(value).nbytes) for key, value in found.entries
        ]
        return shapes.Browsed(rows, found.cursor, found.total)

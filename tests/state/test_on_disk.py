"""The same with the values in a file, as they are by default (decision 8)."""

from __future__ import annotations

import tempfile

from iii.engine.module import ModuleApi
from iii.storage.kvstore import KvStore, StoreConfig
from iii.storage.store import Store
from tests.state import test_functions, test_triggers, test_updates
from tests.state.cases import StateCase


class OnDisk(StateCase):
    """The state module over the adapter ``kv``."""

    def make_store(self) -> Store:
        """StateCase: a file in a directory of the test's own."""
        holder = tempfile.TemporaryDirectory(prefix="iii-test-")
        self.addCleanup(holder.cleanup)
        self.stores: dict[str, str] = {}
        adapter = KvStore(StoreConfig(file_path=holder.name))
        return adapter.open(ModuleApi(self.engine, "iii-state"), "state", self.stores)


class Opening(OnDisk):
    """08 §1."""

    async def test_it_says_where_the_file_is(self) -> None:
        """For the start-up summary."""
        self.assertEqual(list(self.stores), ["state"])


class ValuesOnDisk(OnDisk, test_functions.Values):
    """04 §3.1."""


class ListsOnDisk(OnDisk, test_functions.Lists):
    """04 §3.1."""


class PagesOnDisk(OnDisk, test_functions.Pages):
    """04 §13."""


class SizesOnDisk(OnDisk, test_functions.Sizes):
    """04 §14.26."""


class UpdatingOnDisk(OnDisk, test_updates.Updating):
    """04 §4."""


class EventsOnDisk(OnDisk, test_triggers.Events):
    """04 §3.3."""

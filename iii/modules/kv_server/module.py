"""The ``iii-kv-server`` module: values under an index and a key, and nothing more.

Releases up to 0.8 of the original had it; configurations of that time name it, and
``kv_server.*`` is what their SDKs and their bridges call.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from iii.engine.module import FunctionRow, Module, ModuleApi
from iii.modules.kv_server import shapes
from iii.modules.kv_server.service import KvServer
from iii.storage.figures import show_file_size
from iii.storage.kvstore import KvStore, StoreConfig
from iii.storage.store import Store


class KvServerModule(Module):
    """Keeps values for whoever calls ``kv_server::*``."""

    name = "iii-kv-server"
    config = StoreConfig

    def __init__(self, settings: StoreConfig) -> None:
        super().__init__(settings)
        self._store: Store | None = None

    def start(self, engine: ModuleApi) -> None:
        """Module: open the store, offer the functions under their new and old names."""
        self._store = KvStore(self.settings).open(engine, "kv_server", self.stores)
        show_file_size(engine, "kv_server", self.stores)
        functions = _functions(KvServer(self._store))
        engine.functions(functions, {row[0].replace("::", "."): row[0] for row in functions})

    def stop(self) -> Deferred[None] | None:
        """Module: finish the writes."""
        return None if self._store is None else self._store.close()


def _functions(kv: KvServer) -> tuple[FunctionRow, ...]:
    return (
        ("kv_server::get", kv.get, shapes.GetInput, None, "Get a value"),
        ("kv_server::set", kv.set, shapes.SetInput, shapes.Written, "Keep a value"),
        ("kv_server::delete", kv.delete, shapes.DeleteInput, shapes.Deleted, "Take a value out"),
        (
            "kv_server::update",
            kv.update,
            shapes.UpdateInput,
            shapes.Updated,
            "Change a value with no other write in between",
        ),
        ("kv_server::list", kv.list, shapes.ListInput, list[Any], "List the values of an index"),
        (
            "kv_server::list_keys_with_prefix",
            kv.list_keys_with_prefix,
            shapes.ListKeysWithPrefixInput,
            list[str],
            "List the indexes whose name starts with a prefix",
        ),
        (
            "kv_server::list_groups",
            kv.list_groups,
            shapes.ListGroupsInput,
            shapes.Groups,
            "List the indexes",
        ),
    )

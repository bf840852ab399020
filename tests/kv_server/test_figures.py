"""Figures of the KV server."""

from __future__ import annotations

from iii.storage.kvstore import StoreConfig
from tests.kv_server.test_kv_server import KvCase
from tests.support.recording import figures


class OnDisk(KvCase):
    """A store in a file."""

    async def test_its_file_has_a_size(self) -> None:
        size = await figures(self.engine, "iii_kv_server_file_bytes")
        self.assertGreater(size[()], 0)


class InMemory(KvCase):
    """A store without one."""

    def settings(self) -> StoreConfig:
        """KvCase: volatile."""
        return StoreConfig(store_method="in_memory")

    async def test_it_has_none(self) -> None:
        names = [instrument.name for instrument in self.engine.instruments]
        self.assertNotIn("iii_kv_server_file_bytes", names)

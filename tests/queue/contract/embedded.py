"""The embedded adapter: one SQLite file, one engine."""

from __future__ import annotations

from typing import Any

from tests.queue.contract.backend import EVERYTHING, GLOBAL_ORDER, SHARING, Backend


class Embedded(Backend):
    """``builtin``."""

    name = "builtin"
    abilities = EVERYTHING - {SHARING, GLOBAL_ORDER}

    async def prepare(self) -> None:
        """Backend: a directory."""
        self.folder = self.case.mktemp()  # type: ignore[attr-defined]

    def adapter(self, settings: dict[str, Any]) -> dict[str, Any]:
        """Backend: files, so that a restart finds them."""
        kept = {"store_method": "file_based", "durability": "os", "file_path": self.folder}
        return {**kept, **settings}

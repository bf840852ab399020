"""How large a store has become."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from iii.engine.instruments import Sample
from iii.engine.module import ModuleApi


def show_file_size(engine: ModuleApi, name: str, stores: dict[str, str]) -> None:
    """Show the size of the file that ``stores`` has under ``name``; nothing when there is none."""
    if name not in stores or "://" in stores[name]:
        return  # in memory, or on a broker
    files = [Path(stores[name] + ending) for ending in ("", "-wal")]

    def read() -> Iterator[Sample]:
        yield (), sum(file.stat().st_size for file in files if file.exists())

    engine.instrument(
        f"iii_{name}_file_bytes", "gauge", "Size of its file, with what is not merged yet", read
    )

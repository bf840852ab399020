"""The back ends of a module, each imported when a configuration chooses it.

Most engines use one of several, and the libraries of the others take time to load.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any


class Adapters(Mapping[str, type[Any]]):
    """Adapter name → class.

    :param places: adapter name → ``package.module:Class``
    """

    def __init__(self, **places: str) -> None:
        self._places = places

    def __getitem__(self, name: str) -> type[Any]:
        path, _, attribute = self._places[name].partition(":")
        found: type[Any] = getattr(import_module(path), attribute)
        return found

    def __contains__(self, name: object) -> bool:
        return name in self._places

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

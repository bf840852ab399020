"""What differs between two configurations, entry by entry.

Entries are alike when they mean the same module with the same settings and the same back
end; where they stand in the file, what they are called and in which order their keys are
written makes no difference.  Of several entries of one module, alike ones belong together
first, the others in their order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from iii.entries import Configuration, Entry, Settings

#: Top-level keys that need no restart.
LIVE_SETTINGS = frozenset(
    {
        "auth",
        "function_routing",
        "invocation_limit_ms",
        "registration_namespace_grace_ms",
        "shutdown_timeout_ms",
        "watch_config",
    }
)


@dataclass(slots=True)
class Differences:
    """What has to be done to get from one configuration to another.

    :ivar kept: what runs and what says the same
    :ivar changed: what runs and what it is to become
    :ivar listeners: whether a worker port differs
    :ivar settings: the top-level keys that differ
    """

    kept: list[tuple[Entry, Entry]] = field(default_factory=list)
    changed: list[tuple[Entry, Entry]] = field(default_factory=list)
    added: list[Entry] = field(default_factory=list)
    removed: list[Entry] = field(default_factory=list)
    listeners: bool = False
    settings: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        modules = self.changed or self.added or self.removed
        return bool(modules or self.listeners or self.settings)

    @property
    def need_restart(self) -> list[str]:
        """The settings that stay as they are until the engine is restarted."""
        return [name for name in self.settings if name not in LIVE_SETTINGS]

    def __str__(self) -> str:
        """What is done; empty when everything waits for a restart."""
        changed = [entry.written for _, entry in self.changed]
        changed += ["worker port"] if self.listeners else []
        changed += [name for name in self.settings if name in LIVE_SETTINGS]
        parts = {
            "added": [entry.written for entry in self.added],
            "changed": changed,
            "removed": [entry.written for entry in self.removed],
        }
        said = [f"{what} {', '.join(names)}" for what, names in parts.items() if names]
        return "; ".join(said)


def compare(running: Configuration, modules: Sequence[Entry], wanted: Configuration) -> Differences:
    """How ``wanted`` differs from what runs.

    :param modules: the entries whose modules are up
    """
    found = Differences()
    left = list(modules)
    others: list[Entry] = []
    for entry in wanted.loaded:
        twin = next((known for known in left if alike(known, entry)), None)
        if twin is None:
            others.append(entry)
        else:
            left.remove(twin)
            found.kept.append((twin, entry))
    for entry in others:
        before = next((known for known in left if known.module is entry.module), None)
        if before is None:
            found.added.append(entry)
        else:
            left.remove(before)
            found.changed.append((before, entry))
    found.removed = left
    ports = listeners_of(running)
    for port in listeners_of(wanted):
        if port in ports:
            ports.remove(port)
        else:
            found.listeners = True
    found.listeners = found.listeners or bool(ports)
    found.settings = [
        name
        for name in Settings.__struct_fields__
        if getattr(running.settings, name) != getattr(wanted.settings, name)
    ]
    return found


def listeners_of(configuration: Configuration) -> list[Any]:
    """What a worker port is, one item for each; equal items are one port that can stay open."""
    return [
        (replace(listener, line=None), configuration.settings.auth)
        for listener in configuration.worker_listeners
    ]


def alike(one: Entry, other: Entry) -> bool:
    """Whether two entries run the same module in the same way."""
    return (
        one.module.canonical == other.module.canonical
        and one.flavour == other.flavour
        and same(one.config, other.config)
        and same_adapter(one, other)
    )


def same_adapter(one: Entry, other: Entry) -> bool:
    """Whether two entries have the same back end with the same settings."""
    if one.adapter is None or other.adapter is None:
        return one.adapter is other.adapter
    return one.adapter.adapter.canonical == other.adapter.adapter.canonical and same(
        one.adapter.config, other.adapter.config
    )


def same(one: Any, other: Any) -> bool:
    """Whether two values of a file are the same: ``1``, ``1.0`` and ``true`` are not."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other) or (one != one and other != other)

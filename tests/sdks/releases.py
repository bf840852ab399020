"""The releases we promise to serve, and what each of them can do.

``checks`` is written down, not computed: a scenario that runs fewer checks than it
says here has lost some, and that is a failure.  Change the number together with
the scenario.
"""

from __future__ import annotations

from dataclasses import dataclass

CHANNELS = "channels"
"""Channels and streamed HTTP bodies."""
REMOVAL = "removal"
"""Functions can be unregistered one by one."""
ANNOUNCED = "announced"
"""A callback for ``engine::functions-available``."""
TRIGGER_LIST = "trigger list"
"""The program can list triggers (with a method of the SDK or by calling the engine)."""
TOLD = "told"
"""The owner of a trigger type hears that a trigger was unregistered."""
RESULTS = "registration results"
"""The SDK logs a ``triggerregistrationresult`` with an error."""
LARGE = "large messages"
"""The SDK reads messages over 1 MiB."""
SMALL = "small messages"
"""The SDK closes its connection when a message is over 1 MiB."""
DATA = "data"
"""``state::set`` takes ``data``; later releases say ``value``."""
APPEND = "append"
"""The operation ``append``, and ``merge`` at a path."""
NESTED = "nested append"
"""``append`` at a path of several segments."""
OWN_STREAM = "own stream"
"""createStream/create_stream, with the function ids the engine asks for."""
SILENT_DELETE = "silent delete"
"""A stream of one's own can't say what it deleted."""
KV = "KV"
"""Of a time when engines had the KV server."""
CONDITION_PATH = "condition path"
"""A trigger's condition is called ``_condition_path``, not ``condition_function_id``."""
COMPETING = "competing"
"""Topics of ``enqueue`` and ``queue``: each message goes to one function."""
DURABLE = "durable"
"""Topics of ``iii::durable::publish`` and ``durable:subscriber``: a copy for each function."""
NAMED = "named queues"
"""The action ``enqueue`` for a call."""
DEAD = "dead letters"
"""Of a time when engines had functions for dead letters."""
OTEL = "OpenTelemetry"
"""Spans, metrics and logs through a connection of their own."""
ON_LOG = "onLog"
"""A callback for every log."""


@dataclass(frozen=True)
class Release:
    """One published version of one package."""

    registry: str
    version: str
    can: frozenset[str]
    checks: int
    soak: bool = False

    @property
    def name(self) -> str:
        return f"{self.registry}:{self.version}"

    @property
    def prefix(self) -> str:
        """What its functions and routes are called."""
        language = {"npm": "node", "pypi": "py", "crates": "rust"}[self.registry]
        return f"{language}-{self.version}"

    @property
    def runtime(self) -> str:
        """What the SDK calls itself in its worker metadata."""
        return {"npm": "node", "pypi": "python", "crates": "rust"}[self.registry]


def release(name: str, checks: int, *can: str, soak: bool = False) -> Release:
    registry, version = name.split(":")
    return Release(registry, version, frozenset(can), checks, soak)


FIRST = (COMPETING, CONDITION_PATH)
MIDDLE = (OTEL, CHANNELS, REMOVAL, ANNOUNCED, COMPETING)
LATE = (OTEL, CHANNELS, REMOVAL, TRIGGER_LIST, APPEND, DURABLE, NAMED, DEAD)
LATEST = (*LATE, TOLD, RESULTS, NESTED, OWN_STREAM)

RELEASES = [
    release("npm:0.2.1", 85, *FIRST, OTEL, ON_LOG, REMOVAL, ANNOUNCED, LARGE, DATA, OWN_STREAM, KV),
    release("npm:0.9.0", 92, *MIDDLE, TRIGGER_LIST, NAMED, LARGE, OWN_STREAM),
    release("npm:0.11.6", 95, *LATE, LARGE, OWN_STREAM),
    release("npm:0.22.1", 99, *LATEST, LARGE),
    release("pypi:0.2.0", 73, *FIRST, ANNOUNCED, SMALL, DATA, KV),
    release("pypi:0.4.1", 87, *MIDDLE, CONDITION_PATH, SMALL, OWN_STREAM, SILENT_DELETE, KV),
    release("pypi:0.8.3", 87, *MIDDLE, CONDITION_PATH, SMALL, OWN_STREAM, SILENT_DELETE, KV),
    release("pypi:0.10.0", 95, *MIDDLE, TRIGGER_LIST, NAMED, DEAD, SMALL, OWN_STREAM),
    release("pypi:0.11.6", 95, *LATE, SMALL, OWN_STREAM),
    release("pypi:0.22.1", 99, *LATEST, SMALL),
    release("pypi:0.25.0", 99, *LATEST, LARGE),
    release("crates:0.2.1", 80, *FIRST, OTEL, ANNOUNCED, TRIGGER_LIST, LARGE, DATA, KV, soak=True),
    release("crates:0.8.3", 84, *MIDDLE, CONDITION_PATH, TRIGGER_LIST, LARGE, KV),
    release("crates:0.11.6", 91, *LATE, LARGE, soak=True),
    release("crates:0.22.1", 99, *LATEST, LARGE),
]

BY_NAME = {each.name: each for each in RELEASES}

NEWEST_NODE = BY_NAME["npm:0.22.1"]
NEWEST_PYTHON = BY_NAME["pypi:0.25.0"]


def counterparts(tested: Release) -> tuple[Release, ...]:
    """The other SDK in the conversation, best first: the newest one of another language.

    Python programs talk to Python on a machine without node.
    """
    if tested.registry == "pypi":
        return (NEWEST_NODE, NEWEST_PYTHON)
    return (NEWEST_PYTHON,)

"""The connected workers.

A ``Worker`` is one live connection, not a process: a reconnect is a new worker
with a new id.  Everything it registered hangs on this object, and cleanup goes
by the object's identity, so nothing a successor registered is ever touched.

A connection that only ever sent telemetry frames is no worker in any listing:
old SDKs open a second socket on the same path just for that.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Protocol

from iii.engine.functions import DEFAULT_NAMESPACE, FunctionOwner
from iii.engine.ids import uuid4_text
from iii.engine.invocations import Call, ErrorBody

if TYPE_CHECKING:
    from iii.engine.bindings import Registration

#: How the command `iii` calls itself.
COMMAND = "iii-cli"
MAX_LABEL_CHARS = 280
_UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u2028\u2029]")
_VERSION = re.compile(r"(\d+)\.(\d+)(?:\.(\d+))?")


def clean_label(text: str | None) -> str | None:
    """A name or description fit for a terminal: no control characters, not endless."""
    if text is None:
        return None
    return _UNSAFE.sub("", text)[:MAX_LABEL_CHARS].strip() or None


Observer = Callable[[str, bytes, bool], None]
"""``observer(direction, payload, is_binary)``: ``in`` is what came from the worker."""


class Link(Protocol):
    """The connection of a worker: what the engine may ask of it."""

    def invoke(self, call: Call) -> None:
        """Send the call; it is already in ``Worker.executing``."""
        ...

    def register_trigger(self, registration: Registration) -> None:
        """Tell a worker that provides a trigger type about a trigger."""
        ...

    def unregister_trigger(self, registration: Registration) -> None:
        """Tell it that the trigger is gone."""
        ...

    def registration_failed(self, registration: Registration, error: ErrorBody) -> None:
        """Tell a worker that its trigger was refused."""
        ...

    def close(self, code: int, reason: str) -> None:
        """Close with a WebSocket code; what is queued is sent first."""
        ...

    def observe(self, observer: Observer | None) -> None:
        """Show every message to ``observer``, or to nobody any more."""
        ...

    def evict(self) -> None:
        """Its worker is back on a newer connection: clean up at once, then close."""
        ...


class Access(Protocol):
    """What a worker may do that may not do everything.

    :ivar hooked: somebody is asked about each trigger it registers
    """

    hooked: bool

    def may_call(self, id: str, namespace: str | None = None) -> bool:
        """Whether it may call, and see, a function."""
        ...

    def may_fire(self, id: str, namespace: str | None = None) -> bool:
        """Whether a trigger of it, or a queue, may call a function that is not its own."""
        ...

    def offer_refusal(self, id: str, namespace: str) -> str | None:
        """Why it may not offer a function; None: it may."""
        ...

    def share_refusal(self, other: FunctionOwner) -> str | None:
        """Why it may not offer what ``other`` offers already; None: it may."""
        ...

    def may_bind(self, trigger_type: str) -> bool:
        """Whether it may register triggers of a type."""
        ...

    def may_declare(self, namespace: str) -> bool:
        """Whether it may say that it lives in ``namespace``."""
        ...


class Worker:
    """One live worker connection and what it said about itself."""

    __slots__ = (
        "access",
        "connected_at_ms",
        "description",
        "draining",
        "executing",
        "features",
        "functions",
        "id",
        "ip_address",
        "isolation",
        "issued",
        "link",
        "name",
        "namespace",
        "os",
        "pid",
        "reattach_token",
        "runtime",
        "spoke",
        "telemetry_frames",
        "trigger_types",
        "triggers",
        "version",
    )

    native = False

    def __init__(self, link: Link, ip_address: str, connected_at_ms: int) -> None:
        self.id = uuid4_text()
        self.reattach_token = uuid4_text()
        self.link = link
        self.ip_address = ip_address
        self.connected_at_ms = connected_at_ms
        self.executing: dict[str, Call] = {}
        #: it is about to leave and gets no new calls
        self.draining = False
        self.issued = 0
        # Most of 10,000 workers register little: the tables are made on first use.
        self.functions: dict[tuple[str, str], None] = {}
        self.triggers: dict[str, Registration] = {}
        self.trigger_types: dict[tuple[str, str], None] = {}
        self.name: str | None = None
        self.runtime: str | None = None
        self.version: str | None = None
        self.os: str | None = None
        self.pid: int | None = None
        self.isolation: str | None = None
        self.description: str | None = None
        self.namespace = DEFAULT_NAMESPACE
        self.features: tuple[str, ...] = ()
        self.spoke = False
        self.telemetry_frames = 0
        #: None: everything is allowed
        self.access: Access | None = None

    def start(self, call: Call) -> None:
        """Owner: run ``call`` over there."""
        self.link.invoke(call)

    @property
    def identity(self) -> tuple[object, ...]:
        """Equal for two connections of one process; unique while it said nothing."""
        if self.name is None or self.pid is None:
            return (self.id,)
        return (self.name, self.pid, self.ip_address)

    @property
    def describe(self) -> str:
        """``worker 3f2a… (billing, python 0.22.1)`` for log lines."""
        said = [part for part in (self.name, f"{self.runtime or ''} {self.version or ''}") if part]
        about = ", ".join(part.strip() for part in said if part.strip())
        return f"worker {self.id[:8]}… ({about or self.ip_address})"

    @property
    def passing(self) -> bool:
        """Whether it is our own command, which comes and goes all the time."""
        return self.name == COMMAND and self.access is None

    @property
    def telemetry_only(self) -> bool:
        """Whether this connection is an old SDK's telemetry socket."""
        return self.telemetry_frames > 0 and not self.spoke

    @property
    def version_tuple(self) -> tuple[int, int, int] | None:
        """The SDK's version without pre-release suffix."""
        match = _VERSION.match(self.version or "")
        if match is None:
            return None
        return (int(match[1]), int(match[2]), int(match[3] or 0))

    @property
    def active_invocations(self) -> int:
        """Calls it executes plus calls it waits for."""
        return len(self.executing) + self.issued


Listener = Callable[[str, Worker], Any]


class Workers:
    """All live connections, telemetry sockets included; iteration leaves those out."""

    def __init__(self) -> None:
        self._workers: dict[str, Worker] = {}
        self._listeners: list[Listener] = []
        self._closed = 0
        #: closed ones that had never been a worker
        self._closed_telemetry = 0

    def __iter__(self) -> Iterator[Worker]:
        return (worker for worker in self._workers.values() if not worker.telemetry_only)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    @property
    def spawned_total(self) -> int:
        """How many workers ever connected."""
        return self.gone_total + len(self)

    @property
    def gone_total(self) -> int:
        """How many of them are gone."""
        return self._closed - self._closed_telemetry

    def connections(self) -> list[Worker]:
        """Every connection, telemetry sockets included."""
        return list(self._workers.values())

    def get(self, worker_id: str | None) -> Worker | None:
        """The connection with this id."""
        return None if worker_id is None else self._workers.get(worker_id)

    def listen(self, listener: Listener) -> None:
        """Call ``listener(event, worker)`` on connect, disconnect and new metadata."""
        self._listeners.append(listener)

    def unlisten(self, listener: Listener) -> None:
        """Call ``listener`` no more."""
        self._listeners.remove(listener)

    def add(self, worker: Worker) -> None:
        """A connection is open."""
        self._workers[worker.id] = worker
        self.announce("worker_connected", worker)

    def remove(self, worker: Worker) -> None:
        """A connection is gone, and everything it owned has been cleaned up."""
        if self._workers.pop(worker.id, None) is not None:
            self._closed += 1
            self._closed_telemetry += worker.telemetry_only
            self.announce("worker_disconnected", worker)

    def announce(self, event: str, worker: Worker) -> None:
        """Tell the listeners."""
        for listener in list(self._listeners):
            listener(event, worker)

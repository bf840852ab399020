"""The topics of the engine itself: workers, functions, triggers, calls, connections."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import Struct

from iii.engine.clock import Timer
from iii.engine.discovery import Discovery, Query
from iii.engine.history import History, KeptCall
from iii.engine.invocationcalls import NOT_KEPT
from iii.engine.invocationrows import InvocationRow, Rows
from iii.engine.invocations import Call
from iii.engine.rows import worker_row
from iii.engine.watching.feeds import Feed, Items, Outlet, Source
from iii.engine.watching.functions import WatchFunctions
from iii.engine.watching.protocol import Inspector, Kept, MessageRow
from iii.engine.watching.rowsource import LOOK_S, Row, RowSource
from iii.engine.workers import Worker
from iii.errors import Code, InvocationError

if TYPE_CHECKING:
    from iii.engine.core import Engine
    from iii.engine.module import ModuleApi

#: Calls that end within this time are looked at together.
CALLS_S = 0.1
MAX_CALLS_TOLD = 1_000
EVERYTHING = Query(include_internal=True, view="classic")

_WORKER_FIELDS = frozenset(
    ("id", "name", "runtime", "version", "os", "ip_address", "namespace", "status", "internal")
)
_FUNCTION_FIELDS = frozenset(("function_id", "worker_name", "namespace", "description"))
_TRIGGER_FIELDS = frozenset(("id", "trigger_type", "function_id", "worker_name"))
_CALL_FIELDS = frozenset(InvocationRow.__struct_fields__)
_MESSAGE_FIELDS = frozenset(MessageRow.__struct_fields__)


class ProtocolInput(Struct):
    """``engine::workers::protocol``; ``record``: begin or end to keep messages."""

    worker_id: str
    record: bool | None = None


class ProtocolMessages(Struct):
    """The answer: the newest messages, the oldest of them first."""

    worker_id: str
    recording: bool
    messages: list[MessageRow]


def install(engine: Engine, api: ModuleApi, discovery: Discovery) -> None:
    """Offer ``engine::watch::…``, ``engine::workers::protocol`` and the engine's topics."""
    WatchFunctions(engine, engine.watched).install(api)
    own = OwnTopics(engine, discovery)
    api.function(
        "engine::workers::protocol",
        own.protocol,
        takes=ProtocolInput,
        gives=ProtocolMessages,
        wants_call=True,
        description="The last messages of a worker's connection",
    )
    feeds = engine.feeds
    feeds.add("workers", Feed(own.workers, _WORKER_FIELDS))
    feeds.add("functions", Feed(own.functions, _FUNCTION_FIELDS))
    feeds.add("triggers", Feed(own.triggers, _TRIGGER_FIELDS))
    feeds.add("invocations", Feed(own.invocations, _CALL_FIELDS))
    feeds.add("protocol", Feed(own.messages, _MESSAGE_FIELDS, "worker"))


class OwnTopics:
    """Opens them."""

    def __init__(self, engine: Engine, discovery: Discovery) -> None:
        self._engine = engine
        self._discovery = discovery
        self._inspector = Inspector(engine.clock)
        engine.workers.listen(self._inspector.changed)

    # Lists -----------------------------------------------------------------------------

    def workers(self, argument: str, outlet: Outlet) -> Source:
        """``workers``: who comes and goes at once, figures every few seconds."""
        workers = self._engine.workers

        def read() -> list[Row]:
            rows: list[Row] = self._discovery.workers(EVERYTHING)["workers"]
            return rows

        def changed(event: str, worker: Worker) -> None:
            if event == "worker_disconnected":
                source.drop(worker.id)
            elif not worker.telemetry_only:
                source.put(worker_row(worker, self._engine.worker_metrics(worker)))

        source = RowSource(
            outlet,
            self._engine.clock,
            "id",
            read,
            every_s=LOOK_S,
            closed=lambda: workers.unlisten(changed),
        )
        workers.listen(changed)
        return source

    def functions(self, argument: str, outlet: Outlet) -> Source:
        """``functions``; rows are told apart by namespace and id (``key``)."""
        listeners = self._engine.functions.listeners

        def read() -> list[Row]:
            rows = self._discovery.functions(EVERYTHING)["functions"]
            return [{"key": f"{row['namespace']}/{row['function_id']}", **row} for row in rows]

        source = RowSource(
            outlet,
            self._engine.clock,
            "key",
            read,
            closed=lambda: listeners.remove(source.changed),
        )
        listeners.append(source.changed)
        return source

    def triggers(self, argument: str, outlet: Outlet) -> Source:
        """``triggers``."""
        listeners = self._engine.triggers.listeners

        def read() -> list[Row]:
            rows: list[Row] = self._discovery.triggers(EVERYTHING)["triggers"]
            return rows

        source = RowSource(
            outlet,
            self._engine.clock,
            "id",
            read,
            closed=lambda: listeners.remove(source.changed),
        )
        listeners.append(source.changed)
        return source

    # Events ----------------------------------------------------------------------------

    def invocations(self, argument: str, outlet: Outlet) -> Source:
        """``invocations``: calls that are over.

        :raises InvocationError: calls are not kept
        """
        history = self._engine.invocations.history
        if history is None:
            raise InvocationError(Code.NOT_SUPPORTED, NOT_KEPT)
        return CallSource(self._engine, history, outlet)

    def messages(self, argument: str, outlet: Outlet) -> Source:
        """``protocol:<worker>``: what goes over its connection from now on.

        :raises InvocationError: there is no such worker, or too many are looked at
        """
        return MessageSource(self._engine, self._inspector, self._worker(argument), outlet)

    def protocol(self, asked: ProtocolInput, call: Call) -> ProtocolMessages:
        """``engine::workers::protocol``.

        :raises InvocationError: there is no such worker, or too many are looked at
        """
        self._engine.check_unrestricted(call.caller)
        worker = self._worker(asked.worker_id)
        inspector = self._inspector
        inspected = inspector.find(worker.id)
        if asked.record is not None:
            inspected = _begun(inspector, worker) if asked.record else inspected
            if inspected is not None:
                inspected.wanted = asked.record
                inspector.end_unless_wanted(inspected)
        kept = [] if inspected is None else list(inspected.messages)
        redactor = self._engine.redactor
        recording = inspector.find(worker.id) is not None
        return ProtocolMessages(worker.id, recording, [known.row(redactor) for known in kept])

    def _worker(self, id: str) -> Worker:
        worker = self._engine.workers.get(id)
        if worker is None:
            raise InvocationError(Code.WORKER_NOT_FOUND, f"no worker {id[:100]} is connected")
        return worker


def _begun(inspector: Inspector, worker: Worker) -> Any:
    inspected = inspector.begin(worker)
    if inspected is None:
        raise InvocationError(Code.LIMIT_EXCEEDED, "too many connections are looked at")
    return inspected


class CallSource:
    """Tells of calls that are over, a little later, many at once.

    When there are more than anybody could read, those that failed go before all others.
    """

    def __init__(self, engine: Engine, history: History, outlet: Outlet) -> None:
        self._clock = engine.clock
        self._history = history
        self._outlet = outlet
        self._rows = Rows(engine.clock, history, engine.redactor)
        self._seen = history.added
        self._timer: Timer | None = None
        history.heard = self._heard

    def rows(self) -> Items | None:
        """Source: what was before is asked for (``engine::invocations::list``)."""
        return None

    def close(self) -> None:
        """Source."""
        self._history.heard = None
        if self._timer is not None:
            self._timer.cancel()

    def _heard(self) -> None:
        if self._timer is None:
            self._timer = self._clock.call_later(CALLS_S, self._tell)

    def _tell(self) -> None:
        self._timer = None
        history = self._history
        count = history.added - self._seen
        self._seen = history.added
        newest = history.newest()
        calls = [call for _, call in zip(range(count), newest, strict=False)]
        told = _chosen(calls)
        if count > len(told):
            self._outlet.lost(count - len(told))
        self._outlet.tell("add", [self._rows.row(call) for call in reversed(told)])


def _chosen(calls: list[KeptCall]) -> list[KeptCall]:
    if len(calls) <= MAX_CALLS_TOLD:
        return calls
    failed = [call for call in calls if call.error is not None][:MAX_CALLS_TOLD]
    others = [call for call in calls if call.error is None][: MAX_CALLS_TOLD - len(failed)]
    return sorted(failed + others, key=lambda call: call.ended, reverse=True)


class MessageSource:
    """Tells of the messages of one connection."""

    def __init__(
        self, engine: Engine, inspector: Inspector, worker: Worker, outlet: Outlet
    ) -> None:
        self._inspector = inspector
        self._redactor = engine.redactor
        self._outlet = outlet
        self._inspected = _begun(inspector, worker)
        self._inspected.listeners.append(self._heard)

    def rows(self) -> Items:
        """Source: those that are kept."""
        return [kept.row(self._redactor) for kept in self._inspected.messages]

    def close(self) -> None:
        """Source."""
        self._inspected.listeners.remove(self._heard)
        self._inspector.end_unless_wanted(self._inspected)

    def _heard(self, kept: Kept) -> None:
        self._outlet.tell("add", [kept.row(self._redactor)])

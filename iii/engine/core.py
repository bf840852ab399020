"""The engine: its registries, its modules, and the one way to call a function.

Data flows one way: bytes → message → engine → owner, and the result back along
the same line.  Listeners and modules call in; the engine calls out through
``Owner.start``, ``Link`` and ``Provider`` and knows no socket and no module.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from msgspec import Raw
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorCore
from twisted.logger import Logger, LogLevel

from iii.engine.bindings import Binding, functions_in
from iii.engine.channels import Channels
from iii.engine.clock import Clock, Timer
from iii.engine.functions import FunctionOwner, Functions, Routing
from iii.engine.history import History
from iii.engine.ids import next_id
from iii.engine.instruments import Instruments
from iii.engine.invocations import (
    Call,
    Done,
    ErrorBody,
    Invocations,
    as_raw,
)
from iii.engine.redacting import Redactor
from iii.engine.triggers import Triggers
from iii.engine.turn import Turn
from iii.engine.watching.feeds import Feeds
from iii.engine.watching.sessions import Sessions
from iii.engine.workers import Worker, Workers
from iii.errors import Code, InvocationError

if TYPE_CHECKING:
    from iii.builder import EngineBuilder

log = Logger()

EXPIRY_SWEEP_S = 60.0
DEFAULT_INVOCATION_LIMIT_S = 24 * 3600.0

OnTelemetry = Callable[[str, bytes], None]


class Engine:
    """Everything workers and modules share.

    :param reactor: where sockets and timers live
    :param clock: the only source of time; the reactor's unless a test brings its own
    :param routing: how calls are spread over the owners of one function
    :param invocation_limit_s: calls that run longer end with ``invocation_timeout``
    """

    def __init__(
        self,
        reactor: Any,
        *,
        clock: Clock | None = None,
        routing: Routing = "balance",
        invocation_limit_s: float = DEFAULT_INVOCATION_LIMIT_S,
    ) -> None:
        self.reactor: IReactorCore = reactor
        self.clock = clock or Clock(reactor)
        self.turn = Turn(self.clock)
        self.functions = Functions(routing)
        self.functions.displaced = self._displaced
        self.workers = Workers()
        self.triggers = Triggers()
        self.channels = Channels(self.clock)
        self.invocations = Invocations(self.functions, self.clock, limit_s=invocation_limit_s)
        #: calls that are over, while a module wants them kept
        self.history = History()
        self.instruments = Instruments()
        #: what can be watched
        self.feeds = Feeds()
        self.watched = Sessions(self.clock, self.feeds)
        #: what of calls nobody gets to see
        self.redactor = Redactor()
        self.on_telemetry: OnTelemetry | None = None
        #: what is known about the process of a worker, for lists
        self.worker_metrics: Callable[[Worker], dict[str, Any] | None] = lambda worker: None
        self.telemetry_dropped = 0
        self.closing = False
        #: what does not serve yet, or not any more
        self.not_ready: Callable[[], list[str]] = list
        self.ready: dict[str, Any] = {}
        #: what is wrong although the engine serves: where → why
        self.troubles: dict[str, str] = {}
        self.started_at_ms = self.clock.wall_ms()
        self._on_stop: list[Callable[[], None]] = []
        self._expiry: Timer | None = None

    @classmethod
    def builder(cls) -> EngineBuilder:
        """An engine inside a program of one's own (docs/architecture.md, "Embedding")."""
        # Not at the top: the builder knows the modules, the engine doesn't.
        from iii.builder import EngineBuilder

        return EngineBuilder()

    def start(self) -> None:
        """Begin the periodic upkeep."""
        self._expiry = self.clock.call_later(EXPIRY_SWEEP_S, self._expire)

    def stop(self) -> None:
        """End the upkeep and every channel."""
        if self._expiry is not None and self._expiry.active():
            self._expiry.cancel()
        self.channels.stop()
        for stop in self._on_stop:
            stop()

    def on_stop(self, stop: Callable[[], None]) -> None:
        """Run ``stop()`` when the engine stops."""
        self._on_stop.append(stop)

    # Calls -----------------------------------------------------------------------------

    def invoke(
        self,
        function_id: str,
        data: Any = None,
        *,
        namespace: str | None = None,
        metadata: Raw | None = None,
        traceparent: str | None = None,
        baggage: str | None = None,
        timeout_s: float | None = None,
        trigger: str | None = None,
    ) -> Deferred[Raw | None]:
        """Call a function and wait for its answer (docs/protocol.md, "Invocations").

        :param data: ``Raw`` JSON, passed on unparsed, or any value msgspec can encode
        :param timeout_s: after this the Deferred fails with ``invocation_timeout``; the
            executor is not told
        :param trigger: the type of the trigger that this comes from
        :returns: the result as ``Raw`` JSON, or None when the function returned nothing
        :raises InvocationError: through the Deferred
        """
        answer: Deferred[Raw | None] = Deferred()
        call = Call(
            next_id(),
            function_id,
            as_raw(data),
            _settle,
            answer,
            traceparent,
            baggage,
            metadata,
            namespace,
            trigger=trigger,
        )
        self.invocations.start(call)
        return self._limited(call, timeout_s)

    def ask(
        self, function_id: str, data: Any = None, *, timeout_s: float | None = None
    ) -> Deferred[Raw | None]:
        """Call a function of the engine without being seen: no count, no trace.

        For those who look at the engine and must not find themselves there; see ``invoke``.
        """
        answer: Deferred[Raw | None] = Deferred()
        call = Call(next_id(), function_id, as_raw(data), _settle, answer)
        self.invocations.start_unseen(call)
        return self._limited(call, timeout_s)

    def _limited(self, call: Call, timeout_s: float | None) -> Deferred[Raw | None]:
        answer: Deferred[Raw | None] = call.requester
        if timeout_s is not None and not answer.called:
            timer = self.clock.call_later(timeout_s, self._time_out, call, timeout_s)
            answer.addBoth(_cancel, timer)
        return answer

    def start_call(
        self,
        binding: Binding,
        data: Raw,
        done: Done,
        requester: Any,
        traceparent: str | None = None,
        baggage: str | None = None,
    ) -> Call:
        """Call the function of a trigger; ``done`` is told the outcome."""
        registration = binding.newest
        call = Call(
            next_id(),
            registration.function_id,
            data,
            done,
            requester,
            traceparent,
            baggage,
            registration.metadata,
            registration.namespace,
            trigger=registration.trigger_type,
        )
        self.invocations.start(call)
        return call

    def telemetry(self, kind: str, payload: bytes) -> None:
        """A telemetry frame arrived (``OTLP``, ``MTRC``, ``LOGS``); never stored here."""
        if self.on_telemetry is None:
            self.telemetry_dropped += 1
        else:
            self.on_telemetry(kind, payload)

    def _time_out(self, call: Call, timeout_s: float) -> None:
        answer = call.requester
        self.invocations.abandon(call)
        if not answer.called:
            answer.errback(
                InvocationError(
                    Code.INVOCATION_TIMEOUT,
                    f"invocation timed out after {timeout_s * 1000:g}ms",
                    function_id=call.function_id,
                    invocation_id=call.id,
                )
            )

    def _expire(self) -> None:
        for worker in self.workers.connections():
            expired = self.invocations.expire(worker)
            if expired:
                log.warn(
                    "{worker}: {count} invocation(s) without a result for {limit} s were ended",
                    worker=worker.describe,
                    count=expired,
                    limit=self.invocations.limit_s,
                )
        self._expiry = self.clock.call_later(EXPIRY_SWEEP_S, self._expire)

    # Workers ---------------------------------------------------------------------------

    def _displaced(self, registrant: FunctionOwner, id: str, namespace: str) -> None:
        """A restricted worker has lost a function; its triggers must not call its successor."""
        if isinstance(registrant, Worker):
            log.warn(
                "{worker}: its function {id} is now that of an unrestricted worker",
                worker=registrant.describe,
                id=id,
            )
            registrant.functions.pop((namespace, id), None)
            self.drop_triggers(registrant, id, namespace)

    def drop_triggers(self, worker: Worker, id: str, namespace: str) -> None:
        """Remove the triggers of a restricted worker that call a function that was its own."""
        if worker.access is None or worker.access.may_fire(id, namespace):
            return
        for registration in list(worker.triggers.values()):
            called = (registration.function_id, *functions_in(registration.config))
            if id in called and registration.namespace == namespace:
                self.triggers.release(registration)

    def check_unrestricted(self, caller: str | None) -> None:
        """What is asked is only for those who may do everything.

        :param caller: id of the worker that asks; None: the engine or a module
        :raises InvocationError: it may not do everything
        """
        worker = self.workers.get(caller)
        if worker is not None and worker.access is not None:
            raise InvocationError(Code.FORBIDDEN, "this is for workers that may do everything")

    def worker_gone(self, worker: Worker) -> None:
        """The connection of ``worker`` ended: remove what it still owns, tell who waits.

        Functions go first, so a call that is ended here and tried again can't
        come back to the same dead connection.
        """
        if worker.spoke:
            log.emit(
                LogLevel.debug if worker.passing else LogLevel.info,
                "{worker} is gone, with {functions} function(s) and {triggers} trigger(s)",
                worker=worker.describe,
                functions=len(worker.functions),
                triggers=len(worker.triggers),
            )
        for namespace, id in list(worker.functions):
            self.functions.unregister(id, worker, namespace)
        worker.functions.clear()
        self.invocations.stop_all(worker)
        for registration in list(worker.triggers.values()):
            self.triggers.release(registration)
        for namespace, id in list(worker.trigger_types):
            self.triggers.remove_type(id, worker, namespace)
        worker.trigger_types.clear()
        self.workers.remove(worker)


def _settle(call: Call, result: Raw | None, error: ErrorBody | None) -> None:
    answer: Deferred[Raw | None] = call.requester
    if error is None:
        answer.callback(result)
    else:
        answer.errback(error.exception(call.function_id, call.id))


def _cancel(outcome: Any, timer: Timer) -> Any:
    if timer.active():
        timer.cancel()
    return outcome

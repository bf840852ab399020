"""Trigger type ``log``: records brought to functions, and never in a circle.

A handler that logs would set itself off.  So each delivery begins a trace of its own,
and a record of that trace is not delivered to the triggers it has come through already,
whether it came back as a call or as telemetry.  A worker whose SDK passes no context on
gives itself away as well: what it logs by a call without one, while it runs handlers, is
taken for theirs.  Several handlers that log set each other off, each way once; after
``MAX_CHAIN`` of them nobody hears of a record any more.

What the engine itself says about a delivery is recognised by ``delivering`` and
``is_about_us``.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Raw, Struct
from twisted.logger import Logger

from iii.engine import tracecontext
from iii.engine.bindings import Binding
from iii.engine.fanout import Fanout
from iii.engine.filters import Filters
from iii.engine.module import ModuleApi
from iii.modules.observability.logs.shapes import told
from iii.modules.observability.model import LogRecord
from iii.modules.observability.own import OwnTraces

log = Logger()

WHAT = "log"
_ATTRIBUTES = ("function_id", "iii.function.kind")
ALL = "all"
MAX_CHAIN = 3
#: How many deliveries are remembered, and how long: what a handler logs later is new.
MAX_REMEMBERED = 50_000
REMEMBERED_S = 600.0


class LogTrigger(Struct):
    """The ``config`` of a ``log`` trigger.

    :ivar level: ``all``, or the one severity that is wanted
    :ivar severity_min: the least number; 0: any
    """

    level: str = ALL
    severity_min: float = 0


class _Config(Struct):
    """A configuration as it came; wrong types were never refused."""

    level: Any = None
    severity_min: Any = None


class _Delivery(Struct):
    """A trace that a delivery began.

    :ivar until: monotonic time
    :ivar passed: the triggers that its records have come through
    """

    until: float
    passed: tuple[Binding, ...]


class LogTriggers:
    """The provider of ``log`` triggers.

    :param own: what comes of a call that is told of spans is not recorded either, or the
        two kinds of triggers would set each other off for ever
    :ivar delivering: a delivery is being started right now
    """

    def __init__(self, engine: ModuleApi, own: OwnTraces) -> None:
        self._engine = engine
        self._own = own
        self._fanout = Fanout(engine, WHAT)
        self._filters = Filters()
        self._least: dict[Binding, float] = {}
        self._deliveries: OrderedDict[str, _Delivery] = OrderedDict()
        self.delivering = False

    def start(self) -> None:
        """Provide the type."""
        self._engine.trigger_type(
            "log", self, description="Log event trigger", trigger_schema=LogTrigger
        )

    def stop(self) -> None:
        """Drop what waits."""
        self._fanout.stop()

    def add(self, binding: Binding) -> None:
        """Provider: ``binding`` wants to hear.  A level that nobody uses never matches."""
        level, least = _wish(binding)
        log.info(
            "[REGISTERED] log trigger {id} (level: {severity}) → {function}",
            id=binding.id,
            severity=level,
            function=binding.function_id,
        )
        self._filters.add(binding, (None if level == ALL else level,), None)
        self._least[binding] = least

    def remove(self, binding: Binding) -> None:
        """Provider: it doesn't any more."""
        self._filters.remove(binding)
        self._least.pop(binding, None)
        self._fanout.forget(binding)

    def deliver(
        self, record: LogRecord, call_trace: str | None = None, worker: str | None = None
    ) -> None:
        """Tell whoever wants to know of ``record``.

        :param call_trace: the trace id of the call that brought it, which may be another
        :param worker: the worker that made that call
        """
        concerned = self._filters.concerned(record.severity_text.lower() or None)
        if not concerned:
            return
        passed = self._passed(record.trace_id) or self._passed(call_trace)
        if not passed and call_trace is None and worker is not None:
            passed = self._running(worker)
        if len(passed) >= MAX_CHAIN:
            return
        unseen = any(id is not None and self._own.owns(id) for id in (record.trace_id, call_trace))
        payload: Raw | None = None
        outer, self.delivering = self.delivering, True
        try:
            for binding, _ in concerned:
                # What a delivery sets off may have removed it.
                least = self._least.get(binding)
                if least is None or least > record.severity_number or binding in passed:
                    continue
                if payload is None:
                    payload = Raw(msgspec.json.encode(told(record)))
                context = self._own.context() if unseen else self._context(binding)
                self._remember(context, (*passed, binding))
                self._fanout.deliver(binding, None, payload, context)
        finally:
            self.delivering = outer

    def is_about_us(self, event: Mapping[str, Any]) -> bool:
        """Whether an event of the engine's log tells of a delivery that failed or was dropped."""
        return event.get("log_namespace") == Fanout.__module__ and event.get("what") == WHAT

    # Inside ----------------------------------------------------------------------------

    def _passed(self, trace_id: str | None) -> tuple[Binding, ...]:
        """The triggers that a record of this trace has come through."""
        delivery = None if trace_id is None else self._deliveries.get(trace_id)
        if delivery is None or delivery.until <= self._engine.clock.monotonic():
            return ()
        return delivery.passed

    def _running(self, id: str) -> tuple[Binding, ...]:
        """The triggers whose handlers a worker runs, and those that led to them."""
        worker = self._engine.worker(id) if self._deliveries else None
        if worker is None:
            return ()
        passed: dict[Binding, None] = {}
        for call in worker.executing.values():
            if call.traceparent is not None:
                passed |= dict.fromkeys(self._passed(tracecontext.trace_id(call.traceparent)))
        return (*passed,)

    def _context(self, binding: Binding) -> str:
        """The context of a delivery to ``binding``: a trace of its own."""
        tracing = self._engine.tracing
        name = f"log {binding.function_id}"
        context = tracing.context(None, name) or tracecontext.new_root()
        now = self._engine.clock.monotonic()
        attributes = (_ATTRIBUTES, binding.function_id, "internal")
        tracing.span(name, "internal", None, context, now, None, None, attributes)
        return context

    def _remember(self, context: str, passed: tuple[Binding, ...]) -> None:
        """What is logged in this trace has come through these triggers."""
        now = self._engine.clock.monotonic()
        known = self._deliveries
        known[tracecontext.trace_id(context)] = _Delivery(now + REMEMBERED_S, passed)
        while len(known) > MAX_REMEMBERED or known[next(iter(known))].until <= now:
            known.popitem(last=False)


def _wish(binding: Binding) -> tuple[str, float]:
    """Level, and the least severity number."""
    try:
        config = msgspec.json.decode(binding.config, type=_Config)
    except msgspec.ValidationError:  # no object
        config = _Config()
    level, least = config.level, config.severity_min
    is_number = isinstance(least, int | float) and not isinstance(least, bool)
    return (
        ALL if level is None else str(level).lower(),
        least if is_number else 0,
    )

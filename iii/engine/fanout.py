"""How events reach the functions of their triggers.

Nobody waits for a handler and its result is dropped, so the one thing to mind is
order: the call of event *n* is started before that of event *n + 1* to the same
binding, also when a condition function decides first.  Conditions run at the same
time, their verdicts count in the order of the events.  Bindings know nothing of
each other.

A handler may take as long as it likes, so memory needs a bound: of one binding only
so many deliveries run at once, only so many events wait behind them, and when that is
full the oldest waiting event goes.  A condition that does not answer in time has
failed, or everything behind it would stand still.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from msgspec import Raw
from twisted.logger import Logger
from twisted.python.failure import Failure

from iii.engine.bindings import Binding
from iii.engine.clock import Timer
from iii.engine.invocations import STOPPED, Call, ErrorBody
from iii.engine.module import ModuleApi
from iii.errors import Code, IIIError

log = Logger()

MAX_RUNNING = 1_000
MAX_WAITING = 10_000
MAX_WAITING_BYTES = 16 * 1024 * 1024
CONDITION_LIMIT_S = 30.0
REPORT_EVERY_S = 60.0

_FALSE = b"false"


class _Event:
    """One event on its way to one binding.  ``wanted`` None: the condition is at work."""

    __slots__ = ("baggage", "condition", "payload", "traceparent", "wanted")

    def __init__(
        self,
        condition: str | None,
        payload: Raw,
        traceparent: str | None,
        baggage: str | None,
    ) -> None:
        self.condition = condition
        self.payload = payload
        self.traceparent = traceparent
        self.baggage = baggage
        self.wanted: bool | None = None

    @property
    def size(self) -> int:
        """In bytes, as far as somebody else says how large it is."""
        context = len(self.traceparent or "") + len(self.baggage or "")
        return memoryview(self.payload).nbytes + context


class _Lane:
    """What is under way to one binding.

    :ivar running: events whose condition or handler is at work
    :ivar deciding: events whose condition was asked, in order
    :ivar waiting: events beyond the bound, in order
    :ivar dropped: how many since the last report
    :ivar failures: how many since the last report
    """

    __slots__ = (
        "advancing",
        "binding",
        "deciding",
        "dropped",
        "failures",
        "failures_told_at",
        "report",
        "running",
        "waiting",
        "waiting_bytes",
    )

    def __init__(self, binding: Binding) -> None:
        self.binding = binding
        self.running = 0
        self.deciding: deque[_Event] = deque()
        self.waiting: deque[_Event] = deque()
        self.waiting_bytes = 0
        self.advancing = False
        self.dropped = 0
        self.report: Timer | None = None
        self.failures = 0
        self.failures_told_at: float | None = None


class Fanout:
    """Delivers events to the functions of bindings.

    :param engine: makes the calls
    :param what: whose events, for log lines, e.g. ``state``
    :ivar handled_total: events whose handler returned
    :ivar failed_total: events whose handler or condition failed
    :ivar dropped_total: events that nobody got, because too many waited
    """

    def __init__(self, engine: ModuleApi, what: str) -> None:
        self._engine = engine
        self._what = what
        self._span = f"{what}_triggers"
        self.handled_total = self.failed_total = self.dropped_total = 0
        self._lanes: dict[Binding, _Lane] = {}
        #: a call is being started: a function inside the engine may run right now
        self._starting = False
        #: lanes that go on in the next turn
        self._later: dict[_Lane, None] = {}

    def deliver(
        self,
        binding: Binding,
        condition: str | None,
        payload: Raw,
        traceparent: str | None = None,
        baggage: str | None = None,
    ) -> None:
        """Call the function of ``binding`` with ``payload``.

        :param condition: a function that is asked first; the handler is skipped when it
            returns ``false`` or fails
        :param traceparent: the trace context that the calls belong to
        :param baggage: what goes with it
        """
        lane = self._lanes.get(binding)
        if lane is None:
            lane = self._lanes[binding] = _Lane(binding)
        if lane.running >= MAX_RUNNING or lane.waiting or self._starting:
            self._wait(lane, _Event(condition, payload, traceparent, baggage))
            if self._starting:
                self._soon(lane)
        elif condition is None and not lane.deciding:
            lane.running += 1
            self._call(lane, payload, traceparent, baggage)
        else:
            self._decide(lane, _Event(condition, payload, traceparent, baggage))

    def spread(
        self,
        concerned: Iterable[tuple[Binding, str | None]],
        payload: Raw,
        traceparent: str | None = None,
        baggage: str | None = None,
    ) -> None:
        """Deliver one event to everybody concerned, below a span of it.

        :param concerned: bindings, each with its condition function
        """
        engine = self._engine
        started = engine.clock.monotonic()
        context = engine.tracing.context(traceparent, self._span)
        for binding, condition in concerned:
            self.deliver(binding, condition, payload, context, baggage)
        engine.tracing.span(self._span, "internal", traceparent, context, started, None)

    def forget(self, binding: Binding) -> None:
        """``binding`` was removed: drop what waits.  Handlers that run go on."""
        lane = self._lanes.pop(binding, None)
        if lane is None:
            return
        lane.deciding.clear()
        lane.waiting.clear()
        lane.waiting_bytes = 0
        if lane.report is not None and lane.report.active():
            lane.report.cancel()

    def stop(self) -> None:
        """Drop everything that waits."""
        for binding in list(self._lanes):
            self.forget(binding)

    def show(self, prefix: str) -> None:
        """Show what became of events, and how many wait.

        :param prefix: of the names, e.g. ``iii_pubsub``
        """
        show = self._engine.instrument
        show(
            f"{prefix}_delivered_total",
            "counter",
            "Events given to the function of a trigger",
            lambda: [(("ok",), self.handled_total), (("error",), self.failed_total)],
            ("status",),
        )
        show(
            f"{prefix}_dropped_total",
            "counter",
            "Events that a trigger's function never got, because too many waited for it",
            lambda: [((), self.dropped_total)],
        )
        show(
            f"{prefix}_waiting",
            "gauge",
            "Events that wait for a trigger's function",
            lambda: [((), self.waiting)],
        )

    @property
    def under_way(self) -> int:
        """How many deliveries run or wait."""
        return sum(lane.running + len(lane.waiting) for lane in self._lanes.values())

    @property
    def waiting(self) -> int:
        """How many wait: what runs is also among the engine's calls."""
        return sum(len(lane.waiting) for lane in self._lanes.values())

    # Running ---------------------------------------------------------------------------

    def _start(self, lane: _Lane, event: _Event) -> None:
        self._call(lane, event.payload, event.traceparent, event.baggage)

    def _call(
        self, lane: _Lane, payload: Raw, traceparent: str | None, baggage: str | None
    ) -> None:
        outer, self._starting = self._starting, True
        try:
            self._engine.start_call(
                lane.binding, payload, self._handled, lane, traceparent, baggage
            )
        finally:
            self._starting = outer

    def _handled(self, call: Call, result: Raw | None, error: ErrorBody | None) -> None:
        lane: _Lane = call.requester
        lane.running -= 1
        if error is None:
            self.handled_total += 1
        else:
            self.failed_total += 1
            if error is not STOPPED:
                self._failed(lane, call.function_id, error.code, error.message)
        self._go_on(lane)

    def _decide(self, lane: _Lane, event: _Event) -> None:
        lane.running += 1
        lane.deciding.append(event)
        if event.condition is None:
            event.wanted = True
            self._release(lane)
            return
        binding = lane.binding
        outer, self._starting = self._starting, True
        try:
            asked = self._engine.invoke(
                event.condition,
                event.payload,
                namespace=binding.namespace,
                metadata=binding.metadata,
                traceparent=event.traceparent,
                baggage=event.baggage,
                timeout_s=CONDITION_LIMIT_S,
            )
        finally:
            self._starting = outer
        asked.addCallbacks(
            self._answered,
            self._unanswered,
            callbackArgs=(lane, event),
            errbackArgs=(lane, event),
        )

    def _answered(self, result: Raw | None, lane: _Lane, event: _Event) -> None:
        event.wanted = result is None or bytes(result).strip() != _FALSE
        self._release(lane)

    def _unanswered(self, failure: Failure, lane: _Lane, event: _Event) -> None:
        error = failure.value
        code = error.code if isinstance(error, IIIError) else str(Code.INTERNAL_ERROR)
        message = error.message if isinstance(error, IIIError) else str(error)
        self.failed_total += 1
        self._failed(lane, f"condition {event.condition}", code, message)
        event.wanted = False
        self._release(lane)

    def _release(self, lane: _Lane) -> None:
        """Start the handlers of the events at the head whose condition has answered."""
        deciding = lane.deciding
        while deciding and deciding[0].wanted is not None:
            event = deciding.popleft()
            if event.wanted:
                self._start(lane, event)
            else:
                lane.running -= 1
        self._go_on(lane)

    # Waiting ---------------------------------------------------------------------------

    def _wait(self, lane: _Lane, event: _Event) -> None:
        lane.waiting.append(event)
        lane.waiting_bytes += event.size
        while len(lane.waiting) > MAX_WAITING or (
            lane.waiting_bytes > MAX_WAITING_BYTES and len(lane.waiting) > 1
        ):
            self._take(lane)
            lane.dropped += 1
            self.dropped_total += 1
        if lane.dropped and lane.report is None:
            self._report(lane)

    def _take(self, lane: _Lane) -> _Event:
        event = lane.waiting.popleft()
        lane.waiting_bytes -= event.size
        return event

    def _go_on(self, lane: _Lane) -> None:
        """Something of ``lane`` has ended."""
        if not lane.waiting:
            return
        if self._starting:
            self._soon(lane)
        else:
            self._advance(lane)

    def _soon(self, lane: _Lane) -> None:
        """Advance ``lane`` in a turn of its own.

        A function inside the engine runs while its call is started.  What it sets off
        must neither pile up on the stack nor keep everybody else waiting when it sets
        itself off.
        """
        if not self._later:
            self._engine.clock.call_later(0, self._advance_later)
        self._later[lane] = None

    def _advance_later(self) -> None:
        lanes, self._later = self._later, {}
        for lane in lanes:
            self._advance(lane)

    def _advance(self, lane: _Lane) -> None:
        """Start what waits as far as the bound allows."""
        if lane.advancing:
            return  # a call ended before it was started; the loop below goes on
        lane.advancing = True
        try:
            # No more than wait now: the rest is what these set off.
            for _ in range(len(lane.waiting)):
                if not lane.waiting or lane.running >= MAX_RUNNING:
                    break
                event = self._take(lane)
                if event.condition is None and not lane.deciding:
                    lane.running += 1
                    self._start(lane, event)
                else:
                    self._decide(lane, event)
        finally:
            lane.advancing = False
        if lane.waiting and lane.running < MAX_RUNNING:
            self._soon(lane)

    # Telling ---------------------------------------------------------------------------

    def _report(self, lane: _Lane) -> None:
        """Tell what was dropped, and look again in a minute."""
        lane.report = None
        if not lane.dropped:
            return
        log.warn(
            "{what} trigger {id}: {dropped} event(s) for {function} dropped, the oldest first:"
            " {running} deliveries run and {waiting} events ({size} bytes) wait behind them",
            what=self._what,
            id=lane.binding.id,
            function=lane.binding.function_id,
            dropped=lane.dropped,
            running=lane.running,
            waiting=len(lane.waiting),
            size=lane.waiting_bytes,
        )
        lane.dropped = 0
        lane.report = self._engine.clock.call_later(REPORT_EVERY_S, self._report, lane)

    def _failed(self, lane: _Lane, function: str, code: str, message: str) -> None:
        """Tell of a failure, unless one was told of within the last minute."""
        lane.failures += 1
        now = self._engine.clock.monotonic()
        told_at = lane.failures_told_at
        if told_at is not None and now - told_at < REPORT_EVERY_S:
            return
        log.warn(
            "{what} trigger {id}: {function} failed ({failures} failure(s) since the last such"
            " line): {code}: {reason}",
            what=self._what,
            id=lane.binding.id,
            function=function,
            failures=lane.failures,
            code=code,
            reason=message,
        )
        lane.failures = 0
        lane.failures_told_at = now

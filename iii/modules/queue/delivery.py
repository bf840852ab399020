"""One attempt: the condition, the call, and what its end means.

A result, whatever it is, is an acknowledgement.  An error is a failed attempt, except
that what nobody could help doesn't count: the worker or the engine went away, or the
function is not there.  An attempt that takes longer than its queue allows has failed;
what its function answers later is dropped.

Every attempt is a span below the one that put the message, and its calls are below it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from msgspec import Raw

from iii.engine.bindings import Binding
from iii.engine.clock import Deadlines
from iii.engine.functions import DEFAULT_NAMESPACE
from iii.engine.invocations import STOPPED, Call, ErrorBody
from iii.engine.module import ModuleApi
from iii.errors import Code
from iii.modules.queue.figures import QueueFigures
from iii.modules.queue.lane import Outcome, Verdict
from iii.modules.queue.message import Failure, Message
from iii.modules.queue.spans import delivered_baggage, of_named_queue, of_topic

CONDITION_LIMIT_S = 30.0
#: The code by which a handler asks for another attempt at a time of its choice.
RETRY_AFTER = "retry_after"
LONGEST_RETRY_AFTER_MS = 366 * 24 * 3600 * 1000

Done = Callable[[Outcome], None]

_DONE = Outcome(Verdict.DONE)
_RETURNED = Outcome(Verdict.RETURNED)
_ABSENT = Outcome(Verdict.ABSENT)


class Target:
    """Whom to call.

    :ivar queue: the topic or the named queue, and what is counted of it
    :ivar binding: of a topic; None for a named queue
    :ivar condition: asked first
    :ivar span: what an attempt is called
    """

    __slots__ = ("binding", "condition", "figures", "queue", "span")

    def __init__(
        self,
        queue: str,
        figures: QueueFigures,
        binding: Binding | None = None,
        condition: str | None = None,
    ) -> None:
        self.queue = queue
        self.figures = figures
        self.binding = binding
        self.condition = condition
        self.span = f"fn_queue {queue}" if binding is None else f"queue {queue}"


class _Attempt:
    """An attempt under way.  ``call`` None: the condition is at work, or it is over.

    :ivar function_id: the trigger's function, or the one that the message names
    :ivar traceparent: the context of its calls, with ``baggage``
    """

    __slots__ = (
        "baggage",
        "call",
        "condition",
        "done",
        "function_id",
        "limit_ms",
        "message",
        "over",
        "started",
        "target",
        "traceparent",
    )

    def __init__(
        self, message: Message, target: Target, limit_ms: int, done: Done, started: float
    ) -> None:
        self.message = message
        self.target = target
        self.limit_ms = limit_ms
        self.done = done
        self.started = started
        binding = target.binding
        self.function_id = (message.function_id or "") if binding is None else binding.function_id
        self.traceparent = message.details.traceparent
        self.baggage = message.details.baggage
        self.call: Call | None = None
        self.condition: Call | None = None
        self.over = False


class Delivery:
    """Makes attempts."""

    def __init__(self, engine: ModuleApi) -> None:
        self._engine = engine
        self._tracing = engine.tracing
        self._now = engine.clock.monotonic
        self._limits: dict[int, Deadlines[_Attempt]] = {}
        self._stopped = False
        #: attempts under way
        self.running = 0

    def attempt(self, message: Message, target: Target, limit_ms: int, done: Done) -> None:
        """Make one; ``done`` is told its end, perhaps at once.

        :param limit_ms: 0: it may take as long as it likes
        """
        attempt = _Attempt(message, target, limit_ms, done, self._now())
        self.running += 1
        tracing = self._tracing
        if tracing.sink is not None:
            attempt.traceparent = tracing.context(attempt.traceparent, target.span)
            attempt.baggage = delivered_baggage(attempt.baggage, attempt.function_id)
        if limit_ms:
            self._limit(limit_ms).add(attempt)
        if target.condition is None:
            self._call(attempt)
        else:
            self._ask(attempt, target.condition)

    def stop(self) -> None:
        """Outcomes are of no interest any more: what runs is delivered again."""
        self._stopped = True
        for deadlines in self._limits.values():
            deadlines.stop()

    # Inside ----------------------------------------------------------------------------

    def _ask(self, attempt: _Attempt, condition: str) -> None:
        binding, message = attempt.target.binding, attempt.message
        attempt.condition = self._engine.start_function(
            condition,
            message.data,
            self._answered,
            attempt,
            namespace=None if binding is None else binding.namespace,
            traceparent=attempt.traceparent,
            baggage=attempt.baggage,
        )
        if not attempt.over and attempt.call is None:
            self._limit(int(CONDITION_LIMIT_S * 1000), condition=True).add(attempt)

    def _answered(self, call: Call, result: Raw | None, error: ErrorBody | None) -> None:
        attempt: _Attempt = call.requester
        self._limit(int(CONDITION_LIMIT_S * 1000), condition=True).discard(attempt)
        if attempt.over:
            return
        if error is STOPPED:
            self._end(attempt, _RETURNED, error)
        elif error is not None:
            self._end(attempt, self._failed(error, condition=True), error)
        elif result is not None and bytes(result).strip() == b"false":
            self._end(attempt, _DONE)
        else:
            self._call(attempt)

    def _call(self, attempt: _Attempt) -> None:
        message, binding = attempt.message, attempt.target.binding
        if binding is not None:
            call = self._engine.start_call(
                binding,
                message.data,
                self._handled,
                attempt,
                attempt.traceparent,
                attempt.baggage,
            )
        else:
            assert message.function_id is not None
            call = self._engine.start_function(
                message.function_id,
                message.data,
                self._handled,
                attempt,
                namespace=message.details.namespace,
                traceparent=attempt.traceparent,
                baggage=attempt.baggage,
                trigger="queue",
            )
        if not attempt.over:
            attempt.call = call

    def _handled(self, call: Call, result: Raw | None, error: ErrorBody | None) -> None:
        attempt: _Attempt = call.requester
        if attempt.over:
            return
        if error is None:
            outcome = _DONE
        elif error is STOPPED:
            outcome = _RETURNED
        elif call.owner is None:
            # Nobody took it; a handler whose own call found nobody has an owner.
            outcome = _ABSENT
        else:
            outcome = self._failed(error)
        self._end(attempt, outcome, error)

    def _failed(self, error: ErrorBody, *, condition: bool = False) -> Outcome:
        failure = Failure(
            self._engine.clock.wall_ms(), error.code, error.message, error.stacktrace, condition
        )
        after_ms = _asked_for(error.details) if error.code == RETRY_AFTER else None
        return Outcome(Verdict.FAILED, failure, after_ms)

    def _timed_out(self, what: str, attempt: _Attempt) -> None:
        for call in (attempt.call, attempt.condition):
            if call is not None:
                self._engine.abandon(call)
        waited_ms = int(CONDITION_LIMIT_S * 1000) if what == "condition" else attempt.limit_ms
        error = ErrorBody(Code.INVOCATION_TIMEOUT, f"no result of the {what} after {waited_ms} ms")
        self._end(attempt, self._failed(error, condition=what == "condition"), error)

    def _end(self, attempt: _Attempt, outcome: Outcome, error: ErrorBody | None = None) -> None:
        attempt.over = True
        self.running -= 1
        if attempt.limit_ms:
            self._limit(attempt.limit_ms).discard(attempt)
        if attempt.condition is not None:
            self._limit(int(CONDITION_LIMIT_S * 1000), condition=True).discard(attempt)
        attempt.target.figures.ended(outcome.verdict, self._now() - attempt.started)
        if attempt.traceparent is not attempt.message.details.traceparent:
            self._span(attempt, error)
        if not self._stopped:
            attempt.done(outcome)

    def _span(self, attempt: _Attempt, error: ErrorBody | None) -> None:
        """A followed attempt is over."""
        context, message, target = attempt.traceparent, attempt.message, attempt.target
        if context is None or context[-1] != "1":
            return
        attributes = of_named_queue if target.binding is None else of_topic
        self._tracing.span(
            target.span,
            "consumer",
            message.details.traceparent,
            context,
            attempt.started,
            error is None,
            None if error is None else (error.code, error.message, error.stacktrace),
            attributes(message, target.queue, attempt.function_id),
        )

    def _limit(self, limit_ms: int, *, condition: bool = False) -> Deadlines[_Attempt]:
        key = -limit_ms if condition else limit_ms
        deadlines = self._limits.get(key)
        if deadlines is None:
            what = "condition" if condition else "function"
            deadlines = self._limits[key] = Deadlines(
                self._engine.clock, limit_ms / 1000, partial(self._timed_out, what)
            )
        return deadlines


class NamedExecutor:
    """Runs messages of one named queue: each says whom it is for."""

    def __init__(self, engine: ModuleApi, delivery: Delivery, target: Target) -> None:
        self._engine = engine
        self._delivery = delivery
        self._target = target

    def ready(self, message: Message) -> bool:
        """Executor: whether its function is there."""
        return message.function_id is not None and self._engine.offers(
            message.function_id, message.details.namespace
        )

    def run(self, message: Message, limit_ms: int, done: Done) -> None:
        """Executor: make an attempt."""
        self._delivery.attempt(message, self._target, limit_ms, done)


class GroupExecutor:
    """Runs messages of one group: its triggers take turns."""

    def __init__(self, engine: ModuleApi, delivery: Delivery) -> None:
        self._engine = engine
        self._delivery = delivery
        self.targets: dict[Binding, Target] = {}
        #: the trigger that ``ready`` found; ``run`` follows in the same turn
        self._next: Binding | None = None

    def ready(self, message: Message) -> bool:
        """Executor: whether a trigger's function is there."""
        self._next = next(filter(self._can, self.targets), None)
        return self._next is not None

    def run(self, message: Message, limit_ms: int, done: Done) -> None:
        """Executor: make an attempt with the trigger whose turn it is."""
        binding = self._next
        if binding not in self.targets and not self.ready(message):
            done(_ABSENT)
            return
        binding = self._next
        assert binding is not None
        target = self.targets.pop(binding)
        self.targets[binding] = target  # to the end
        self._delivery.attempt(message, target, limit_ms, done)

    def _can(self, binding: Binding) -> bool:
        namespace = binding.namespace
        return self._engine.offers(
            binding.function_id, None if namespace == DEFAULT_NAMESPACE else namespace
        )


def _asked_for(details: Any) -> int | None:
    """The milliseconds in the ``details`` of a ``retry_after``."""
    wanted = details.get("retry_after_ms") if isinstance(details, dict) else None
    if isinstance(wanted, bool) or not isinstance(wanted, int | float):
        return None
    return int(min(max(wanted, 0), LONGEST_RETRY_AFTER_MS))

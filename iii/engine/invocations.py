"""Calls under way: who asked, who runs it, where the answer goes.

A ``Call`` lives in the ``executing`` table of the owner that runs it and nowhere
else.  That table is the pending table and the ownership check at once: a result
can only end a call of the connection it came from.  The call is entered before
it is handed over, so an answer can't arrive too early.

``Call.done`` is told the outcome exactly once.  ``Engine.invoke`` wraps it in a
Deferred; a worker's connection and the HTTP module take it as it is, because a
Deferred per relayed call costs more than the relay.

Payloads are ``msgspec.Raw``: bytes of JSON that nobody here looks into.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
from msgspec import UNSET, Raw, UnsetType
from twisted.logger import Logger

from iii.engine.callcounts import CallCounts, FunctionCounts
from iii.engine.clock import Clock
from iii.engine.ids import uuid4_text
from iii.engine.tracecontext import UNRECORDED
from iii.engine.tracing import Tracing
from iii.errors import Code, InvocationError

if TYPE_CHECKING:
    from iii.engine.history import History, Input

log = Logger()

NULL = Raw(b"null")


def as_raw(value: Any) -> Raw:
    """``value`` as JSON: ``Raw`` as it is, anything else encoded."""
    if value is None:
        return NULL
    return value if isinstance(value, Raw) else Raw(msgspec.json.encode(value))


class ErrorBody(msgspec.Struct, omit_defaults=True):
    """The ``error`` of an ``invocationresult``; codes in ``iii.errors.Code``."""

    code: str
    message: str
    stacktrace: str | None = None
    details: Any | UnsetType = UNSET

    def exception(self, function_id: str, invocation_id: str) -> InvocationError:
        """The same error as an exception."""
        return InvocationError(
            self.code,
            self.message,
            stacktrace=self.stacktrace,
            function_id=function_id,
            invocation_id=invocation_id,
        )


STOPPED = ErrorBody(Code.INVOCATION_STOPPED, "Invocation stopped")


Done = Callable[["Call", Raw | None, ErrorBody | None], None]
"""Told the outcome: the result (``None`` when there is none) or the error."""


class Call(msgspec.Struct, eq=False):
    """One invocation.  ``requester`` belongs to whoever made the call.

    :ivar id: what the executor sees (always a UUID)
    :ivar data: its input
    :ivar traceparent: the trace context: the caller's, then the executor's
    :ivar caller: id of the worker that made it; None: the engine or a module
    :ivar parent: the caller's trace context, while calls are traced
    :ivar received: the context of the engine's part, which the caller is told
    :ivar dispatched: it was sent to a worker
    :ivar trigger: the type of the trigger that it comes from
    :ivar input: its input, as the history of calls keeps it; None: it is not kept
    """

    id: str
    function_id: str
    data: Raw
    done: Done
    requester: Any = None
    traceparent: str | None = None
    baggage: str | None = None
    metadata: Raw | None = None
    namespace: str | None = None
    caller: str | None = None
    owner: Owner | None = None
    started: float = 0.0
    parent: str | None = None
    received: str | None = None
    dispatched: bool = False
    counts: FunctionCounts | None = None
    trigger: str | None = None
    input: Input | None = None


def ignore_outcome(call: Call, result: Raw | None, error: ErrorBody | None) -> None:
    """The ``done`` of a call nobody waits for."""


class Owner(Protocol):
    """Whoever runs calls: a worker's connection or an in-process handler."""

    executing: dict[str, Call]
    #: in this process, not a worker
    native: bool

    @property
    def describe(self) -> str:
        """For log lines."""
        ...

    def start(self, call: Call) -> None:
        """Run ``call``; the outcome comes through ``Invocations.finish``."""
        ...


class Router(Protocol):
    """Finds the owner that serves a function."""

    def owner_of(self, function_id: str, namespace: str | None) -> Owner | None: ...

    def not_found(self, function_id: str, namespace: str | None) -> ErrorBody: ...


class Invocations:
    """Starts and ends calls.

    :param limit_s: a call that ran this long is ended with ``invocation_timeout``
    """

    def __init__(self, router: Router, clock: Clock, *, limit_s: float) -> None:
        self._router = router
        self._clock = clock
        self.limit_s = limit_s
        self._now = clock.monotonic
        self.counts = CallCounts()
        self.tracing = Tracing(clock)
        #: None: calls are forgotten when they are over
        self.history: History | None = None

    def start(self, call: Call) -> None:
        """Hand ``call`` to an owner of its function, or end it at once with an error."""
        history = self.history
        if history is not None:
            history.begin(call)
        tracing = self.tracing
        if tracing.sink is not None:
            tracing.begin(call)
        call.started = self._now()
        owner = self._router.owner_of(call.function_id, call.namespace)
        if owner is None:
            call.counts = self.counts.of_unowned(call.function_id)
            call.counts.started += 1
            error = self._router.not_found(call.function_id, call.namespace)
            self._ended(call, None, error)
            call.done(call, None, error)
            return
        counts = call.counts = self.counts.of(call.function_id)
        counts.started += 1
        if not owner.native:
            call.dispatched = True
            counts.dispatched += 1
        executing = owner.executing
        if call.id in executing:
            # Two callers chose the same id at the same time: the executor gets a
            # fresh one, each caller its own back (the requester remembers it).
            call.id = uuid4_text()
        call.owner = owner
        executing[call.id] = call
        owner.start(call)

    def start_unseen(self, call: Call) -> None:
        """The same for a look at the engine itself: it is in no count and no trace."""
        call.traceparent = UNRECORDED
        call.started = self._now()
        owner = self._router.owner_of(call.function_id, call.namespace)
        if owner is None:
            call.done(call, None, self._router.not_found(call.function_id, call.namespace))
            return
        call.dispatched = not owner.native
        call.owner = owner
        owner.executing[call.id] = call
        owner.start(call)

    def finish(self, owner: Owner, id: str, result: Raw | None, error: ErrorBody | None) -> bool:
        """End call ``id`` of ``owner``.  False when ``owner`` runs no such call."""
        call = owner.executing.pop(id, None)
        if call is None:
            return False
        self._ended(call, result, error)
        _tell(call, result, error)
        return True

    def _ended(self, call: Call, result: Raw | None, error: ErrorBody | None) -> None:
        now = self._now()
        counts = call.counts
        if counts is not None:
            counts.ended(now - call.started, None if error is None else error.code)
        if call.traceparent is not None:
            self.tracing.end(call, now, error)
        if call.input is not None and self.history is not None:
            self.history.add(call, result, error, now)

    def abandon(self, call: Call) -> None:
        """Forget ``call``: nobody waits for it any more, and ``done`` is not told."""
        call.done = ignore_outcome

    @staticmethod
    def awaited(owner: Owner) -> int:
        """How many calls ``owner`` runs whose outcome somebody waits for."""
        return sum(1 for call in owner.executing.values() if call.done is not ignore_outcome)

    def stop_all(self, owner: Owner) -> None:
        """End every call ``owner`` was running: its connection is gone."""
        calls = list(owner.executing.values())
        owner.executing.clear()
        for call in calls:
            self._ended(call, None, STOPPED)
            _tell(call, None, STOPPED)

    def pass_on(self, owner: Owner, otherwise: ErrorBody | None = None) -> None:
        """Hand the calls ``owner`` was to run to those who serve their functions now.

        :param otherwise: what ends a call whose function nobody serves; None: not found
        """
        calls = list(owner.executing.values())
        owner.executing.clear()
        for call in calls:
            heir = self._router.owner_of(call.function_id, call.namespace)
            if heir is None:
                error = otherwise or self._router.not_found(call.function_id, call.namespace)
                call.owner = None
                self._ended(call, None, error)
                _tell(call, None, error)
                continue
            if not heir.native:
                call.dispatched = True
                if call.counts is not None:
                    self.counts.of(call.function_id).dispatched += 1
            call.owner = heir
            heir.executing[call.id] = call
            heir.start(call)

    def expire(self, owner: Owner) -> int:
        """End the calls of ``owner`` that are older than the limit; how many."""
        oldest_allowed = self._clock.monotonic() - self.limit_s
        expired = 0
        # In order of arrival, so the first young one ends the search.
        while (call := next(iter(owner.executing.values()), None)) is not None:
            if call.started > oldest_allowed:
                break
            del owner.executing[call.id]
            expired += 1
            error = ErrorBody(Code.INVOCATION_TIMEOUT, f"no result after {self.limit_s:g} s")
            self._ended(call, None, error)
            _tell(call, None, error)
        return expired


def _tell(call: Call, result: Raw | None, error: ErrorBody | None) -> None:
    """The requester's trouble must not reach the connection that answered."""
    try:
        call.done(call, result, error)
    except Exception:
        log.failure("the outcome of {id} could not be used", id=call.function_id)

"""What calls and modules did, as plain tuples, handed on in lists.

On the way of a call nothing is built that nobody may ever look at: a ``CallRecord`` or
``SpanRecord`` is a tuple of strings and numbers, appended to a list.  The list goes to
the ``sink`` when it is full or somebody asks (``flush``); spans with names and attributes
are made from it when they are read or exported (docs/observability.md, "Spans").

Whether a trace is recorded is decided once, where it begins, and carried in its context
(``tracecontext``).  Without a ``sink`` contexts are passed through untouched.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from iii.engine import tracecontext
from iii.engine.clock import Clock

if TYPE_CHECKING:
    from iii.engine.invocations import Call, ErrorBody

#: Records that are handed on together.
BATCH_RECORDS = 1_024

#: Under this name an attribute is the W3C ``tracestate`` of its span.
TRACE_STATE = "tracestate"

Error = tuple[str, str, str | None]
"""Code, message and stack trace."""


class CallRecord(NamedTuple):
    """One call.  Times are of the clock's ``monotonic``, in seconds.

    :ivar parent: the context it came with
    :ivar received: the context of the engine's part of it; None: the engine's own call
    :ivar context: the context its executor got
    :ivar caller: id of the worker that made it, when it was a worker
    :ivar worker: id of the worker that ran it; None: a function of the engine
    """

    function_id: str
    invocation_id: str
    parent: str | None
    received: str | None
    context: str
    caller: str | None
    worker: str | None
    started: float
    ended: float
    error: Error | None


class SpanRecord(NamedTuple):
    """Anything else that took time.

    :ivar kind: ``internal``, ``server``, ``client``, ``producer`` or ``consumer``
    :ivar ok: None: it has no outcome
    :ivar attributes: a tuple of names, then their values: text, numbers or booleans; empty
        text counts as absent.  Names that are always the same cost nothing
    """

    name: str
    kind: str
    parent: str | None
    context: str
    started: float
    ended: float
    ok: bool | None
    error: Error | None
    attributes: tuple[Any, ...]


Record = CallRecord | SpanRecord
Sink = Callable[[list[tuple[Any, ...]]], None]
"""Takes records as plain tuples: ten members are a call, nine a span."""

Sample = Callable[[str, str], bool]
"""``sample(name, trace_id)``: whether a new trace is recorded."""


def record_of(fields: tuple[Any, ...]) -> Record:
    """A record with names."""
    if len(fields) == len(CallRecord._fields):
        return CallRecord._make(fields)
    return SpanRecord._make(fields)


class Tracing:
    """Follows what happens.

    :ivar sink: None: nothing is recorded, contexts are passed through
    :ivar sample: decides on new traces; None: all are recorded
    :ivar gathering: told that the first record since the last ``flush`` was gathered
    """

    def __init__(self, clock: Clock) -> None:
        self._now = clock.monotonic
        self._records: list[tuple[Any, ...]] = []
        self.sink: Sink | None = None
        self.sample: Sample | None = None
        self.gathering: Callable[[], None] | None = None

    # Calls -----------------------------------------------------------------------------

    def begin(self, call: Call) -> None:
        """``call`` is about to be handed to its owner: give it a context of its own."""
        parent = call.traceparent
        if call.caller is None:
            # Contexts of the engine itself were looked at where they came in.
            if parent is not None and len(parent) != tracecontext.CONTEXT_CHARS:
                parent = tracecontext.usable(parent)
            call.parent = parent
            call.traceparent = self._child(parent, "call", call.function_id)
        else:
            parent = call.parent = tracecontext.usable(parent)
            call.received = self._child(parent, "handle_invocation", call.function_id)
            call.traceparent = tracecontext.child_of(call.received)

    def end(self, call: Call, ended: float, error: ErrorBody | None) -> None:
        """``call`` is over."""
        context = call.traceparent
        if context is None or context[-1] != "1" or self.sink is None:
            return
        self._add(
            (
                call.function_id,
                call.id,
                call.parent,
                call.received,
                context,
                call.caller,
                getattr(call.owner, "id", None) if call.dispatched else None,
                call.started,
                ended,
                None if error is None else (error.code, error.message, error.stacktrace),
            )
        )

    # Everything else -------------------------------------------------------------------

    def context(self, parent: str | None, *name: str) -> str | None:
        """The context of a span that begins now; ``parent`` itself when nothing is recorded.

        :param name: of the span, its words joined if rules for new traces look at it
        """
        if self.sink is None:
            return parent
        return self._child(tracecontext.usable(parent), *name)

    def span(
        self,
        name: str,
        kind: str,
        parent: str | None,
        context: str | None,
        started: float,
        ok: bool | None,
        error: Error | None = None,
        attributes: tuple[Any, ...] = (),
    ) -> None:
        """A span is over: keep it, when its trace is recorded.

        :param context: what ``context`` gave at its beginning
        :param started: the clock's ``monotonic`` at that moment
        """
        if context is None or context[-1] != "1" or self.sink is None:
            return
        if parent is not None and parent[3:35] != context[3:35]:
            parent = None  # it made no sense, and a trace of its own was begun
        now = self._now()
        self._add((name, kind, parent, context, started, now, ok, error, attributes))

    def flush(self) -> None:
        """Hand on what was gathered."""
        records, self._records = self._records, []
        if records and self.sink is not None:
            self.sink(records)

    # Inside ----------------------------------------------------------------------------

    def _child(self, parent: str | None, *name: str) -> str:
        if parent is not None:
            return tracecontext.child_of(parent)
        root = tracecontext.new_root()
        if self.sample is not None and not self.sample(" ".join(name), root[3:35]):
            return tracecontext.unsampled(root)
        return root

    def _add(self, record: tuple[Any, ...]) -> None:
        records = self._records
        records.append(record)
        if len(records) == 1:
            if self.gathering is not None:
                self.gathering()
        elif len(records) >= BATCH_RECORDS:
            self.flush()

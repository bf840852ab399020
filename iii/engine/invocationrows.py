"""How calls look to people: rows of a list, and all about one.

Times are told twice: in milliseconds as a number, and in nanoseconds as text, which a
browser does not round.
"""

from __future__ import annotations

from typing import Any, Literal

from msgspec import UNSET, Raw, Struct, UnsetType

from iii.engine.clock import Clock
from iii.engine.history import Error, History, KeptCall
from iii.engine.redacting import REDACTED, Redactor
from iii.engine.tracecontext import CONTEXT_CHARS, trace_id

PREVIEW_BYTES = 256

Status = Literal["pending", "ok", "error"]


class ErrorRow(Struct):
    """How a call failed."""

    code: str
    message: str
    stacktrace: str | UnsetType = UNSET


class InvocationRow(Struct, kw_only=True):
    """A call in a list.

    :ivar duration_ms: of a pending one: so far
    :ivar payload_preview: the first ``PREVIEW_BYTES`` of its input
    :ivar replay_of: the call that it repeats
    """

    invocation_id: str
    function_id: str
    namespace: str | None
    caller_worker_id: str | None
    worker_id: str | None
    started_at_ms: float
    started_at_unix_nano_str: str
    duration_ms: float
    status: Status
    error: ErrorRow | None
    trace_id: str | None
    trigger_type: str | None
    payload_preview: str
    payload_bytes: int
    result_preview: str | None
    result_bytes: int | None
    replay_of: str | UnsetType = UNSET


class InvocationDetail(InvocationRow, kw_only=True):
    """All about a call.

    :ivar payload: its input; of a longer one than is kept only ``payload_beginning``
    :ivar replayable: it can be repeated as it was
    """

    payload: Raw | UnsetType = UNSET
    payload_beginning: str | UnsetType = UNSET
    result: Raw | UnsetType = UNSET
    result_beginning: str | UnsetType = UNSET
    replayable: bool


class Rows:
    """Makes them.

    :ivar redactor: hides values
    """

    def __init__(self, clock: Clock, history: History, redactor: Redactor) -> None:
        self._clock = clock
        self._history = history
        self.redactor = redactor

    def row(self, call: KeptCall, *, pending: bool = False) -> InvocationRow:
        """A call in a list.

        :param pending: it is under way, and ``ended`` is now
        """
        return InvocationRow(**self._fields(call, pending))

    def detail(self, call: KeptCall, *, pending: bool = False) -> InvocationDetail:
        """All about a call."""
        fields = self._fields(call, pending)
        fields["error"] = _error(call.error, stack=True)
        fields["payload"], fields["payload_beginning"] = self._shown(call.input, call.input_size)
        if call.result is not None:
            result = self._shown(call.result, call.result_size)
            fields["result"], fields["result_beginning"] = result
        return InvocationDetail(**fields, replayable=call.is_whole)

    def _fields(self, call: KeptCall, pending: bool) -> dict[str, Any]:
        result = call.result
        return {
            "invocation_id": call.id,
            "function_id": call.function_id,
            "namespace": call.namespace,
            "caller_worker_id": call.caller,
            "worker_id": call.worker,
            **self._times(call.started, call.ended),
            "status": "pending" if pending else "ok" if call.error is None else "error",
            "error": _error(call.error),
            "trace_id": trace_of(call),
            "trigger_type": call.trigger,
            "payload_preview": self._preview(call.input, call.input_size),
            "payload_bytes": call.input_size,
            "result_preview": None if result is None else self._preview(result, call.result_size),
            "result_bytes": None if result is None else call.result_size,
            "replay_of": self._history.replays.get(call.id, UNSET),
        }

    def _times(self, started: float, ended: float) -> dict[str, Any]:
        began = started + self._clock.wall() - self._clock.monotonic()
        return {
            "started_at_ms": round(began * 1000, 3),
            "started_at_unix_nano_str": str(round(began * 1e6) * 1000),
            "duration_ms": round((ended - started) * 1000, 3),
        }

    def _preview(self, value: bytes, size: int) -> str:
        whole, beginning = self._shown(value, size)
        if not isinstance(whole, UnsetType):
            beginning = bytes(memoryview(whole)[:PREVIEW_BYTES]).decode("utf-8", "ignore")
        return str(beginning)[:PREVIEW_BYTES]

    def _shown(self, value: bytes, size: int) -> tuple[Raw | UnsetType, str | UnsetType]:
        """A value, or its beginning when that is all there is."""
        if len(value) == size:
            return self.redactor.redacted(Raw(value)), UNSET
        # Where half a value ends nobody can tell what a key hides.
        if not self.redactor.is_clean(value):
            return UNSET, REDACTED
        return UNSET, value.decode("utf-8", "ignore")


def trace_of(call: KeptCall) -> str | None:
    """The trace that a call belongs to."""
    context = call.context
    return None if context is None or len(context) < CONTEXT_CHARS else trace_id(context)


def _error(error: Error | None, *, stack: bool = False) -> ErrorRow | None:
    if error is None:
        return None
    code, message, trace = error
    return ErrorRow(code, message, trace if stack and trace is not None else UNSET)

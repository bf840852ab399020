"""Calls that are over: what went in, what came out, how it ended.

A call's bytes are there anyway, so keeping them is keeping a reference: one tuple in a
list, and two lengths added up.  Rows, previews and everything else are made when somebody
looks (``iii.engine.invocationrows``).

The rule that is easy to get wrong: whatever a call may have is weighed when it comes in,
because one input of 64 MiB is as much as a hundred thousand ordinary calls.  Of an input or
result only ``KEPT_VALUE_BYTES`` stay; the oldest go in blocks.

Calls of the engine's own functions (``engine::…``) and looks that are not to be seen are
not kept.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from msgspec import Raw

from iii.engine.functions import ENGINE_PREFIX
from iii.engine.tracecontext import UNRECORDED

if TYPE_CHECKING:
    from iii.engine.invocations import Call, ErrorBody

MAX_KEPT_CALLS = 5_000
MAX_HISTORY_BYTES = 32 * 1024 * 1024
#: Of an input, and of a result.
KEPT_VALUE_BYTES = 64 * 1024
#: What a call takes beside its input and result: its tuple, ids, numbers, and the message
#: around a value, which lives as long as the value.
ENTRY_BYTES = 900
BLOCK_CALLS = 250
MAX_REPLAYS = 1_000
MAX_ERROR_CHARS = 4_000
MAX_STACK_CHARS = 16_000


class Cut(NamedTuple):
    """The beginning of a value.

    :ivar size: of all of it, in bytes
    """

    beginning: bytes
    size: int


Input = Raw | Cut
Error = tuple[str, str, str | None]
"""Code, message, stack trace."""


class KeptCall(NamedTuple):
    """A call that is over.  Times are of the clock's ``monotonic``, in seconds.

    :ivar context: the trace context its executor got
    :ivar caller: id of the worker that made it; None: the engine or a module
    :ivar worker: id of the worker that ran it; None: a function of the engine, or nobody
    """

    id: str
    function_id: str
    namespace: str | None
    input: Input
    result: Input | None
    error: Error | None
    context: str | None
    caller: str | None
    worker: str | None
    trigger: str | None
    metadata: Raw | None
    started: float
    ended: float


_Fields = tuple[object, ...]


class History:
    """The newest calls, within ``MAX_KEPT_CALLS`` and ``max_bytes``.

    :ivar heard: called after each call that was kept; None: nobody listens
    :ivar added: how many were ever kept
    :ivar replays: id of a replay → id of the call it repeats
    """

    def __init__(self, max_bytes: int = MAX_HISTORY_BYTES) -> None:
        self._max_bytes = max_bytes
        self._blocks: deque[tuple[list[_Fields], int]] = deque()
        self._open: list[_Fields] = []
        self._open_bytes = 0
        self._closed_bytes = 0
        self._closed_calls = 0
        self._forgotten = 0
        self.heard: Callable[[], None] | None = None
        self.replays: dict[str, str] = {}

    def __len__(self) -> int:
        return min(self._closed_calls + len(self._open), MAX_KEPT_CALLS)

    @property
    def size(self) -> int:
        """Bytes, as they are weighed."""
        return self._closed_bytes + self._open_bytes

    @property
    def added(self) -> int:
        """How many calls were ever kept."""
        return self._forgotten + self._closed_calls + len(self._open)

    # While calls are under way -------------------------------------------------------------

    def begin(self, call: Call) -> None:
        """``call`` is about to start: keep its input, which is let go of when it is sent."""
        if call.function_id.startswith(ENGINE_PREFIX) or call.traceparent == UNRECORDED:
            return
        data = call.data
        call.input = data if len(data) <= KEPT_VALUE_BYTES else _cut(data)

    def add(self, call: Call, result: Raw | None, error: ErrorBody | None, ended: float) -> None:
        """``call``, whose input was kept, is over."""
        kept = call.input
        size = ENTRY_BYTES + (len(kept) if type(kept) is Raw else KEPT_VALUE_BYTES)
        if result is not None:
            length = len(result)
            if length > KEPT_VALUE_BYTES:
                result, length = _cut(result), KEPT_VALUE_BYTES  # type: ignore[assignment]
            size += length
        if call.metadata is not None:
            size += len(call.metadata)
        told: Error | None = None
        if error is not None:
            told = _told(error)
            size += len(told[1]) + len(told[2] or "")
        self._open.append(
            (
                call.id,
                call.function_id,
                call.namespace,
                kept,
                result,
                told,
                call.traceparent,
                call.caller,
                call.owner.id if call.dispatched else None,  # type: ignore[union-attr]
                call.trigger,
                call.metadata,
                call.started,
                ended,
            )
        )
        self._open_bytes += size
        if len(self._open) >= BLOCK_CALLS or self._open_bytes + self._closed_bytes > (
            self._max_bytes
        ):
            self._close_block()
        if self.heard is not None:
            self.heard()

    def _close_block(self) -> None:
        """Let go of the oldest blocks, as many as it takes."""
        blocks = self._blocks
        blocks.append((self._open, self._open_bytes))
        self._closed_bytes += self._open_bytes
        self._closed_calls += len(self._open)
        self._open, self._open_bytes = [], 0
        while blocks and (
            self._closed_bytes > self._max_bytes
            or self._closed_calls - len(blocks[0][0]) >= MAX_KEPT_CALLS
        ):
            calls, size = blocks.popleft()
            self._closed_bytes -= size
            self._closed_calls -= len(calls)
            self._forgotten += len(calls)

    # Looking -------------------------------------------------------------------------------

    def newest(self) -> Iterator[KeptCall]:
        """All of them, the newest first."""
        left = len(self)
        lists = [self._open, *(calls for calls, _ in reversed(self._blocks))]
        for calls in lists:
            for fields in reversed(calls):
                if not left:
                    return
                left -= 1
                yield KeptCall._make(fields)

    def find(self, id: str) -> KeptCall | None:
        """The newest with this id."""
        return next((call for call in self.newest() if call.id == id), None)

    def replayed(self, id: str, original: str) -> None:
        """Call ``id`` repeats ``original``."""
        self.replays[id] = original
        if len(self.replays) > MAX_REPLAYS:
            del self.replays[next(iter(self.replays))]

    def clear(self) -> None:
        """Forget all of them."""
        self._forgotten = self.added
        self._blocks.clear()
        self._open = []
        self._open_bytes = self._closed_bytes = self._closed_calls = 0
        self.replays.clear()


def _cut(value: Raw) -> Cut:
    return Cut(bytes(memoryview(value)[:KEPT_VALUE_BYTES]), len(value))


def _told(error: ErrorBody) -> Error:
    stack = error.stacktrace
    return (
        error.code[:MAX_ERROR_CHARS],
        error.message[:MAX_ERROR_CHARS],
        None if stack is None else stack[:MAX_STACK_CHARS],
    )

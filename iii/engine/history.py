"""Calls that are over: what went in, what came out, how it ended.

While calls are under way there is but a tuple in a list, and lengths added up.  Every
``BLOCK_CALLS`` the list is packed into bytes: five thousand calls as objects would be memory
that is never in the processor's caches, and that is what keeping them would cost most
(benchmarks/console.py).  Rows, previews and everything else are made when somebody looks
(``iii.engine.invocationrows``).

The rule that is easy to get wrong: whatever a call may have is weighed when it comes in,
because one input of 64 MiB is as much as a hundred thousand ordinary calls.  Of an input or
result only ``KEPT_VALUE_BYTES`` stay; the oldest go in blocks.

Calls of the engine's own functions (``engine::…``) and looks that are not to be seen are
not kept.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from msgspec import Raw

from iii.engine.functions import ENGINE_PREFIX
from iii.engine.tracecontext import UNRECORDED

if TYPE_CHECKING:
    from iii.engine.invocations import Call, ErrorBody

MAX_KEPT_CALLS = 5_000
MAX_HISTORY_BYTES = 32 * 1024 * 1024
#: Of an input, and of a result.
KEPT_VALUE_BYTES = 64 * 1024
#: What a call takes beside its input and result until it is packed.
ENTRY_BYTES = 900
BLOCK_CALLS = 64
#: So many blocks at least, when bytes are the limit.
_BLOCKS = 32
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

    :ivar input: JSON, or the beginning of it when it is shorter than ``input_size``
    :ivar result: the same; None: there was none
    :ivar context: the trace context its executor got
    :ivar caller: id of the worker that made it; None: the engine or a module
    :ivar worker: id of the worker that ran it; None: a function of the engine, or nobody
    """

    id: str
    function_id: str
    namespace: str | None
    input: bytes
    input_size: int
    result: bytes | None
    result_size: int
    error: Error | None
    context: str | None
    caller: str | None
    worker: str | None
    trigger: str | None
    metadata: bytes | None
    started: float
    ended: float

    @property
    def is_whole(self) -> bool:
        """Whether all of its input is there."""
        return len(self.input) == self.input_size


_Meta = tuple[
    str,
    str,
    str | None,
    int,
    int,
    int,
    int,
    Error | None,
    str | None,
    str | None,
    str | None,
    str | None,
    int,
    float,
    float,
]
"""A ``KeptCall`` with lengths in place of its values; -1: there is none."""

_encode_into = msgspec.msgpack.Encoder().encode_into
_decode = msgspec.msgpack.Decoder(list[_Meta]).decode

#: Blocks are packed in here: memory that is always at hand.
_scratch = bytearray()


class _Block(NamedTuple):
    """Calls, packed: what there is to say of them, and all their values in one row."""

    number: int
    said: bytes
    values: bytes

    @property
    def size(self) -> int:
        return len(self.said) + len(self.values)

    def calls(self) -> list[KeptCall]:
        """The oldest first."""
        found, at = [], 0
        for meta in _decode(self.said):
            values: list[bytes | None] = []
            for length in (meta[3], meta[5], meta[12]):
                values.append(None if length < 0 else self.values[at : at + length])
                at += max(0, length)
            found.append(_kept(meta, values))
        return found


def _packed(said: list[_Meta], values: list[Any]) -> _Block:
    _encode_into(said, _scratch)
    return _Block(len(said), bytes(_scratch), b"".join(values))


class History:
    """The newest calls, within ``MAX_KEPT_CALLS`` and ``max_bytes``.

    :ivar heard: called after each call that was kept; None: nobody listens
    :ivar replays: id of a replay → id of the call it repeats
    """

    def __init__(self, max_bytes: int = MAX_HISTORY_BYTES) -> None:
        # The open block comes on top of what is packed.
        self._block_bytes = max_bytes // _BLOCKS
        self._packed_limit = max_bytes - self._block_bytes
        self._blocks: deque[_Block] = deque()
        self._said: list[_Meta] = []
        self._values: list[Any] = []
        self._open_bytes = 0
        self._packed_bytes = 0
        self._packed_calls = 0
        self._forgotten = 0
        self.heard: Callable[[], None] | None = None
        self.replays: dict[str, str] = {}

    def __len__(self) -> int:
        return min(self._packed_calls + len(self._said), MAX_KEPT_CALLS)

    @property
    def size(self) -> int:
        """What all of them take, in bytes."""
        return self._packed_bytes + self._open_bytes

    @property
    def added(self) -> int:
        """How many calls were ever kept."""
        return self._forgotten + self._packed_calls + len(self._said)

    # While calls are under way -------------------------------------------------------------

    def begin(self, call: Call) -> None:
        """``call`` is about to start: keep its input, which is let go of when it is sent."""
        if call.function_id.startswith(ENGINE_PREFIX) or call.traceparent == UNRECORDED:
            return
        data = call.data
        call.input = data if len(data) <= KEPT_VALUE_BYTES else _cut(data)

    def add(self, call: Call, result: Raw | None, error: ErrorBody | None, ended: float) -> None:
        """``call``, whose input was kept, is over."""
        values = self._values
        value: Any = call.input
        if type(value) is Raw:
            length = size = len(value)
        else:
            value, size = value
            length = len(value)
        values.append(value)
        weight = ENTRY_BYTES + length
        result_length = result_size = -1
        if result is not None:
            value = result
            result_length = result_size = len(result)
            if result_size > KEPT_VALUE_BYTES:
                value, result_length = _cut(result).beginning, KEPT_VALUE_BYTES
            values.append(value)
            weight += result_length
        metadata_length = -1
        if call.metadata is not None:
            metadata_length = len(call.metadata)
            values.append(call.metadata)
            weight += metadata_length
        told: Error | None = None
        if error is not None:
            told = _told(error)
            weight += len(told[1]) + len(told[2] or "")
        said = self._said
        said.append(
            (
                call.id,
                call.function_id,
                call.namespace,
                length,
                size,
                result_length,
                result_size,
                told,
                call.traceparent,
                call.caller,
                getattr(call.owner, "id", None) if call.dispatched else None,
                call.trigger,
                metadata_length,
                call.started,
                ended,
            )
        )
        self._open_bytes += weight
        if len(said) >= BLOCK_CALLS or self._open_bytes >= self._block_bytes:
            self._pack()
        if self.heard is not None:
            self.heard()

    def _pack(self) -> None:
        """Close the open block, and let go of the oldest, as many as it takes."""
        blocks = self._blocks
        block = _packed(self._said, self._values)
        blocks.append(block)
        self._packed_bytes += block.size
        self._packed_calls += block.number
        self._said, self._values, self._open_bytes = [], [], 0
        while blocks and (
            self._packed_bytes > self._packed_limit
            or self._packed_calls - blocks[0].number >= MAX_KEPT_CALLS
        ):
            block = blocks.popleft()
            self._packed_bytes -= block.size
            self._packed_calls -= block.number
            self._forgotten += block.number

    # Looking -------------------------------------------------------------------------------

    def newest(self) -> Iterator[KeptCall]:
        """All of them, the newest first."""
        left = len(self)
        for block in (_packed(self._said, self._values), *reversed(self._blocks)):
            for call in reversed(block.calls()):
                if not left:
                    return
                left -= 1
                yield call

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
        self._said, self._values = [], []
        self._open_bytes = self._packed_bytes = self._packed_calls = 0
        self.replays.clear()


def as_kept(call: Call, now: float) -> KeptCall:
    """A call under way, whose input is kept, as if it ended now without a result."""
    kept: Any = call.input
    beginning, size = (bytes(kept), len(kept)) if type(kept) is Raw else kept
    return KeptCall(
        call.id,
        call.function_id,
        call.namespace,
        beginning,
        size,
        None,
        -1,
        None,
        call.traceparent,
        call.caller,
        getattr(call.owner, "id", None) if call.dispatched else None,
        call.trigger,
        None if call.metadata is None else bytes(call.metadata),
        call.started,
        now,
    )


def _kept(meta: _Meta, values: list[bytes | None]) -> KeptCall:
    fields: list[Any] = list(meta)
    fields[3], fields[5], fields[12] = values
    return KeptCall._make(fields)


def _cut(value: Raw) -> Cut:
    return Cut(bytes(memoryview(value)[:KEPT_VALUE_BYTES]), len(value))


def _told(error: ErrorBody) -> Error:
    stack = error.stacktrace
    return (
        error.code[:MAX_ERROR_CHARS],
        error.message[:MAX_ERROR_CHARS],
        None if stack is None else stack[:MAX_STACK_CHARS],
    )

"""``engine::invocations::…``: calls that were made, to be looked at and made again.

They answer while a module wants calls to be kept (``ModuleApi.keep_calls``); else they say
that nothing is kept.  A worker that may not do everything may do none of this: it would see
what others say to each other.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, Literal

from msgspec import UNSET, Meta, Raw, Struct, UnsetType
from twisted.logger import Logger

from iii.engine.history import History, KeptCall, as_kept
from iii.engine.ids import next_id
from iii.engine.invocationrows import InvocationDetail, InvocationRow, Rows, trace_of
from iii.engine.invocations import Call, ErrorBody
from iii.engine.native import Empty, InProcess
from iii.errors import Code, InvocationError

if TYPE_CHECKING:
    from iii.engine.core import Engine
    from iii.engine.module import ModuleApi

log = Logger()

MAX_LISTED_CALLS = 1_000
NOT_KEPT = "calls are not kept: the console (iii-console) is not part of this engine"

Text = Annotated[str, Meta(max_length=1024)]


class ListInput(Struct):
    """``engine::invocations::list``: the newest first, pending ones before all others.

    :ivar state: only those under way, or only those that are over
    :ivar search: part of the function's id, the invocation's id, or the error
    """

    state: Literal["pending", "recent"] | None = None
    status: Literal["pending", "ok", "error"] | None = None
    function_id: Text | None = None
    worker_id: Text | None = None
    caller_worker_id: Text | None = None
    trigger_type: Text | None = None
    trace_id: Text | None = None
    error_code: Text | None = None
    search: Text | None = None
    min_duration_ms: float | None = None
    limit: Annotated[int, Meta(ge=1, le=MAX_LISTED_CALLS)] = 100
    offset: Annotated[int, Meta(ge=0)] = 0


class OneInput(Struct):
    """A call by its id."""

    invocation_id: str


class ReplayInput(Struct):
    """``engine::invocations::replay``; ``input`` instead of what it was called with."""

    invocation_id: str
    input: Raw | UnsetType = UNSET


class Listed(Struct):
    """The answer of ``list``.

    :ivar total: how many match
    :ivar kept: how many calls that are over are kept
    :ivar kept_bytes: what they take
    """

    invocations: list[InvocationRow]
    total: int
    offset: int
    limit: int
    kept: int
    kept_bytes: int


class Replayed(Struct):
    """The answer of ``replay``: the new call, which may still run."""

    invocation_id: str
    function_id: str
    replay_of: str


class Cancelled(Struct):
    """The answer of ``cancel``."""

    invocation_id: str
    cancelled: bool


class Cleared(Struct):
    """The answer of ``clear``: how many calls were forgotten."""

    cleared: int


class InvocationCalls:
    """The functions."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def install(self, api: ModuleApi) -> None:
        """Offer them."""
        for name, handler, takes, gives, about in (
            ("list", self.listed, ListInput, Listed, "List calls, under way and over"),
            ("get", self.get, OneInput, InvocationDetail, "Tell all about a call"),
            ("replay", self.replay, ReplayInput, Replayed, "Make a call again, perhaps edited"),
            ("cancel", self.cancel, OneInput, Cancelled, "End a call that somebody waits for"),
            ("clear", self.clear, Empty, Cleared, "Forget the calls that are over"),
        ):
            handle: Any = handler
            api.function(
                f"engine::invocations::{name}",
                handle,
                takes=takes,
                gives=gives,
                description=about,
                wants_call=True,
            )

    def listed(self, asked: ListInput, call: Call) -> Listed:
        """``engine::invocations::list``."""
        history, rows = self._open(call.caller)
        pending = [kept for kept in self._wanted_pending(asked) if _matches(kept, asked)]
        over = [kept for kept in self._wanted_over(asked, history) if _matches(kept, asked)]
        found = [(call, True) for call in pending] + [(call, False) for call in over]
        page = [
            rows.row(call, pending=under_way)
            for call, under_way in found[asked.offset : asked.offset + asked.limit]
        ]
        return Listed(page, len(found), asked.offset, asked.limit, len(history), history.size)

    def _wanted_pending(self, asked: ListInput) -> list[KeptCall]:
        if asked.state == "recent" or asked.status in ("ok", "error"):
            return []
        pending = sorted(self._pending(), key=lambda call: call.started, reverse=True)
        return [self._as_kept(call) for call in pending]

    def _wanted_over(self, asked: ListInput, history: History) -> Iterator[KeptCall]:
        if asked.state == "pending" or asked.status == "pending":
            return
        failed = None if asked.status is None else asked.status == "error"
        for call in history.newest():
            if failed is None or failed == (call.error is not None):
                yield call

    def get(self, asked: OneInput, call: Call) -> InvocationDetail:
        """``engine::invocations::get``.

        :raises InvocationError: there is no such call any more
        """
        history, rows = self._open(call.caller)
        kept = history.find(asked.invocation_id)
        if kept is not None:
            return rows.detail(kept)
        return rows.detail(self._as_kept(self._under_way(asked.invocation_id)), pending=True)

    def replay(self, asked: ReplayInput, call: Call) -> Replayed:
        """``engine::invocations::replay``: does not wait for the outcome.

        :raises InvocationError: there is no such call, or its input was too long to be kept
        """
        history, _ = self._open(call.caller)
        old = history.find(asked.invocation_id) or self._as_kept(
            self._under_way(asked.invocation_id)
        )
        if asked.input is UNSET and not old.is_whole:
            text = f"its input of {old.input_size} bytes was not kept; send another one"
            raise InvocationError(Code.INVALID_ARGUMENTS, text)
        data = Raw(old.input) if asked.input is UNSET else asked.input.copy()
        again = Call(
            next_id(),
            old.function_id,
            data,
            _replayed,
            metadata=None if old.metadata is None else Raw(old.metadata),
            namespace=old.namespace,
            trigger="replay",
        )
        history.replayed(again.id, asked.invocation_id)
        log.info("{id} is called again with the input of {old}", id=again.function_id, old=old.id)
        self._engine.invocations.start(again)
        return Replayed(again.id, again.function_id, asked.invocation_id)

    def cancel(self, asked: OneInput, call: Call) -> Cancelled:
        """``engine::invocations::cancel``: who waits gets an error; the executor is not told.

        :raises InvocationError: no such call is under way
        """
        self._open(call.caller)
        found = self._under_way(asked.invocation_id)
        owner = found.owner
        assert owner is not None
        log.info("the call {id} of {name} is cancelled", id=found.id, name=found.function_id)
        error = ErrorBody(Code.INVOCATION_STOPPED, "cancelled by an operator")
        done = self._engine.invocations.finish(owner, found.id, None, error)
        return Cancelled(asked.invocation_id, done)

    def clear(self, asked: Empty, call: Call) -> Cleared:
        """``engine::invocations::clear``."""
        history, _ = self._open(call.caller)
        count = len(history)
        history.clear()
        log.info("{count} kept calls are forgotten on request", count=count)
        return Cleared(count)

    # Inside --------------------------------------------------------------------------------

    def _open(self, caller: str | None) -> tuple[History, Rows]:
        """
        :raises InvocationError: nothing is kept, or the caller may not know
        """
        self._engine.check_unrestricted(caller)
        history = self._engine.invocations.history
        if history is None:
            raise InvocationError(Code.NOT_SUPPORTED, NOT_KEPT)
        return history, Rows(self._engine.clock, history, self._engine.redactor)

    def _pending(self) -> Iterator[Call]:
        """Calls under way that will be kept."""
        engine = self._engine
        owners: dict[int, Any] = {id(worker): worker for worker in engine.workers.connections()}
        for function in engine.functions:
            for spec in function.specs:
                if isinstance(spec.owner, InProcess):
                    owners[id(spec.owner)] = spec.owner
        for owner in owners.values():
            yield from [call for call in owner.executing.values() if call.input is not None]

    def _as_kept(self, call: Call) -> KeptCall:
        return as_kept(call, self._engine.clock.monotonic())

    def _under_way(self, id: str) -> Call:
        """
        :raises InvocationError: there is none
        """
        call = next((call for call in self._pending() if call.id == id), None)
        if call is None:
            raise InvocationError(Code.NOT_FOUND, f"Invocation '{id}' not found")
        return call


def _matches(call: KeptCall, asked: ListInput) -> bool:
    error = call.error
    wanted = (
        (asked.function_id, call.function_id),
        (asked.worker_id, call.worker),
        (asked.caller_worker_id, call.caller),
        (asked.trigger_type, call.trigger),
        (asked.error_code, None if error is None else error[0]),
    )
    if any(wish is not None and wish != value for wish, value in wanted):
        return False
    if asked.trace_id is not None and asked.trace_id != trace_of(call):
        return False
    least = asked.min_duration_ms
    if least is not None and (call.ended - call.started) * 1000 < least:
        return False
    if not asked.search:
        return True
    texts = [call.function_id, call.id]
    if error is not None:
        texts += error[:2]
    needle = asked.search.lower()
    return any(needle in text.lower() for text in texts)


def _replayed(call: Call, result: Raw | None, error: ErrorBody | None) -> None:
    """Nobody waits; how it ended is in the history."""

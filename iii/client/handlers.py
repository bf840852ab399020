"""Running the functions of this worker.

An ``async def`` handler is a task on the connection's loop, a plain ``def`` runs
in a thread.  Both get the payload as their one argument, and the invocation's
``metadata`` as well if they have a parameter of that name.  Whatever a handler
raises becomes an error result; only the end of the program goes through.

The executor knows no socket: it gets an invocation and calls ``send`` with the
bytes of the answer.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import traceback
from collections.abc import Awaitable, Callable
from typing import Any

from iii.client.context import Trace, current_trace
from iii.client.encode import MAX_MESSAGE_BYTES, encode
from iii.client.messages import ErrorBody, Invocation, InvocationFailure, InvocationResult
from iii.client.threads import Threads
from iii.errors import Code

logger = logging.getLogger("iii.client")

Handler = Callable[..., Any]


class Function:
    """A registered function: its handler, and how to call it."""

    __slots__ = ("frame", "handler", "id", "is_async", "takes_metadata")

    def __init__(self, function_id: str, handler: Handler, frame: bytes) -> None:
        self.id = function_id
        self.handler = handler
        self.frame = frame
        self.is_async = is_async(handler)
        self.takes_metadata = _metadata_kind(handler)

    def arguments(self, data: Any, metadata: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The positional and keyword arguments of one call."""
        if self.takes_metadata is None:
            return (data,), {}
        if self.takes_metadata is inspect.Parameter.KEYWORD_ONLY:
            return (data,), {"metadata": metadata}
        return (data, metadata), {}


def is_async(handler: Handler) -> bool:
    """Whether calling it makes a coroutine (also an object with ``async def __call__``)."""
    return inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(
        getattr(handler, "__call__", None)  # noqa: B004
    )


def _metadata_kind(handler: Handler) -> Any:
    """How the handler takes ``metadata``: second positional, keyword-only, or not (None)."""
    try:
        parameters = list(inspect.signature(handler).parameters.values())
    except (TypeError, ValueError):
        # Some built-in callables have no signature: they get the payload only.
        return None
    for position, parameter in enumerate(parameters):
        if parameter.name != "metadata":
            continue
        if parameter.kind is parameter.KEYWORD_ONLY or position == 1:
            return parameter.kind
    return None


class Executor:
    """Runs invocations.

    :param threads: where plain ``def`` handlers run
    :param revive: replaces channel references in a payload by channel ends
    :param send: takes the bytes of an answer
    """

    def __init__(
        self,
        *,
        threads: Threads,
        revive: Callable[[Any], Any],
        send: Callable[[bytes], None],
    ) -> None:
        self._threads = threads
        self._revive = revive
        self._send = send
        self._running: set[asyncio.Task[None]] = set()

    def run(self, invocation: Invocation, function: Function | None, *, has_refs: bool) -> None:
        """Start one invocation; without a function it is answered at once."""
        if function is None:
            logger.warning("called for unknown function %s", invocation.function_id)
            message = f"Function '{invocation.function_id}' not found"
            self._refuse(invocation, ErrorBody(Code.FUNCTION_NOT_FOUND, message))
            return
        task = asyncio.create_task(
            self._execute(invocation, function, has_refs), name=f"iii-call {function.id}"
        )
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def drain(self, limit_s: float) -> int:
        """Wait for the running invocations but the caller's own; how many are left."""
        waiting = self._running - {asyncio.current_task()}
        if waiting:
            _, waiting = await asyncio.wait(waiting, timeout=limit_s)
        return len(waiting)

    async def call(self, handler: Handler, *args: Any, **kwargs: Any) -> Any:
        """Call something of the user's, on the loop or in a thread."""
        if is_async(handler):
            return await handler(*args, **kwargs)
        result = await self._threads.run(lambda: handler(*args, **kwargs))
        return await result if isinstance(result, Awaitable) else result

    async def _execute(self, invocation: Invocation, function: Function, has_refs: bool) -> None:
        current_trace.set(Trace(invocation.traceparent, invocation.baggage))
        try:
            data = self._revive(invocation.data) if has_refs else invocation.data
            args, kwargs = function.arguments(data, invocation.metadata)
            if function.is_async:
                result = await function.handler(*args, **kwargs)
            else:
                result = await self.call(function.handler, *args, **kwargs)
            self._answer(invocation, result)
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            # The handler itself raised it, say from a task it had cancelled.
            self._fail(invocation, error)
        except KeyboardInterrupt as error:
            self._fail(invocation, error)
            raise
        except BaseException as error:
            self._fail(invocation, error)

    def _answer(self, invocation: Invocation, result: Any) -> None:
        if invocation.invocation_id is None:
            return
        answer = InvocationResult(
            invocation_id=invocation.invocation_id,
            function_id=invocation.function_id,
            result=result,
            traceparent=invocation.traceparent,
            baggage=invocation.baggage,
        )
        data = encode(answer)
        if len(data) > MAX_MESSAGE_BYTES:
            message = f"the result is {len(data)} bytes, the limit is {MAX_MESSAGE_BYTES}"
            self._refuse(invocation, ErrorBody(Code.PAYLOAD_TOO_LARGE, message))
            return
        self._send(data)

    def _fail(self, invocation: Invocation, error: BaseException) -> None:
        if invocation.invocation_id is None:
            logger.error("function %s failed", invocation.function_id, exc_info=error)
            return
        kind = type(error).__name__
        logger.warning("function %s failed: %s: %s", invocation.function_id, kind, error)
        stacktrace = "".join(traceback.format_exception(error))
        self._refuse(invocation, ErrorBody(Code.INVOCATION_FAILED, str(error), stacktrace))

    def _refuse(self, invocation: Invocation, error: ErrorBody) -> None:
        if invocation.invocation_id is None:
            return
        failure = InvocationFailure(
            invocation_id=invocation.invocation_id,
            function_id=invocation.function_id,
            error=error,
            traceparent=invocation.traceparent,
            baggage=invocation.baggage,
        )
        self._send(encode(failure))

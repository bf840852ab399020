"""Calls this client made and whose answers it waits for.

A call belongs to the loop that awaits it, which need not be the connection's:
a plain ``def`` handler may run ``asyncio.run(client.invoke(…))`` in its thread.
So an outcome is always delivered on the call's own loop.

A call leaves the table exactly once: with its answer, at its time limit, when it
is cancelled, when its frame is dropped, or when the client stops.  A lost
connection alone does not end it, and it is never sent twice.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable
from typing import Any

from msgspec import UNSET, Raw

from iii.client.errors import IIITimeoutError, error_from_wire
from iii.client.messages import Answer
from iii.client.outbox import Frame, Outbox
from iii.errors import Code, InvocationError

logger = logging.getLogger("iii.client")


class Call:
    """One call in flight."""

    __slots__ = ("frame", "function_id", "future", "invocation_id")

    def __init__(self, invocation_id: str, function_id: str) -> None:
        self.invocation_id = invocation_id
        self.function_id = function_id
        self.future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.frame: Frame | None = None

    def settle(self, value: Any, error: BaseException | None) -> None:
        """Deliver the outcome, from whatever thread or loop it comes."""
        loop = self.future.get_loop()
        try:
            here = asyncio.get_running_loop()
        except RuntimeError:
            here = None
        if here is loop:
            self._set(value, error)
            return
        try:
            loop.call_soon_threadsafe(self._set, value, error)
        except RuntimeError:
            logger.debug("nobody waits for %s any more: its loop is closed", self.function_id)

    def _set(self, value: Any, error: BaseException | None) -> None:
        if self.future.done():
            return
        if error is not None:
            self.future.set_exception(error)
        else:
            self.future.set_result(value)


class Calls:
    """The table of pending calls.

    :param outbox: where the calls' frames leave through
    """

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._pending: dict[str, Call] = {}

    def __len__(self) -> int:
        return len(self._pending)

    async def run(
        self, function_id: str, invocation_id: str, data: bytes, *, timeout_s: float
    ) -> Raw | None:
        """Send one call and wait for its outcome."""
        call = Call(invocation_id, function_id)
        call.frame = Frame(data, dropped=lambda: self._fail(call, _dropped(call)))
        self._pending[invocation_id] = call
        loop = call.future.get_loop()
        timer = (
            None
            if math.isinf(timeout_s)
            else loop.call_later(max(0.0, timeout_s), self._expire, call, timeout_s)
        )
        self._outbox.put(call.frame)
        try:
            outcome: Raw | None = await call.future
            return outcome
        finally:
            if timer is not None:
                timer.cancel()
            # Cancelled, expired or dropped: what has not left must not leave.
            if self._pending.pop(invocation_id, None) is not None or call.frame.queued:
                self._outbox.remove(call.frame)

    def answer(self, message: Answer) -> None:
        """An ``invocationresult`` arrived; for a call that is gone it means nothing."""
        call = self._pending.pop(message.invocation_id or "", None)
        if call is None:
            logger.debug("ignored an answer to unknown call %s", message.invocation_id)
        elif message.error:
            error = error_from_wire(
                message.error, function_id=call.function_id, invocation_id=call.invocation_id
            )
            call.settle(None, error)
        else:
            call.settle(None if message.result is UNSET else message.result, None)

    def fail_all(self, error: Callable[[Call], BaseException]) -> None:
        """End every call with an error made for it."""
        for call in list(self._pending.values()):
            self._fail(call, error(call))

    def _expire(self, call: Call, timeout_s: float) -> None:
        error = IIITimeoutError(
            Code.TIMEOUT,
            f"invocation timed out after {timeout_s * 1000:g}ms",
            function_id=call.function_id,
            invocation_id=call.invocation_id,
        )
        self._fail(call, error)

    def _fail(self, call: Call, error: BaseException) -> None:
        if self._pending.pop(call.invocation_id, None) is not None:
            call.settle(None, error)
        if call.frame is not None:
            self._outbox.remove(call.frame)


def _dropped(call: Call) -> InvocationError:
    return InvocationError(
        Code.OVERLOADED,
        "dropped from the full queue of a client that is not connected",
        function_id=call.function_id,
        invocation_id=call.invocation_id,
    )


def stopped(call: Call) -> InvocationError:
    """What a pending call raises when its client disconnects."""
    return InvocationError(
        Code.SHUTDOWN,
        "iii is shutting down",
        function_id=call.function_id,
        invocation_id=call.invocation_id,
    )

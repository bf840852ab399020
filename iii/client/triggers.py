"""Triggers this worker registers, and trigger types it provides.

A *trigger* is a wish: run this function when that happens.  It keeps its id for
life, so the engine knows it again after a reconnect.  A *trigger type* is the
other side: the engine tells the provider's handler which triggers exist, and the
handler invokes their functions when they fire.

What the engine says about one trigger reaches the handler in the order it was
said, even when the handler takes its time.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Protocol

from msgspec import UNSET, Struct

from iii.client.encode import encode
from iii.client.messages import (
    ErrorBody,
    ProvideTrigger,
    TriggerRegistrationResult,
    WithdrawTrigger,
)
from iii.errors import Code

if TYPE_CHECKING:
    from iii.client.registrations import FunctionRef, Registrar

logger = logging.getLogger("iii.client")


class TriggerConfig(Struct, frozen=True):
    """One trigger, as its provider's handler sees it."""

    id: str
    function_id: str
    config: Any = None
    metadata: Any = None
    namespace: str | None = None


class TriggerHandler(Protocol):
    """What provides a trigger type.  Both methods may be plain or ``async``."""

    def register_trigger(self, config: TriggerConfig) -> Any:
        """Start to watch; an exception refuses the trigger."""

    def unregister_trigger(self, config: TriggerConfig) -> Any:
        """Stop to watch."""


class Trigger:
    """A trigger this worker registered."""

    def __init__(
        self, trigger_id: str, type: str, function_id: str, unregister: Callable[[Trigger], None]
    ) -> None:
        self.id = trigger_id
        self.type = type
        self.function_id = function_id
        self._unregister = unregister

    def unregister(self) -> None:
        """Take it back.  Once is enough, twice does no harm."""
        self._unregister(self)

    def __repr__(self) -> str:
        return f"<Trigger {self.type} -> {self.function_id}>"


class TriggerTypeRef:
    """A trigger type this worker provides; registers triggers and functions for it."""

    def __init__(self, type_id: str, worker: Registrar) -> None:
        self.id = type_id
        self._worker = worker

    def register_trigger(
        self, function_id: str, config: Any = None, metadata: Any = None
    ) -> Trigger:
        """Register a trigger of this type."""
        return self._worker.register_trigger(self.id, function_id, config, metadata)

    def register_function(
        self, function_id: str, handler: Callable[..., Any], *, description: str | None = None
    ) -> FunctionRef:
        """Register a function, as on the client."""
        return self._worker.register_function(function_id, handler, description)

    def unregister(self) -> None:
        """Provide the type no longer."""
        self._worker.unregister_trigger_type(self.id)


class ProvidedTypes:
    """The trigger types this worker provides.

    :param call: runs a handler's method, on the loop or in a thread
    :param send: takes the bytes of an answer
    """

    def __init__(
        self, *, call: Callable[..., Awaitable[Any]], send: Callable[[bytes], None]
    ) -> None:
        self._call = call
        self._send = send
        self._handlers: dict[str, TriggerHandler] = {}
        self._known: dict[str, TriggerConfig] = {}
        self._last: dict[str, asyncio.Task[None]] = {}

    def add(self, type_id: str, handler: TriggerHandler) -> None:
        """Provide a type; a second handler replaces the first."""
        self._handlers[type_id] = handler

    def remove(self, type_id: str) -> None:
        """Provide it no longer."""
        self._handlers.pop(type_id, None)

    def provide(self, message: ProvideTrigger) -> None:
        """The engine has a trigger for one of the types."""
        self._in_order(message.id, lambda: self._register(message))

    def withdraw(self, message: WithdrawTrigger) -> None:
        """The engine takes one back."""
        self._in_order(message.id, lambda: self._unregister(message))

    async def _register(self, message: ProvideTrigger) -> None:
        error = None
        handler = self._handlers.get(message.trigger_type)
        if handler is None:
            error = ErrorBody(Code.TRIGGER_TYPE_NOT_FOUND, "Trigger type not found")
        else:
            config = TriggerConfig(
                id=message.id,
                function_id=message.function_id,
                config=message.config,
                metadata=message.metadata,
                namespace=message.namespace,
            )
            try:
                await self._call(handler.register_trigger, config)
                self._known[message.id] = config
            except Exception as failure:
                logger.warning(
                    "trigger type %s refused trigger %s: %s",
                    message.trigger_type,
                    message.id,
                    failure,
                )
                error = ErrorBody(Code.TRIGGER_REGISTRATION_FAILED, str(failure))
        answer = TriggerRegistrationResult(
            id=message.id,
            trigger_type=message.trigger_type,
            function_id=message.function_id,
            error=error,
        )
        self._send(encode(answer))

    async def _unregister(self, message: WithdrawTrigger) -> None:
        known = self._known.pop(message.id, None)
        handler = self._handlers.get(message.trigger_type or "")
        if handler is None:
            logger.debug("trigger %s withdrawn from an unknown type", message.id)
            return
        config = TriggerConfig(
            id=message.id,
            function_id=message.function_id or (known.function_id if known else ""),
            config=(known.config if known else None) if message.config is UNSET else message.config,
            metadata=message.metadata,
        )
        try:
            await self._call(handler.unregister_trigger, config)
        except Exception:
            logger.exception("trigger type %s: unregister_trigger failed", message.trigger_type)

    def _in_order(self, trigger_id: str, work: Callable[[], Awaitable[None]]) -> None:
        """Do the work after what was said about the same trigger before."""
        before = self._last.get(trigger_id)

        async def chained() -> None:
            if before is not None:
                await asyncio.wait([before])
            await work()

        task = asyncio.create_task(chained(), name=f"iii-trigger {trigger_id}")
        self._last[trigger_id] = task
        task.add_done_callback(lambda done: self._forget(trigger_id, done))

    def _forget(self, trigger_id: str, done: asyncio.Task[None]) -> None:
        if self._last.get(trigger_id) is done:
            del self._last[trigger_id]

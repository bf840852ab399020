"""What a worker has registered.

Tables of frames, encoded when they are registered: a mistake in a configuration
shows where it is made, and every connect sends the same bytes again.  The tables
are the truth, the engine only ever gets copies.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

from iii.client import messages
from iii.client.encode import encode
from iii.client.handlers import Function, Handler
from iii.client.outbox import Frame, Outbox
from iii.client.triggers import ProvidedTypes, Trigger, TriggerHandler, TriggerTypeRef


class FunctionRef:
    """A function this worker registered."""

    def __init__(self, function_id: str, unregister: Callable[[], None]) -> None:
        self.id = function_id
        self._unregister = unregister

    def unregister(self) -> None:
        """Take it back."""
        self._unregister()

    def __repr__(self) -> str:
        return f"<FunctionRef {self.id}>"


class Registrar:
    """The half of a client that registers.

    :param outbox: where registrations leave through, while there is a connection
    :param types: the trigger types this worker provides
    """

    def __init__(self, outbox: Outbox, types: ProvidedTypes) -> None:
        self._outbox = outbox
        self._types = types
        self._trigger_type_frames: dict[str, bytes] = {}
        self._service_frames: dict[str, bytes] = {}
        self._functions: dict[str, Function] = {}
        self._trigger_frames: dict[str, bytes] = {}

    def register_function(
        self,
        function_id: str,
        handler: Handler,
        description: str | None = None,
        metadata: Any = None,
        *,
        request_format: Any = None,
        response_format: Any = None,
    ) -> FunctionRef:
        """Answer calls of ``function_id`` with ``handler(data)``.

        :param handler: ``async def``, or ``def`` (runs in a thread); a parameter named
            ``metadata`` gets the invocation's metadata
        :raises ValueError: when the id is blank or taken in this client
        """
        if not isinstance(function_id, str):
            raise TypeError(f"function_id must be str, got {type(function_id).__name__}")
        if not function_id.strip():
            raise ValueError("id is required")
        if not callable(handler):
            raise TypeError(f"handler must be callable, got {type(handler).__name__}")
        if function_id in self._functions:
            raise ValueError(f"function id '{function_id}' already registered")
        frame = encode(
            messages.RegisterFunction(
                id=function_id,
                description=description,
                metadata=metadata,
                request_format=request_format,
                response_format=response_format,
            )
        )
        function = Function(function_id, handler, frame)
        self._functions[function_id] = function
        self._outbox.put(Frame(frame, registration=True))
        return FunctionRef(function_id, lambda: self._unregister_function(function))

    def register_trigger(
        self,
        type: str,
        function_id: str,
        config: Any = None,
        metadata: Any = None,
        *,
        namespace: str | None = None,
        trigger_namespace: str | None = None,
    ) -> Trigger:
        """Run ``function_id`` when a trigger of this type and configuration fires."""
        trigger_id = str(uuid.uuid4())
        frame = encode(
            messages.RegisterTrigger(
                id=trigger_id,
                trigger_type=type,
                function_id=function_id,
                config={} if config is None else config,
                metadata=metadata,
                namespace=namespace,
                trigger_namespace=trigger_namespace,
            )
        )
        self._trigger_frames[trigger_id] = frame
        self._outbox.put(Frame(frame, registration=True))
        return Trigger(trigger_id, type, function_id, self._unregister_trigger)

    def register_trigger_type(
        self,
        id: str,
        description: str,
        handler: TriggerHandler,
        *,
        trigger_request_format: Any = None,
        call_request_format: Any = None,
    ) -> TriggerTypeRef:
        """Provide a trigger type.

        :param handler: has ``register_trigger(config)`` and ``unregister_trigger(config)``
        """
        frame = encode(
            messages.RegisterTriggerType(
                id=id,
                description=description,
                trigger_request_format=trigger_request_format,
                call_request_format=call_request_format,
            )
        )
        self._types.add(id, handler)
        self._trigger_type_frames[id] = frame
        self._outbox.put(Frame(frame, registration=True))
        return TriggerTypeRef(id, self)

    def unregister_trigger_type(self, id: str) -> None:
        """Provide it no longer."""
        self._types.remove(id)
        if self._trigger_type_frames.pop(id, None) is not None:
            self._put(messages.UnregisterTriggerType(id=id))

    def register_service(
        self,
        id: str,
        description: str | None = None,
        parent_id: str | None = None,
        *,
        name: str | None = None,
    ) -> None:
        """Name a group of functions."""
        frame = encode(
            messages.RegisterService(
                id=id, name=name or id, description=description, parent_service_id=parent_id
            )
        )
        self._service_frames[id] = frame
        self._outbox.put(Frame(frame, registration=True))

    def _registrations(self) -> list[bytes]:
        """Every registration, in the order the engine expects."""
        return [
            *self._trigger_type_frames.values(),
            *self._service_frames.values(),
            *(function.frame for function in list(self._functions.values())),
            *self._trigger_frames.values(),
        ]

    def _put(self, message: messages.Message) -> None:
        self._outbox.put(Frame(encode(message), registration=True))

    def _unregister_function(self, function: Function) -> None:
        if self._functions.get(function.id) is not function:
            return
        del self._functions[function.id]
        self._put(messages.UnregisterFunction(id=function.id))

    def _unregister_trigger(self, trigger: Trigger) -> None:
        if self._trigger_frames.pop(trigger.id, None) is None:
            return
        self._put(messages.UnregisterTrigger(id=trigger.id, trigger_type=trigger.type))

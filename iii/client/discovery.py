"""What the engine's lists are made of, and being told when functions change.

The lists are read leniently: engines of other releases leave fields out and add
some.
"""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from msgspec import Struct, convert, field

if TYPE_CHECKING:
    from iii.client.registrations import FunctionRef, Registrar
    from iii.client.triggers import Trigger


class FunctionInfo(Struct):
    """A registered function."""

    function_id: str
    description: str | None = None
    request_format: Any = None
    response_format: Any = None
    metadata: Any = None


class WorkerInfo(Struct):
    """A connected worker."""

    id: str
    name: str | None = None
    runtime: str | None = None
    version: str | None = None
    os: str | None = None
    ip_address: str | None = None
    status: str = "connected"
    connected_at_ms: int = 0
    function_count: int = 0
    functions: list[str] = field(default_factory=list)
    active_invocations: int = 0
    isolation: str | None = None


class TriggerInfo(Struct):
    """A registered trigger."""

    id: str
    trigger_type: str
    function_id: str
    config: Any = None
    metadata: Any = None


FunctionsCallback = Callable[[list[FunctionInfo]], object]


class FunctionWatch:
    """Callbacks for changes of the set of functions; all share one trigger.

    :param worker: where the trigger and its function are registered
    :param call: runs a callback, on the loop or in a thread
    """

    def __init__(self, worker: Registrar, call: Callable[..., Awaitable[Any]]) -> None:
        self._worker = worker
        self._call = call
        self._callbacks: dict[object, FunctionsCallback] = {}
        self._function: FunctionRef | None = None
        self._trigger: Trigger | None = None

    def add(self, callback: FunctionsCallback) -> Callable[[], None]:
        """Tell ``callback`` from now on; call the result to stop."""
        key = object()
        self._callbacks[key] = callback
        if self._function is None:
            function_id = f"iii.on_functions_available.{uuid.uuid4()}"
            self._function = self._worker.register_function(function_id, self._changed)
        if self._trigger is None:
            self._trigger = self._worker.register_trigger(
                "engine::functions-available", self._function.id
            )

        def stop() -> None:
            self._callbacks.pop(key, None)
            if not self._callbacks and self._trigger is not None:
                self._trigger.unregister()
                self._trigger = None

        return stop

    async def _changed(self, data: Any) -> None:
        functions = convert(data["functions"], list[FunctionInfo])
        for callback in list(self._callbacks.values()):
            await self._call(callback, functions)

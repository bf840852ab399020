"""The two generations of the Python SDK, and what each release can do.

* ``Lazy``: 0.2.0 to 0.8.3.  A plain asyncio client on the caller's loop:
  ``III(address)``, ``await connect()``, positional arguments.
* ``Threaded``: 0.10.0 to 0.25.0.  The client owns a thread with its own loop and
  connects at once: ``register_worker(address)``, request objects.  Handlers run on
  the client's loop, so they use the ``*_async`` methods.

Names that moved between releases are looked up once, in ``find``.
"""

from __future__ import annotations

import asyncio
import importlib
from typing import Any

import iii

RESPONSES = ("iii:ApiResponse", "iii_helpers.http:HttpResponse")
HTTP_DECORATORS = ("iii:http", "iii_helpers.http:http")
HANDLER_BASES = ("iii.triggers:TriggerHandler",)
LOGGERS = ("iii:Logger", "iii_helpers.observability:Logger")
CONTEXTS = ("iii:get_context",)
INIT_OTEL = ("iii.telemetry:init_otel",)
OTEL_CONFIG = ("iii.telemetry_types:OtelConfig",)
OTEL = {"metrics_export_interval_ms": 300}
"""Telemetry as it is by default, but with metrics soon enough to be waited for."""
CREATE_STREAM = ("iii.helpers:create_stream",)
CREATE_CHANNEL = ("iii.helpers:create_channel_async",)
LISTS = {
    "functions": ("engine::functions::list", "functions", "function_id"),
    "workers": ("engine::workers::list", "workers", "name"),
    "triggers": ("engine::registered-triggers::list", "registered_triggers", "function_id"),
}
"""What programs of releases without list methods call: id, key, column."""


def find(places: tuple[str, ...]) -> Any:
    """The first of ``module:name`` that this release has, else None."""
    for place in places:
        module, name = place.split(":")
        try:
            found = getattr(importlib.import_module(module), name, None)
        except ModuleNotFoundError:
            found = None
        if found is not None:
            return found
    return None


class Sdk:
    """What ``worker.py`` uses; the rest is in the two subclasses."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.user_loop = asyncio.get_running_loop()
        self.client: Any = None

    @property
    def has_channels(self) -> bool:
        return hasattr(iii, "ChannelReader") or find(CREATE_CHANNEL) is not None

    @property
    def has_named_queues(self) -> bool:
        return hasattr(iii, "TriggerAction")

    @property
    def has_functions_available(self) -> bool:
        return hasattr(self.client, "on_functions_available")

    def on_functions_available(self, callback: Any) -> None:
        self.client.on_functions_available(callback)

    def logger(self) -> Any:
        """The SDK's own logger, which sends through the telemetry connection.

        Until 0.8 a handler has a context whose logger knows the function; in 0.2.0 that
        logger calls ``engine::log::info`` and its like.
        """
        context = find(CONTEXTS)
        return context().logger if context is not None else find(LOGGERS)()

    def log(self, message: str) -> None:
        self.logger().info(message, {"from": self.prefix})

    def response(self, status: int, body: Any, headers: dict[str, str]) -> Any:
        """The release's own typed response; it serialises as ``statusCode`` or ``status_code``."""
        return find(RESPONSES)(statusCode=status, body=body, headers=headers)

    def http(self, handler: Any) -> Any:
        """The streaming decorator; 0.4 has the pieces but no decorator yet."""
        decorator = find(HTTP_DECORATORS)
        if decorator is not None:
            return decorator(handler)

        async def unwrapped(data: Any) -> Any:
            request = iii.HttpRequest(
                path_params=data["path_params"],
                query_params=data["query_params"],
                body=data["body"],
                headers=data["headers"],
                method=data["method"],
                request_body=data["request_body"],
            )
            return await handler(request, iii.HttpResponse(data["response"]))

        return unwrapped

    def create_stream(self, name: str, stream: Any) -> None:
        helper = find(CREATE_STREAM)
        if helper is not None:
            helper(self.client, name, stream)
        else:
            self.client.create_stream(name, stream)

    def trigger_handler(self, bind: Any, unbind: Any) -> Any:
        class Handler(find(HANDLER_BASES)):  # type: ignore[misc]
            async def register_trigger(self, config: Any) -> None:
                await bind(config)

            async def unregister_trigger(self, config: Any) -> None:
                await unbind(config)

        return Handler()

    @staticmethod
    def ref(reference: Any) -> Any:
        return reference.model_dump() if hasattr(reference, "model_dump") else reference


class Lazy(Sdk):
    """0.2.0 to 0.8.3."""

    def __init__(self, address: str, prefix: str) -> None:
        super().__init__(prefix)
        init_otel = find(INIT_OTEL)
        if init_otel is not None:
            # 0.4.1 does not look at the option ``otel``; what is set up here stays.
            init_otel(find(OTEL_CONFIG)(**OTEL))
        self.client = iii.III(address, iii.InitOptions(worker_name=prefix))

    async def connect(self) -> None:
        await self.client.connect()

    async def close(self) -> None:
        await self.client.shutdown()

    def function(self, function_id: str, handler: Any) -> Any:
        return self.client.register_function(function_id, handler)

    def trigger(self, kind: str, function_id: str, config: Any) -> Any:
        return self.client.register_trigger(kind, function_id, config)

    def trigger_type(self, kind: str, bind: Any, unbind: Any) -> None:
        handler = self.trigger_handler(bind, unbind)
        self.client.register_trigger_type(kind, "events of the program", handler)

    async def call(self, function_id: str, data: Any) -> Any:
        return await self.client.call(function_id, data)

    async def send(self, function_id: str, data: Any) -> None:
        self.client.call_void(function_id, data)

    async def channel(self) -> Any:
        return await self.client.create_channel()

    async def lists(self) -> Any:
        functions = await self.client.list_functions()
        workers = await self.client.list_workers()
        return {
            "functions": [row.function_id for row in functions],
            "workers": [row.name for row in workers],
        }


class Threaded(Sdk):
    """0.10.0 to 0.25.0."""

    def __init__(self, client: Any, prefix: str) -> None:
        super().__init__(prefix)
        self.client = client

    async def connect(self) -> None:
        """Nothing to do: ``register_worker`` returned connected."""

    async def close(self) -> None:
        await asyncio.to_thread(self.client.shutdown)

    def function(self, function_id: str, handler: Any) -> Any:
        return self.client.register_function(function_id, handler)

    def trigger(self, kind: str, function_id: str, config: Any) -> Any:
        return self.client.register_trigger(
            {"type": kind, "function_id": function_id, "config": config}
        )

    def trigger_type(self, kind: str, bind: Any, unbind: Any) -> None:
        self.client.register_trigger_type(
            {"id": kind, "description": "events of the program"},
            self.trigger_handler(bind, unbind),
        )

    async def call(self, function_id: str, data: Any) -> Any:
        return await self.client.trigger_async({"function_id": function_id, "payload": data})

    async def send(self, function_id: str, data: Any) -> None:
        await self.client.trigger_async(
            {"function_id": function_id, "payload": data, "action": iii.TriggerAction.Void()}
        )

    async def enqueue(self, queue: str, function_id: str, data: Any) -> Any:
        action = iii.TriggerAction.Enqueue(queue=queue)
        return await self.client.trigger_async(
            {"function_id": function_id, "payload": data, "action": action}
        )

    async def channel(self) -> Any:
        create = find(CREATE_CHANNEL)
        if create is not None:
            return await create(self.client)
        return await self.client.create_channel_async()

    async def lists(self) -> Any:
        if hasattr(self.client, "list_functions_async"):
            functions = await self.client.list_functions_async()
            workers = await self.client.list_workers_async()
            triggers = await self.client.list_triggers_async()
            return {
                "functions": [row.function_id for row in functions],
                "workers": [row.name for row in workers],
                "triggers": [row.function_id for row in triggers],
            }
        answer: dict[str, Any] = {}
        for kind, (function_id, key, column) in LISTS.items():
            rows = (await self.call(function_id, {}))[key]
            answer[kind] = [row[column] for row in rows]
        return answer


async def open_sdk(address: str, prefix: str) -> Any:
    """A client of whatever release is installed here."""
    if hasattr(iii, "TriggerAction"):
        options = iii.InitOptions(worker_name=prefix, otel=OTEL)
        # Blocks until connected, as in the published quick starts.
        return Threaded(await asyncio.to_thread(iii.register_worker, address, options), prefix)
    return Lazy(address, prefix)

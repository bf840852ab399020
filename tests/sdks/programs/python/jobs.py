"""The part of the program that has to do with queues, pub/sub and cron.

It listens to what it is told to, with a function and a trigger of its own for each name,
and keeps all that came.  What a handler does is in the message: with ``failures`` it
fails that many times.
"""

from __future__ import annotations

from typing import Any

from generations import Sdk


class Jobs:
    """The functions, and what the triggers heard."""

    def __init__(self, sdk: Sdk, prefix: str) -> None:
        self.sdk = sdk
        self.prefix = prefix
        self.events: dict[str, list[Any]] = {}
        self.triggers: dict[str, Any] = {}

    def register(self) -> None:
        for name in ("listen", "unlisten", "heard", "wanted"):
            self.sdk.function(f"{self.prefix}::{name}", getattr(self, name))
        if self.sdk.has_named_queues:
            self.sdk.function(f"{self.prefix}::enqueue", self.enqueue)
            route = {"api_path": f"{self.prefix}/enqueue", "http_method": "POST"}
            self.sdk.trigger("http", f"{self.prefix}::enqueue", route)

    async def listen(self, data: Any) -> Any:
        """A trigger of ``type`` for the function ``PREFIX::on-NAME``."""
        name = data["name"]
        function_id = f"{self.prefix}::on-{name}"
        if name not in self.events:
            self.sdk.function(function_id, self.handler(name))
        self.triggers[name] = self.sdk.trigger(data["type"], function_id, data["config"])
        return {"listening": name}

    def handler(self, name: str) -> Any:
        events = self.events[name] = []

        async def handle(event: Any) -> None:
            events.append(event)
            failures = event.get("failures", 0) if isinstance(event, dict) else 0
            if events.count(event) <= failures:
                raise ValueError("broken on purpose")

        return handle

    async def unlisten(self, data: Any) -> Any:
        self.triggers.pop(data["name"]).unregister()
        return {"listening": None}

    async def heard(self, data: Any) -> Any:
        return self.events

    async def wanted(self, event: Any) -> Any:
        """A condition; it says what the message says."""
        return event["wanted"]

    async def enqueue(self, data: Any) -> Any:
        """The receipt from a named queue, by the SDK's own action; also over HTTP."""
        try:
            receipt = await self.sdk.enqueue(data["queue"], data["function_id"], data.get("data"))
        except Exception as error:
            return {"error": str(error)}
        return {"value": receipt}

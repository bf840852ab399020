"""One real worker, written against every published Python generation.

The runner starts it as ``worker.py ENGINE PREFIX`` inside the environment of
one release, and then drives it only from outside: over HTTP, from another SDK
and from a raw socket.  Everything it registers is named ``PREFIX::…``, and the
same names exist in the Node and Rust programs, so that one scenario serves all.

What differs between generations lives in ``generations.py``; the handlers below
use nothing but the small interface described there.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from typing import Any

from generations import Sdk, open_sdk
from jobs import Jobs
from observed import Observed
from stored import Stored

PAUSE_S = 0.15
"""Between two chunks of a streamed answer: long enough to be seen from outside."""


class Worker:
    """The functions of the program and what they remember."""

    def __init__(self, sdk: Sdk, prefix: str) -> None:
        self.sdk = sdk
        self.prefix = prefix
        self.notes: list[Any] = []
        self.seen: set[str] = set()
        self.bindings: dict[str, Any] = {}
        self.unbound: list[str] = []
        self.removable: dict[str, Any] = {}
        self.stopping = asyncio.Event()
        self.filling: asyncio.Future[None] | None = None

    def id(self, name: str) -> str:
        return f"{self.prefix}::{name}"

    def route(self, method: str, path: str, name: str) -> Any:
        config = {"api_path": f"{self.prefix}/{path}", "http_method": method}
        return self.sdk.trigger("http", self.id(name), config)

    def register(self) -> None:
        """Everything the program offers, triggers after functions."""
        plain = ("echo", "add", "item", "create", "nothing", "fail", "note", "recorded")
        calls = ("relay", "send", "lists", "announced", "bound", "drop", "misregister", "stop")
        for name in plain + calls:
            self.sdk.function(self.id(name), getattr(self, name))
        self.removable["function"] = self.sdk.function(self.id("temporary"), self.temporary)
        if self.sdk.has_channels:
            self.sdk.function(self.id("produce"), self.produce)
            self.sdk.function(self.id("consume"), self.consume)
            self.sdk.function(self.id("stream"), self.sdk.http(self.stream))
            self.route("POST", "stream", "stream")
        self.sdk.trigger_type(f"{self.prefix}-events", self.bind, self.unbind)
        if self.sdk.has_functions_available:
            self.sdk.on_functions_available(self.functions_available)
        Stored(self.sdk, self.prefix).register()
        Jobs(self.sdk, self.prefix).register()
        Observed(self.sdk, self.prefix).register()
        self.route("POST", "add", "add")
        self.route("GET", "items/:id", "item")
        self.route("POST", "items/:id", "create")
        self.route("GET", "nothing", "nothing")
        self.route("GET", "fail", "fail")
        self.removable["trigger"] = self.route("GET", "temporary", "temporary")

    # Handlers: what a user would write.

    async def echo(self, data: Any) -> Any:
        return data

    async def add(self, data: Any) -> Any:
        return {"sum": data["a"] + data["b"]}

    async def item(self, data: Any) -> Any:
        body = {
            "id": data["path_params"]["id"],
            "page": data["query_params"].get("page"),
            "agent": data["headers"].get("x-agent"),
            "method": data["method"],
        }
        return self.sdk.response(203, body, {"x-sdk": self.prefix})

    async def create(self, data: Any) -> Any:
        body = {"id": data["path_params"]["id"], "got": data["body"]}
        return self.sdk.response(201, body, {"x-sdk": self.prefix})

    async def nothing(self, data: Any) -> Any:
        return None

    async def temporary(self, data: Any) -> Any:
        return {"here": True}

    async def fail(self, data: Any) -> Any:
        raise ValueError("broken on purpose")

    async def note(self, data: Any) -> Any:
        self.notes.append(data["n"])
        self.sdk.log(f"noted {data['n']}")
        return {"noted": len(self.notes)}

    async def recorded(self, data: Any) -> Any:
        return {"notes": self.notes}

    async def relay(self, data: Any) -> Any:
        try:
            return {"value": await self.sdk.call(data["function_id"], data.get("data"))}
        except Exception as error:
            return {"error": str(error)}

    async def send(self, data: Any) -> Any:
        await self.sdk.send(data["function_id"], data["data"])
        return {"sent": True}

    async def lists(self, data: Any) -> Any:
        return await self.sdk.lists()

    async def announced(self, data: Any) -> Any:
        return {"functions": sorted(self.seen)}

    async def bound(self, data: Any) -> Any:
        return {"bound": self.bindings, "unbound": self.unbound}

    async def drop(self, data: Any) -> Any:
        self.removable.pop(data["what"]).unregister()
        return {"dropped": data["what"]}

    async def misregister(self, data: Any) -> Any:
        """A trigger the engine has to refuse: ``http`` needs ``api_path``."""
        self.sdk.trigger("http", self.id("echo"), {"http_method": "GET"})
        return {"sent": True}

    async def stop(self, data: Any) -> Any:
        self.sdk.user_loop.call_soon_threadsafe(self.stopping.set)

    # Trigger type, discovery callback, channels.

    async def bind(self, config: Any) -> None:
        if config.config.get("refuse"):
            raise ValueError("refused on purpose")
        self.bindings[config.id] = {"function_id": config.function_id, "config": config.config}

    async def unbind(self, config: Any) -> None:
        self.unbound.append(config.id)

    def functions_available(self, functions: list[Any]) -> None:
        self.seen = {function.function_id for function in functions}

    async def produce(self, data: Any) -> Any:
        """A channel of our own: the reader's end goes to whoever asked."""
        channel = await self.sdk.channel()
        self.filling = asyncio.ensure_future(self.fill(channel.writer, data["size"]))
        return {"reader": self.sdk.ref(channel.reader_ref)}

    async def fill(self, writer: Any, size: int) -> None:
        await writer.send_message_async("from " + self.prefix)
        await writer.write(b"x" * size)
        await writer.close_async()

    async def consume(self, data: Any) -> Any:
        messages: list[str] = []
        reader = data["reader"]
        reader.on_message(messages.append)
        content = await reader.read_all()
        return {"size": len(content), "messages": messages}

    async def stream(self, request: Any, response: Any) -> Any:
        """Upper-cases the request body word by word, streaming."""
        body = await request.request_body.read_all()
        await response.status(207)
        await response.headers({"content-type": "text/plain", "x-sdk": self.prefix})
        for word in body.split():
            await response.writer.write(word.upper() + b"\n")
            await asyncio.sleep(PAUSE_S)
        await response.writer.close_async()


async def main() -> None:
    logging.basicConfig(level=logging.INFO, stream=sys.stdout)
    address, prefix = sys.argv[1:3]
    sdk = await open_sdk(address, prefix)
    worker = Worker(sdk, prefix)
    worker.register()
    await sdk.connect()
    print("program ready", flush=True)
    await worker.stopping.wait()
    await sdk.close()
    print("program done", flush=True)


if __name__ == "__main__":
    asyncio.run(main())

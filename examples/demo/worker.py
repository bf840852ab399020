"""A worker with one function, called over HTTP: ``GET /greet?name=Ada``.

The engine's address is ``III_URL``, or ``ws://localhost:49134`` without it.
"""

from __future__ import annotations

import asyncio
import signal
from typing import Any

from iii import III

iii = III()


async def greet(data: dict[str, Any]) -> dict[str, str]:
    """Say hello.  ``name`` comes from the query string, or from a direct call."""
    return {"message": f"Hello, {data.get('name') or 'world'}!"}


iii.register_function("demo::greet", greet, "Greets whoever is named")
iii.register_trigger("http", "demo::greet", {"api_path": "greet", "http_method": "GET"})


async def main() -> None:
    """Work until SIGINT or SIGTERM."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await iii.connect()
    await stop.wait()
    await iii.disconnect(drain=5)


if __name__ == "__main__":
    asyncio.run(main())

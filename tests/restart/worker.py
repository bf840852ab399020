"""A worker that writes down what it does, and leaves in good order on SIGTERM.

``python worker.py URL FILE``: each call is a line of FILE, written when it begins.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from typing import Any

from iii import III, InitOptions, ReconnectionConfig

DRAIN_S = 8.0


async def main(url: str, path: str) -> None:
    """Work until SIGTERM."""
    soon = ReconnectionConfig(initial_delay_ms=20, max_delay_ms=100)
    iii = III(url, InitOptions(reconnection_config=soon))
    diary = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    leave = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, leave.set)

    async def page(request: dict[str, Any]) -> dict[str, Any]:
        number = request["path_params"]["number"]
        os.write(diary, f"page {number}\n".encode())
        await asyncio.sleep(random.uniform(0, 0.05))
        return {"number": number}

    async def job(number: int) -> None:
        os.write(diary, f"job {number}\n".encode())
        await asyncio.sleep(random.uniform(0, 0.05))

    iii.register_function("work::page", page)
    iii.register_function("work::job", job)
    iii.register_trigger(
        type="http",
        function_id="work::page",
        config={"api_path": "/pages/:number", "http_method": "GET"},
    )
    await iii.connect()
    # Messages of one connection are handled in order: everything is registered now.
    await iii.invoke("engine::workers::list", {})
    print("ready", flush=True)
    await leave.wait()
    await iii.disconnect(drain=DRAIN_S)


asyncio.run(main(*sys.argv[1:]))

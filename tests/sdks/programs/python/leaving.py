"""One of several workers of a shop: ``leaving.py ADDRESS NAME``.

SIGTERM: it asks the engine for no more calls, waits for what it runs, and leaves.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from typing import Any

from generations import OTEL, Threaded

import iii

WORK_S = 0.03


async def main(address: str, name: str) -> None:
    options = iii.InitOptions(worker_name="shop", otel=OTEL)
    client = await asyncio.to_thread(iii.register_worker, address, options)
    sdk = Threaded(client, name)

    async def price(data: Any) -> Any:
        await asyncio.sleep(WORK_S)
        return {"status_code": 200, "body": {"by": name}}

    async def pack(data: Any) -> Any:
        await asyncio.sleep(WORK_S)
        return await sdk.call("probe::packed", {"n": data["n"], "by": name})

    sdk.function("shop::price", price)
    sdk.function("shop::pack", pack)
    sdk.trigger("http", "shop::price", {"api_path": "price", "http_method": "GET"})
    leave = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, leave.set)
    print("program ready", flush=True)
    await leave.wait()
    answer = await sdk.call("engine::workers::drain", {"timeout_ms": 8000})
    print(f"program drained: {answer['drained']}, in flight: {answer['in_flight']}", flush=True)
    await sdk.close()


asyncio.run(main(*sys.argv[1:]))

"""A worker behind a gate: ``restricted.py ADDRESS PREFIX [TOKEN]``.

With a token it sends the header itself; SDKs from 0.24.6 also take ``III_TOKEN``.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from generations import OTEL, Threaded

import iii


async def main(address: str, prefix: str, token: str | None = None) -> None:
    headers = None if token is None else {"Authorization": f"Bearer {token}"}
    options = iii.InitOptions(worker_name=prefix, otel=OTEL, headers=headers)
    client = await asyncio.to_thread(iii.register_worker, address, options)
    sdk = Threaded(client, prefix)
    filling: list[asyncio.Future[Any]] = []

    async def hello(data: Any) -> Any:
        return {"from": prefix}

    async def relay(data: Any) -> Any:
        try:
            return {"value": await sdk.call(data["function_id"], data["data"])}
        except Exception as error:
            kind = type(error).__name__
            code = getattr(error, "code", None)
            return {"error": {"kind": kind, "code": code, "text": str(error)}}

    async def produce(data: Any) -> Any:
        channel = await sdk.channel()
        filling.append(asyncio.ensure_future(fill(channel.writer)))
        return {"reader": sdk.ref(channel.reader_ref)}

    async def fill(writer: Any) -> None:
        await writer.send_message_async(f"from {prefix}")
        await writer.close_async()

    for handler in (hello, relay, produce):
        sdk.function(f"{prefix}::{handler.__name__}", handler)
    print("program ready", flush=True)
    await asyncio.Event().wait()


asyncio.run(main(*sys.argv[1:]))

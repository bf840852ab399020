"""A little shop that keeps the console's pages busy: calls, failures, queues, states, logs.

The engine's address is ``III_URL``.  ``SHOP_PACE_S`` is the time between two orders that the
shop places itself; 0 or nothing: it only does what it is asked.
"""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Any

from iii import III

Json = dict[str, Any]

iii = III()
ORDER: Json = {
    "type": "object",
    "required": ["item", "count"],
    "properties": {
        "item": {"type": "string", "description": "What is bought", "enum": ["tea", "cup", "pot"]},
        "count": {"type": "integer", "minimum": 1, "description": "How many"},
        "gift": {"type": "boolean", "default": False},
        "note": {"type": "string", "maxLength": 200},
        "address": {
            "type": "object",
            "properties": {"street": {"type": "string"}, "zip": {"type": "string"}},
        },
        "tags": {"type": "array", "items": {"type": "string"}},
    },
}
PRICES = {"tea": 4, "cup": 9, "pot": 30}


async def say(level: str, message: str, data: Json) -> None:
    """Write a line to the engine's log."""
    await iii.invoke(f"engine::log::{level}", {"message": message, "data": data})


async def price(data: Json) -> Json:
    """What an order costs."""
    await asyncio.sleep(0.004)
    return {"total": PRICES[data["item"]] * data["count"]}


async def place(data: Json) -> Json:
    """Take an order: price it, keep it, queue its mail."""
    cost = await iii.invoke("shop::price", {"item": data["item"], "count": data["count"]})
    order = {"item": data["item"], "count": data["count"], "total": cost["total"]}
    scope = {"scope": "orders", "key": f"{data['item']}-{data['count']}"}
    await iii.invoke("state::set", {**scope, "value": order})
    await iii.invoke("iii::durable::publish", {"topic": "mail", "data": order})
    await say("info", "an order was taken", order)
    return order


async def mail(data: Json) -> None:
    """Send the mail of an order; nobody ships more than five."""
    if data["count"] > 5:
        await say("error", "this mail can't be sent", data)
        raise ValueError(f"{data['count']} is more than there are")


async def fail(data: Json) -> None:
    """Always fails."""
    await say("warn", "about to fail", {"markup": "<script>alert(1)</script>"})
    raise RuntimeError(f"the payment of {data.get('order', 'nobody')} was refused")


async def repairable(data: Json) -> Json:
    """Fails until it is asked with ``ok``."""
    if not data.get("ok"):
        raise RuntimeError("not ok yet")
    return {"ok": True}


async def nightly(data: Json) -> str:
    """What a schedule runs."""
    return "swept"


def register() -> None:
    """All functions and what triggers them."""
    iii.register_function("shop::price", price, "What an order costs", request_format=ORDER)
    iii.register_function("shop::place", place, "Takes an order", request_format=ORDER)
    iii.register_function("shop::mail", mail, "Sends the mail of an order")
    iii.register_function("payments::charge", fail, "Always fails")
    iii.register_function("payments::retry", repairable, "Fails until it is asked with ok")
    iii.register_function("shop::nightly", nightly, "Sweeps the shop")
    http = {"api_path": "orders", "http_method": "POST"}
    iii.register_trigger("http", "shop::place", http)
    queue = {"topic": "mail", "queue_config": {"max_retries": 1, "backoff_ms": 50}}
    iii.register_trigger("queue", "shop::mail", queue)
    iii.register_trigger("cron", "shop::nightly", {"expression": "0 3 * * *"})
    iii.register_trigger("subscribe", "shop::nightly", {"topic": "sweep"})


async def orders(pace_s: float) -> None:
    """Place one after the other."""
    number = 0
    while True:
        number += 1
        item = tuple(PRICES)[number % 3]
        try:
            await iii.invoke("shop::place", {"item": item, "count": number % 7 + 1})
            if number % 5 == 0:
                await iii.invoke("payments::charge", {"order": number})
        except Exception as failed:
            await say("debug", "an order failed", {"why": str(failed)})
        await asyncio.sleep(pace_s)


async def main() -> None:
    """Work until SIGINT or SIGTERM."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    register()
    await iii.connect()
    print("The shop is open", flush=True)
    pace_s = float(os.environ.get("SHOP_PACE_S") or 0)
    busy = asyncio.ensure_future(orders(pace_s)) if pace_s else None
    await stop.wait()
    if busy is not None:
        busy.cancel()
    await iii.disconnect(drain=5)


if __name__ == "__main__":
    asyncio.run(main())

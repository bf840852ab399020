"""A board of cards that everybody sees change while it changes.

The cards live in the stream ``board``, group ``cards``.  The page changes them over
HTTP, with the routes below, and follows the stream over its WebSocket; any other
program that writes to the stream shows on the page just the same.

The engine's address is ``III_URL``, or ``ws://localhost:49134`` without it.
"""

from __future__ import annotations

import asyncio
import signal
import time
import uuid
from pathlib import Path
from typing import Any

from iii import III

PAGE = Path(__file__).with_name("board.html")
CARDS = {"stream_name": "board", "group_id": "cards"}
COLUMNS = ("todo", "doing", "done")
TITLE_CHARS = 120

Json = dict[str, Any]

iii = III()


def answer(status: int, body: Any = None) -> Json:
    return {"status_code": status, "body": body}


def item(data: Json) -> Json:
    """The place of the card that the path names."""
    return {**CARDS, "item_id": data["path_params"]["id"]}


async def page(data: Json) -> Json:
    headers = {"content-type": "text/html; charset=utf-8", "cache-control": "no-cache"}
    return {"status_code": 200, "headers": headers, "body": PAGE.read_text(encoding="utf-8")}


async def cards(data: Json) -> list[Json]:
    found: list[Json] = await iii.invoke("stream::list", CARDS)
    return found


async def add(data: Json) -> Json:
    title = str(data.get("title") or "").strip()[:TITLE_CHARS]
    if not title:
        return answer(422, {"error": "a card needs a title"})
    card = {
        "id": uuid.uuid4().hex[:8],
        "title": title,
        "column": COLUMNS[0],
        "likes": 0,
        "made_at": time.time(),
    }
    await iii.invoke("stream::set", {**CARDS, "item_id": card["id"], "data": card})
    return answer(201, card)


async def change(data: Json, op: Json) -> Json:
    """One operation on one card; the engine applies it atomically."""
    if await iii.invoke("stream::get", item(data)) is None:
        return answer(404, {"error": "there is no such card"})
    written = await iii.invoke("stream::update", {**item(data), "ops": [op]})
    return answer(200, written["new_value"])


async def move(data: Json) -> Json:
    column = data.get("column")
    if column not in COLUMNS:
        return answer(422, {"error": f"column is one of {', '.join(COLUMNS)}"})
    return await change(data, {"type": "set", "path": "column", "value": column})


async def like(data: Json) -> Json:
    """An increment: no like is lost, however many come at once."""
    return await change(data, {"type": "increment", "path": "likes", "by": 1})


async def remove(data: Json) -> Json:
    removed = await iii.invoke("stream::delete", item(data))
    return answer(404 if removed["old_value"] is None else 204)


ROUTES = (
    ("GET", "board", "board::page", page),
    ("GET", "board/cards", "board::cards", cards),
    ("POST", "board/cards", "board::add", add),
    ("PATCH", "board/cards/:id", "board::move", move),
    ("POST", "board/cards/:id/like", "board::like", like),
    ("DELETE", "board/cards/:id", "board::remove", remove),
)

for method, path, function_id, handler in ROUTES:
    iii.register_function(function_id, handler)
    iii.register_trigger("http", function_id, {"api_path": path, "http_method": method})


async def main() -> None:
    """Work until SIGINT or SIGTERM."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await iii.connect()
    print("The board is at http://localhost:3111/board", flush=True)
    await stop.wait()
    await iii.disconnect(drain=5)


if __name__ == "__main__":
    asyncio.run(main())

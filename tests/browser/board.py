"""What is asked of the live board: the same cards in both tabs, whatever happens."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.browser.webdriver import ENTER, Tab
from tests.sdks.engine import Engine
from tests.sdks.program import Program
from tests.sdks.raw import RawWorker
from tests.sdks.report import Report
from tests.sdks.stage import eventually, same

CHECKS = 9
CARDS = {"stream_name": "board", "group_id": "cards"}
BURST = 50
MARKUP = "<img src=x onerror=\"document.title='broken'\">"

SHOWN = """
const shown = {state: document.querySelector('#connection').dataset.state, cards: {}}
for (const section of document.querySelectorAll('section')) {
  for (const card of section.querySelectorAll('article')) {
    const likes = Number(card.querySelector('.like').textContent.slice(2))
    shown.cards[card.querySelector('p').textContent] = [section.dataset.column, likes]
  }
}
return shown
"""
"""``{state, cards: {title: [column, likes]}}``, read from what is drawn."""


def in_card(title: str) -> str:
    """A script that marks the card, so that a selector finds it."""
    return f"""
    for (const card of document.querySelectorAll('article')) {{
      card.id = card.querySelector('p').textContent === {title!r} ? 'wanted' : ''
    }}"""


class Board:
    """An engine, the example's worker, and two tabs with its page."""

    def __init__(self, engine: Engine, worker: Program, raw: RawWorker, tabs: list[Tab]) -> None:
        self.engine = engine
        self.worker = worker
        self.raw = raw
        self.tabs = tabs
        self.cards: dict[str, list[Any]] = {}
        """What both tabs must show."""

    async def press(self, tab: Tab, title: str, button: str) -> None:
        await tab.run(in_card(title))
        await tab.click(f"#wanted .{button}")

    async def both_show(self, limit_s: float = 8.0) -> None:
        wanted = {"state": "live", "cards": self.cards}
        for number, tab in enumerate(self.tabs, 1):

            async def shown(tab: Tab = tab) -> bool:
                found = await tab.run(SHOWN)
                assert found == wanted, f"shows {found}, not {wanted}"
                return True

            await eventually(shown, f"tab {number} shows the board", limit_s)

    async def write(self, item: str, data: dict[str, Any]) -> None:
        """A change by a program that knows nothing of the page."""
        await self.raw.call("stream::set", {**CARDS, "item_id": item, "data": data})

    # The checks, in their order.

    async def opens(self) -> None:
        address = f"http://127.0.0.1:{self.engine.ports.http}/board"
        for tab in self.tabs:
            await tab.open(f"{address}?stream={self.engine.stream_url}")
        await self.both_show()

    async def adds(self) -> None:
        await self.tabs[0].type("#title", "Write the talk" + ENTER)
        self.cards["Write the talk"] = ["todo", 0]
        await self.both_show()
        same(await self.tabs[0].run("return document.querySelector('#title').value"), "")

    async def moves(self) -> None:
        await self.press(self.tabs[1], "Write the talk", "right")
        self.cards["Write the talk"] = ["doing", 0]
        await self.both_show()

    async def likes(self) -> None:
        for tab in self.tabs:
            await self.press(tab, "Write the talk", "like")
        self.cards["Write the talk"] = ["doing", 2]
        await self.both_show()

    async def written_elsewhere(self) -> None:
        await self.write("w1", {"id": "w1", "title": MARKUP, "column": "done", "likes": 7})
        self.cards[MARKUP] = ["done", 7]
        await self.both_show()
        same(await self.tabs[0].run("return document.title"), "Live board")

    async def burst(self) -> None:
        card = {"id": "w2", "title": "Busy", "column": "todo"}
        await asyncio.gather(
            *(self.write("w2", {**card, "likes": count}) for count in range(1, BURST + 1))
        )
        self.cards["Busy"] = ["todo", BURST]
        await self.both_show()

    async def deletes(self) -> None:
        await self.press(self.tabs[0], MARKUP, "delete")
        del self.cards[MARKUP]
        await self.both_show()

    async def is_quiet(self) -> None:
        for tab in self.tabs:
            same(await tab.complaints(), [])

    async def survives_a_restart(self) -> None:
        same(await self.engine.stop(), 0)
        for tab in self.tabs:

            async def lost(tab: Tab = tab) -> bool:
                return bool((await tab.run(SHOWN))["state"] == "lost")

            await eventually(lost, "the page says that the line is lost")
        await self.engine.start()
        self.raw = await RawWorker.open(self.engine.url)
        # Nothing is lost, and what happens from here on shows again.
        await self.both_show(15.0)
        await self.write("w3", {"id": "w3", "title": "After the restart", "column": "done"})
        self.cards["After the restart"] = ["done", 0]
        await self.both_show()

        async def adds() -> bool:
            cards = await self.raw.ask("board::cards", {})
            return cards.code is None

        await eventually(adds, "the worker is back", 15.0)
        await self.press(self.tabs[1], "After the restart", "left")
        self.cards["After the restart"] = ["doing", 0]
        await self.both_show()

    async def run(self, report: Report) -> None:
        checks = [
            ("two tabs open the page and follow the stream", self.opens),
            ("a card typed into one tab shows in both", self.adds),
            ("moved in the other tab, it moves in both", self.moves),
            ("likes from both tabs add up", self.likes),
            (
                "a card another program writes shows in both, its markup as text",
                self.written_elsewhere,
            ),
            (f"of {BURST} quick updates the last one stays", self.burst),
            ("deleted in one tab, gone in both", self.deletes),
            ("the page logged no error", self.is_quiet),
            (
                "the engine restarts: both tabs come back and show what is new",
                self.survives_a_restart,
            ),
        ]
        for name, check in checks:
            await report.hold(name, check)

"""What the console costs: requests with all calls kept, and a page that is open."""

from __future__ import annotations

import json
from contextlib import ExitStack
from threading import Thread

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from benchmarks.configs import CONSOLE_CONFIG, HTTP_CONFIG
from benchmarks.observability import requests
from benchmarks.processes import ENGINE
from benchmarks.stats import Figure, Rounds, Target
from benchmarks.suite import Measure, Plan, Side, Situation, Suite, cpu_shares, ratio_at_least

KEPT_RATIO = 0.93
OPEN_PAGE_SHARE = 0.01
WINDOW_S = 15.0
#: What a page with a bit of everything watches.
TOPICS = ("workers", "functions", "triggers", "metrics", "alerts", "logs", "traces", "invocations")


class Console(Suite):
    """An engine with a console against one without."""

    name = "console"
    measures = (
        Measure("GET, 32 connections", "requests/s", ratio_at_least(KEPT_RATIO), requests),
        Measure(
            "call between workers, 64 in flight",
            "calls/s",
            None,
            lambda side, seconds: side.calls(64, seconds)["calls_per_s"],
        ),
    )

    def situations(self, plan: Plan) -> tuple[Situation, ...]:
        return (
            Situation("console", ENGINE, config=CONSOLE_CONFIG),
            Situation("no console", ENGINE, config=HTTP_CONFIG),
        )

    def prepare(self, side: Side) -> None:
        side.serve()

    def once(self, sides: list[Side], plan: Plan) -> list[Figure]:
        """A page is open and nothing happens."""
        side = sides[0]
        with ExitStack() as stack:
            page = stack.enter_context(
                connect(f"ws://127.0.0.1:{side.server.ports['console']}/ws/console")
            )
            for topic in TOPICS:
                page.send(json.dumps({"op": "subscribe", "id": topic, "topic": topic}))
            Thread(target=_read, args=(page,), daemon=True).start()
            column = Rounds()
            for share in cpu_shares([side], max(2.0, WINDOW_S * plan.scale)):
                column.add(share * 100, share)
        target = Target(OPEN_PAGE_SHARE * 100, "at most", "value")
        return [Figure("idle with an open page", "% of a core", target, column)]


def _read(page: ClientConnection) -> None:
    """Take what comes, as a browser does."""
    try:
        for _ in page:
            pass
    except ConnectionClosed:
        return

"""A worker with many cron triggers; some of them fire in the same second.

    python -m benchmarks.timekeeper --url URL

For a line ``{"triggers": 10000, "firing": 1000}`` it registers so many and takes the time.
The last ``firing`` of them have one and the same second, soon; when each has come once, it
prints how late they were by the wall clock.  The others have months to go, no two in the
same second.  One line is enough: the next round is another process.
"""

from __future__ import annotations

import argparse
import asyncio
from contextlib import suppress
from datetime import UTC, datetime
from math import floor
from time import perf_counter, time

import msgspec
import uvloop

from benchmarks.raw import INVOKE, text_frame
from benchmarks.schedules import JOB, expressions, lateness
from benchmarks.stats import percentile
from benchmarks.worker import Connection, connect, say, stdin_lines

FUNCTION = "bench.tick"
#: from the registration to the second that is measured
LEAD_S = 8
PATIENCE_S = 10.0
QUIET_S = 0.5


class Ticks(Connection):
    """Takes the time of every run."""

    def __init__(self) -> None:
        super().__init__(result=b"null")
        self.came: list[tuple[float, bytes]] = []
        self.all_came = asyncio.Event()
        self._firing = 0

    def on_text(self, payload: bytes) -> None:
        if payload.startswith(INVOKE) and JOB in payload:
            self.came.append((time(), payload))
            if len(self.came) == self._firing:
                self.all_came.set()
        super().on_text(payload)

    def register(self, count: int, firing: int, at: datetime) -> None:
        """All triggers in one write."""
        self._firing = firing
        for number, text in enumerate(expressions(count, firing, at)):
            trigger = {"id": f"bench-{number}", "trigger_type": "cron", "function_id": FUNCTION}
            message = {"type": "registertrigger", **trigger, "config": {"expression": text}}
            self._outgoing.extend(text_frame(msgspec.json.encode(message)))
        self.flush()


async def run(url: str) -> None:
    """Register, wait, tell."""
    worker = await connect(url, Ticks())
    worker.register_function(FUNCTION)
    await worker.registered(FUNCTION)
    say({"event": "ready"})
    async for line in stdin_lines():
        count, firing = line["triggers"], line["firing"]
        at = datetime.fromtimestamp(floor(time()) + LEAD_S, UTC)
        started = perf_counter()
        worker.register(count, firing, at)
        await worker.registered(FUNCTION)
        took = perf_counter() - started
        if time() > at.timestamp() - 1:
            raise RuntimeError(f"registering took {took:.1f} s: too long for what comes next")
        with suppress(TimeoutError):
            await asyncio.wait_for(worker.all_came.wait(), at.timestamp() - time() + PATIENCE_S)
        await asyncio.sleep(QUIET_S)  # for those that are too many
        late = lateness(worker.came, firing, at)
        jobs = await worker.ask("engine::cron::list", {})
        if len(jobs) != count:
            raise RuntimeError(f"{len(jobs):,} jobs are there, not {count:,}")
        figures = {f"p{percent}_ms": percentile(late, percent) * 1000 for percent in (50, 99, 100)}
        say({"registered_s": took, **figures})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--url", required=True)
    uvloop.run(run(parser.parse_args().url))


if __name__ == "__main__":
    main()

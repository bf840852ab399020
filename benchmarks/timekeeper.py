"""A worker with many cron triggers; some of them fire in the same second.

    python -m benchmarks.timekeeper --url URL

For a line ``{"triggers": 10000, "firing": 1000}`` it registers so many, no two alike, and
prints how long that took.  The last ``firing`` of them have one and the same second, soon;
when all have come, each once, it prints how late they were by the wall clock.  The others,
and these from then on, have months to go.  Once is enough: another time is another process.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from math import floor
from time import perf_counter, time

import msgspec
import uvloop

from benchmarks.raw import INVOKE, text_after, text_frame
from benchmarks.stats import percentile
from benchmarks.worker import Connection, connect, say, stdin_lines

FUNCTION = "bench.tick"
#: from the registration to the second that is measured
LEAD_S = 8
#: the others fire in about half a year
FAR = timedelta(days=183)
PATIENCE_S = 10.0
QUIET_S = 0.5

_JOB = b'"job_id":"'
_SCHEDULED = b'"scheduled_time":"'


def expression(at: datetime) -> str:
    """Fires once a year, in the second of ``at``."""
    return f"{at.second} {at.minute} {at.hour} {at.day} {at.month} *"


def expressions(count: int, firing: int, at: datetime) -> Iterator[str]:
    """All different, except that the last ``firing`` are those of ``at``."""
    for number in range(count - firing):
        yield expression(at + FAR + timedelta(seconds=number))
    for _ in range(firing):
        yield expression(at)


class Ticks(Connection):
    """Takes the time of every run."""

    def __init__(self) -> None:
        super().__init__(result=b"null")
        self.came: list[tuple[float, bytes]] = []

    def on_text(self, payload: bytes) -> None:
        if payload.startswith(INVOKE) and _JOB in payload:
            self.came.append((time(), payload))
        super().on_text(payload)

    def register(self, count: int, firing: int, at: datetime) -> None:
        """All triggers in one write."""
        for number, text in enumerate(expressions(count, firing, at)):
            message = {"type": "registertrigger", "trigger_type": "cron", "id": f"bench-{number}"}
            message |= {"function_id": FUNCTION, "config": {"expression": text}}
            self._outgoing.extend(text_frame(msgspec.json.encode(message)))
        self.flush()


async def lateness(worker: Ticks, firing: int, at: datetime) -> list[float]:
    """How late each run of the second ``at`` was.

    :raises RuntimeError: one did not come, came twice, or for another second
    """
    second = at.timestamp()
    while len(worker.came) < firing and time() < second + PATIENCE_S:
        await asyncio.sleep(QUIET_S)
    await asyncio.sleep(QUIET_S)
    jobs = {text_after(_JOB, payload) for _, payload in worker.came}
    seconds = {text_after(_SCHEDULED, payload).decode() for _, payload in worker.came}
    if len(jobs) != firing or len(worker.came) != firing or seconds != {at.isoformat()}:
        raise RuntimeError(
            f"{len(worker.came):,} runs of {len(jobs):,} jobs have come for {sorted(seconds)}, "
            f"not {firing:,} for {at.isoformat()}"
        )
    return [came - second for came, _ in worker.came]


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
        late = await lateness(worker, firing, at)
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

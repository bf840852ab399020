"""Which engine ran which tick of a cron job, and whether it was allowed to.

A tick runs once.  It may run again when the engine that had it was killed before it can
have noted the answer.  While nobody is killed every tick runs.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime

#: An engine that lives this long after an answer has noted it.
NOTED_S = 1.0
#: A tick this close to a kill, or to the return of the engine, may come late or not at all.
MARGIN_S = 1.5
#: The kill is noted before it is sent, a call when it is read.
EARLY_S = 0.1


@dataclass(eq=False)
class Run:
    """One call of the job.

    :ivar answered_s: when the worker answered; None: it could not any more
    """

    engine: int
    at_s: float
    answered_s: float | None = None

    def may_be_lost(self, killed_s: float) -> bool:
        """Whether its engine, killed then, can have died without the answer."""
        known_s = killed_s if self.answered_s is None else self.answered_s + NOTED_S
        return self.at_s - EARLY_S <= killed_s <= known_s


class Ticks:
    """All runs, and the times when an engine was away.

    :ivar undisturbed: ticks that no kill was near to, found by ``problems``
    :ivar again: runs of ticks that had run before, found by ``problems``
    """

    def __init__(self) -> None:
        self._runs: dict[int, list[Run]] = defaultdict(list)
        self._away: list[tuple[int, float, float]] = []
        self.undisturbed = 0
        self.again = 0

    def run(self, scheduled_time: str, engine: int, at_s: float) -> Run:
        """An engine runs a tick."""
        tick = round(datetime.fromisoformat(scheduled_time).timestamp())
        run = Run(engine, at_s)
        self._runs[tick].append(run)
        return run

    def killed(self, engine: int, from_s: float, until_s: float) -> None:
        """An engine was killed, and another one came in its place."""
        self._away.append((engine, from_s, until_s))

    def problems(self, since_s: float, until_s: float) -> list[str]:
        """What is wrong with the ticks of a time in which all engines had the job."""
        found = [text for tick, runs in self._runs.items() for text in self._check(tick, runs)]
        for tick in range(int(since_s + MARGIN_S) + 1, int(until_s - MARGIN_S)):
            if self._disturbed(tick):
                continue
            self.undisturbed += 1
            if len(self._runs[tick]) != 1:
                found.append(f"{tick}: {len(self._runs[tick])} runs, though nobody was killed")
        return found

    def _check(self, tick: int, runs: list[Run]) -> list[str]:
        self.again += len(runs) - 1
        return [
            f"{tick}: ran again after engine {run.engine} had run it and lived"
            for run in runs[:-1]
            if not any(
                engine == run.engine and run.may_be_lost(killed_s)
                for engine, killed_s, _ in self._away
            )
        ]

    def _disturbed(self, tick: int) -> bool:
        return any(start - MARGIN_S <= tick <= end + MARGIN_S for _, start, end in self._away)

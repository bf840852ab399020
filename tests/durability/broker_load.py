"""The load of ``queue_load`` on several engines at once, any of which may die."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from time import monotonic, time

from tests.durability.broker_account import BrokerAccount
from tests.durability.queue_load import (
    CUTS_PER_S,
    END_LIMIT_S,
    PRODUCERS,
    WORKERS,
    QueueLoad,
    _Frame,
    _Side,
)
from tests.durability.ticks import Run, Ticks

#: who was refused asks again after this: a broker is away for seconds
PAUSE_S = 0.02
JOB = "tick"
#: How long a run of the job takes at most: it must not meet the next one.
MAX_TICK_S = 0.7
#: The first place of a connection whose only work is the job.
CLOCKS = PRODUCERS + WORKERS


class BrokerLoad(QueueLoad):
    """Messages that come and go while brokers and engines die.

    :param ticks: also a cron job on every engine, which runs every second
    """

    account: BrokerAccount

    def __init__(self, chance: Random, account: BrokerAccount, ticks: Ticks | None = None) -> None:
        super().__init__(chance, account)
        self._ticks = ticks
        self._ports: list[int] = []
        self._running: list[tuple[float, _Side, str, Run]] = []
        self._pause_until = 0.0
        self._cut_at = 0.0

    def join(self, ports: Sequence[int]) -> None:
        """Connect: the producers and workers take turns with the engines."""
        self._ports = list(ports)
        self.account.new_life()
        clocks = 0 if self._ticks is None else len(self._ports)
        self._sides = [self._side(place) for place in range(CLOCKS + clocks)]

    def _connect(self, port: int) -> None:
        """QueueLoad: all to one engine."""
        self.join([port])

    def _side(self, place: int) -> _Side:
        port = self._ports[place % len(self._ports)]
        side = _Side(port, works=PRODUCERS <= place < CLOCKS)
        if place >= CLOCKS:
            side.link.tell("registerfunction", id=JOB)
            side.link.tell(
                "registertrigger",
                id=f"{id(side)} {JOB}",
                trigger_type="cron",
                function_id=JOB,
                config={"expression": "* * * * * *"},
            )
        return side

    def _called(self, side: _Side, frame: _Frame) -> None:
        """QueueLoad: a call; a tick takes a part of its second."""
        if frame.function_id != JOB:
            super()._called(side, frame)
            return
        assert self._ticks is not None
        assert frame.invocation_id is not None
        engine = self._sides.index(side) % len(self._ports)
        run = self._ticks.run(frame.data["scheduled_time"], engine, time())
        ready_at = monotonic() + self._chance.random() * MAX_TICK_S
        self._running.append((ready_at, side, frame.invocation_id, run))

    def _step(self, sides: list[_Side]) -> None:
        """QueueLoad: and answer the ticks whose work is done."""
        super()._step(sides)
        now = monotonic()
        for one in [one for one in self._running if one[0] <= now]:
            self._running.remove(one)
            _, side, invocation_id, run = one
            if side.link.open:
                side.link.tell(
                    "invocationresult", invocation_id=invocation_id, function_id=JOB, result=None
                )
                run.answered_s = time()

    def leave(self) -> None:
        """Everybody goes."""
        self._end()

    def engine_died(self, engine: int) -> None:
        """Read what the engine at this place still said."""
        ends = monotonic() + END_LIMIT_S
        while any(not self._sides[place].link.ended for place in self._places(engine)):
            if monotonic() > ends:
                raise AssertionError(f"connections still open after {END_LIMIT_S} s")
            self._step(self._sides)

    def rejoin(self, engine: int, port: int) -> None:
        """Another engine came in its place."""
        self._ports[engine] = port
        for place in self._places(engine):
            self._sides[place] = self._side(place)

    def work(self, seconds: float) -> None:
        """Produce and handle; workers die and others come."""
        ends = monotonic() + seconds
        while (now := monotonic()) < ends:
            if now >= self._cut_at:
                self._cut(now)
            if now >= self._pause_until:
                self._produce()
            refused = len(self.refused)
            self._step(self._sides)
            if len(self.refused) > refused:
                self._pause_until = monotonic() + PAUSE_S

    def work_until_kept(self, more: int, limit_s: float) -> float:
        """Go on until so many more messages were acknowledged; how long that took, in seconds.

        :raises AssertionError: it took longer than ``limit_s``
        """
        wanted = self.acknowledged + more
        began = monotonic()
        while self.acknowledged < wanted:
            if monotonic() > began + limit_s:
                last = self.refused[-1] if self.refused else "nothing"
                raise AssertionError(f"nothing is kept after {limit_s} s; {last}")
            self.work(0.05)
        return monotonic() - began

    def _places(self, engine: int) -> range:
        return range(engine, len(self._sides), len(self._ports))

    def _cut(self, now: float) -> None:
        """A worker dies, with all that it was doing, and another one comes."""
        if self._cut_at:
            place = self._chance.randrange(PRODUCERS, CLOCKS)
            side = self._sides[place]
            if not side.link.ended:
                side.link.cut() if self._chance.random() < 0.5 else side.link.close()
                self._gone(side)
                self._sides[place] = self._side(place)
        self._cut_at = now + self._chance.expovariate(CUTS_PER_S)

"""What recording everything costs: default settings against ``enabled: false``."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from benchmarks.configs import HTTP_CONFIG, RECORDED_CONFIG, ROOMY_CONFIG
from benchmarks.processes import BASELINE, ENGINE, Companion, span_sender
from benchmarks.stats import Figure, Rounds, Target
from benchmarks.suite import (
    WARM_UP_S,
    Measure,
    Plan,
    Side,
    Situation,
    Suite,
    alternate,
    ratio_at_least,
)

SPANS_PER_S = 20_000
#: by how much a call may take longer while spans come in
DELAY_MS = 5.0
BASELINE_RATIO = 2.2


def requests(side: Side, seconds: int) -> float:
    """HTTP → worker → HTTP."""
    return side.http(32, seconds)["requests_per_s"]


class Observability(Suite):
    """Calls and requests with everything recorded to memory."""

    name = "observability"
    measures = (
        Measure("GET, 32 connections", "requests/s", ratio_at_least(0.75), requests),
        Measure(
            "call between workers, 64 in flight",
            "calls/s",
            ratio_at_least(0.7),
            lambda side, seconds: side.calls(64, seconds)["calls_per_s"],
        ),
    )

    def situations(self, plan: Plan) -> tuple[Situation, ...]:
        return (
            Situation("recorded", ENGINE, config=RECORDED_CONFIG),
            Situation("enabled: false", ENGINE, config=HTTP_CONFIG),
        )

    def prepare(self, side: Side) -> None:
        side.serve()

    def once(self, sides: list[Side], plan: Plan) -> list[Figure]:
        """Against the baseline; and what the spans of workers cost a call."""
        recorded = sides[0]
        with Side(Situation("baseline", BASELINE), plan) as baseline:
            baseline.serve()
            against = Measure(
                "GET, 32 connections; against the baseline",
                "requests/s",
                ratio_at_least(BASELINE_RATIO),
                requests,
            )
            figures = [alternate(against, [recorded, baseline], plan)]
        with Side(Situation("roomy", ENGINE, config=ROOMY_CONFIG), plan) as roomy:
            sender = roomy.companion(span_sender(roomy.server))
            return [*figures, *ingest(roomy, sender, plan)]


def ingest(side: Side, sender: Companion, plan: Plan) -> Sequence[Figure]:
    """One call at a time, without and with spans coming in."""
    alone, busy, delay, rate = Rounds(), Rounds(), Rounds(), Rounds()
    side.calls(1, WARM_UP_S)
    with ThreadPoolExecutor(1) as pool:
        for _ in range(plan.rounds):
            calm_ms = side.calls(1, plan.seconds)["p99_ms"]
            asked = {"per_s": SPANS_PER_S, "seconds": plan.seconds}
            sending = pool.submit(sender.ask, asked, plan.seconds + 60)
            busy_ms = side.calls(1, plan.seconds)["p99_ms"]
            took_s = sending.result()["took_s"]
            alone.add(calm_ms, 0.0)
            busy.add(busy_ms, 0.0)
            delay.add(busy_ms - calm_ms, 0.0)
            rate.add(SPANS_PER_S * plan.seconds / took_s, 0.0)
    # The last frame is sent a fortieth of a second before the end; 0.9 leaves room for it.
    stored = Target(SPANS_PER_S * 0.9, "at least", "value")
    return [
        Figure("spans of workers, sent evenly, stored", "spans/s", stored, rate),
        Figure("call, 1 in flight: p99 without them", "ms", None, alone),
        Figure("call, 1 in flight: p99 meanwhile", "ms", None, busy),
        Figure("by how much it is later", "ms", Target(DELAY_MS, "at most", "value"), delay),
    ]

"""The suite of schedules: many triggers, of which some fire in the same second."""

from __future__ import annotations

from contextlib import ExitStack
from time import sleep

from benchmarks.configs import CRON_CONFIG
from benchmarks.processes import ENGINE, timekeeper
from benchmarks.stats import Figure, Rounds, Target
from benchmarks.suite import Plan, Side, Situation, Suite, cpu_shares

TRIGGERS = 10_000
FIRING = 1_000
REGISTERED_S = 2.0
LATE_MS = 50.0
IDLE_SHARE = 0.01
IDLE_S = 20
SETTLE_S = 2.0


class Cron(Suite):
    """Every round is a worker of its own: triggers go with the one that registered them."""

    name = "cron"

    def situations(self, plan: Plan) -> tuple[Situation, ...]:
        return (Situation("engine", ENGINE, config=CRON_CONFIG),)

    def once(self, sides: list[Side], plan: Plan) -> list[Figure]:
        """Register, fire, and after the last round nothing."""
        count, firing = (max(10, round(number * plan.scale)) for number in (TRIGGERS, FIRING))
        what, late = f"{count:,} triggers", f"lateness of {firing:,} of them in one second"
        figures = {
            "registered_s": Figure(f"registering {what}", "s", at_most(REGISTERED_S)),
            "p50_ms": Figure(f"{late}: p50", "ms"),
            "p99_ms": Figure(f"{late}: p99", "ms", at_most(LATE_MS)),
            "p100_ms": Figure(f"{late}: the last", "ms"),
            "idle": Figure(f"idle with {what}", "% of a core", at_most(IDLE_SHARE * 100)),
        }
        columns = {name: [Rounds() for _ in sides] for name in figures}
        with ExitStack() as stack:
            for _ in range(plan.rounds):
                stack.close()
                for place, side in enumerate(sides):
                    worker = stack.enter_context(timekeeper(side.server))
                    done = worker.ask({"triggers": count, "firing": firing})
                    for name, value in done.items():
                        columns[name][place].add(value, 0.0)
            sleep(SETTLE_S)
            shares = cpu_shares(sides, max(2.0, IDLE_S * plan.scale))
        for column, share in zip(columns["idle"], shares, strict=True):
            column.add(share * 100, share)
        for name, figure in figures.items():
            figure.subject = columns[name][0]
            figure.reference = columns[name][1] if plan.against else None
        return list(figures.values())


def at_most(bound: float) -> Target:
    return Target(bound, "at most", "value")

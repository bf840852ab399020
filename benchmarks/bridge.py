"""The suite of the bridge: a call through a second engine.

The caller's engine forwards it to another one, whose worker sends the payload back.  The
yardstick is a call between two workers of one engine, in the same run.  The engines and both
workers are processes of their own, so on two processors they are in each other's way.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

from benchmarks.configs import HTTP_CONFIG, bridge_config
from benchmarks.processes import ENGINE, Server, worker
from benchmarks.stats import Figure
from benchmarks.stores import IN_FLIGHT, plain_calls
from benchmarks.suite import Measure, Plan, Side, Situation, Suite, ratio_at_least

LARGE_BYTES = 16384


def bridged_calls(side: Side, seconds: int) -> float:
    """Calls/s of a function of the second engine."""
    rate: float = side.calls(IN_FLIGHT, seconds, function="bridged.echo")["calls_per_s"]
    return rate


def large_calls(function: str) -> Callable[[Side, int], float]:
    """The same with a larger payload."""

    def take(side: Side, seconds: int) -> float:
        done = side.calls(IN_FLIGHT, seconds, LARGE_BYTES, function=function)
        rate: float = done["calls_per_s"]
        return rate

    return take


class Bridge(Suite):
    """Calling a function of another engine."""

    name = "bridge"
    measures = (
        Measure(
            "call through a second engine, 64 in flight, 16 B",
            "calls/s",
            ratio_at_least(0.3),
            bridged_calls,
            plain_calls,
        ),
        Measure(
            "call through a second engine, 64 in flight, 16 KiB",
            "calls/s",
            None,
            large_calls("bridged.echo"),
            large_calls("bench.echo"),
        ),
    )

    def __init__(self) -> None:
        self._second_url = ""

    def situations(self, plan: Plan) -> tuple[Situation, ...]:
        return (
            Situation(self.name, ENGINE, config=bridge_config(self._second_url)),
            Situation("call between workers", ENGINE, config=HTTP_CONFIG),
        )

    def run(self, plan: Plan, note: Callable[[str], None]) -> tuple[list[str], list[Figure]]:
        """Suite: with a second engine beside, and its worker."""
        with ExitStack() as stack:
            second = stack.enter_context(Server(ENGINE, config=HTTP_CONFIG))
            self._second_url = second.worker_url
            # It echoes; its own caller is never asked to call.
            stack.enter_context(worker("call", second))
            return super().run(plan, note)

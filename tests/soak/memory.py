"""An hour of full load with everything recorded: memory stays where it is (issue 6).

    III_SOAK_MINUTES=10 trial tests.soak.memory

HTTP requests, calls, spans and logs of workers take turns without a pause.  Every ring is
full after the first minutes; from then on resident memory may grow by a twentieth.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from statistics import median
from time import monotonic
from unittest import TestCase

from benchmarks.configs import RECORDED_CONFIG
from benchmarks.processes import ENGINE, span_sender
from benchmarks.suite import Plan, Side, Situation

MINUTES = float(os.environ.get("III_SOAK_MINUTES", "60"))
#: the rings are full
FILLED = 0.2
GROWTH = 1.05
#: of the time in which the rings are full; of each the median counts
PARTS = 10
ROUND_S = 5
SPANS_PER_S = 10_000
LOGS_PER_S = 1_000


class FullLoad(TestCase):
    """Resident memory is flat within 5 %."""

    timeout = MINUTES * 60 + 600

    def test_memory_is_flat_once_the_rings_are_full(self) -> None:
        samples: list[tuple[float, float]] = []
        started = monotonic()
        ends = started + MINUTES * 60
        situation = Situation("recorded", ENGINE, config=RECORDED_CONFIG)
        with Side(situation, Plan(1, ROUND_S)) as side, ThreadPoolExecutor(1) as pool:
            side.serve()
            sender = side.companion(span_sender(side.server))
            while monotonic() < ends:
                asked = {"per_s": SPANS_PER_S, "seconds": 2 * ROUND_S, "logs_per_s": LOGS_PER_S}
                sending = pool.submit(sender.ask, asked, 120)
                side.http(32, ROUND_S)
                side.calls(64, ROUND_S)
                sending.result()
                megabytes = side.server.resident_bytes() / 1e6
                samples.append((monotonic() - started, megabytes))
                print(f"{samples[-1][0]:7.0f} s {megabytes:7.1f} MB", flush=True)
        filled = [mb for at, mb in samples if at >= FILLED * MINUTES * 60]
        part = max(1, len(filled) // PARTS)
        parts = [median(filled[at : at + part]) for at in range(0, len(filled), part)]
        print(" ".join(f"{megabytes:.1f}" for megabytes in parts), "MB: median of each part")
        print(f"{max(filled):.1f} MB at most")
        self.assertLessEqual(max(parts), parts[0] * GROWTH)
        self.assertLessEqual(max(filled), parts[0] * GROWTH)

"""Which new traces are recorded (docs/observability.md, "Sampling").

The one decision of a trace; everything after it follows its context.  The limit comes
first, then the first rule that fits, then the default ratio, which looks at the trace id:
engines with the same ratio choose the same traces.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from iii.engine.tracing import Sample
from iii.modules.observability.config import Settings

REFILL_S = 0.1


def sampler(settings: Settings, monotonic: Callable[[], float]) -> Sample | None:
    """Decides on new traces; None: all are recorded."""
    sampling = settings.sampling
    ratio = settings.sampling_ratio if sampling.default is None else sampling.default
    if ratio >= 1 and not sampling.rules and sampling.rate_limit is None:
        return None
    rules = [
        (None if rule.operation is None else _pattern(rule.operation), _bound(rule.rate))
        for rule in sampling.rules
        if rule.service is None or _pattern(rule.service)(settings.service_name)
    ]
    limit = sampling.rate_limit
    bucket = None if limit is None else _Bucket(limit.max_traces_per_second, monotonic)
    default = _bound(ratio)

    def sample(name: str, trace_id: str) -> bool:
        if bucket is not None and not bucket.take():
            return False
        number = int.from_bytes(bytes.fromhex(trace_id[:16]), "little")
        for fits, bound in rules:
            if fits is None or fits(name):
                return number < bound
        return number < default

    return sample


def _bound(ratio: float) -> int:
    return int(ratio * 2**64)


def _pattern(text: str) -> Callable[[str], object]:
    """``*`` is any run of characters, ``?`` one of them."""
    parts = (".*" if char == "*" else "." if char == "?" else re.escape(char) for char in text)
    return re.compile("".join(parts), re.DOTALL).fullmatch


class _Bucket:
    """So many traces a second."""

    def __init__(self, per_second: int, monotonic: Callable[[], float]) -> None:
        self._capacity = float(per_second)
        self._tokens = float(per_second)
        self._now = monotonic
        self._filled = monotonic()

    def take(self) -> bool:
        now = self._now()
        passed = now - self._filled
        if passed >= REFILL_S:
            self._tokens = min(self._capacity, self._tokens + passed * self._capacity)
            self._filled = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

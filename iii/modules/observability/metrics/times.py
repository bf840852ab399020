"""Milliseconds and seconds of a client as nanoseconds, which must fit into 64 bits."""

from __future__ import annotations

NS_PER_MS = 1_000_000
NS_PER_S = 1_000_000_000
_MAX_NS = 2**64 - 1


def too_large(**values_ns: int | None) -> str | None:
    """What to say when one of them is beyond 64 bits; the first is told."""
    for name, value in values_ns.items():
        if value is not None and value > _MAX_NS:
            return f"{name} value too large"
    return None


def ns(value: int | None, factor: int) -> int | None:
    """``value`` times ``factor``; None stays None."""
    return None if value is None else value * factor

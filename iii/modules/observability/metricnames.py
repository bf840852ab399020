"""The engine's own metrics, as alerts and roll-ups call them.

They begin like those that SDKs send of their workers (``iii.worker.…``), so an unknown
name is not always a mistake; ``misspelt`` says when it can only be one.
"""

from __future__ import annotations

from difflib import get_close_matches

#: Name of a metric → the field of ``iii.modules.observability.metrics.figures.Figures``.
NAMES = {
    "iii.invocations.total": "total",
    "iii.invocations.success": "success",
    "iii.invocations.error": "error",
    "iii.invocations.deferred": "deferred",
    "iii.workers.spawns": "spawns",
    "iii.workers.deaths": "deaths",
    "iii.workers.active": "active",
}
#: Those that only grow.
COUNTERS = frozenset(NAMES) - {"iii.workers.active"}
ERROR_RATE = "iii.invocations.error_rate"
RATE = "iii.invocations.rate"
ENGINE_NAMES = (*NAMES, ERROR_RATE, RATE)

#: What only names of the engine begin with.
_PREFIXES = ("iii.invocation", "iii.workers.")
_CUTOFF = 0.93


def misspelt(name: str) -> bool:
    """Whether ``name`` was to be one of the engine's metrics, and is none."""
    if name in ENGINE_NAMES:
        return False
    form = _form(name)
    return form.startswith(_PREFIXES) or bool(
        get_close_matches(form, map(_form, ENGINE_NAMES), n=1, cutoff=_CUTOFF)
    )


def _form(name: str) -> str:
    """As Prometheus and people write it."""
    return name.lower().replace("_", ".").replace("-", ".")

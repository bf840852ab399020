"""Names and label values as Prometheus takes them.

What workers name is theirs: any text, any length.  Everything that ends up in an answer
went through here, so one odd name or a half of a surrogate pair in a value can't spoil
the scrape of all others.
"""

from __future__ import annotations

import re
from functools import lru_cache

MAX_NAME_CHARS = 200
MAX_LABEL_CHARS = 1024
MAX_HELP_CHARS = 300

_NOT_IN_METRICS = re.compile(r"[^a-zA-Z0-9_:]")
_NOT_IN_LABELS = re.compile(r"[^a-zA-Z0-9_]")


def metric_name(text: str) -> str:
    """``iii.worker.lag-ms`` → ``iii_worker_lag_ms``."""
    return _metric_name(text[:MAX_NAME_CHARS])


def label_name(text: str) -> str:
    """``http.route`` → ``http_route``; names that Prometheus keeps for itself get a prefix."""
    return _label_name(text[:MAX_NAME_CHARS])


def label_value(text: str) -> str:
    """``text`` of bearable length, and as UTF-8 can say it."""
    return _sayable(text[:MAX_LABEL_CHARS])


def help_text(text: str) -> str:
    """A description of bearable length."""
    return _sayable(text[:MAX_HELP_CHARS])


def series_names(name: str, kind: str) -> set[str]:
    """Every name that a metric needs for itself, so that no two have one in common.

    :param name: of the family: that of a counter is without ``_total``
    """
    return {name, *(name + suffix for suffix in _SUFFIXES.get(kind, ()))}


_SUFFIXES = {
    "counter": ("_total", "_created"),
    "histogram": ("_bucket", "_sum", "_count", "_created"),
    "info": ("_info",),
}


@lru_cache(1024)
def _metric_name(text: str) -> str:
    return _begun(_NOT_IN_METRICS.sub("_", text))


@lru_cache(1024)
def _label_name(text: str) -> str:
    name = _begun(_NOT_IN_LABELS.sub("_", text))
    # `__…` is Prometheus' own, `le` is what tells the buckets of a histogram apart.
    return f"key{name}" if name.startswith("__") else f"key_{name}" if name == "le" else name


def _begun(name: str) -> str:
    return name if name and not name[0].isdigit() else f"_{name}"


def _sayable(text: str) -> str:
    return text if text.isascii() else text.encode("utf-8", "replace").decode()

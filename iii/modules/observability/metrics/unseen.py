"""Why an alert has seen no value: told once it has had time to see one.

A metric that was misspelt looks like one that nobody has sent yet, and an alert on it would
keep silent for ever.
"""

from __future__ import annotations

from itertools import islice

from iii.checking import nearest
from iii.modules.observability.config import AlertRule
from iii.modules.observability.metricnames import ENGINE_NAMES
from iii.modules.observability.metrics.store import MetricStore
from iii.modules.observability.model import NumberPoint

#: Workers come, and SDKs send once a minute.
UNSEEN_AFTER_S = 300.0
#: Names that are looked through for the one that was meant.
MAX_NAMES_COMPARED = 1_000


def why_unseen(said: AlertRule, store: MetricStore) -> str:
    """Why a rule that has been looked at for ``UNSEEN_AFTER_S`` never had a value."""
    newest = store.newest(said.metric)
    if newest is None:
        names = [*ENGINE_NAMES, *islice(store.names(), MAX_NAMES_COMPARED)]
        minutes = f"{UNSEEN_AFTER_S / 60:g} minutes"
        meant = nearest(said.metric, names)
        return f"nobody has sent its metric '{said.metric}' in {minutes}{meant}"
    if not any(isinstance(point, NumberPoint) for point in newest.points):
        return f"its metric '{said.metric}' is a {newest.type}, which has no single value"
    return (
        f"its metric '{said.metric}' is sent less often than its window_seconds, "
        f"{said.window_seconds}, can see"
    )

"""The values that alert rules look at."""

from __future__ import annotations

from collections.abc import Callable

from iii.engine.module import ModuleApi
from iii.modules.observability.metricnames import COUNTERS, ERROR_RATE, NAMES, RATE
from iii.modules.observability.metrics.figures import Figures, figures
from iii.modules.observability.metrics.increases import Increases, keys_of
from iii.modules.observability.metrics.rules import Change, Rule, Window
from iii.modules.observability.metrics.store import MetricStore
from iii.modules.observability.model import Metric, NumberPoint


def _error_rate(change: Change) -> float:
    errors, ended = change.grown
    return errors / ended if ended else 0.0


def _rate(change: Change) -> float:
    return change.grown[0] / change.seconds if change.seconds > 0 else 0.0


#: Derived metrics: the totals they look at, and what they make of their change.
DERIVED: dict[str, tuple[Callable[[Figures], tuple[float, ...]], Callable[[Change], float]]] = {
    ERROR_RATE: (lambda now: (now.error, now.success + now.error), _error_rate),
    RATE: (lambda now: (now.total,), _rate),
}


class Readings:
    """Reads the values of rules.

    :param rules: all there are
    """

    def __init__(self, engine: ModuleApi, store: MetricStore, rules: list[Rule]) -> None:
        self._engine = engine
        self._now = engine.clock.monotonic
        self._store = store
        self._figures = figures(engine)
        self._increases = Increases(int(engine.clock.wall() * 1e9))
        # Workers' counters that a rule wants the growth of: name → total, None until seen.
        self._totals: dict[str, float | None] = {}
        self._windows: dict[Rule, Window] = {}
        for rule in rules:
            self._prepare(rule)

    def change(self, rules: list[Rule]) -> None:
        """Read the values of ``rules``; those that are known already go on."""
        wanted = {rule.said.metric for rule in rules}
        self._windows = {rule: seen for rule, seen in self._windows.items() if rule in rules}
        self._totals = {name: total for name, total in self._totals.items() if name in wanted}
        for rule in rules:
            if rule not in self._windows:
                self._prepare(rule)

    @property
    def wants_metrics(self) -> bool:
        """Whether ``add`` must be told of workers' metrics."""
        return bool(self._totals)

    def add(self, metrics: list[Metric]) -> None:
        """Workers' metrics as they come in."""
        for metric in metrics:
            if metric.type != "counter" or metric.name not in self._totals:
                continue
            key = keys_of(metric)
            total = self._totals[metric.name] or 0.0
            for point in metric.points:
                if not isinstance(point, NumberPoint):
                    continue
                if metric.delta:
                    total += point.value
                else:
                    total += self._increases.of_number(key(point.attributes), point)
            self._totals[metric.name] = total

    def refresh(self) -> None:
        """Read the engine's counts; ``value`` goes by these."""
        self._figures = figures(self._engine)

    def value(self, rule: Rule) -> float | None:
        """What ``rule`` looks at; None: there is nothing to see."""
        name = rule.said.metric
        window = self._windows.get(rule)
        if name in DERIVED and window is not None:
            totals, derive = DERIVED[name]
            return derive(window.add(self._now(), totals(self._figures)))
        total = self._total(name)
        if total is None:
            return self._measured(name, rule.said.window_seconds)
        if window is None:
            return total
        return window.add(self._now(), (total,)).grown[0]

    # Inside ----------------------------------------------------------------------------

    def _prepare(self, rule: Rule) -> None:
        name = rule.said.metric
        if name in DERIVED:
            totals, _ = DERIVED[name]
            self._watch(rule, totals(self._figures))
        elif rule.said.mode == "delta" and name in COUNTERS:
            self._watch(rule, (self._total(name) or 0.0,))
        elif rule.said.mode == "delta" and name not in NAMES:
            self._totals.setdefault(name, None)
            self._watch(rule, (self._totals[name] or 0.0,))

    def _watch(self, rule: Rule, totals: tuple[float, ...]) -> None:
        self._windows[rule] = Window(rule.said.window_seconds, self._now(), totals)

    def _total(self, name: str) -> float | None:
        if name in NAMES:
            return float(getattr(self._figures, NAMES[name]))
        return self._totals.get(name)

    def _measured(self, name: str, window_s: int) -> float | None:
        """Of what workers sent: the sum of sums, the mean of gauges; no window: the last."""
        if window_s == 0:
            newest = self._store.newest(name)
            values = [] if newest is None else _values(newest)
            return values[-1] if values else None
        values, is_gauge = [], False
        for metric in self._store.recent(name, window_s):
            values += _values(metric)
            is_gauge = is_gauge or metric.type == "gauge"
        if not values:
            return None
        return sum(values) / len(values) if is_gauge else sum(values)


def _values(metric: Metric) -> list[float]:
    return [point.value for point in metric.points if isinstance(point, NumberPoint)]

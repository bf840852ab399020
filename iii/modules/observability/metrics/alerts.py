"""Alerts: rules looked at every ten seconds, and what follows from them.

An alert fires as long as its rule holds.  It tells so once, and again when it still or
again holds after the cool-down; when a rule says ``resolve``, it also tells its end, if
its beginning was told.  A rule whose metric has no value is passed over: nothing changes.
Of one that never had any the log says why, once.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec import UNSET
from twisted.logger import Logger

from iii.engine.native import Empty
from iii.errors import Code, IIIError
from iii.modules.observability.hub import Hub
from iii.modules.observability.metrics import shapes
from iii.modules.observability.metrics.actions import Actions, Event
from iii.modules.observability.metrics.readings import Readings
from iii.modules.observability.metrics.rules import Rule
from iii.modules.observability.metrics.store import MetricStore
from iii.modules.observability.metrics.ticking import Ticker
from iii.modules.observability.metrics.unseen import UNSEEN_AFTER_S, why_unseen

log = Logger()

EVALUATE_S = 10.0
NO_RULES = "Alert manager not initialized"


class Alert:
    """One rule and how it stands.

    :ivar evaluated_ms: when it last had a value; None: never
    :ivar triggered_at: when it last told, monotonic
    :ivar told: it fires, and that was told
    :ivar since: when it began to be looked at, monotonic
    :ivar missed: that its metric was never seen was told
    """

    def __init__(self, rule: Rule, since: float) -> None:
        self.rule = rule
        self.since = since
        self.missed = False
        self.firing = False
        self.value: float | None = None
        self.evaluated_ms: int | None = None
        self.triggered_ms: int | None = None
        self.triggered_at = 0.0
        self.told = False
        # When its silence ends: monotonic, and for people.
        self._silent_until = 0.0
        self._silent_until_ms = 0

    def silence(self, seconds: float, now: float, now_ms: int) -> int | None:
        """Keep quiet for ``seconds``; until when, in milliseconds, or None: it speaks."""
        self._silent_until = now + seconds
        self._silent_until_ms = now_ms + round(seconds * 1000)
        return self.silenced_until(now)

    def silenced_until(self, now: float) -> int | None:
        """When its silence ends, in milliseconds; None: it is not silent."""
        return self._silent_until_ms if now < self._silent_until else None

    def evaluate(self, value: float, now: float, now_ms: int) -> Event | None:
        """The rule's value is ``value``; what there is to tell."""
        said = self.rule.said
        self.value, self.evaluated_ms = value, now_ms
        self.firing = self.rule.holds(value)
        silent = self.silenced_until(now) is not None
        if not self.firing:
            ended, self.told = self.told, False
            tells = ended and said.resolve and not silent
            return self._event(value, now_ms, resolved=True) if tells else None
        if silent:
            return None
        if self.triggered_ms is not None and now - self.triggered_at < said.cooldown_seconds:
            return None
        self.triggered_at, self.triggered_ms, self.told = now, now_ms, True
        return self._event(value, now_ms)

    def _event(self, value: float, now_ms: int, resolved: bool = False) -> Event:
        said, operator = self.rule.said, self.rule.operator
        return Event(said.name, said.metric, value, said.threshold, operator.name, now_ms, resolved)


class Alerts:
    """All alerts.

    :param store: what workers measured
    """

    def __init__(self, hub: Hub, store: MetricStore) -> None:
        self._hub = hub
        self._store = store
        self._clock = hub.engine.clock
        self._rules: list[Rule] = []
        self._alerts: list[Alert] = []
        self._choose()
        self._readings = Readings(hub.engine, store, [alert.rule for alert in self._alerts])
        self._actions = Actions(hub)
        #: called after the rules were looked at, or something was silenced
        self.listeners: list[Callable[[], None]] = []
        self._ticker = Ticker(self._clock, lambda: EVALUATE_S, self.evaluate_all)

    def start(self) -> None:
        """Part: look at the rules, the first time as soon as everybody has started."""
        if self._readings.wants_metrics:
            self._hub.on_metrics(self._readings.add)
        if self._alerts:
            self._ticker.start(first_s=0.0)

    def change(self) -> None:
        """The settings have other rules.  Those that were there before stay as they stand."""
        self._hub.forget(self._readings.add)
        self._ticker.stop()
        self._choose()
        self._readings.change([alert.rule for alert in self._alerts])
        self.start()

    def stop(self) -> None:
        """Part: look no more, and leave actions that are under way."""
        self._hub.forget(self._readings.add)
        self._ticker.stop()
        self._actions.stop()

    def _choose(self) -> None:
        rules, alerts = list(self._rules), list(self._alerts)
        self._rules, self._alerts = [], []
        for said in self._hub.settings.alerts:
            rule = next((known for known in rules if known.said == said), None) or Rule(said)
            alert = next((known for known in alerts if known.rule is rule), None)
            self._rules.append(rule)
            if said.enabled:
                self._alerts.append(alert or Alert(rule, self._clock.monotonic()))

    def evaluate_all(self) -> list[Event]:
        """Look at every rule, and run the actions; the alerts that were triggered."""
        self._readings.refresh()
        now, now_ms = self._clock.monotonic(), self._clock.wall_ms()
        triggered = []
        for alert in self._alerts:
            value = self._readings.value(alert.rule)
            if value is None:
                self._miss(alert, now)
            event = None if value is None else alert.evaluate(value, now, now_ms)
            if event is not None:
                self._actions.run(alert.rule.said.action, event)
                if not event.resolved:
                    triggered.append(event)
        self._tell()
        return triggered

    def _tell(self) -> None:
        for listener in list(self.listeners):
            listener()

    def _miss(self, alert: Alert, now: float) -> None:
        """There is no value; say so if there never was one."""
        never = alert.evaluated_ms is None and now - alert.since >= UNSEEN_AFTER_S
        if never and not alert.missed:
            alert.missed = True
            said = alert.rule.said
            why = why_unseen(said, self._store)
            log.warn("alert '{name}' can't fire: {why}", name=said.name, why=why)

    # Functions -------------------------------------------------------------------------

    def listed(self, _: Empty) -> shapes.AlertsList:
        """``engine::alerts::list``."""
        if not self._rules:
            return shapes.AlertsList([], 0, self._clock.wall_ms(), message=NO_RULES)
        now = self._clock.monotonic()
        rows = [
            shapes.AlertRow(
                alert.rule.said.name,
                alert.firing,
                alert.evaluated_ms,
                alert.triggered_ms,
                alert.value,
                alert.rule.said.threshold,
                alert.rule.operator.name,
                UNSET if (until := alert.silenced_until(now)) is None else until,
            )
            for alert in self._alerts
            if alert.evaluated_ms is not None
        ]
        firing = sum(1 for row in rows if row.firing)
        rules = [_row(rule) for rule in self._rules]
        return shapes.AlertsList(rows, firing, self._clock.wall_ms(), rules=rules)

    def silence(self, asked: shapes.SilenceInput) -> shapes.Silenced:
        """``engine::alerts::silence``: it goes on to be evaluated, and does nothing.

        :raises IIIError: no enabled alert has that name
        """
        named = [alert for alert in self._alerts if alert.rule.said.name == asked.name]
        if not named:
            raise IIIError(Code.NOT_FOUND, f"Alert '{asked.name}' not found")
        now, now_ms = self._clock.monotonic(), self._clock.wall_ms()
        until = [alert.silence(asked.seconds, now, now_ms) for alert in named]
        self._tell()
        return shapes.Silenced(asked.name, until[0])

    def evaluate(self, _: Empty) -> shapes.AlertsEvaluated:
        """``engine::alerts::evaluate``."""
        if not self._rules:
            return shapes.AlertsEvaluated(False, self._clock.wall_ms(), message=NO_RULES)
        triggered = [
            shapes.TriggeredAlert(
                event.alert,
                event.metric,
                event.value,
                event.threshold,
                event.operator,
                True,
                event.timestamp,
            )
            for event in self.evaluate_all()
        ]
        return shapes.AlertsEvaluated(True, self._clock.wall_ms(), triggered)


def _row(rule: Rule) -> shapes.AlertRuleRow:
    said = rule.said
    return shapes.AlertRuleRow(
        said.name,
        said.metric,
        rule.operator.name,
        said.threshold,
        said.window_seconds,
        said.cooldown_seconds,
        said.enabled,
        said.mode,
        said.resolve,
        said.action.type,
    )

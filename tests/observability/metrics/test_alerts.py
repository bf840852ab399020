"""Alerts: when they fire, what they look at, what they do (05 A12, A6.11, A6.12)."""

from __future__ import annotations

from typing import Any, ClassVar

from msgspec import UNSET, Struct, UnsetType
from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs

from iii.modules.observability.metrics import actions
from iii.modules.observability.model import Metric
from tests.observability.metrics.cases import MetricsCase, hub_on

LIST = "engine::alerts::list"
EVALUATE = "engine::alerts::evaluate"
TOTAL = "iii.invocations.total"


class NoRules(MetricsCase):
    """Nothing configured."""

    def test_there_is_nothing_to_list(self) -> None:
        """05.36: and that is said."""
        expected = {
            "alerts": [],
            "firing_count": 0,
            "message": "Alert manager not initialized",
            "timestamp": self.now_ms,
        }
        self.assertEqual(self.call(LIST), expected)

    def test_there_is_nothing_to_evaluate(self) -> None:
        """No timer runs for it either."""
        message = "Alert manager not initialized"
        expected = {"evaluated": False, "message": message, "timestamp": self.now_ms}
        self.assertEqual(self.call(EVALUATE), expected)


class _Event(Struct):
    """What an alert's function is called with."""

    alert: str
    metric: str
    value: float
    threshold: float
    operator: str
    timestamp: int
    firing: bool
    resolved: bool | UnsetType = UNSET


class AlertsCase(MetricsCase):
    """One alert, and a function ``told`` it may call.

    :cvar rule: what it says
    :ivar told: what the function was called with
    :ivar answer: what it returns
    """

    rule: ClassVar[dict[str, Any]] = {}

    @property
    def config(self) -> dict[str, Any]:  # type: ignore[override]
        """MetricsCase: the rule."""
        return {"alerts": [{"name": "busy", "metric": TOTAL, "threshold": 1, **self.rule}]}

    def setUp(self) -> None:
        self.told: list[_Event] = []
        self.answer: Deferred[None] | None = None
        super().setUp()
        self.api.function("told", self._take, takes=_Event)

    def _take(self, event: _Event) -> Deferred[None] | None:
        self.told.append(event)
        return self.answer

    def alert(self) -> Any:
        """How it stands."""
        (row,) = self.call(LIST)["alerts"]
        return row

    def value(self) -> Any:
        """What the rule saw; None: nothing."""
        self.call(EVALUATE)
        rows = self.call(LIST)["alerts"]
        return rows[0]["current_value"] if rows else None


class Firing(AlertsCase):
    """A rule about the engine's calls."""

    rule: ClassVar = {"operator": ">=", "threshold": 1}

    def test_an_evaluation_triggers_once_per_cool_down(self) -> None:
        """05.37: and it fires as long as the rule holds."""
        self.later(3)
        answer = self.call(EVALUATE)
        self.assertEqual(
            answer,
            {
                "evaluated": True,
                "triggered_alerts": [
                    {
                        "name": "busy",
                        "metric": TOTAL,
                        "value": 1.0,
                        "threshold": 1.0,
                        "operator": "GreaterThanOrEqual",
                        "firing": True,
                        "timestamp": self.now_ms,
                    }
                ],
                "timestamp": self.now_ms,
            },
        )
        at_ms = self.now_ms
        self.later(2)
        self.assertEqual(self.call(EVALUATE)["triggered_alerts"], [])
        listed = self.call(LIST)
        self.assertEqual(listed["firing_count"], 1)
        self.assertEqual(
            listed["alerts"],
            [
                {
                    "name": "busy",
                    "firing": True,
                    "last_evaluated": self.now_ms,
                    "last_triggered": at_ms,
                    "current_value": 2.0,
                    "threshold": 1.0,
                    "operator": "GreaterThanOrEqual",
                }
            ],
        )

    def test_it_triggers_again_after_the_cool_down(self) -> None:
        """The clock's own evaluations count like any."""
        self.work()
        with capturedLogs() as logged:
            self.later(135)
        seen = [event["log_format"] for event in logged]
        # At once, and then each time a minute later.
        self.assertEqual(seen, ["Alert triggered"] * 3)

    def test_the_log_says_what_happened(self) -> None:
        """One warning, with fields."""
        self.work()
        with capturedLogs() as logged:
            self.later(10)
        (event,) = logged
        self.assertEqual(event["log_level"].name, "warn")
        fields = ("alert_name", "metric", "value", "threshold", "operator")
        self.assertEqual(
            [event[field] for field in fields], ["busy", TOTAL, 1.0, 1.0, "GreaterThanOrEqual"]
        )

    def test_it_is_looked_at_first_at_once(self) -> None:
        """Then every ten seconds."""
        self.timers.advance(0)
        began = self.now_ms
        self.assertEqual(self.alert()["last_evaluated"], began)
        self.later(25)
        self.assertEqual(self.alert()["last_evaluated"], began + 20_000)

    def test_rules_are_listed_too(self) -> None:
        """As they were understood."""
        (rule,) = self.call(LIST)["rules"]
        self.assertEqual(rule["operator"], "GreaterThanOrEqual")
        self.assertEqual((rule["window_seconds"], rule["cooldown_seconds"]), (60, 60))
        self.assertEqual((rule["mode"], rule["action"], rule["enabled"]), ("total", "log", True))


class Disabled(AlertsCase):
    """``enabled: false``."""

    rule: ClassVar = {"enabled": False}

    def test_it_is_never_looked_at(self) -> None:
        """But there is a rule."""
        self.work(5)
        self.later(30)
        self.assertEqual(self.call(EVALUATE)["triggered_alerts"], [])
        listed = self.call(LIST)
        self.assertEqual((listed["alerts"], len(listed["rules"])), ([], 1))


class Function(AlertsCase):
    """``action: function``, with ``resolve``."""

    rule: ClassVar = {
        "metric": "size",
        "operator": ">",
        "threshold": 5,
        "window_seconds": 0,
        "cooldown_seconds": 15,
        "resolve": True,
        "action": {"type": "function", "path": "told"},
    }

    def see(self, value: float) -> list[bool]:
        """The gauge has this value; what was told, by ``firing``."""
        self.told.clear()
        self.send(self.gauge(value, name="size"))
        self.call(EVALUATE)
        return [event.firing for event in self.told]

    def test_it_is_told_with_the_event(self) -> None:
        """05.39: and ``firing: true``."""
        self.see(7)
        self.assertEqual(
            self.told, [_Event("busy", "size", 7.0, 5.0, "GreaterThan", self.now_ms, True)]
        )

    def test_the_end_is_told_once(self) -> None:
        """With ``resolved``, and only if the beginning was."""
        self.assertEqual(self.see(3), [])
        self.assertEqual(self.see(7), [True])
        self.assertEqual(self.see(3), [False])
        self.assertEqual(self.told[0].resolved, True)
        self.assertEqual(self.see(3), [])
        # Within the cool-down nothing begins, so nothing ends.
        self.assertEqual(self.see(7), [])
        self.assertEqual(self.see(3), [])

    def test_it_begins_again_after_the_cool_down(self) -> None:
        """And ends again."""
        self.see(7)
        self.see(3)
        self.later(16)
        self.assertEqual(self.see(7), [True])
        self.assertEqual(self.see(3), [False])

    def test_a_function_that_fails_is_logged(self) -> None:
        """The next event tries again."""
        self.api.function("told", self._fail)
        with capturedLogs() as logged:
            self.see(7)
        texts = [event["log_format"] for event in logged]
        self.assertEqual(len(texts), 1)
        self.assertIn("function {path} failed", texts[0])
        self.assertIn("boom", logged[0]["error"])

    def test_actions_that_hang_are_not_piled_up(self) -> None:
        """Beyond a limit events are dropped and counted."""
        self.patch(actions, "MAX_ACTIONS_UNDER_WAY", 1)
        answer = self.answer = Deferred()
        self.assertEqual(self.see(7), [True])
        self.assertEqual(self.see(3), [])
        self.assertEqual(self.hub.dropped, {"alerts.too_many_actions": 1})
        answer.callback(None)
        self.later(16)
        self.assertEqual(self.see(7), [True])

    def test_a_stop_leaves_what_hangs(self) -> None:
        """Nothing is logged about it, and no timer is left."""
        self.answer = Deferred()
        self.see(7)
        with capturedLogs() as logged:
            self.part.stop()
        self.assertEqual(logged, [])
        self.assertEqual(self.timers.getDelayedCalls(), [])


class Ended(AlertsCase):
    """Without ``resolve``."""

    rule: ClassVar = {
        "metric": "size",
        "window_seconds": 0,
        "action": {"type": "function", "path": "told"},
    }

    def test_nobody_is_told(self) -> None:
        """It just doesn't fire any more."""
        for value in (7, 0):
            self.send(self.gauge(value, name="size"))
            self.call(EVALUATE)
        self.assertEqual([event.firing for event in self.told], [True])
        self.assertFalse(self.alert()["firing"])


class Totals(AlertsCase):
    """The engine's counters."""

    def test_they_count_since_the_start(self) -> None:
        """Whatever the window: that is how the original does it."""
        self.work(4)
        self.later(100)
        self.assertEqual(self.value(), 5.0)  # the evaluation is a call


class Deltas(AlertsCase):
    """``mode: delta`` of an engine's counter."""

    rule: ClassVar = {"metric": "iii.invocations.error", "mode": "delta"}

    def test_only_the_window_counts(self) -> None:
        """Sixty seconds of it."""
        self.fail_work(3)
        self.later(30)
        self.assertEqual(self.value(), 3.0)
        self.fail_work(2)
        self.later(40)
        self.assertEqual(self.value(), 2.0)
        self.later(40)
        self.assertEqual(self.value(), 0.0)


class Active(AlertsCase):
    """``mode: delta`` of what is no counter."""

    rule: ClassVar = {"metric": "iii.workers.active", "operator": "<", "mode": "delta"}

    def test_it_is_its_value(self) -> None:
        """Nobody is connected."""
        self.assertEqual(self.value(), 0.0)
        self.assertTrue(self.alert()["firing"])


class ErrorRate(AlertsCase):
    """``iii.invocations.error_rate``."""

    rule: ClassVar = {"metric": "iii.invocations.error_rate", "threshold": 0.5}

    def test_it_is_the_part_of_calls_that_failed_lately(self) -> None:
        """Without any calls none failed."""
        self.assertEqual(self.value(), 0.0)
        self.work(1)
        self.fail_work(4)
        self.later(5)
        # The evaluation and the listing before succeeded, too.
        self.assertAlmostEqual(self.value(), 4 / 7)
        self.later(70)
        self.assertEqual(self.value(), 0.0)


class Rate(AlertsCase):
    """``iii.invocations.rate``."""

    rule: ClassVar = {"metric": "iii.invocations.rate"}

    def test_it_is_calls_per_second_lately(self) -> None:
        """Also before a window has passed."""
        self.work(19)
        self.later(10)
        self.assertEqual(self.value(), 2.0)
        self.later(70)
        self.assertApproximates(self.value(), 0.0, 0.05)


class OfWorkers(AlertsCase):
    """Metrics that workers send."""

    rule: ClassVar = {"metric": "m"}

    def test_nothing_seen_changes_nothing(self) -> None:
        """The alert is not even listed."""
        self.assertIsNone(self.value())

    def test_of_gauges_the_mean(self) -> None:
        """Of all points in the window."""
        self.send(self.gauge(100, name="m"))
        self.later(61)
        self.send(self.gauge(1, 2, name="m"))
        self.later(10)
        self.send(self.gauge(6, name="m"))
        self.assertEqual(self.value(), 3.0)

    def test_of_everything_else_the_sum(self) -> None:
        """As the points are."""
        self.send(self.counter(1, 2, name="m"), self.counter(6, name="m"))
        self.assertEqual(self.value(), 9.0)

    def test_histograms_are_no_numbers(self) -> None:
        """They are passed over."""
        histogram = self.histogram([1, 1], [0.5])
        histogram.name = "m"
        self.send(histogram)
        self.assertIsNone(self.value())

    def test_silence_leaves_it_as_it_was(self) -> None:
        """It still fires."""
        self.send(self.gauge(5, name="m"))
        self.call(EVALUATE)
        at_ms = self.now_ms
        self.later(90)
        self.assertTrue(self.alert()["firing"])
        self.assertLessEqual(self.alert()["last_evaluated"], at_ms + 60_000)


class Latest(AlertsCase):
    """``window_seconds: 0``."""

    rule: ClassVar = {"metric": "m", "window_seconds": 0}

    def test_it_is_the_last_value(self) -> None:
        """However old."""
        self.send(self.gauge(1, 9, name="m"))
        self.later(5)
        self.send(self.gauge(2, 4, name="m"))
        self.later(600)
        self.assertEqual(self.value(), 4.0)


class DeltasOfWorkers(AlertsCase):
    """``mode: delta`` of what workers send."""

    rule: ClassVar = {"metric": "m", "mode": "delta"}

    def of(self, *values: float, worker: str = "a", **more: Any) -> Metric:
        """A counter of one worker."""
        return self.counter(*values, name="m", pairs=[("worker", worker)], **more)

    def test_counters_count_what_they_grew_by_in_the_window(self) -> None:
        """All series together; the first point of an old one is no growth."""
        old = self.now_ns - 1
        self.assertIsNone(self.value())
        self.send(self.of(1_000, start_ns=old), self.of(7, worker="b", start_ns=self.now_ns))
        self.assertEqual(self.value(), 7.0)
        self.later(30)
        self.send(self.of(1_005, start_ns=old), self.of(2, worker="c", delta=True))
        self.assertEqual(self.value(), 14.0)
        self.later(40)
        self.assertEqual(self.value(), 7.0)
        self.later(40)
        self.assertEqual(self.value(), 0.0)

    def test_gauges_are_as_ever(self) -> None:
        """The mean."""
        self.send(self.gauge(1, 3, name="m"))
        self.assertEqual(self.value(), 2.0)


class Unseen(AlertsCase):
    """A metric that nobody sends, or that can't be compared."""

    rule: ClassVar = {"metric": "shop.ordrs", "window_seconds": 30}

    def warnings(self, seconds: float) -> list[str]:
        """What is logged within this time."""
        with capturedLogs() as logged:
            self.later(seconds)
        return [event["why"] for event in logged if "can't fire" in event["log_format"]]

    def test_it_is_told_once_with_the_nearest_name(self) -> None:
        """05 A12: only after workers have had time to send it."""
        self.send(self.gauge(1, name="shop.orders"), self.gauge(1, name="stock"))
        self.assertEqual(self.warnings(299), [])
        self.assertEqual(
            self.warnings(11),
            ["nobody has sent its metric 'shop.ordrs' in 5 minutes; did you mean 'shop.orders'?"],
        )
        self.assertEqual(self.warnings(600), [])

    def test_names_of_the_engine_are_suggested_too(self) -> None:
        self.configure(metric="invocations.total")
        (why,) = self.warnings(320)
        self.assertIn("did you mean 'iii.invocations.total'?", why)

    def test_one_that_was_seen_is_not_told(self) -> None:
        """However long ago."""
        self.send(self.gauge(1, name="shop.ordrs"))
        self.later(15)
        self.assertEqual(self.warnings(600), [])

    def test_a_histogram_is_told(self) -> None:
        self.configure(metric="h")
        self.send(self.histogram([1, 1], [0.5]))
        self.assertEqual(
            self.warnings(320), ["its metric 'h' is a histogram, which has no single value"]
        )

    def test_a_window_that_sees_nothing_is_told(self) -> None:
        self.configure(metric="m", window_seconds=1)
        self.timers.advance(0)
        self.later(5)
        self.send(self.gauge(1, name="m"))
        (why,) = self.warnings(320)
        self.assertIn("is sent less often than its window_seconds, 1, can see", why)

    def test_the_time_begins_with_the_rule(self) -> None:
        """One that a reload brings has its own five minutes."""
        self.later(280)
        self.configure(metric="other")
        self.assertEqual(self.warnings(290), [])
        self.assertEqual(len(self.warnings(20)), 1)

    def configure(self, **rule: Any) -> None:
        """Another rule, by a reload."""
        said = {"name": "busy", "threshold": 1, "metric": TOTAL, **self.rule, **rule}
        self.hub.change(hub_on(self.engine, alerts=[said]).settings)
        self.part.alerts.change()

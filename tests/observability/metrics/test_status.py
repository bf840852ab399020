"""``engine::sampling::rules`` and ``engine::health::check`` (05 A6.9, A6.10)."""

from __future__ import annotations

from typing import ClassVar

from iii import __version__
from iii.modules.observability.metrics.part import Metrics
from iii.modules.observability.metrics.ticking import Ticker
from tests.observability.metrics.cases import MetricsCase, no_durations

RULES = "engine::sampling::rules"
HEALTH = "engine::health::check"


class Defaults(MetricsCase):
    """Nothing configured."""

    def test_everything_is_sampled(self) -> None:
        """05.34: parents decide."""
        self.assertEqual(
            self.call(RULES),
            {
                "traces": {"default_ratio": 1.0, "rules": [], "parent_based": True},
                "logs": {"sampling_ratio": 1.0},
                "timestamp": self.now_ms,
            },
        )

    def test_four_components_are_healthy(self) -> None:
        """05.35: with how much they keep."""
        self.send(self.gauge(1))
        otel = {"enabled": True, "service_name": "iii", "exporter": "memory"}
        self.assertEqual(
            self.call(HEALTH),
            {
                "status": "healthy",
                "components": {
                    "otel": {"status": "healthy", "details": otel},
                    "metrics": {"status": "healthy", "details": {"stored_metrics": 1}},
                    "logs": {"status": "healthy", "details": {"stored_logs": 4}},
                    "spans": {"status": "healthy", "details": {"stored_spans": 9}},
                },
                "timestamp": self.now_ms,
                "version": __version__,
            },
        )


class Configured(MetricsCase):
    """Rules, and parts that are off."""

    config: ClassVar = {
        "enabled": False,
        "service_name": "shop",
        "sampling_ratio": 0.9,
        "logs_sampling_ratio": 0.2,
        "sampling": {
            "default": 0.5,
            "parent_based": False,
            "rules": [{"operation": "GET /health*", "rate": 0}, {"service": "shop", "rate": 0.1}],
        },
    }

    def make_part(self) -> Metrics:
        """No stores of logs and spans."""
        return Metrics(
            self.hub,
            durations=no_durations,
            stored_logs=lambda: None,
            stored_spans=lambda: None,
        )

    def test_rules_are_told_with_nulls(self) -> None:
        """05.34: ``sampling.default`` comes before ``sampling_ratio``."""
        traces = self.call(RULES)["traces"]
        self.assertEqual(
            traces,
            {
                "default_ratio": 0.5,
                "rules": [
                    {"operation": "GET /health*", "service": None, "rate": 0.0},
                    {"operation": None, "service": "shop", "rate": 0.1},
                ],
                "parent_based": False,
            },
        )
        self.assertEqual(self.call(RULES)["logs"], {"sampling_ratio": 0.2})

    def test_what_has_no_store_is_disabled(self) -> None:
        """The whole is healthy all the same."""
        health = self.call(HEALTH)
        disabled = {"status": "disabled", "details": None}
        self.assertEqual(health["status"], "healthy")
        self.assertEqual(health["components"]["logs"], disabled)
        self.assertEqual(health["components"]["spans"], disabled)
        self.assertEqual(
            health["components"]["otel"],
            {
                "status": "disabled",
                "details": {"enabled": False, "service_name": "shop", "exporter": "memory"},
            },
        )


class Ticking(MetricsCase):
    """``Ticker``."""

    def test_a_failure_is_logged_and_it_goes_on(self) -> None:
        """And a stop ends it."""
        done: list[float] = []

        def work() -> None:
            done.append(self.timers.seconds())
            raise RuntimeError("once more")

        ticker = Ticker(self.clock, lambda: 10.0, work)
        ticker.start(first_s=1.0)
        self.later(25)
        self.assertEqual(done, [1.0, 11.0, 21.0])
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 3)
        ticker.stop()
        self.later(10)
        self.assertEqual(len(done), 3)

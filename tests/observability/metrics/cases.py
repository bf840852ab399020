"""The metrics part on an engine whose time a test turns by hand."""

from __future__ import annotations

from typing import Any

import msgspec
from twisted.internet import reactor
from twisted.internet.task import Clock as Timers
from twisted.trial.unittest import SynchronousTestCase

from iii.engine.clock import Clock
from iii.engine.core import Engine
from iii.engine.module import ModuleApi
from iii.engine.native import Empty
from iii.errors import IIIError, InvocationError
from iii.modules.observability.config import ObservabilityConfig, settings_of
from iii.modules.observability.hub import Hub
from iii.modules.observability.metrics.part import Metrics
from iii.modules.observability.model import HistogramPoint, Metric, NumberPoint, Pairs

EPOCH_S = 1_760_000_040.0  # 9 October 2025, 08:54:00 UTC
MODULE = "iii-observability"


def hub_on(engine: Engine, **config: Any) -> Hub:
    """A hub with this configuration."""
    settings = settings_of(msgspec.convert(config, ObservabilityConfig), {})
    return Hub(ModuleApi(engine, MODULE), settings)


async def no_durations() -> list[float]:
    """Of no spans."""
    return []


class MetricsCase(SynchronousTestCase):
    """A part that has started.

    :cvar config: of the module
    """

    config: dict[str, Any] = {}

    def setUp(self) -> None:
        self.timers = Timers()
        self.clock = Clock.virtual(self.timers, epoch=EPOCH_S)
        self.engine = Engine(reactor, clock=self.clock)
        self.api = ModuleApi(self.engine, "tests")
        self.api.function("works", lambda _: 1)
        self.api.function("fails", self._fail)
        self.hub = hub_on(self.engine, **self.config)
        self.part = self.make_part()
        self.part.start()
        self.addCleanup(self.part.stop)

    def make_part(self) -> Metrics:
        """The part under test."""
        return Metrics(
            self.hub,
            durations=no_durations,
            stored_logs=lambda: 4,
            stored_spans=lambda: 9,
        )

    def _fail(self, _: Empty) -> None:
        raise InvocationError("boom", "it failed")

    # Calling ---------------------------------------------------------------------------

    def call(self, function_id: str, data: Any = None) -> Any:
        """The result of a function."""
        answer = self.engine.invoke(function_id, {} if data is None else data)
        self.timers.advance(0)
        return msgspec.json.decode(self.successResultOf(answer))

    def error_of(self, function_id: str, data: Any = None) -> str:
        """The code with which it fails."""
        answer = self.engine.invoke(function_id, data)
        error = self.failureResultOf(answer, IIIError).value
        assert isinstance(error, IIIError)
        return error.code

    def work(self, times: int = 1) -> None:
        """Calls that succeed."""
        for _ in range(times):
            self.successResultOf(self.engine.invoke("works"))

    def fail_work(self, times: int = 1) -> None:
        """Calls that fail."""
        for _ in range(times):
            self.failureResultOf(self.engine.invoke("fails"), InvocationError)

    def later(self, seconds: float) -> None:
        """Let time pass in small steps: every timer runs at its time."""
        steps, rest = divmod(seconds, 0.5)
        self.timers.pump([0.5] * int(steps) + [rest])

    # Sending ---------------------------------------------------------------------------

    @property
    def now_ns(self) -> int:
        """The present."""
        return int(self.clock.wall() * 1e9)

    @property
    def now_ms(self) -> int:
        """The present."""
        return self.clock.wall_ms()

    def send(self, *metrics: Metric) -> None:
        """One frame."""
        self.hub.add_metrics(list(metrics))

    def gauge(self, *values: float, name: str = "g", pairs: Pairs | None = None) -> Metric:
        """A gauge with these points."""
        return self._metric(name, "gauge", self._points(values, pairs))

    def counter(
        self,
        *values: float,
        name: str = "c",
        pairs: Pairs | None = None,
        delta: bool = False,
        start_ns: int = 0,
    ) -> Metric:
        """A counter with these points."""
        points = self._points(values, pairs, start_ns)
        return self._metric(name, "counter", points, delta=delta)

    def histogram(
        self,
        counts: list[int],
        bounds: list[float],
        *,
        total: float = 0.0,
        delta: bool = False,
        start_ns: int = 0,
        low: float | None = None,
        high: float | None = None,
    ) -> Metric:
        """A histogram ``h`` with one point."""
        point = HistogramPoint(
            sum(counts), total, counts, bounds, [], self.now_ns, low, high, start_ns
        )
        return self._metric("h", "histogram", [point], delta=delta)

    def _points(
        self, values: tuple[float, ...], pairs: Pairs | None, start_ns: int = 0
    ) -> list[NumberPoint]:
        return [NumberPoint(value, pairs or [], self.now_ns, start_ns) for value in values]

    def _metric(self, name: str, type: Any, points: Any, delta: bool = False) -> Metric:
        return Metric(
            name=name,
            type=type,
            points=points,
            service_name="orders",
            received_ns=self.now_ns,
            delta=delta,
        )

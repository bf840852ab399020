"""What goes out to collectors, and when.

Each signal has a lane of its own (``lane.Lane``).  A collector that is slow, down or hanging
costs memory within bounds and nothing else: no call waits for it, and the engine's stop
waits no longer than ``STOP_LIMIT_S``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.logger import Logger
from twisted.python.failure import Failure

from iii.engine.clock import Timer
from iii.modules.observability.config import Settings
from iii.modules.observability.export.answers import Signal
from iii.modules.observability.export.build import (
    log_sender,
    metric_sender,
    span_sender,
)
from iii.modules.observability.export.lane import Lane, Sender
from iii.modules.observability.export.logs import weigh_log
from iii.modules.observability.export.metrics import weigh_metric
from iii.modules.observability.export.readings import Readings
from iii.modules.observability.export.spans import goes_out, weigh_span
from iii.modules.observability.hub import Hub
from iii.modules.observability.model import Metric, Span

log = Logger()
T = TypeVar("T")

#: ``exporter`` and its kin with these values send by OTLP.
SENDING = frozenset({"otlp", "both"})
BATCH_SPANS = 256
BATCH_METRICS = 200
#: What is no full batch waits so long; logs have a setting for it.
FLUSH_S = 1.0
#: The engine's own instruments are read so often.
READ_INTERVAL_S = 60.0
#: A stop waits so long for collectors.
STOP_LIMIT_S = 2.0


class Exports:
    """Part: sends on what the settings say."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._lanes: dict[Signal, Lane[Any]] = {}
        self._listeners: list[Callable[[list[Any]], None]] = []
        self._rounds: _Rounds | None = None

    def start(self) -> None:
        """Send on from now on, if there is anything to send."""
        hub, settings = self._hub, self._hub.settings
        if settings.traced and settings.exporter in SENDING:
            traces = self._lane("traces", span_sender, weigh_span, BATCH_SPANS)
            if traces is not None:
                hub.on_spans(self._listener(traces, _recorded))
        if settings.metrics_exporter in SENDING:
            metrics = self._lane("metrics", metric_sender, weigh_metric, BATCH_METRICS)
            if metrics is not None:
                hub.on_metrics(self._listener(metrics, _all))
                if settings.metrics_enabled:
                    self._rounds = _Rounds(hub, metrics)
        if settings.logs_enabled and settings.logs_exporter in SENDING:
            flush_s = settings.logs_flush_interval_ms / 1000
            logs = self._lane("logs", log_sender, weigh_log, settings.logs_batch_size, flush_s)
            if logs is not None:
                hub.on_logs(self._listener(logs, _all))

    def stop(self) -> Deferred[None]:
        """Send what is left; the Deferred fires when it is gone or the limit has passed."""
        self._hub.flush()
        for listener in self._listeners:
            self._hub.forget(listener)
        limit = self._hub.engine.clock.call_later(STOP_LIMIT_S, self._abandon)
        ended = gatherResults([self._stop(signal) for signal in self._lanes])

        def stopped(_: object) -> None:
            if limit.active():
                limit.cancel()

        return ended.addCallback(stopped)

    # Inside ----------------------------------------------------------------------------

    def _lane(
        self,
        signal: Signal,
        build: Callable[[Settings], Sender[T]],
        weigh: Callable[[T], int],
        batch_items: int,
        flush_s: float = FLUSH_S,
    ) -> Lane[T] | None:
        try:
            sender = build(self._hub.settings)
        except Exception as error:
            log.error(
                "{signal} can't be exported and are kept in memory only: {reason}",
                signal=signal,
                reason=str(error) or type(error).__name__,
            )
            return None
        lane = Lane(signal, self._hub, sender, weigh, batch_items=batch_items, flush_s=flush_s)
        self._lanes[signal] = lane
        return lane

    def _listener(
        self, lane: Lane[T], wanted: Callable[[list[T]], list[T]]
    ) -> Callable[[list[T]], None]:
        def heard(items: list[T]) -> None:
            lane.put(wanted(items))

        self._listeners.append(heard)
        return heard

    def _stop(self, signal: Signal) -> Deferred[None]:
        lane = self._lanes[signal]
        if signal == "metrics" and self._rounds is not None:
            # A last reading goes out with the rest.
            return self._rounds.stop().addCallback(lambda _: lane.stop())
        return lane.stop()

    def _abandon(self) -> None:
        for lane in self._lanes.values():
            lane.abandon()
        if self._rounds is not None:
            self._rounds.abandon()


class _Rounds:
    """Reads the engine's instruments, again and again."""

    def __init__(self, hub: Hub, lane: Lane[Metric]) -> None:
        self._clock = hub.engine.clock
        self._lane = lane
        self._readings = Readings(hub)
        self._reading: Deferred[None] | None = None
        self._timer: Timer = self._clock.call_later(READ_INTERVAL_S, self._read)
        self._stopping = False

    def stop(self) -> Deferred[None]:
        """Read once more; the Deferred fires when that is in the lane."""
        self._stopping = True
        if self._timer.active():
            self._timer.cancel()
        if self._reading is None and not self._lane.closed:
            self._read()
        over: Deferred[None] = Deferred()
        if self._reading is None:
            over.callback(None)
        else:
            self._reading.chainDeferred(over)
        return over

    def abandon(self) -> None:
        """Don't wait for a reading that is under way."""
        if self._reading is not None:
            self._reading.cancel()

    def _read(self) -> None:
        self._reading = Deferred.fromCoroutine(self._round())
        self._reading.addErrback(self._failed)
        self._reading.addCallback(self._over)

    async def _round(self) -> None:
        self._lane.put(await self._readings.modules())
        if not self._lane.closed:
            self._lane.put(await self._lane.courier.call(self._readings.calls))

    def _failed(self, failure: Failure) -> None:
        if not failure.check(CancelledError):
            log.failure("the engine's instruments could not be read for export", failure)

    def _over(self, _: None) -> None:
        self._reading = None
        if not (self._stopping or self._lane.closed):
            self._timer = self._clock.call_later(READ_INTERVAL_S, self._read)


def _recorded(spans: list[Span]) -> list[Span]:
    return [span for span in spans if goes_out(span)]


def _all(items: list[T]) -> list[T]:
    return items

"""What the SDKs send of themselves, on its way into the stores.

Frames wait in one line, so those of a connection keep their order, and are read for about
a millisecond in each turn of the reactor: the calls of everybody else go on between.  The
first frames of a turn are read at once, within the same millisecond: who sends a frame
and then asks for what was in it is not told that there is nothing.

The line is bounded; what does not fit is dropped and counted.  Nothing that comes in can
raise into the connection it came from.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from iii.engine.clock import Timer
from iii.modules.observability.hub import Hub
from iii.modules.observability.ingest.logs import Logs
from iii.modules.observability.ingest.losses import Losses
from iii.modules.observability.ingest.metrics import Metrics
from iii.modules.observability.ingest.reader import Reader
from iii.modules.observability.ingest.spans import Spans
from iii.modules.observability.ingest.values import Attributes
from iii.modules.observability.ingest.wire import (
    LOGS,
    METRICS,
    TRACES,
    WireLog,
    WireMetric,
    WireSpan,
)

log = Logger()

#: Reading, in one turn of the reactor.
SLICE_S = 0.001
#: Frames that wait to be read.  One frame alone is always taken.
MAX_WAITING_BYTES = 64 * 1024 * 1024
MAX_WAITING_FRAMES = 10_000


class _Kind(NamedTuple):
    """A kind of frame: how it is read, and where what was in it goes."""

    reader: Reader[Any]
    add: Callable[[list[Any]], None]
    wanted: Callable[[], bool]
    losses: Losses


class Ingest:
    """Reads telemetry frames.

    :ivar waiting_bytes: of frames that wait, the one under way included
    """

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._clock = hub.engine.clock
        self._kinds = _kinds(hub, self._now_ns)
        self._frames: deque[tuple[_Kind, bytes]] = deque()
        #: what is left of the first frame
        self._items: Iterator[Any] | None = None
        self.waiting_bytes = 0
        self._timer: Timer | None = None
        #: of this turn's slice
        self._left_s = SLICE_S
        self._at_work = False
        self._stopping: Deferred[None] | None = None

    def start(self) -> None:
        """Take the engine's telemetry frames."""
        self._hub.engine.on_telemetry(self.received)

    def stop(self) -> Deferred[None] | None:
        """Take nothing more; what waits is still read."""
        self._stopping = Deferred()
        if self._frames:
            return self._stopping
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        return None

    def received(self, kind: str, payload: bytes) -> None:
        """A frame came in, ``kind`` is ``OTLP``, ``MTRC`` or ``LOGS``."""
        known = self._kinds[kind]
        if not known.wanted():
            return
        if self._stopping is not None:
            known.losses.lost("frames.stopped", "a worker", "the engine stops")
            return
        full = (
            self.waiting_bytes + len(payload) > MAX_WAITING_BYTES
            or len(self._frames) >= MAX_WAITING_FRAMES
        )
        if full and self._frames:
            known.losses.lost(
                "frames.backlog_full",
                "a worker",
                f"{len(self._frames)} frames ({self.waiting_bytes} bytes) wait to be read",
            )
            return
        self._frames.append((known, payload))
        self.waiting_bytes += len(payload)
        if self._timer is None:
            self._timer = self._clock.call_later(0, self._next_turn)
        if self._left_s > 0 and not self._at_work:
            self._work()

    # Turns -----------------------------------------------------------------------------

    def _next_turn(self) -> None:
        self._timer = None
        self._left_s = SLICE_S
        if self._frames:
            self._timer = self._clock.call_later(0, self._next_turn)
            self._work()
        elif self._stopping is not None:
            self._stopping.callback(None)

    def _work(self) -> None:
        """Read until the slice is over or there is nothing more."""
        now = self._clock.monotonic
        started = now()
        until = started + self._left_s
        self._at_work = True
        try:
            while self._frames and now() < until:
                self._read(now, until)
        finally:
            self._at_work = False
            self._left_s -= now() - started

    def _read(self, now: Callable[[], float], until: float) -> None:
        """Go on with the first frame, and hand on what was read of it."""
        kind, payload = self._frames[0]
        found = []
        done = False
        try:
            if self._items is None:
                self._items = kind.reader.read(payload)
            for item in self._items:
                if item is not None:
                    found.append(item)
                if now() >= until:
                    break
            else:
                done = True
        except Exception as error:
            # A fault of ours must not stop the line, nor end the worker's connection.
            log.failure("reading a telemetry frame of {size} bytes", size=len(payload))
            kind.losses.lost("frames.unreadable", "a worker", error)
            done = True
        if done:
            self._items = None
            self._frames.popleft()
            self.waiting_bytes -= len(payload)
        kind.add(found)

    def _now_ns(self) -> int:
        return int(self._clock.wall() * 1e9)


def _kinds(hub: Hub, now_ns: Callable[[], int]) -> dict[str, _Kind]:
    attributes = Attributes(hub.settings.redact)
    traces, sums, records = (Losses(hub, kind) for kind in ("OTLP", "MTRC", "LOGS"))
    spans = Spans(attributes, now_ns)
    metrics = Metrics(
        attributes,
        now_ns,
        lambda origin, error: sums.lost("points.unreadable", origin.service_name, error),
    )
    logs = Logs(attributes, now_ns)
    return {
        "OTLP": _Kind(
            Reader(TRACES, "spans", WireSpan, spans.make, attributes, traces),
            hub.add_spans,
            lambda: hub.settings.traced,
            traces,
        ),
        "MTRC": _Kind(
            Reader(
                METRICS, "metrics", WireMetric, metrics.make, attributes, sums, metrics.repaired
            ),
            hub.add_metrics,
            lambda: True,
            sums,
        ),
        "LOGS": _Kind(
            Reader(LOGS, "logs", WireLog, logs.make, attributes, records),
            hub.add_logs,
            lambda: hub.settings.logs_enabled,
            records,
        ),
    }

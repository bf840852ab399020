"""Where everything recorded comes together, and from where it goes on.

Parts of the module know the hub and not each other: the ingest and the engine's tracing
add, the stores, triggers and exporters listen.  Spans of the engine stay the plain tuples
they are (``iii.engine.tracing``) until somebody listens who wants spans.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from twisted.logger import Logger

from iii.engine.clock import Timer
from iii.engine.module import ModuleApi
from iii.modules.observability.config import Settings
from iii.modules.observability.model import LogRecord, Metric, Span
from iii.modules.observability.own import OwnTraces
from iii.modules.observability.sampling import sampler
from iii.modules.observability.spans.records import SpanMaker

log = Logger()
T = TypeVar("T")

#: How long a span of the engine may wait until listeners hear of it.
HAND_ON_S = 0.3

RawRecord = tuple[Any, ...]


class Hub:
    """The module's parts meet here.

    :ivar own: for calls that must not be told of
    :ivar dropped: what could not be kept or sent → how often
    """

    def __init__(self, engine: ModuleApi, settings: Settings) -> None:
        self.engine = engine
        self.settings = settings
        self.maker = SpanMaker(settings, engine.clock)
        self.own = OwnTraces()
        self.dropped: dict[str, int] = {}
        self._on_records: list[Callable[[list[RawRecord]], None]] = []
        self._on_spans: list[Callable[[list[Span]], None]] = []
        self._on_ingested: list[Callable[[list[Span]], None]] = []
        self._in_a_hurry: set[Callable[[list[RawRecord]], None]] = set()
        self._on_logs: list[Callable[[list[LogRecord]], None]] = []
        self._on_metrics: list[Callable[[list[Metric]], None]] = []
        self._hand_on: Timer | None = None

    def start(self) -> None:
        """Follow the engine's calls, unless that is switched off."""
        tracing = self.engine.tracing
        if self.settings.traced:
            tracing.sample = sampler(self.settings, self.engine.clock.monotonic)
            tracing.gathering = self._gathering
            tracing.sink = self._records

    def change(self, settings: Settings) -> None:
        """Go on with other settings; new traces are chosen by them."""
        self.settings = settings
        if settings.traced:
            self.engine.tracing.sample = sampler(settings, self.engine.clock.monotonic)

    def stop(self) -> None:
        """Hand on what there is, and follow nothing more."""
        tracing = self.engine.tracing
        tracing.flush()
        tracing.sink = tracing.gathering = tracing.sample = None
        if self._hand_on is not None and self._hand_on.active():
            self._hand_on.cancel()

    def flush(self) -> None:
        """Whoever reads a store calls this first: everything up to now is in it."""
        self.engine.tracing.flush()

    # Listening -------------------------------------------------------------------------

    def on_records(
        self, listener: Callable[[list[RawRecord]], None], *, soon: bool = False
    ) -> None:
        """``listener`` gets the engine's own spans as tuples; it must not change the list.

        :param soon: it gets them soon after their end, not only when there are many
        """
        self._on_records.append(listener)
        if soon:
            self._in_a_hurry.add(listener)
            self._gathering()

    def on_ingested(self, listener: Callable[[list[Span]], None]) -> None:
        """``listener`` gets the spans of workers, and not the engine's own."""
        self._on_ingested.append(listener)

    def on_spans(self, listener: Callable[[list[Span]], None]) -> None:
        """``listener`` gets every span, the engine's own soon after their end."""
        self._on_spans.append(listener)
        self._gathering()

    def on_logs(self, listener: Callable[[list[LogRecord]], None]) -> None:
        """``listener`` gets every log record."""
        self._on_logs.append(listener)

    def on_metrics(self, listener: Callable[[list[Metric]], None]) -> None:
        """``listener`` gets every metric that a worker sent."""
        self._on_metrics.append(listener)

    def forget(self, listener: Callable[[list[Any]], None]) -> None:
        """``listener`` wants nothing more."""
        listeners: list[list[Any]] = [
            self._on_records,
            self._on_spans,
            self._on_ingested,
            self._on_logs,
            self._on_metrics,
        ]
        self._in_a_hurry.discard(listener)
        for some in listeners:
            if listener in some:
                some.remove(listener)

    # Adding ----------------------------------------------------------------------------

    def add_spans(self, spans: list[Span]) -> None:
        """Spans of workers, without what must not be kept: the ingest sees to that."""
        self._tell(self._on_ingested, spans)
        self._tell(self._on_spans, spans)

    def add_logs(self, logs: list[LogRecord]) -> None:
        """Log records, of workers or the engine, without secrets and terminal commands."""
        self._tell(self._on_logs, logs)

    def add_metrics(self, metrics: list[Metric]) -> None:
        """Metrics of workers."""
        self._tell(self._on_metrics, metrics)

    def drop(self, what: str, count: int = 1) -> None:
        """Something was lost: ``spans.queue_full``, ``metrics.unreadable`` …"""
        self.dropped[what] = self.dropped.get(what, 0) + count

    # Inside ----------------------------------------------------------------------------

    def _records(self, records: list[RawRecord]) -> None:
        self._tell(self._on_records, records)
        if self._on_spans:
            make = self.maker.spans
            self._tell(self._on_spans, [span for record in records for span in make(record)])

    def _gathering(self) -> None:
        """The engine has a span for us: fetch it soon, when somebody waits for it."""
        if (self._on_spans or self._in_a_hurry) and self._hand_on is None:
            self._hand_on = self.engine.clock.call_later(HAND_ON_S, self._fetch)

    def _fetch(self) -> None:
        self._hand_on = None
        self.flush()

    def _tell(self, listeners: list[Callable[[list[T]], None]], what: list[T]) -> None:
        if not what:
            return
        for listener in list(listeners):
            try:
                listener(what)
            except Exception:
                # One part's trouble is not the others', and never a caller's.
                log.failure("{listener} could not take what was recorded", listener=listener)

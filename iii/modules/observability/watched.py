"""Topics of what is recorded: ``logs``, ``traces``, ``trace:<id>``, ``metrics``, ``alerts``.

Logs and spans are told as they come; nothing of them is made for telling while nobody
watches.  When there are more than anybody could read, watchers hear how many they missed.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import msgspec

from iii.engine.clock import Timer
from iii.engine.native import Empty
from iii.engine.tracing import CallRecord
from iii.engine.watching.feeds import Feed, Items, Outlet, Source
from iii.engine.watching.rowsource import Row, RowSource
from iii.errors import Code, IIIError
from iii.modules.observability.cleaning import cleaned
from iii.modules.observability.hub import Hub, RawRecord
from iii.modules.observability.logs.shapes import LogRow, listed
from iii.modules.observability.metrics.alerts import Alerts
from iii.modules.observability.metrics.history import History
from iii.modules.observability.model import LogRecord, Span
from iii.modules.observability.spans import items as of
from iii.modules.observability.spans.items import Item
from iii.modules.observability.spans.shapes import SpanRow, row_of

#: How long logs and spans are gathered, and how many of them at most.
GATHER_S = 0.1
MAX_GATHERED_ITEMS = 1_000

_LOG_FIELDS = frozenset(LogRow.__struct_fields__)
_SPAN_FIELDS = frozenset((*SpanRow.__struct_fields__, "internal"))
_TRACE_ID = re.compile("[0-9a-f]{32}").fullmatch
_LOG_TIMES = ("timestamp_unix_nano", "observed_timestamp_unix_nano")
_SPAN_TIMES = ("start_time_unix_nano", "end_time_unix_nano")


class Watched:
    """Part: lets it be watched."""

    def __init__(self, hub: Hub, history: History, alerts: Alerts) -> None:
        self._hub = hub
        self._history = history
        self._alerts = alerts

    def start(self) -> None:
        """Part: offer the topics."""
        engine = self._hub.engine
        engine.feed("logs", Feed(self._logs, _LOG_FIELDS))
        engine.feed("traces", Feed(self._traces, _SPAN_FIELDS))
        engine.feed("trace", Feed(self._trace, _SPAN_FIELDS, "id"))
        engine.feed("metrics", Feed(self._metrics, frozenset()))
        engine.feed("alerts", Feed(self._rules, frozenset(("name", "firing"))))
        engine.hide_values(self._hub.settings.redact)

    def stop(self) -> None:
        """Part: the topics end with the module."""

    def _logs(self, argument: str, outlet: Outlet) -> Source:
        """
        :raises IIIError: logs are switched off
        """
        if not self._hub.settings.logs_enabled:
            raise IIIError(Code.NOT_SUPPORTED, "logs are switched off (logs_enabled)")
        return LogSource(self._hub, outlet)

    def _traces(self, argument: str, outlet: Outlet) -> Source:
        """
        :raises IIIError: traces are switched off
        """
        return SpanSource(self._traced(), outlet, None)

    def _trace(self, argument: str, outlet: Outlet) -> Source:
        """
        :raises IIIError: traces are switched off, or this is no id of one
        """
        if _TRACE_ID(argument) is None:
            raise IIIError(Code.INVALID_ARGUMENTS, f"{argument[:100]!r} is no trace id")
        return SpanSource(self._traced(), outlet, argument)

    def _traced(self) -> Hub:
        if not self._hub.settings.traced:
            raise IIIError(Code.NOT_SUPPORTED, "traces are switched off (enabled)")
        return self._hub

    def _metrics(self, argument: str, outlet: Outlet) -> Source:
        return MetricSource(self._history, outlet)

    def _rules(self, argument: str, outlet: Outlet) -> Source:
        alerts = self._alerts

        def read() -> list[Row]:
            rows: list[Row] = msgspec.to_builtins(alerts.listed(Empty()).alerts)
            return rows

        source = RowSource(
            outlet,
            self._hub.engine.clock,
            "name",
            read,
            closed=lambda: alerts.listeners.remove(source.changed),
        )
        alerts.listeners.append(source.changed)
        return source


class Gathering:
    """Gathers items for a moment, then tells them together."""

    def __init__(self, hub: Hub, outlet: Outlet, rows_of: Callable[[Any], list[Row]]) -> None:
        self._clock = hub.engine.clock
        self._outlet = outlet
        self._rows_of = rows_of
        self._items: list[Any] = []
        self._missed = 0
        self._timer: Timer | None = None

    def add(self, items: list[Any]) -> None:
        """More of them."""
        room = MAX_GATHERED_ITEMS - len(self._items)
        self._items += items[:room]
        self._missed += max(0, len(items) - room)
        if self._timer is None and items:
            self._timer = self._clock.call_later(GATHER_S, self._tell)

    def stop(self) -> None:
        """Tell nothing more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _tell(self) -> None:
        self._timer = None
        items, self._items = self._items, []
        missed, self._missed = self._missed, 0
        self._outlet.tell("add", [row for item in items for row in self._rows_of(item)])
        if missed:
            self._outlet.lost(missed)


class LogSource:
    """Log records, as they come."""

    def __init__(self, hub: Hub, outlet: Outlet) -> None:
        self._hub = hub
        self._gathering = Gathering(hub, outlet, self._rows)
        hub.on_logs(self._heard)

    def rows(self) -> Items | None:
        """Source: those before are asked for (``engine::logs::list``)."""
        return None

    def close(self) -> None:
        """Source."""
        self._hub.forget(self._heard)
        self._gathering.stop()

    def _heard(self, records: list[LogRecord]) -> None:
        self._gathering.add(records)

    def _rows(self, record: LogRecord) -> list[Row]:
        row = msgspec.to_builtins(listed(cleaned(record, self._hub.settings.redact)))
        row["timestamp_ms"] = record.timestamp_ns / 1e6
        return [_with_texts(row, _LOG_TIMES)]


class SpanSource:
    """Spans, as they come.

    :param trace_id: of all spans of one trace; None: of those without a parent
    """

    def __init__(self, hub: Hub, outlet: Outlet, trace_id: str | None) -> None:
        self._hub = hub
        self._trace_id = trace_id
        self._gathering = Gathering(hub, outlet, self._rows)
        hub.flush()  # what was before is asked for
        hub.on_records(self._recorded, soon=True)
        hub.on_ingested(self._ingested)

    def rows(self) -> Items | None:
        """Source: those before are asked for (``engine::traces::list``)."""
        return None

    def close(self) -> None:
        """Source."""
        self._hub.forget(self._recorded)
        self._hub.forget(self._ingested)
        self._gathering.stop()

    def _recorded(self, records: list[RawRecord]) -> None:
        wanted = self._trace_id
        if wanted is None:
            self._gathering.add([record for record in records if record[2] is None])
        else:
            self._gathering.add([record for record in records if wanted in _contexts(record)])

    def _ingested(self, spans: list[Span]) -> None:
        wanted = self._trace_id
        live, owns = self._hub.settings.live_spans, self._hub.own.owns
        self._gathering.add(
            [
                span
                for span in spans
                if (span.parent_span_id is None if wanted is None else span.trace_id == wanted)
                and (live or not span.pending)
                and not owns(span.trace_id)
            ]
        )

    def _rows(self, item: Item) -> list[Row]:
        maker = self._hub.maker
        internal = of.is_internal(item, maker)
        spans = [item] if isinstance(item, Span) else maker.spans(item)
        rows = []
        for span in spans:
            if self._trace_id is not None or span.parent_span_id is None:
                row = msgspec.to_builtins(row_of(span))
                row["internal"] = internal
                rows.append(_with_texts(row, _SPAN_TIMES))
        return rows


class MetricSource:
    """How the engine does, every ten seconds."""

    def __init__(self, history: History, outlet: Outlet) -> None:
        self._history = history
        self._outlet = outlet
        history.listeners.append(self._stepped)

    def rows(self) -> Items:
        """Source: how it does now."""
        return [self._history.snapshot(None)]

    def close(self) -> None:
        """Source."""
        self._history.listeners.remove(self._stepped)

    def _stepped(self) -> None:
        self._outlet.tell("update", self.rows())


def _contexts(record: RawRecord) -> str:
    """The text in which the trace id of a record is."""
    return str(record[4] if len(record) == len(CallRecord._fields) else record[3])


def _with_texts(row: Row, times: tuple[str, ...]) -> Row:
    """The row, with its times also as text that a browser does not round."""
    for name in times:
        row[f"{name}_str"] = str(row[name])
    return row

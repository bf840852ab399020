"""Everything about logs, in one part.

A record comes from a worker's frame (through the hub), from a call of ``engine::log::*``
or from the engine's own log.  The hub tells all its listeners of all of them, and this one
keeps them and tells triggers.  Which source a record has is known while the hub passes it
on, because that is one synchronous call.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from iii.logging import Levels
from iii.modules.observability.cleaning import cleaned
from iii.modules.observability.hub import Hub
from iii.modules.observability.logs import baggage
from iii.modules.observability.logs.calls import LogCalls
from iii.modules.observability.logs.capture import Capture
from iii.modules.observability.logs.console import print_workers
from iii.modules.observability.logs.queries import LogQueries
from iii.modules.observability.logs.store import LogStore
from iii.modules.observability.logs.triggers import LogTriggers
from iii.modules.observability.model import LogRecord


class _Source(NamedTuple):
    """Where a record is from.

    :ivar own: made in here, so it is on the console already
    :ivar told: triggers may hear of it
    :ivar trace_id: of the call that brought it
    :ivar worker: which worker made that call
    """

    own: bool = True
    told: bool = True
    trace_id: str | None = None
    worker: str | None = None


_WORKERS = _Source(own=False)


class Logs:
    """Keeps, lists, prints and tells of log records.

    :param environ: for ``RUST_LOG`` and ``DEPLOYMENT_ENVIRONMENT``
    :ivar store: None: ``logs_enabled`` is false
    """

    def __init__(self, hub: Hub, environ: Mapping[str, str]) -> None:
        self._hub = hub
        self._environ = environ
        settings, clock = hub.settings, hub.engine.clock
        self.store: LogStore | None = None
        if settings.logs_enabled:
            self.store = LogStore(
                clock,
                max_count=settings.logs_max_count,
                retention_s=settings.logs_retention_s,
                drop=hub.drop,
            )
        self.triggers = LogTriggers(hub.engine, hub.own)
        self._calls = LogCalls(hub, self._called, environ)
        self._queries = LogQueries(self.store, clock)
        self._capture: Capture | None = None
        if settings.traced and settings.logs_enabled:
            self._capture = Capture(
                hub,
                Levels.of(settings.directives, environ),
                self._captured,
                self.triggers.is_about_us,
            )
        self._source = _WORKERS

    def start(self) -> None:
        """Offer the functions and the trigger type, and listen."""
        self._calls.offer()
        self._queries.offer(self._hub.engine)
        baggage.offer(self._hub.engine)
        self.triggers.start()
        self._hub.on_logs(self._received)
        if self.store is not None:
            self.store.start()
        if self._capture is not None:
            self._capture.start()

    def change(self) -> None:
        """The settings have another log level."""
        if self._capture is not None:
            self._capture.levels = Levels.of(self._hub.settings.directives, self._environ)

    def stop(self) -> None:
        """Listen no more."""
        if self._capture is not None:
            self._capture.stop()
        if self.store is not None:
            self.store.stop()
        self.triggers.stop()
        self._hub.forget(self._received)

    # Sources ---------------------------------------------------------------------------

    def _called(self, record: LogRecord, call_trace: str | None, worker: str | None) -> None:
        if self.store is not None:
            self._add(record, _Source(trace_id=call_trace, worker=worker))

    def _captured(self, record: LogRecord, told: bool) -> None:
        # What is said while a delivery is being started is about that delivery.
        told = told and not self.triggers.delivering
        self._add(cleaned(record, self._hub.settings.redact), _Source(told=told))

    def _add(self, record: LogRecord, source: _Source) -> None:
        outer, self._source = self._source, source
        try:
            self._hub.add_logs([record])
        finally:
            self._source = outer

    # What becomes of it ----------------------------------------------------------------

    def _received(self, records: list[LogRecord]) -> None:
        source, settings = self._source, self._hub.settings
        if not source.own:
            for record in records if settings.logs_console_output else ():
                print_workers(record)
        if self.store is None:
            return
        self.store.add(records)
        if source.told:
            for record in records:
                self.triggers.deliver(record, source.trace_id, source.worker)

"""The engine's own log lines as records.

What the console shows, clients can list too.  An event that comes about while one is being
captured is not captured, so a fault in here or in whoever listens can't feed itself; nor
are events that are records already.  Threads hand their events to the reactor's.

Triggers hear of so many events a second and no more: whatever a handler makes the engine
say, it can't keep itself busy with it.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

import twisted.logger
from twisted.logger import globalLogPublisher
from twisted.python import log as legacy_log

from iii.logging import (
    DEBUG,
    ERROR,
    INFO,
    TRACE,
    WARN,
    Levels,
    fields_of,
    message_of,
    namespace_of,
    plain,
    weight_of,
)
from iii.modules.observability.hub import Hub
from iii.modules.observability.model import SEVERITIES, LogRecord

SCOPE = "tracing"
#: Events a second that triggers hear of.
MAX_TOLD_PER_S = 200

_SEVERITIES = {ERROR: "ERROR", WARN: "WARN", INFO: "INFO", DEBUG: "DEBUG", TRACE: "TRACE"}
# Frames between an event and whoever caused it.
_PASSED_ON = (str(twisted.logger.__path__[0]), str(legacy_log.__file__), __file__)

Event = dict[str, Any]
Keep = Callable[[LogRecord, bool], None]
"""Takes a record, and whether triggers may hear of it."""


class Capture:
    """Observes the log of this process.

    :param keep: takes records
    :param is_about_us: says of an event that it tells of delivering logs
    :ivar levels: which events count
    """

    def __init__(
        self,
        hub: Hub,
        levels: Levels,
        keep: Keep,
        is_about_us: Callable[[Event], bool],
    ) -> None:
        self._hub = hub
        self._engine = hub.engine
        self._resource = hub.settings.resource
        self.levels = levels
        self._keep = keep
        self._is_about_us = is_about_us
        self._thread: int | None = None
        self._busy = False
        self._second = 0.0
        self._told = 0

    def start(self) -> None:
        """Observe."""
        self._thread = threading.get_ident()
        globalLogPublisher.addObserver(self)  # type: ignore[arg-type]

    def stop(self) -> None:
        """Observe nothing more."""
        self._thread = None
        globalLogPublisher.removeObserver(self)  # type: ignore[arg-type]

    def __call__(self, event: Event) -> None:
        """ILogObserver."""
        weight = weight_of(event)
        if "log_stored" in event or not self.levels.shows(namespace_of(event), weight):
            return
        if threading.get_ident() == self._thread:
            if not self._busy:
                self._take(self._record(event, weight), self._is_about_us(event))
        elif self._thread is not None:
            record, about_us = self._record(event, weight), self._is_about_us(event)
            self._engine.call_from_thread(self._take_over, record, about_us)

    def _take_over(self, record: LogRecord, about_us: bool) -> None:
        """A thread's event has arrived here."""
        if self._thread is not None:
            self._take(record, about_us)

    def _take(self, record: LogRecord, about_us: bool) -> None:
        self._busy = True
        try:
            self._keep(record, not about_us and self._may_be_told())
        finally:
            self._busy = False

    def _may_be_told(self) -> bool:
        now = self._engine.clock.monotonic()
        if now - self._second >= 1:
            self._second, self._told = now, 0
        self._told += 1
        if self._told <= MAX_TOLD_PER_S:
            return True
        self._hub.drop("logs.untold")
        return False

    def _record(self, event: Event, weight: int) -> LogRecord:
        severity = _SEVERITIES[weight]
        now = int(self._engine.clock.wall() * 1e9)
        attributes = _attributes(event)
        return LogRecord(
            timestamp_ns=now,
            observed_ns=now,
            severity_number=SEVERITIES[severity],
            severity_text=severity,
            body=plain(message_of(event)),
            attributes=attributes,
            trace_id=attributes.pop("trace_id", None),
            span_id=attributes.pop("span_id", None),
            resource=self._resource,
            service_name=self._hub.settings.service_name,
            scope_name=SCOPE,
        )


def _attributes(event: Event) -> dict[str, Any]:
    attributes = dict(fields_of(event))
    failure = event.get("log_failure")
    if failure is not None:
        attributes["exception.type"] = failure.type.__name__
        attributes["exception.message"] = plain(failure.getErrorMessage())
        attributes["exception.stacktrace"] = plain(failure.getTraceback())
    attributes["target"] = namespace_of(event)
    frame = _cause(sys._getframe())
    if frame is not None:
        attributes["module_path"] = frame.f_globals.get("__name__", "")
        attributes["file"] = frame.f_code.co_filename
        attributes["line"] = frame.f_lineno
    return attributes


def _cause(frame: FrameType | None) -> FrameType | None:
    """The frame that logged."""
    while frame is not None and frame.f_code.co_filename.startswith(_PASSED_ON):
        frame = frame.f_back
    return frame

"""``engine::log::*``: what a program logs by calling a function."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping

from iii._version import __version__
from iii.engine import tracecontext
from iii.engine.invocations import Call
from iii.modules.observability.cleaning import redacted, uncoloured
from iii.modules.observability.hub import Hub
from iii.modules.observability.logs.console import print_call
from iii.modules.observability.logs.shapes import LogInput
from iii.modules.observability.model import SEVERITIES, LogRecord

LEVELS = ("trace", "debug", "info", "warn", "error")

Keep = Callable[[LogRecord, str | None, str | None], None]
"""Takes a record, the trace id of the call that brought it, and the worker that made the call."""


class LogCalls:
    """Makes records of calls.

    :param keep: takes them
    :param chance: between 0 and 1, for ``logs_sampling_ratio``
    """

    def __init__(
        self,
        hub: Hub,
        keep: Keep,
        environ: Mapping[str, str],
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._hub = hub
        self._keep = keep
        self._chance = chance
        settings = hub.settings
        self._resource = {
            name: value
            for name, value in settings.resource.items()
            if name != "service.instance.id"
        }
        deployment = environ.get("DEPLOYMENT_ENVIRONMENT")
        if deployment:
            self._resource["deployment.environment"] = deployment

    def offer(self) -> None:
        """Offer a function for each level."""
        for level in LEVELS:
            self._hub.engine.function(
                f"engine::log::{level}",
                self._logger(level.upper()),
                takes=LogInput,
                description=f"Log a message, level {level}",
                wants_call=True,
            )

    def _logger(self, severity: str) -> Callable[[LogInput, Call], None]:
        def logged(said: LogInput, call: Call) -> None:
            ratio = self._hub.settings.logs_sampling_ratio
            if ratio < 1 and self._chance() >= ratio:
                return
            context = self._context(call)
            data = redacted(said.data, self._hub.settings.redact)
            record = self._record(severity, said, data, context)
            print_call(record, data)
            trace_id = None if context is None else tracecontext.trace_id(context)
            self._keep(record, trace_id, call.caller)

        return logged

    def _record(
        self, severity: str, said: LogInput, data: object, context: str | None
    ) -> LogRecord:
        trace_id, span_id = said.trace_id or None, said.span_id or None
        if context is not None and trace_id is None:
            trace_id = tracecontext.trace_id(context)
            span_id = span_id or tracecontext.span_id(context)
        now = int(self._hub.engine.clock.wall() * 1e9)
        return LogRecord(
            timestamp_ns=now,
            observed_ns=now,
            severity_number=SEVERITIES[severity],
            severity_text=severity,
            body=uncoloured(said.message),
            attributes=data if isinstance(data, dict) else {},
            trace_id=trace_id,
            span_id=span_id,
            resource=self._resource,
            service_name=said.service_name or "unknown",
            scope_name="iii",
            scope_version=__version__,
        )

    def _context(self, call: Call) -> str | None:
        """The caller's trace context.  A traced call has got another one of its own."""
        traced = self._hub.engine.tracing.sink is not None
        return call.parent if traced else tracecontext.usable(call.traceparent)

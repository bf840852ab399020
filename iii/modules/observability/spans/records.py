"""Spans made from the engine's records.

One call is one record and up to two spans: ``handle_invocation``, from the moment a
worker's message came in, and inside it ``call``, which its executor is told of
(docs/observability.md, "Spans").
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import unquote_plus

from iii._version import __version__
from iii.engine.clock import Clock
from iii.engine.functions import ENGINE_PREFIX
from iii.engine.tracecontext import span_id, trace_id
from iii.engine.tracing import TRACE_STATE, CallRecord, Error, record_of
from iii.modules.observability.config import Settings
from iii.modules.observability.model import Event, Pairs, Span, Status

REDACTED_VALUE = "[REDACTED]"
#: What the names of a call's spans begin with.
RECEIVED, CALLED = "handle_invocation", "call"
#: Two readings of the clocks that differ by no more are the same.
SAME_TIME_NS = 1_000_000
# What a call's spans say: the outer one, and the one that its executor is told of.
_Say = Callable[[tuple[Any, ...]], str | None]
_COMMON: dict[str, _Say] = {
    "function_id": lambda call: call[0],
    "invocation_id": lambda call: call[1],
    "iii.function.kind": lambda call: "internal" if call[0].startswith(ENGINE_PREFIX) else "user",
}
_OUTER: dict[str, _Say] = {"worker_id": lambda call: call[5] or "", **_COMMON}
_INNER: dict[str, _Say] = {
    "faas.invoked_name": lambda call: call[0],
    "faas.trigger": lambda call: "other",
    **_COMMON,
    "iii.worker.id": lambda call: call[6],
}

#: A record of a call has so many members.
_CALL = len(CallRecord._fields)


def parts(fields: tuple[Any, ...]) -> int:
    """How many spans a record is."""
    return 2 if len(fields) == _CALL and fields[3] is not None else 1


def name_of(fields: tuple[Any, ...], part: int) -> str:
    """The name of one of the spans of a record."""
    if len(fields) != _CALL:
        return str(fields[0])
    return f"{RECEIVED if part == 0 and fields[3] is not None else CALLED} {fields[0]}"


def lineage(fields: tuple[Any, ...], part: int) -> tuple[str | None, str]:
    """The context of the parent of one of the spans of a record, and its own."""
    if len(fields) != _CALL:
        return fields[2], fields[3]
    received: str | None = fields[3]
    if received is None:
        return fields[2], fields[4]
    return (fields[2], received) if part == 0 else (received, fields[4])


class SpanMaker:
    """Makes spans of records.  The parts of a record are its spans, the outer one first."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self.service = settings.service_name
        self._redact = settings.redact
        self._clock = clock
        self._offset_ns = self._measured()

    @property
    def offset_ns(self) -> int:
        """Wall time minus the clock's ``monotonic``.

        It stays the same as long as neither clock is set, so that a span has the same times
        whenever it is made.
        """
        now = self._measured()
        if abs(now - self._offset_ns) > SAME_TIME_NS:
            self._offset_ns = now
        return self._offset_ns

    def spans(self, fields: tuple[Any, ...], offset_ns: int | None = None) -> list[Span]:
        """The spans of one record, the outer one first.

        :param offset_ns: what ``offset_ns`` was when the record was handed on
        """
        return [self.span(fields, part, offset_ns) for part in range(parts(fields))]

    def span(self, fields: tuple[Any, ...], part: int, offset_ns: int | None = None) -> Span:
        """One of the spans of a record."""
        if offset_ns is None:
            offset_ns = self.offset_ns
        record = record_of(fields)
        kind: Any = "server"
        if isinstance(record, CallRecord):
            ok: bool | None = record.error is None
        else:
            kind, ok = record.kind, record.ok
        parent, context = lineage(fields, part)
        status: Status = "unset" if ok is None else "ok" if ok else "error"
        ended_ns = offset_ns + int(record.ended * 1e9)
        attributes = self.attributes(fields, part)
        state = next((value for name, value in attributes if name == TRACE_STATE), None)
        if state is not None:
            attributes = [pair for pair in attributes if pair[0] != TRACE_STATE]
        return Span(
            trace_id=trace_id(context),
            span_id=span_id(context),
            parent_span_id=None if parent is None else span_id(parent),
            name=name_of(fields, part),
            kind=kind,
            start_ns=offset_ns + int(record.started * 1e9),
            end_ns=ended_ns,
            service_name=self.service,
            status=status,
            status_description=None if record.error is None else record.error[1],
            attributes=attributes,
            trace_state=state,
            events=[] if record.error is None else [_exception(record.error, ended_ns)],
            scope_name="iii",
            scope_version=__version__,
            flags=1,
        )

    def attributes(self, fields: tuple[Any, ...], part: int) -> Pairs:
        """The attributes of one of the spans of a record."""
        if len(fields) != _CALL:
            return self.redacted(_pairs(fields[8], self._without_secrets))
        said = ((name, say(fields)) for name, say in _said_by(fields, part).items())
        return self.redacted([(name, value) for name, value in said if value is not None])

    def attribute(self, fields: tuple[Any, ...], part: int, name: str) -> str | None:
        """The value of one of them; None: there is none of this name."""
        if len(fields) != _CALL:
            pairs = self.attributes(fields, part) if fields[8] else []
            return next((value for key, value in pairs if key == name), None)
        say = _said_by(fields, part).get(name)
        value = None if say is None else say(fields)
        return REDACTED_VALUE if value is not None and name.lower() in self._redact else value

    def redacted(self, attributes: Pairs) -> Pairs:
        """Without the values that must not be kept."""
        hidden = self._redact
        if not any(key.lower() in hidden for key, _ in attributes):
            return attributes
        return [
            (key, REDACTED_VALUE if key.lower() in hidden else value) for key, value in attributes
        ]

    def _without_secrets(self, query: str) -> str:
        """A URL's query, without the values whose names are not to be kept."""
        members = (member.partition("=") for member in query.split("&"))
        return "&".join(
            f"{name}={REDACTED_VALUE}" if unquote_plus(name).lower() in self._redact else whole
            for name, equals, value in members
            for whole in (f"{name}{equals}{value}",)
        )

    def _measured(self) -> int:
        return int((self._clock.wall() - self._clock.monotonic()) * 1e9)


def _said_by(fields: tuple[Any, ...], part: int) -> dict[str, _Say]:
    return _OUTER if part == 0 and fields[3] is not None else _INNER


def _exception(error: Error, at_ns: int) -> Event:
    code, message, stack = error
    attributes = [("exception.type", code), ("exception.message", message)]
    if stack:
        attributes.append(("exception.stacktrace", stack))
    return Event("exception", at_ns, attributes)


def _pairs(attributes: tuple[Any, ...], clean: Callable[[str], str]) -> Pairs:
    """Names and values as pairs; an HTTP request gets its whole URL.

    :param clean: takes secrets out of a URL's query
    """
    if not attributes:
        return []
    names, *values = attributes
    pairs = [(name, _text(value)) for name, value in zip(names, values, strict=True) if value != ""]
    known = dict(pairs)
    if "url.path" in known:
        if "url.query" in known:
            known["url.query"] = clean(known["url.query"])
            pairs = list(known.items())
        query = f"?{known['url.query']}" if "url.query" in known else ""
        host = known.get("server.address", "")
        pairs.append(("url.full", f"{known['url.scheme']}://{host}{known['url.path']}{query}"))
    return pairs


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)

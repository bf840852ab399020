"""How log lines look and which are shown.

One ``LogOutput`` per process takes every Twisted log event.  ``Levels`` decides by
the event's namespace, from directives like ``info,iii.wire=debug``; the format is
``default`` (a line for people, extra fields indented below) or ``json`` (one object
per line).  It starts with ``info`` and ``default``, because lines are written before
the configuration is read; ``configure`` applies what the configuration says.

Libraries are held to warnings unless a directive names them: a socket that was
bound or a factory that stopped is not news to an operator.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from string import Formatter
from typing import Any, Literal, TextIO

import msgspec
from twisted.logger import ILogObserver, Logger, LogLevel, formatEvent
from zope.interface import implementer

Format = Literal["default", "json"]

OFF, ERROR, WARN, INFO, DEBUG, TRACE = range(6)
LEVELS = {"off": OFF, "error": ERROR, "warn": WARN, "info": INFO, "debug": DEBUG, "trace": TRACE}

_WEIGHT = {
    LogLevel.critical: ERROR,
    LogLevel.error: ERROR,
    LogLevel.warn: WARN,
    LogLevel.info: INFO,
    LogLevel.debug: DEBUG,
}
_NAME = {ERROR: "ERROR", WARN: "WARN", INFO: "INFO", DEBUG: "DEBUG"}
_COLOUR = {ERROR: "31", WARN: "33", INFO: "32", DEBUG: "36"}
_LIBRARIES = {"twisted": WARN, "autobahn": WARN, "txaio": WARN, "log_legacy": WARN}
_INTERNAL = frozenset(("message", "time", "system", "format", "isError", "why", "failure"))


class Levels:
    """Which events are shown.

    :param directives: ``<level>`` or ``<target>=<level>``, separated by commas; a
        target is a namespace or its beginning, with ``.`` or ``::``
    :ivar faults: directives that are none, each skipped
    """

    def __init__(self, directives: str) -> None:
        self.faults: list[str] = []
        self._default = INFO
        self._targets: dict[str, int] = {}
        for directive in filter(None, (part.strip() for part in directives.split(","))):
            target, _, level = directive.rpartition("=")
            weight = LEVELS.get(level.strip().lower())
            if weight is None:
                self.faults.append(directive)
            elif target:
                self._targets[_dotted(target.strip())] = weight
            else:
                self._default = weight
        if self._default <= INFO:
            quiet = {name: min(limit, self._default) for name, limit in _LIBRARIES.items()}
            self._targets = quiet | self._targets
        # The longest target wins, so it is looked at first.
        self._order = sorted(self._targets, key=len, reverse=True)
        self._known: dict[str, int] = {}

    def shows(self, namespace: str, weight: int) -> bool:
        """Whether an event of this weight from ``namespace`` is written."""
        limit = self._known.get(namespace)
        if limit is None:
            limit = self._known[namespace] = self._limit(namespace)
        return weight <= limit

    def _limit(self, namespace: str) -> int:
        for target in self._order:
            if namespace == target or namespace.startswith(f"{target}."):
                return self._targets[target]
        return self._default


def _dotted(target: str) -> str:
    return target.replace("::", ".")


@implementer(ILogObserver)
class LogOutput:
    """Writes events to ``stream``.

    :param colour: ANSI colours; None = when ``stream`` is a terminal
    """

    def __init__(self, stream: TextIO, *, colour: bool | None = None) -> None:
        self._stream = stream
        self._colour = _is_terminal(stream) if colour is None else colour
        self._format: Format = "default"
        self._levels = Levels("info")
        observer: Any = self  # the type checker does not see what @implementer says
        self._log = Logger(namespace=__name__, observer=observer)

    @classmethod
    def from_environment(cls, stream: TextIO, environ: Mapping[str, str]) -> LogOutput:
        """With ``RUST_LOG`` as the level, as operators of the original set it."""
        output = cls(stream)
        output.configure(level=None, format="default", environ=environ)
        return output

    @property
    def is_json(self) -> bool:
        """Whether every line is one JSON object."""
        return self._format == "json"

    def say(self, text: str) -> None:
        """Show a text as it is to people, line by line as events to machines."""
        if not self.is_json:
            self._stream.write(f"\n{text}\n\n")
            self._stream.flush()
            return
        for line in filter(None, (line.strip() for line in text.splitlines())):
            self._log.info("{line}", line=line)

    def configure(self, *, level: str | None, format: str, environ: Mapping[str, str]) -> None:
        """Apply the configuration's level and format.

        :param level: directives; None means ``RUST_LOG``, or else ``info``
        """
        self._format = "json" if format.lower() == "json" else "default"
        self._levels = Levels(level or environ.get("RUST_LOG") or "info")
        for fault in self._levels.faults:
            print(f"log level: '{fault}' is no level and was skipped", file=sys.stderr)

    def __call__(self, event: dict[str, Any]) -> None:
        """ILogObserver."""
        weight = _WEIGHT.get(event.get("log_level"), INFO)
        namespace = str(event.get("log_namespace") or "log_legacy")
        if not self._levels.shows(namespace, weight):
            return
        text = (
            json_line(event, weight, namespace)
            if self._format == "json"
            else text_lines(event, weight, namespace, colour=self._colour)
        )
        self._stream.write(f"{text}\n")
        self._stream.flush()


def json_line(event: Mapping[str, Any], weight: int, namespace: str) -> str:
    """``{"timestamp":…,"level":…,"fields":{"message":…},"target":…}``."""
    fields: dict[str, Any] = {"message": formatEvent(dict(event)), **dict(_fields(event))}
    if "log_failure" in event:
        fields["error"] = event["log_failure"].getTraceback()
    line = {
        "timestamp": _moment(event).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "level": _NAME[weight],
        "fields": fields,
        "target": namespace,
    }
    return msgspec.json.encode(line, enc_hook=str).decode()


def text_lines(
    event: Mapping[str, Any], weight: int, namespace: str, *, colour: bool = False
) -> str:
    """``[09:41:07.512 AM] [INFO] target message``, then what the message leaves out."""
    moment = _moment(event)
    clock = f"{moment:%I:%M:%S}.{moment.microsecond // 1000:03d} {moment:%p}"
    level, target = f"[{_NAME[weight]}]", namespace
    if colour:
        level = f"\x1b[{_COLOUR[weight]}m{level}\x1b[0m"
        target = f"\x1b[2m{target}\x1b[0m"
    shown = _mentioned(event)
    said = [event[name] for name in shown if name in event]
    rest = [
        (name, value)
        for name, value in _fields(event)
        if name not in shown and value != "" and value not in said
    ]
    lines = [f"[{clock}] {level} {target} {formatEvent(dict(event))}"]
    for index, (name, value) in enumerate(rest):
        branch = "└" if index == len(rest) - 1 else "├"
        shown_value = msgspec.json.encode(value, enc_hook=str).decode()
        lines.append(f"    {branch} {name}: {shown_value}")
    if "log_failure" in event:
        lines.append(event["log_failure"].getTraceback().rstrip())
    return "\n".join(lines)


def _is_terminal(stream: TextIO) -> bool:
    # Twisted's rotating files are like files only as far as they need to be.
    isatty = getattr(stream, "isatty", None)
    return isatty is not None and bool(isatty())


def _moment(event: Mapping[str, Any]) -> datetime:
    return datetime.fromtimestamp(event.get("log_time", 0.0), UTC).astimezone()


def _fields(event: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in event.items():
        if not name.startswith("log_") and name not in _INTERNAL:
            yield name, value


def _mentioned(event: Mapping[str, Any]) -> set[str]:
    """The fields that the message shows already."""
    format = event.get("log_format")
    if not isinstance(format, str):
        return set()
    try:
        parsed = list(Formatter().parse(format))
    except ValueError:
        return set()
    return {name.split(".")[0].split("[")[0].rstrip("()") for _, name, _, _ in parsed if name}

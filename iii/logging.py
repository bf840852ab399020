"""How log lines look and which are shown.

One ``LogOutput`` per process takes every Twisted log event.  ``Levels`` decides by
the event's namespace, from directives like ``info,iii.wire=debug``; the format is
``default`` (a line for people, extra fields as a tree below) or ``json`` (one object
per line).  It starts with ``info`` and ``default``, because lines are written before
the configuration is read; ``configure`` applies what the configuration says.

Libraries are held to warnings unless a directive names them: a socket that was
bound or a factory that stopped is not news to an operator.

Names of an event's members that begin with ``log_`` are not shown as fields.  Two of them
are ours: ``log_weight`` stands for a level that Twisted does not have, ``log_text`` is a
message that is no format.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from functools import lru_cache
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
_NAME = {ERROR: "ERROR", WARN: "WARN", INFO: "INFO", DEBUG: "DEBUG", TRACE: "TRACE"}
_COLOUR = {ERROR: "31", WARN: "33", INFO: "32", DEBUG: "36", TRACE: "35"}
_LIBRARIES = {"twisted": WARN, "autobahn": WARN, "txaio": WARN, "log_legacy": WARN}
_INTERNAL = frozenset(("message", "time", "system", "format", "isError", "why", "failure"))
_SIMPLE = frozenset((int, float, bool, type(None)))
_INDENT = "    "
#: Everything that a terminal obeys, line ends and tabs aside; right-to-left marks too.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
#: A value nested deeper than this is shown in one line.
MAX_TREE_DEPTH = 32


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

    @classmethod
    def of(cls, level: str | None, environ: Mapping[str, str]) -> Levels:
        """What a configuration says; None means ``RUST_LOG``, or else ``info``."""
        return cls(level or environ.get("RUST_LOG") or "info")

    def _limit(self, namespace: str) -> int:
        namespace = _dotted(namespace)
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
        self._levels = Levels.of(level, environ)
        for fault in self._levels.faults:
            print(f"log level: '{fault}' is no level and was skipped", file=sys.stderr)

    def __call__(self, event: dict[str, Any]) -> None:
        """ILogObserver."""
        weight, namespace = weight_of(event), namespace_of(event)
        if not self._levels.shows(namespace, weight):
            return
        text = (
            json_line(event, weight, namespace)
            if self._format == "json"
            else text_lines(event, weight, namespace, colour=self._colour)
        )
        self._stream.write(f"{text}\n")
        self._stream.flush()


def weight_of(event: Mapping[str, Any]) -> int:
    """How important an event is: ``ERROR`` … ``TRACE``."""
    weight: int | None = event.get("log_weight")
    return _WEIGHT.get(event.get("log_level"), INFO) if weight is None else weight


def namespace_of(event: Mapping[str, Any]) -> str:
    """Where an event is from."""
    return str(event.get("log_namespace") or "log_legacy")


def message_of(event: Mapping[str, Any]) -> str:
    """What an event says."""
    text: str | None = event.get("log_text")
    return formatEvent(dict(event)) if text is None else text


def fields_of(event: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """What an event says beside its message, as values that JSON has."""
    for name, value in event.items():
        if not name.startswith("log_") and name not in _INTERNAL:
            yield name, plain(value)


def plain(value: Any) -> Any:
    """``value`` as JSON has it: objects as their text, and so is what can't be encoded."""
    kind = type(value)
    if kind in _SIMPLE or (kind is str and value.isascii()):
        return value
    try:
        return msgspec.json.decode(msgspec.json.encode(value, enc_hook=str))
    except Exception:  # an object's __str__ may raise anything, and a log line must not
        return ascii(value) if isinstance(value, str) else f"<{type(value).__name__}>"


def json_line(event: Mapping[str, Any], weight: int, namespace: str) -> str:
    """``{"timestamp":…,"level":…,"fields":{"message":…},"target":…}``."""
    fields: dict[str, Any] = {"message": plain(message_of(event)), **dict(fields_of(event))}
    if "log_failure" in event:
        fields["error"] = plain(event["log_failure"].getTraceback())
    line = {
        "timestamp": _moment(event).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "level": _NAME[weight],
        "fields": fields,
        "target": namespace,
    }
    return msgspec.json.encode(line).decode()


def text_lines(
    event: Mapping[str, Any], weight: int, namespace: str, *, colour: bool = False
) -> str:
    """``[09:41:07.512 AM] [INFO] target message``, then what the message leaves out.

    An event that has a ``function`` shows it instead of the target.
    """
    moment = _moment(event)
    clock = f"{moment:%I:%M:%S}.{moment.microsecond // 1000:03d} {moment:%p}"
    fields = dict(fields_of(event))
    shown = _mentioned(event)
    said = ["", *(fields[name] for name in shown if name in fields)]
    function = None if "function" in shown else fields.pop("function", None)
    level = f"[{_NAME[weight]}]"
    header = _harmless(namespace if function is None else str(function))
    if colour:
        level = f"\x1b[{_COLOUR[weight]}m{level}\x1b[0m"
        header = f"\x1b[2m{header}\x1b[0m"
    rest = {
        name: value
        for name, value in fields.items()
        if name not in shown and not (isinstance(value, str) and value in said)
    }
    lines = [f"[{clock}] {level} {header} {_harmless(message_of(event))}"]
    fields_below: list[str] = []
    _branch(fields_below, 1, [(f"{name}: ", value) for name, value in rest.items()])
    lines += map(_harmless, fields_below)
    if "log_failure" in event:
        lines.append(event["log_failure"].getTraceback().rstrip())
    return "\n".join(lines)


def _harmless(text: str) -> str:
    """``text`` as part of a line, whoever it comes from.

    What follows on another line is indented, so that it can't pass for an event of its own;
    and nothing in it means anything to a terminal.
    """
    if text.isprintable():
        return text
    return _CONTROL.sub(_escaped, text).replace("\n", f"\n{_INDENT}")


def _escaped(match: re.Match[str]) -> str:
    return ascii(match[0])[1:-1]


def _branch(lines: list[str], depth: int, items: list[tuple[str, Any]]) -> None:
    """Add a line for each item, and below it what is inside."""
    for index, (label, value) in enumerate(items):
        mark = "└" if index == len(items) - 1 else "├"
        start = f"{_INDENT * depth}{mark} {label}"
        value = _expanded(value)
        if not value or not isinstance(value, dict | list) or depth > MAX_TREE_DEPTH:
            lines.append(f"{start}{msgspec.json.encode(value).decode()}")
            continue
        if isinstance(value, dict):
            opened, closed = "{", "}"
            inside = [(f"{name}: ", member) for name, member in value.items()]
        else:
            opened, closed = "[", "]"
            inside = [("", member) for member in value]
        lines.append(f"{start}{opened}")
        _branch(lines, depth + 1, inside)
        lines.append(f"{_INDENT * depth}{closed}")


def _expanded(value: Any) -> Any:
    """What a text says when it is a JSON object or list."""
    if isinstance(value, str) and value[:1] in ("{", "["):
        try:
            return msgspec.json.decode(value)
        except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
            return value
    return value


def _is_terminal(stream: TextIO) -> bool:
    # Twisted's rotating files are like files only as far as they need to be.
    isatty = getattr(stream, "isatty", None)
    return isatty is not None and bool(isatty())


def _moment(event: Mapping[str, Any]) -> datetime:
    return datetime.fromtimestamp(event.get("log_time", 0.0), UTC).astimezone()


def _mentioned(event: Mapping[str, Any]) -> frozenset[str]:
    """The fields that the message shows already."""
    format = event.get("log_format")
    return _names_in(format) if isinstance(format, str) else frozenset()


@lru_cache(1_000)
def _names_in(format: str) -> frozenset[str]:
    try:
        parsed = list(Formatter().parse(format))
    except ValueError:
        return frozenset()
    names = (name for _, name, _, _ in parsed if name)
    return frozenset(name.split(".")[0].split("[")[0].rstrip("()") for name in names)

"""What must not be in a log record that is kept, shown or passed on.

Values of secret attributes, at any depth, and commands to a terminal.  Whoever makes a
record cleans it: the ingest, the functions ``engine::log::…``, the capture of the engine's
own log.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from iii.modules.observability.model import LogRecord
from iii.modules.observability.spans.records import REDACTED_VALUE

#: What is nested deeper is not looked at, so it is not kept either.
MAX_LOOK_DEPTH = 64

#: Every command there is, of which those that begin and do not end lose their beginning.
_COMMANDS = re.compile(
    r"\x1b\[[0-?]*+[ -/]*+[@-~]"  # CSI: colours, the cursor
    r"|\x1b\][^\x07\x1b]*+(?:\x07|\x1b\\)"  # OSC: titles, links
    r"|\x1b[PX^_][^\x1b]*+\x1b\\"  # DCS, SOS, PM, APC: texts for the terminal
    r"|\x1b[ -/]*+[0-~]?"  # the short ones
)


def cleaned(record: LogRecord, hidden: frozenset[str]) -> LogRecord:
    """``record`` without what ``hidden`` names; itself when there is nothing to do.

    :param hidden: keys of attributes, in lower case
    """
    changes: dict[str, Any] = {}
    body = uncoloured(record.body)
    if body is not record.body:
        changes["body"] = body
    attributes = redacted(record.attributes, hidden)
    if attributes is not record.attributes:
        changes["attributes"] = attributes
    return msgspec.structs.replace(record, **changes) if changes else record


def uncoloured(text: str) -> str:
    """``text`` without commands to a terminal and without ESC; itself when there is none."""
    return _COMMANDS.sub("", text) if "\x1b" in text else text


def redacted(value: Any, hidden: frozenset[str], depth: int = 0) -> Any:
    """``value`` with the values of ``hidden`` keys replaced; itself when there are none."""
    if isinstance(value, dict):
        if depth > MAX_LOOK_DEPTH:
            return REDACTED_VALUE
        members = {
            key: REDACTED_VALUE if key.lower() in hidden else redacted(member, hidden, depth + 1)
            for key, member in value.items()
        }
        changed = any(members[key] is not member for key, member in value.items())
        return members if changed else value
    if isinstance(value, list):
        if depth > MAX_LOOK_DEPTH:
            return REDACTED_VALUE
        items = [redacted(item, hidden, depth + 1) for item in value]
        changed = any(new is not old for new, old in zip(items, value, strict=True))
        return items if changed else value
    return value

"""Log records out of frames."""

from __future__ import annotations

from collections.abc import Callable

from iii.modules.observability.cleaning import uncoloured
from iii.modules.observability.ingest.values import Attributes, Origin, known_id, nanoseconds
from iii.modules.observability.ingest.wire import WireLog
from iii.modules.observability.model import SEVERITIES, LogRecord, severity_text

MAX_SEVERITY = 24
#: Protobuf's name of the lowest number of each severity → the number.
_NAMES: dict[int | str | None, int] = {
    f"SEVERITY_NUMBER_{text}": number for text, number in SEVERITIES.items()
}


class Logs:
    """Makes log records.

    :param now_ns: the wall time
    """

    def __init__(self, attributes: Attributes, now_ns: Callable[[], int]) -> None:
        self._attributes = attributes
        self._now_ns = now_ns

    def make(self, item: WireLog, origin: Origin) -> LogRecord:
        """One record.

        :raises ValueError: it is none
        """
        text = item.severity_text or ""
        number = _number(item.severity_number) or SEVERITIES.get(text.upper(), 0)
        return LogRecord(
            timestamp_ns=_moment(item.time_unix_nano),
            observed_ns=_moment(item.observed_time_unix_nano) or self._now_ns(),
            severity_number=number,
            severity_text=text or severity_text(number),
            body=uncoloured(self._attributes.text(item.body)),
            attributes=self._attributes.values(item.attributes),
            trace_id=known_id(item.trace_id),
            span_id=known_id(item.span_id),
            resource=origin.resource,
            service_name=origin.service_name,
            scope_name=origin.scope_name,
            scope_version=origin.scope_version,
        )


def _moment(said: int | str | None) -> int:
    """A time; 0 for one that makes no sense, which is no reason to lose what was logged."""
    try:
        return nanoseconds(said)
    except ValueError:
        return 0


def _number(said: int | str | None) -> int:
    """The number of a severity; 0 for what is none."""
    number = _NAMES.get(said) or int(said or 0)
    return number if 0 <= number <= MAX_SEVERITY else 0

"""The newest log records, found again by time and trace.

A record is kept as the bytes a list consists of, so what it costs is known exactly and a
list is put together, not encoded.  Records stand in the order of their time, whenever
they came: the oldest goes first, when there are too many, when they take too much memory
or when it is older than the retention.  A time in the future counts as the time of
arrival, or a worker with a wrong clock could push out everybody else's records.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort_right
from collections import deque
from collections.abc import Callable, Iterable
from itertools import islice
from operator import attrgetter

import msgspec

from iii.engine.clock import Clock, Timer
from iii.modules.observability.logs.shapes import listed
from iii.modules.observability.model import LogRecord

MAX_STORE_BYTES = 32 * 1024 * 1024
#: One record, as JSON; of a larger one its first part is kept.
MAX_RECORD_BYTES = 256 * 1024
KEPT_BODY_CHARS = 32 * 1024
KEPT_NAME_CHARS = 256
#: What a record takes beside its JSON: objects, texts of ids, its place in the index.
ENTRY_BYTES = 700

SWEEP_S = 60.0
#: Records removed at once; the next ones a turn later.
SWEPT_AT_ONCE = 10_000

#: So many late records are merged at once rather than put in one by one (a sixth of the time
#: for a frame of 500 that comes 10,000 others late).
MERGED_FROM = 50


class Entry(msgspec.Struct, gc=False, eq=False):
    """One record.

    :ivar ns: what it is ordered by
    :ivar severity: its text, in lower case
    :ivar row: what lists show, as JSON
    """

    ns: int
    trace_id: str | None
    span_id: str | None
    number: int
    severity: str
    row: bytes


_ns = attrgetter("ns")


class LogStore:
    """Log records, as many as allowed.

    :param max_count: of records
    :param retention_s: their greatest age; 0: any
    :param drop: told ``logs.cut`` when a record was too large to be kept whole
    :param max_bytes: of memory, in all
    :ivar size: bytes in use
    """

    def __init__(
        self,
        clock: Clock,
        *,
        max_count: int,
        retention_s: float,
        drop: Callable[[str], None],
        max_bytes: int = MAX_STORE_BYTES,
    ) -> None:
        self._clock = clock
        self._max_count = max_count
        self._max_bytes = max_bytes
        self._retention_ns = int(retention_s * 1e9)
        self._drop = drop
        self._entries: deque[Entry] = deque()
        # dicts, not lists: the oldest of a trace is taken out of thousands as fast
        self._by_trace: dict[str, dict[Entry, None]] = {}
        self._sweeping: Timer | None = None
        self.size = 0

    def __len__(self) -> int:
        return len(self._entries)

    def start(self) -> None:
        """Begin to remove what gets too old."""
        if self._retention_ns:
            self._sweeping = self._clock.call_later(SWEEP_S, self._sweep)

    def stop(self) -> None:
        """Remove nothing more."""
        if self._sweeping is not None:
            self._sweeping.cancel()
            self._sweeping = None

    def add(self, records: Iterable[LogRecord]) -> None:
        """Keep ``records``."""
        now = int(self._clock.wall() * 1e9)
        self._insert([self._entry(record, now) for record in records])
        entries = self._entries
        while entries and (len(entries) > self._max_count or self.size > self._max_bytes):
            self._drop_oldest()

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()
        self._by_trace.clear()
        self.size = 0

    def of_trace(self, trace_id: str) -> list[Entry]:
        """The records of a trace, newest first."""
        found = list(reversed(self._by_trace.get(trace_id, {})))
        found.sort(key=_ns, reverse=True)  # of equal times the later one stays first
        return found

    def places(self, start_ns: int, end_ns: int) -> range:
        """The places of a time, both ends included; place 0 is the newest record's."""
        entries = self._entries
        older = bisect_left(entries, start_ns, key=_ns)
        newer = len(entries) - bisect_right(entries, end_ns, key=_ns)
        return range(newer, max(newer, len(entries) - older))

    def at(self, places: range) -> list[Entry]:
        """The records at these places, newest first."""
        return list(islice(reversed(self._entries), places.start, places.stop))

    # Inside ----------------------------------------------------------------------------

    def _entry(self, record: LogRecord, now: int) -> Entry:
        row = msgspec.json.encode(listed(record))
        if len(row) > MAX_RECORD_BYTES:
            self._drop("logs.cut")
            record = _cut(record, len(row))
            row = msgspec.json.encode(listed(record))
        ns = record.timestamp_ns or record.observed_ns
        return Entry(
            ns if 0 < ns <= now else now,
            record.trace_id,
            record.span_id,
            record.severity_number,
            record.severity_text.lower(),
            row,
        )

    def _insert(self, coming: list[Entry]) -> None:
        for entry in coming:
            if entry.trace_id is not None:
                self._by_trace.setdefault(entry.trace_id, {})[entry] = None
            self.size += len(entry.row) + ENTRY_BYTES
        coming.sort(key=_ns)
        entries = self._entries
        if not coming or not entries or entries[-1].ns <= coming[0].ns:
            entries.extend(coming)
        elif len(coming) < MERGED_FROM:
            for entry in coming:
                insort_right(entries, entry, key=_ns)
        else:
            newer = []
            while entries and entries[-1].ns > coming[0].ns:
                newer.append(entries.pop())
            # Of equal times those that were here first stay first.
            entries.extend(sorted(newer[::-1] + coming, key=_ns))

    def _drop_oldest(self) -> None:
        entry = self._entries.popleft()
        self.size -= len(entry.row) + ENTRY_BYTES
        if entry.trace_id is not None:
            of_trace = self._by_trace[entry.trace_id]
            del of_trace[entry]
            if not of_trace:
                del self._by_trace[entry.trace_id]

    def _sweep(self) -> None:
        """Remove what is too old, and come again."""
        oldest_kept = int(self._clock.wall() * 1e9) - self._retention_ns
        for _ in range(SWEPT_AT_ONCE):
            if not self._entries or self._entries[0].ns >= oldest_kept:
                self._sweeping = self._clock.call_later(SWEEP_S, self._sweep)
                return
            self._drop_oldest()
        self._sweeping = self._clock.call_later(0, self._sweep)


def _cut(record: LogRecord, size: int) -> LogRecord:
    """What is kept of a record that is too large."""
    return LogRecord(
        timestamp_ns=record.timestamp_ns,
        observed_ns=record.observed_ns,
        severity_number=record.severity_number,
        severity_text=record.severity_text[:KEPT_NAME_CHARS],
        body=f"{record.body[:KEPT_BODY_CHARS]}…",
        attributes={"iii.log.cut_bytes": size},
        trace_id=None if record.trace_id is None else record.trace_id[:KEPT_NAME_CHARS],
        span_id=None if record.span_id is None else record.span_id[:KEPT_NAME_CHARS],
        service_name=record.service_name[:KEPT_NAME_CHARS],
    )

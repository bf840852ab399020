"""The schedules of the cron suite, and the check of the runs that come."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from benchmarks.raw import text_after

#: the others fire in about half a year
FAR = timedelta(days=183)

JOB = b'"job_id":"'
_SCHEDULED = b'"scheduled_time":"'


def expression(at: datetime) -> str:
    """Fires once a year, in the second of ``at``."""
    return f"{at.second} {at.minute} {at.hour} {at.day} {at.month} *"


def expressions(count: int, firing: int, at: datetime) -> Iterator[str]:
    """All different, except that the last ``firing`` are those of ``at``."""
    for number in range(count - firing):
        yield expression(at + FAR + timedelta(seconds=number))
    for _ in range(firing):
        yield expression(at)


def lateness(came: Sequence[tuple[float, bytes]], firing: int, at: datetime) -> list[float]:
    """How late each run of the second ``at`` was.

    :param came: when by the wall clock, and the message
    :raises RuntimeError: one did not come, came twice, or for another second
    """
    jobs = {text_after(JOB, payload) for _, payload in came}
    seconds = {text_after(_SCHEDULED, payload).decode() for _, payload in came}
    if len(jobs) != firing or len(came) != firing or seconds != {at.isoformat()}:
        raise RuntimeError(
            f"{len(came):,} runs of {len(jobs):,} jobs have come for {sorted(seconds)}, "
            f"not {firing:,} for {at.isoformat()}"
        )
    return [time - at.timestamp() for time, _ in came]

"""What a run is told, and what the ``engine::cron::…`` functions take and give."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from msgspec import Struct

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class CronEvent(Struct, tag_field="trigger", tag="cron"):
    """The payload of a run.  SDKs of every release know these four keys."""

    job_id: str
    scheduled_time: str
    actual_time: str


class RunNow(Struct):
    """The input of ``engine::cron::run``."""

    id: str


class Started(Struct):
    """The result of ``engine::cron::run``; ``started`` False: it is running already."""

    id: str
    started: bool


class RunRow(Struct):
    """A run that is over, or that was not made.

    :ivar scheduled: the tick it was for; the moment it was asked for, by hand
    :ivar status: as ``JobRow.last_status``
    :ivar duration_ms: None: it never began
    """

    scheduled: str
    status: str
    by_hand: bool
    duration_ms: float | None
    error: str | None


class JobRow(Struct):
    """A job in ``engine::cron::list``.

    :ivar id: the trigger's id, the first one when several workers registered it
    :ivar ids: all of them
    :ivar description: the schedule in words
    :ivar next_runs: up to five
    :ivar last_run: when the last run started
    :ivar last_status: how it ended: ``ok``, ``error``, ``timeout`` (of ``max_run_ms``),
        ``stopped`` (its worker went away), ``condition`` (which said no)
    :ivar skipped: runs that were due while another one went on
    :ivar recent_runs: the last twenty that are over, the newest first
    """

    id: str
    ids: list[str]
    function_id: str
    namespace: str
    expression: str
    timezone: str
    description: str
    next_runs: list[str]
    last_run: str | None
    last_status: str | None
    last_error: str | None
    running: bool
    skipped: int
    recent_runs: list[RunRow]


def iso(second: int) -> str:
    """``2026-03-05T02:00:00+00:00``."""
    return (_EPOCH + timedelta(seconds=second)).isoformat()


def iso_micros(seconds: float) -> str:
    """The same with the microseconds."""
    return (_EPOCH + timedelta(seconds=seconds)).isoformat()

"""``iii cron``: the jobs of a running engine, and what an expression means.

``iii cron next`` needs no engine: it asks the schedule itself.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import Any

import click

from iii.cli.client import Target, target_options
from iii.cli.output import pretty, table
from iii.cli.watching import Rows, list_options, show, talk
from iii.client.client import III

COLUMNS = {
    "id": "id",
    "function_id": "function",
    "expression": "expression",
    "description": "meaning",
    "next": "next run",
    "last_run": "last run",
    "state": "state",
}


@click.group()
def cron() -> None:
    """Look into the cron jobs of a running engine, and run them."""


@cron.command("list")
@list_options
@target_options
def list_(as_json: bool, watch: bool, target: Target) -> None:
    """List the jobs with their last and next runs."""

    async def work(client: III) -> None:
        await show("jobs", lambda: _rows(client), _view, as_json=as_json, watch=watch)

    talk(target, work)


@cron.command("run")
@click.argument("id")
@target_options
def run_(id: str, target: Target) -> None:
    """Run the job of trigger ID now; exit code 1 when it is running already."""

    async def work(client: III) -> None:
        answer = await client.invoke("engine::cron::run", {"id": id})
        click.echo(pretty(answer))
        if not answer["started"]:
            sys.exit(1)

    talk(target, work)


@cron.command("next")
@click.argument("expression", metavar="EXPR")
@click.option("--after", metavar="ISO", help="Look from this time on.  [default: now]")
@click.option(
    "-n", "count", type=click.IntRange(1, 1000), default=5, show_default=True, help="How many."
)
@click.option(
    "--timezone", metavar="TZ", default="UTC", show_default=True, help="An IANA time zone."
)
def next_(expression: str, after: str | None, count: int, timezone: str) -> None:
    """Print when EXPR runs next, one ISO 8601 time a line, with the time zone's offset.

    A time given with --after is one of --timezone unless it has an offset.  Exit code 2
    when EXPR is no cron expression.
    """
    # Not at the top: the other commands need no croniter.
    from zoneinfo import ZoneInfo

    from iii.modules.cron.schedule import ScheduleError, parse_schedule

    try:
        schedule = parse_schedule(expression, timezone)
    except ScheduleError as error:
        hint = "--timezone" if error.field == "timezone" else "EXPR"
        raise click.BadParameter(error.message, param_hint=hint) from error
    zone = ZoneInfo(timezone)
    at: datetime | None = _time(after, zone)
    for number in range(count):
        at = None if at is None else schedule.next(at)
        if at is None:
            click.echo("it does not run again" if number == 0 else "no more runs", err=True)
            return
        click.echo(at.astimezone(zone).isoformat())


def _time(text: str | None, zone: Any) -> datetime:
    if text is None:
        return datetime.now(UTC)
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        reason = f"'{text}' is not an ISO 8601 time such as 2026-03-04T10:00:00Z."
        raise click.BadParameter(reason, param_hint="--after") from error
    return time if time.tzinfo is not None else time.replace(tzinfo=zone)


async def _rows(client: III) -> Rows:
    rows: Rows = await client.invoke("engine::cron::list", {})
    return rows


def _view(rows: Rows) -> Any:
    return table(COLUMNS, [_shown(row) for row in rows]) if rows else "no cron jobs"


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    upcoming = row["next_runs"]
    state = "running" if row["running"] else row["last_status"] or "waiting"
    last = row["last_run"]
    return row | {
        "next": upcoming[0] if upcoming else "never again",
        "last_run": last and last[:19] + last[-6:],
        "state": state,
    }

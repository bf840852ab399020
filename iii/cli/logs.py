"""``iii logs``: what was logged, and what is being logged.

Records are shown oldest first.  To follow, the command is a worker with a ``log`` trigger,
registered before it asks for what there is already: so none is lost in between, and those
that come both ways are shown once.
"""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from datetime import datetime
from typing import Any

import click
import msgspec

from iii.cli.client import Target, target_options
from iii.cli.output import pretty
from iii.cli.traces import whole_id
from iii.cli.watching import Rows, talk
from iii.client.client import III
from iii.client.connection import IIIConnectionState
from iii.errors import Code, IIIError

LIMIT = 100
LIST = "engine::logs::list"

LEVELS = {"trace": 1, "debug": 5, "info": 9, "warn": 13, "error": 17, "fatal": 21}
COLOURS = {"TRACE": "magenta", "DEBUG": "cyan", "INFO": "green", "WARN": "yellow"}
#: Records of the engine's own log, and where in its code they are from.
ENGINE_SCOPE = "tracing"
PLACE = ("module_path", "file", "line")
SCOPE_KEYS = ("instrumentation_scope_name", "instrumentation_scope_version")

# A record is one line and tells the terminal nothing, whatever is in it.
_CONTROL = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160))}
_CONTROL |= {9: "\\t", 10: "\\n", 13: "\\r"}


@click.command()
@click.option("-f", "--follow", "--watch", is_flag=True, help="Go on with what is logged next.")
@click.option(
    "--level",
    type=click.Choice(tuple(LEVELS), case_sensitive=False),
    help="Only this severity and those above it.",
)
@click.option("--trace", "trace_id", metavar="ID", help="Only records of this trace.")
@click.option(
    "-n",
    "--limit",
    type=click.IntRange(0),
    default=LIMIT,
    show_default=True,
    help="How many of the newest records.",
)
@click.option(
    "--json", "as_json", is_flag=True, help="Print JSON; with --follow a line per record."
)
@target_options
def logs(
    follow: bool,
    level: str | None,
    trace_id: str | None,
    limit: int,
    as_json: bool,
    target: Target,
) -> None:
    """Show the newest log records of a running engine and its workers."""
    least = 0 if level is None else LEVELS[level.lower()]
    question = {"trace_id": trace_id, "severity_min": least or None, "limit": limit}

    async def work(client: III) -> None:
        if trace_id is not None:
            question["trace_id"] = await _trace_of(client, trace_id)
        if follow:
            await _Follower(client, question, as_json).run()
            return
        rows = await _ask(client, question)
        if as_json:
            click.echo(pretty({"logs": rows}))
            return
        for row in rows:
            click.echo(_line(row))

    talk(target, work)


async def _trace_of(client: III, given: str) -> str:
    """The trace whose id begins with ``given``, or else ``given``: logs may outlive spans."""
    try:
        return await whole_id(client, given)
    except IIIError as error:
        if error.code == Code.INVALID_ARGUMENTS:
            raise
        return given


async def _ask(client: III, question: dict[str, Any]) -> Rows:
    """The newest records, oldest first."""
    answer = await client.invoke(LIST, question)
    rows: Rows = answer["logs"]
    return rows[::-1]


class _Follower:
    """Shows what there is, then what comes."""

    def __init__(self, client: III, question: dict[str, Any], as_json: bool) -> None:
        self._client = client
        self._question = question
        self._as_json = as_json
        #: what came while we asked for the rest; None: we have asked
        self._early: Rows | None = []
        #: what the list had: it may still come as an event
        self._listed: Counter[bytes] = Counter()

    async def run(self) -> None:
        """Until Ctrl-C.

        :raises IIIError: the engine went away, or does not know of logs
        """
        client = self._client
        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def watch(state: IIIConnectionState) -> None:
            if state is not IIIConnectionState.CONNECTED and not ended.done():
                ended.set_exception(IIIError(Code.SHUTDOWN, "the engine went away"))

        stop_watching = client.on_connection_state_change(watch)
        try:
            # Of its own: two that follow must not share the events.
            function_id = f"iii-cli::logs::{uuid.uuid4()}"
            client.register_function(function_id, self._came, "iii logs --follow")
            least = self._question["severity_min"] or 0
            client.register_trigger("log", function_id, {"level": "all", "severity_min": least})
            # Answered after the trigger is there.
            self._list(await _ask(client, self._question))
            click.echo("following", err=True)
            early, self._early = self._early or [], None
            for row in early:
                self._show_new(row)
            await ended
        finally:
            stop_watching()

    async def _came(self, row: dict[str, Any]) -> None:
        wanted = self._question["trace_id"]
        if wanted is not None and row["trace_id"] != wanted:
            return
        if self._early is not None:
            self._early.append(row)
        else:
            self._show_new(row)

    def _list(self, rows: Rows) -> None:
        self._listed.update(map(_identity, rows))
        for row in rows:
            self._show(row)

    def _show_new(self, row: dict[str, Any]) -> None:
        identity = _identity(row)
        if self._listed[identity] > 0:
            self._listed[identity] -= 1
        else:
            self._show(row)

    def _show(self, row: dict[str, Any]) -> None:
        click.echo(msgspec.json.encode(row).decode() if self._as_json else _line(row))


def _identity(row: dict[str, Any]) -> bytes:
    """A record, whether listed (without an absent scope) or told (with null)."""
    kept = {k: v for k, v in row.items() if v is not None or k not in SCOPE_KEYS}
    return msgspec.json.encode(kept, order="sorted")


def _line(row: dict[str, Any]) -> str:
    """One record for a person: when, how bad, who, what, the attributes."""
    severity = row["severity_text"] or "-"
    colour = COLOURS.get(severity.upper(), "red" if row["severity_number"] >= 17 else None)
    parts = [
        click.style(_when(row), dim=True),
        click.style(f"{_shown(severity):<5}", fg=colour),
        click.style(_shown(row["service_name"]), bold=True),
        _shown(row["body"]),
    ]
    attributes = _told_besides(row)
    if attributes:
        text = msgspec.json.encode(attributes).decode()
        parts.append(click.style(_shown(text), dim=True))
    return " ".join(parts)


def _told_besides(row: dict[str, Any]) -> dict[str, Any]:
    """The attributes; of the engine's own lines only what the line leaves out."""
    attributes: dict[str, Any] = row["attributes"]
    if row.get("instrumentation_scope_name") != ENGINE_SCOPE:
        return attributes
    return {
        name: value
        for name, value in attributes.items()
        if name not in PLACE and str(value) not in row["body"]
    }


def _shown(text: str) -> str:
    return text.translate(_CONTROL)


def _when(row: dict[str, Any]) -> str:
    ns = row["timestamp_unix_nano"] or row["observed_timestamp_unix_nano"]
    try:
        when = datetime.fromtimestamp(ns / 1e9).astimezone()
    except (OverflowError, ValueError, OSError):
        return f"{ns} ns"  # no year that there is
    return f"{when:%H:%M:%S}.{when.microsecond // 1000:03}"

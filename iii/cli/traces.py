"""``iii traces``: what calls did and how long it took, as a list and as a tree.

Both are made from the engine's own answers (``engine::traces::list`` and ``…::tree``).
"""

from __future__ import annotations

import re
from typing import Any

import click

from iii.cli.client import Target, target_options
from iii.cli.output import pretty, table
from iii.cli.tracetree import duration_text, plain, time_text, tree
from iii.cli.watching import Rows, console, list_options, show, talk
from iii.client.client import III
from iii.errors import Code, IIIError

LIMIT = 20
#: The beginning of an id is looked for among so many of the newest traces.
NEWEST = 1_000
#: The list shows the beginning of an id, which is enough to ask for the trace.
SHOWN_DIGITS = 12

COLUMNS = {
    "trace_id": "trace",
    "time": "time",
    "name": "root",
    "service_name": "service",
    "duration": "duration",
    "span_count": "spans",
    "status": "status",
}
_ID = re.compile("[0-9a-fA-F]{4,32}")


@click.command()
@click.argument("trace_id", required=False)
@click.option(
    "-n",
    "--limit",
    type=click.IntRange(1, NEWEST),
    default=LIMIT,
    show_default=True,
    help="So many of the newest.",
)
@click.option("--service", help="Only of services with this in their name.")
@click.option("--name", help="Only roots with this in their name.")
@click.option("--status", type=click.Choice(("ok", "error", "unset")), help="Only these.")
@click.option("--min-duration", type=click.FloatRange(0), metavar="MS", help="Only longer ones.")
@click.option("--include-internal", is_flag=True, help="Also calls of the engine's own functions.")
@click.option("--attributes", is_flag=True, help="With TRACE_ID: show the spans' attributes.")
@list_options
@target_options
def traces(
    trace_id: str | None,
    limit: int,
    service: str | None,
    name: str | None,
    status: str | None,
    min_duration: float | None,
    include_internal: bool,
    attributes: bool,
    as_json: bool,
    watch: bool,
    target: Target,
) -> None:
    """List the newest traces, or show the spans of TRACE_ID as a tree.

    The first digits of an id, at least four, are enough when no other of the newest
    1,000 traces begins with them.
    """
    filters = {
        "service_name": service,
        "name": name,
        "status": status,
        "min_duration_ms": min_duration,
    }
    asked: dict[str, Any] = {key: value for key, value in filters.items() if value is not None}
    if trace_id is not None:
        if asked:
            raise click.UsageError("Filters are for the list; leave them or TRACE_ID out.")
        if not _ID.fullmatch(trace_id):
            reason = f"'{trace_id}' is not a trace id: 4 to 32 hexadecimal digits."
            raise click.BadParameter(reason, param_hint="TRACE_ID")
        _tree(trace_id.lower(), attributes, as_json, watch, target)
        return
    if attributes:
        raise click.UsageError("--attributes needs a TRACE_ID.")
    asked |= {"limit": limit, "include_internal": include_internal}

    async def work(client: III) -> None:
        noted: set[str] = set()

        async def ask() -> Rows:
            answer = await _newest(client, asked | {"count_spans": True})
            note = _note_on(answer.get("storage"))
            if note is not None and note not in noted:
                click.echo(note, err=True)
                noted.add(note)
            return list(answer["spans"])

        await show("traces", ask, _list, as_json=as_json, watch=watch)

    talk(target, work)


def _tree(given: str, attributes: bool, as_json: bool, watch: bool, target: Target) -> None:
    async def work(client: III) -> None:
        trace_id = await whole_id(client, given)

        async def ask() -> Rows:
            roots = await _roots(client, trace_id)
            if not roots:
                raise IIIError(Code.NOT_FOUND, f"no trace {trace_id}")
            return roots

        if as_json and not watch:
            click.echo(pretty({"trace_id": trace_id, "roots": await ask()}))
            return
        await show(
            "roots",
            ask,
            lambda roots: tree(trace_id, roots, console(), attributes=attributes),
            as_json=as_json,
            watch=watch,
        )

    talk(target, work)


# Asking ---------------------------------------------------------------------------------


async def _newest(client: III, asked: dict[str, Any]) -> dict[str, Any]:
    newest = {"sort_by": "start_time", "sort_order": "desc"}
    answer: dict[str, Any] = await client.invoke("engine::traces::list", asked | newest)
    return answer


async def _roots(client: III, trace_id: str) -> Rows:
    answer = await client.invoke("engine::traces::tree", {"trace_id": trace_id})
    roots: Rows = answer["roots"]
    return roots


async def whole_id(client: III, given: str) -> str:
    """The one trace whose id begins with ``given``.

    :raises IIIError: there is none, or more than one
    """
    if len(given) == 32:
        return given
    answer = await _newest(client, {"limit": NEWEST, "include_internal": True})
    found = sorted(
        {row["trace_id"] for row in answer["spans"] if row["trace_id"].startswith(given)}
    )
    if not found:
        text = f"no trace begins with '{given}' among the newest {NEWEST:,}; give all 32 digits"
        raise IIIError(Code.NOT_FOUND, text)
    if len(found) > 1:
        some = ", ".join(found[:3]) + (", …" if len(found) > 3 else "")
        text = f"{len(found)} traces begin with '{given}': {some}; give more digits"
        raise IIIError(Code.INVALID_ARGUMENTS, text)
    return str(found[0])


# What is shown --------------------------------------------------------------------------


def _note_on(storage: dict[str, Any] | None) -> str | None:
    """What there is to know about traces on disk before the list is believed."""
    if storage is None or storage["archive"] == "ready":
        return None
    return f"only what is in memory: {storage['last_error']}"


def _list(rows: Rows) -> Any:
    return table(COLUMNS, [_shown(row) for row in rows]) if rows else "no traces"


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    return {
        **row,
        "trace_id": row["trace_id"][:SHOWN_DIGITS],
        "time": time_text(row["start_time_unix_nano"], "seconds"),
        "name": plain(row["name"]),
        "service_name": plain(row["service_name"]),
        "duration": duration_text(row),
        "status": "" if row["status"] == "unset" else row["status"],
    }

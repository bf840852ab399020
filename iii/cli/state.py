"""``iii state``: look into a running engine's state, change it, take it elsewhere."""

from __future__ import annotations

import sys
from typing import Any, BinaryIO

import click
import msgspec

from iii.cli.client import Target, target_options
from iii.cli.output import fail, pretty, table
from iii.cli.transfer import complete_file, export_values, import_values, pages
from iii.cli.watching import Rows, list_options, show, talk
from iii.client.client import III
from iii.errors import Code, IIIError

DEFAULT_ROWS = 1000
CELL_CHARS = 200


@click.group()
def state() -> None:
    """Look into the state of a running engine, and change it."""


@state.command("list")
@click.argument("scope", required=False)
@list_options
@click.option(
    "--limit",
    type=click.IntRange(1),
    default=DEFAULT_ROWS,
    show_default=True,
    help="At most so many entries.",
)
@target_options
def list_(
    scope: str | None,
    as_json: bool,
    watch: bool,
    limit: int,
    target: Target,
) -> None:
    """List the scopes, or keys and values of SCOPE."""

    async def work(client: III) -> None:
        more = 0

        async def ask() -> Rows:
            nonlocal more
            rows, more = await _rows(client, scope, limit)
            return rows

        await show(_what(scope), ask, lambda rows: _view(scope, rows), as_json=as_json, watch=watch)
        if more:
            click.echo(f"… and {more} more (--limit)", err=True)

    talk(target, work)


@state.command()
@click.argument("scope")
@click.argument("key")
@target_options
def get(scope: str, key: str, target: Target) -> None:
    """Print the value of KEY as JSON; exit code 1 when there is none."""

    async def work(client: III) -> None:
        value = await client.invoke_raw("state::get", {"scope": scope, "key": key})
        if value is None:
            raise IIIError(Code.NOT_FOUND, f"no value under '{key}' in scope '{scope}'")
        click.echo(pretty(value))

    talk(target, work)


@state.command("set", context_settings={"ignore_unknown_options": True})
@click.argument("scope")
@click.argument("key")
@click.argument("value", metavar="JSON")
@target_options
def set_(scope: str, key: str, value: str, target: Target) -> None:
    """Keep JSON under KEY; print the value before and after."""

    async def work(client: III) -> None:
        data = {"scope": scope, "key": key, "value": msgspec.Raw(value.encode())}
        click.echo(pretty(await client.invoke("state::set", data)))

    try:
        msgspec.json.decode(value)
    except msgspec.DecodeError as error:
        fail(IIIError(Code.INVALID_JSON, f"Invalid JSON value: {error}"))
    talk(target, work)


@state.command()
@click.argument("scope")
@click.argument("key")
@target_options
def delete(scope: str, key: str, target: Target) -> None:
    """Take the value of KEY out and print it; nothing when there was none."""

    async def work(client: III) -> None:
        value = await client.invoke("state::delete", {"scope": scope, "key": key})
        if value is not None:
            click.echo(pretty(value))

    talk(target, work)


@state.command("export")
@click.option("--scope", help="Only this scope.  [default: all]")
@click.argument("file", type=click.Path(dir_okay=False, allow_dash=True), default="-")
@target_options
def export(scope: str | None, file: str, target: Target) -> None:
    """Write every value to FILE (default: stdout) as JSON Lines.

    Each line is {"scope": …, "key": …, "value": …}.  Values that are written meanwhile
    may or may not be in it.
    """

    async def work(client: III) -> None:
        with complete_file(file) as target:
            count = await export_values(client, scope, target)
        click.echo(f"exported {count} value(s)", err=True)

    talk(target, work)


@state.command("import")
@click.argument("file", type=click.File("rb"))
@target_options
def import_(file: BinaryIO, target: Target) -> None:
    """Keep the values of FILE (`-`: stdin), as `iii state export` writes them.

    A line that can't be kept is told and left out; the exit code is 1 then.
    """

    async def work(client: III) -> None:
        kept, refused = await import_values(client, file)
        click.echo(f"imported {kept} value(s), {refused} line(s) left out")
        if refused:
            sys.exit(1)

    talk(target, work)


# What is shown --------------------------------------------------------------------------


async def _rows(client: III, scope: str | None, limit: int) -> tuple[Rows, int]:
    """Scopes or entries, and how many there are beyond ``limit``."""
    if scope is None:
        groups = (await client.invoke("state::list_groups", {}))["groups"]
        return [{"scope": group} for group in groups[:limit]], max(0, len(groups) - limit)
    rows: Rows = []
    async for page in pages(client, scope):
        rows += ({"key": key, "value": value} for key, value in page.entries)
        if len(rows) >= limit:
            return rows[:limit], max(0, page.total - limit)
    return rows, 0


def _what(scope: str | None) -> str:
    return "scopes" if scope is None else "entries"


def _view(scope: str | None, rows: Rows) -> Any:
    if not rows:
        return f"no {_what(scope)}"
    if scope is None:
        return table({"scope": "scope"}, rows)
    shown = [{"key": row["key"], "value": _short(row["value"])} for row in rows]
    return table({"key": "key", "value": "value"}, shown)


def _short(value: Any) -> str:
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= CELL_CHARS else f"{text[: CELL_CHARS - 1]}…"

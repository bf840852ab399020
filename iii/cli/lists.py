"""``iii functions``, ``iii workers``, ``iii triggers``: what a running engine has.

One table describes the three commands: which function answers, which key holds
the rows, which columns a person sees.  ``--watch`` asks again every second.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import click

from iii.cli.client import Target, connected, run, target_options
from iii.cli.output import fail, pretty, table
from iii.client.client import III
from iii.errors import IIIError

WATCH_S = 1.0
PIPE_WIDTH = 240


@dataclass(frozen=True, slots=True)
class Listing:
    """One list of the engine.

    :ivar function: answers ``{key: [rows]}``
    :ivar columns: key in a row → heading
    """

    name: str
    help: str
    function: str
    key: str
    columns: Mapping[str, str]
    internal: bool = True


LISTINGS = (
    Listing(
        "functions",
        "List the registered functions.",
        "engine::functions::list",
        "functions",
        {"function_id": "function", "worker_name": "worker", "description": "description"},
    ),
    Listing(
        "workers",
        "List the connected workers.",
        "engine::workers::list",
        "workers",
        {
            "name": "name",
            "id": "id",
            "runtime": "runtime",
            "version": "version",
            "ip_address": "address",
            "function_count": "functions",
            "active_invocations": "active calls",
        },
        internal=False,
    ),
    Listing(
        "triggers",
        "List the registered triggers.",
        "engine::registered-triggers::list",
        "registered_triggers",
        {
            "id": "id",
            "trigger_type": "type",
            "function_id": "function",
            "worker_name": "worker",
            "config_summary": "configuration",
        },
    ),
)


def commands() -> list[click.Command]:
    """A command for each list."""
    return [_command(listing) for listing in LISTINGS]


def _command(listing: Listing) -> click.Command:
    def command(
        address: str | None,
        port: int | None,
        as_json: bool,
        watch: bool,
        include_internal: bool = False,
    ) -> None:
        try:
            run(_show(listing, Target(address, port), as_json, watch, include_internal))
        except IIIError as error:
            fail(error)

    decorated = target_options(command)
    decorated = click.option("--watch", is_flag=True, help="Ask again every second.")(decorated)
    decorated = click.option(
        "--json", "as_json", is_flag=True, help="Print JSON; with --watch one line per change."
    )(decorated)
    if listing.internal:
        decorated = click.option("--include-internal", is_flag=True, help="Also the engine's own.")(
            decorated
        )
    return click.command(name=listing.name, help=listing.help)(decorated)


async def _show(
    listing: Listing, target: Target, as_json: bool, watch: bool, include_internal: bool
) -> None:
    async with connected(target) as client:
        if watch:
            await _watch(client, listing, as_json, include_internal)
        else:
            rows = await _rows(client, listing, include_internal)
            if as_json:
                click.echo(pretty({listing.key: rows}))
            else:
                _console().print(_view(listing, rows))


async def _watch(client: III, listing: Listing, as_json: bool, include_internal: bool) -> None:
    import msgspec
    from rich.live import Live

    if as_json:
        last = None
        while True:
            rows = await _rows(client, listing, include_internal)
            if rows != last:
                click.echo(msgspec.json.encode({listing.key: rows}).decode())
            last = rows
            await asyncio.sleep(WATCH_S)
    with Live(console=_console(), auto_refresh=False, screen=False) as live:
        while True:
            rows = await _rows(client, listing, include_internal)
            live.update(_view(listing, rows), refresh=True)
            await asyncio.sleep(WATCH_S)


async def _rows(client: III, listing: Listing, include_internal: bool) -> list[dict[str, Any]]:
    question = {"include_internal": True} if include_internal else {}
    # The current form of the list, whatever version this client says it is.
    answer = await client.invoke(listing.function, question | {"view": "discovery"})
    rows: list[dict[str, Any]] = answer[listing.key]
    return [row for row in rows if row.get("id") != client.worker_id]


def _view(listing: Listing, rows: list[dict[str, Any]]) -> Any:
    return table(listing.columns, rows) if rows else f"no {listing.name}"


def _console() -> Any:
    from rich.console import Console

    # In a pipe there is no terminal to fit into, and a folded id is of no use.
    return Console(highlight=False, width=None if sys.stdout.isatty() else PIPE_WIDTH)

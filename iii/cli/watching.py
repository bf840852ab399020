"""Showing rows of a running engine: once, or again and again."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import click
import msgspec

from iii.cli.client import Target, connected, run
from iii.cli.output import fail, pretty
from iii.client.client import III
from iii.errors import IIIError

Command = TypeVar("Command", bound=Callable[..., Any])
Rows = list[dict[str, Any]]

WATCH_S = 1.0
#: In a pipe there is no terminal to fit into, and a folded id is of no use.
PIPE_WIDTH = 240


def list_options(command: Command) -> Command:
    """``--json`` and ``--watch``."""
    as_json = click.option(
        "--json", "as_json", is_flag=True, help="Print JSON; with --watch a line per change."
    )
    watch = click.option("--watch", is_flag=True, help="Ask again every second.")
    return as_json(watch(command))


def talk(target: Target, work: Callable[[III], Coroutine[Any, Any, None]]) -> None:
    """Run ``work`` with a connected client; tell its error and exit with 1."""

    async def connect_and_work() -> None:
        async with connected(target) as client:
            await work(client)

    try:
        run(connect_and_work())
    except (IIIError, OSError) as error:
        fail(error)


async def show(
    what: str,
    ask: Callable[[], Awaitable[Rows]],
    view: Callable[[Rows], Any],
    *,
    as_json: bool,
    watch: bool,
) -> None:
    """Print rows.

    :param what: the key of the rows in JSON
    :param view: what a person sees
    :param watch: go on until Ctrl-C
    """
    if watch:
        await (_watch_lines(what, ask) if as_json else _watch(ask, view))
        return
    rows = await ask()
    if as_json:
        click.echo(pretty({what: rows}))
    else:
        console().print(view(rows))


async def _watch(ask: Callable[[], Awaitable[Rows]], view: Callable[[Rows], Any]) -> None:
    from rich.live import Live

    with Live(console=console(), auto_refresh=False, screen=False) as live:
        while True:
            live.update(view(await ask()), refresh=True)
            await asyncio.sleep(WATCH_S)


async def _watch_lines(what: str, ask: Callable[[], Awaitable[Rows]]) -> None:
    last = None
    while True:
        rows = await ask()
        if rows != last:
            click.echo(msgspec.json.encode({what: rows}).decode())
        last = rows
        await asyncio.sleep(WATCH_S)


def console() -> Any:
    """Where tables go."""
    from rich.console import Console

    return Console(highlight=False, width=None if sys.stdout.isatty() else PIPE_WIDTH)

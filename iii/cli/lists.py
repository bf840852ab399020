"""``iii functions``, ``iii workers``, ``iii triggers``: what a running engine has.

One table describes the three commands: which function answers, which key holds
the rows, which columns a person sees.  ``--watch`` asks again every second.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import click

from iii.cli.client import Target, target_options
from iii.cli.output import table
from iii.cli.watching import Rows, list_options, show, talk
from iii.client.client import III


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
        target: Target,
        as_json: bool,
        watch: bool,
        include_internal: bool = False,
    ) -> None:
        async def work(client: III) -> None:
            await show(
                listing.key,
                lambda: _rows(client, listing, include_internal),
                lambda rows: _view(listing, rows),
                as_json=as_json,
                watch=watch,
            )

        talk(target, work)

    decorated = list_options(target_options(command))
    if listing.internal:
        decorated = click.option("--include-internal", is_flag=True, help="Also the engine's own.")(
            decorated
        )
    return click.command(name=listing.name, help=listing.help)(decorated)


async def _rows(client: III, listing: Listing, include_internal: bool) -> Rows:
    question = {"include_internal": True} if include_internal else {}
    # The current form of the list, whatever version this client says it is.
    answer = await client.invoke(listing.function, question | {"view": "discovery"})
    rows: Rows = answer[listing.key]
    return [row for row in rows if row.get("id") != client.worker_id]


def _view(listing: Listing, rows: Rows) -> Any:
    return table(listing.columns, rows) if rows else f"no {listing.name}"

"""``iii streams``: follow what happens on a stream of a running engine.

The command is a worker for as long as it runs: it registers a function under an id
of its own and a ``stream`` trigger for it, so it sees what every other worker would.
"""

from __future__ import annotations

import asyncio
import uuid
from datetime import datetime
from typing import Any

import click
import msgspec

from iii.cli.client import Target, connected, run, target_options
from iii.cli.output import fail
from iii.client.connection import IIIConnectionState
from iii.errors import Code, IIIError


@click.group()
def streams() -> None:
    """Follow the streams of a running engine."""


@streams.command()
@click.argument("name")
@click.argument("group", required=False)
@click.option("--item", metavar="ID", help="Only this item.")
@click.option("--json", "as_json", is_flag=True, help="Print each event as a line of JSON.")
@click.option("-n", "count", type=click.IntRange(1), help="End after so many events.")
@target_options
def tail(
    name: str,
    group: str | None,
    item: str | None,
    as_json: bool,
    count: int | None,
    target: Target,
) -> None:
    """Print what happens on stream NAME, until Ctrl-C."""
    config = {"stream_name": name, "group_id": group, "item_id": item}
    wanted = {key: value for key, value in config.items() if value is not None}
    try:
        run(_follow(target, wanted, as_json, count))
    except IIIError as error:
        fail(error)


async def _follow(target: Target, config: dict[str, str], as_json: bool, count: int | None) -> None:
    async with connected(target) as client:
        # The trigger alone would wait in silence for a stream module to appear.
        name = {"stream_name": config["stream_name"]}
        await client.invoke("stream::list_groups", name)
        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        left = count

        async def show(event: Any) -> None:
            nonlocal left
            if ended.done():
                return
            click.echo(msgspec.json.encode(event).decode() if as_json else _line(event))
            if left is not None:
                left -= 1
                if left == 0:
                    ended.set_result(None)

        def watch(state: IIIConnectionState) -> None:
            if state is not IIIConnectionState.CONNECTED and not ended.done():
                ended.set_exception(IIIError(Code.SHUTDOWN, "the engine went away"))

        # Of its own: two that follow the same stream must not share the events.
        function_id = f"iii-cli::tail::{uuid.uuid4()}"
        client.register_function(function_id, show, "iii streams tail")
        client.register_trigger("stream", function_id, config)
        # Answered after everything before it has been done.
        await client.invoke("stream::list_groups", name)
        click.echo(f"following {' / '.join(config.values())}", err=True)
        stop_watching = client.on_connection_state_change(watch)
        try:
            await ended
        finally:
            stop_watching()


def _line(message: dict[str, Any]) -> str:
    """One event for a person: when, what, where, the data."""
    when = datetime.fromtimestamp(message["timestamp"] / 1000).astimezone()
    event = message["event"]
    kind = event["type"]
    if kind == "event":
        # A custom event has its own name and data one level down.
        event = event["event"]
        kind = event["type"]
    where = message["groupId"] if message["id"] is None else f"{message['groupId']}/{message['id']}"
    data = msgspec.json.encode(event.get("data")).decode()
    return f"{when:%H:%M:%S}.{when.microsecond // 1000:03} {kind:<6} {where} {data}"

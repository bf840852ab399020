"""``iii queues``: look into the queues of a running engine, and mend them.

A QUEUE is a topic or a named queue, by the name programs use.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import Any

import click
import msgspec

from iii.cli.client import Target, target_options
from iii.cli.output import fail, pretty, table
from iii.cli.watching import Rows, list_options, show, talk
from iii.client.client import III
from iii.errors import Code, IIIError

PAGE = 100
CELL_CHARS = 120

QUEUES = {
    "name": "queue",
    "kind": "kind",
    "waiting": "waiting",
    "delayed": "delayed",
    "active": "running",
    "dlq_depth": "dead",
    "consumer_count": "consumers",
    "state": "state",
}
MESSAGES = {
    "id": "id",
    "state": "state",
    "attempts": "attempts",
    "due": "due",
    "function_id": "function",
    "payload": "payload",
}
DEAD = {
    "id": "id",
    "failed": "died",
    "retries": "attempts",
    "code": "code",
    "reason": "reason",
    "payload": "payload",
}


@click.group(invoke_without_command=True)
@click.pass_context
def queues(context: click.Context) -> None:
    """Look into the queues of a running engine, and mend them.

    Without a command the queues are listed.
    """
    if context.invoked_subcommand is None:
        context.invoke(list_)


@queues.command("list")
@list_options
@target_options
def list_(as_json: bool, watch: bool, target: Target) -> None:
    """List topics and named queues with what is in them."""

    async def work(client: III) -> None:
        await show(
            "queues",
            lambda: _queues(client),
            lambda rows: table(QUEUES, rows) if rows else "no queues",
            as_json=as_json,
            watch=watch,
        )

    talk(target, work)


@queues.command()
@click.argument("queue")
@click.option("--state", type=click.Choice(("waiting", "delayed", "active")), help="Only these.")
@click.option("-n", "limit", type=click.IntRange(1, 1000), default=PAGE, show_default=True)
@list_options
@target_options
def peek(
    queue: str,
    state: str | None,
    limit: int,
    as_json: bool,
    watch: bool,
    target: Target,
) -> None:
    """Show messages of QUEUE, next ones first, without taking them."""

    async def work(client: III) -> None:
        async def ask() -> Rows:
            asked = {"topic": queue, "limit": limit} | ({"state": state} if state else {})
            rows: Rows = await client.invoke("engine::queue::messages", asked)
            return rows

        await show("messages", ask, _messages, as_json=as_json, watch=watch)

    talk(target, work)


@queues.command(context_settings={"ignore_unknown_options": True})
@click.argument("queue")
@click.argument("data", metavar="JSON")
@click.option("--function", "function_id", help="QUEUE is a named queue: call this function.")
@click.option("--delay-ms", type=click.IntRange(0), help="Not before so many milliseconds.")
@click.option("--priority", type=click.IntRange(0, 9), help="9 goes first.  [default: 4]")
@click.option("--key", help="Idempotency key: a second message with it is not kept.")
@target_options
def publish(
    queue: str,
    data: str,
    function_id: str | None,
    delay_ms: int | None,
    priority: int | None,
    key: str | None,
    target: Target,
) -> None:
    """Put JSON on the topic QUEUE, or with --function on a named queue."""
    more = {"delay_ms": delay_ms, "priority": priority, "idempotency_key": key}
    message: dict[str, Any] = {"data": _json(data), "receipt": True}
    message |= {name: value for name, value in more.items() if value is not None}

    async def work(client: III) -> None:
        if function_id is None:
            answer = await client.invoke("enqueue", {"topic": queue, **message})
        else:
            target = {"queue": queue, "function_id": function_id}
            answer = await client.invoke("engine::queue::enqueue", target | message)
        click.echo(pretty(answer))

    talk(target, work)


@queues.command()
@click.argument("queue")
@target_options
def pause(queue: str, target: Target) -> None:
    """Take nothing from QUEUE until `resume`, also after a restart."""
    _tell(target, "engine::queue::pause", {"topic": queue})


@queues.command()
@click.argument("queue")
@target_options
def resume(queue: str, target: Target) -> None:
    """Go on with QUEUE."""
    _tell(target, "engine::queue::resume", {"topic": queue})


@queues.command()
@click.argument("queue")
@click.option(
    "--state", type=click.Choice(("waiting", "delayed", "dead")), help="Only these messages."
)
@click.option("--yes", is_flag=True, help="Don't ask.")
@target_options
def purge(queue: str, state: str | None, yes: bool, target: Target) -> None:
    """Throw the messages of QUEUE away for good."""
    what = f"{state} messages" if state else "messages that wait or are delayed"
    if not yes:
        click.confirm(f"Throw away all {what} of '{queue}'?", abort=True, err=True)
    asked = {"topic": queue} | ({"state": state} if state else {})
    _tell(target, "engine::queue::purge", asked)


@queues.command()
@click.argument("queue", required=False)
@click.option("-n", "limit", type=click.IntRange(1, 1000), default=PAGE, show_default=True)
@list_options
@target_options
def dlq(
    queue: str | None,
    limit: int,
    as_json: bool,
    watch: bool,
    target: Target,
) -> None:
    """List the dead letters of QUEUE, newest first; without QUEUE how many each has."""

    async def work(client: III) -> None:
        async def ask() -> Rows:
            if queue is None:
                counted: Rows = await client.invoke("engine::queue::dlq_topics", {})
                return [row for row in counted if row["message_count"]]
            asked = {"topic": queue, "limit": limit}
            rows: Rows = await client.invoke("engine::queue::dlq_messages", asked)
            return rows

        view = _dead_counts if queue is None else _dead
        await show("dlq", ask, view, as_json=as_json, watch=watch)

    talk(target, work)


@queues.command()
@click.argument("queue")
@click.argument("ids", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Every dead letter.")
@click.option("--payload", metavar="JSON", help="With this payload instead of the old one.")
@target_options
def redrive(
    queue: str,
    ids: tuple[str, ...],
    everything: bool,
    payload: str | None,
    target: Target,
) -> None:
    """Let dead letters of QUEUE wait again, by IDS or all of them."""
    _bulk(target, queue, "redrive", ids, everything, payload)


@queues.command()
@click.argument("queue")
@click.argument("ids", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Every dead letter.")
@target_options
def discard(queue: str, ids: tuple[str, ...], everything: bool, target: Target) -> None:
    """Throw dead letters of QUEUE away, by IDS or all of them."""
    _bulk(target, queue, "discard", ids, everything, None)


def _bulk(
    target: Target,
    queue: str,
    action: str,
    ids: tuple[str, ...],
    everything: bool,
    payload: str | None,
) -> None:
    """Redrive or discard; exit code 1 when an id was not found."""
    if everything == bool(ids):
        raise click.UsageError("Name the ids, or give --all.")
    asked: dict[str, Any] = {"topic": queue, "action": action}
    if ids:
        asked["ids"] = list(ids)
    if payload is not None:
        asked["payload"] = _json(payload)

    async def work(client: III) -> None:
        answer = await client.invoke("engine::queue::dlq_bulk", asked)
        click.echo(pretty(answer))
        if answer["missing"]:
            sys.exit(1)

    talk(target, work)


def _tell(target: Target, function: str, asked: dict[str, Any]) -> None:
    async def work(client: III) -> None:
        click.echo(pretty(await client.invoke(function, asked)))

    talk(target, work)


def _json(text: str) -> msgspec.Raw:
    try:
        msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        fail(IIIError(Code.INVALID_JSON, f"Invalid JSON: {error}"))
    return msgspec.Raw(text.encode())


# What is shown --------------------------------------------------------------------------


async def _queues(client: III) -> Rows:
    topics: Rows = await client.invoke("engine::queue::list_topics", {})
    rows = []
    for row in topics:
        stats = await client.invoke("engine::queue::topic_stats", {"topic": row["name"]})
        kind = "named" if row["broker_type"] == "function_queue" else "topic"
        rows.append({"name": row["name"], "kind": kind, **stats, "state": _state(stats)})
    return rows


def _state(stats: dict[str, Any]) -> str:
    if stats["paused"]:
        return "paused"
    if stats["waiting_for_worker"]:
        return "waiting for a worker"
    return "running" if stats["active"] else ""


def _messages(rows: Rows) -> Any:
    shown = [
        row | {"payload": _short(row["payload"]), "due": _time(row.get("due_at_ms"))}
        for row in rows
    ]
    return table(MESSAGES, shown) if rows else "no messages"


def _dead(rows: Rows) -> Any:
    shown = [
        row | {"payload": _short(row["payload"]), "failed": _time(row["failed_at"] * 1000)}
        for row in rows
    ]
    return table(DEAD, shown) if rows else "no dead letters"


def _dead_counts(rows: Rows) -> Any:
    columns = {"topic": "queue", "message_count": "dead letters"}
    return table(columns, rows) if rows else "no dead letters"


def _time(ms: int | None) -> str | None:
    if not ms:
        return None
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="seconds")


def _short(value: Any) -> str:
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= CELL_CHARS else f"{text[: CELL_CHARS - 1]}…"

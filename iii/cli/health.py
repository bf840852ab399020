"""``iii health``: does the engine answer, and is it well?

For health checks of containers and supervisors: exit code 0 when the engine answers that it is
healthy, 1 when it does not.  It needs what a worker needs: the address, and the token if one is
asked for.
"""

from __future__ import annotations

import sys
from typing import Any

import click

from iii.cli.client import Target, target_options
from iii.cli.output import pretty, table
from iii.cli.watching import console, talk
from iii.client.client import III

HEALTHY = "healthy"
#: Less than the ten seconds after which a container runtime usually gives up.
ANSWER_S = 4.0
_COLUMNS = {"component": "component", "status": "status", "details": "details"}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@target_options
def health(as_json: bool, target: Target) -> None:
    """Ask the engine how it is; exit code 0 if it is healthy."""
    answers: list[dict[str, Any]] = []

    async def work(client: III) -> None:
        answers.append(await client.invoke("engine::health::check", {}, ANSWER_S))

    talk(target, work)
    [answer] = answers
    if as_json:
        click.echo(pretty(answer))
    else:
        click.echo(f"{answer['status']}, version {answer['version']}")
        rows = [
            {"component": name, "status": part["status"], "details": part.get("details")}
            for name, part in answer["components"].items()
        ]
        console().print(table(_COLUMNS, rows))
    if answer["status"] != HEALTHY:
        sys.exit(1)

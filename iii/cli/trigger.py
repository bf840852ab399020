"""``iii trigger``: call one function.

Two generations of syntax: ``--function-id F --payload JSON`` and
``F key=value … --json JSON``.  Values are JSON where they can be read as such,
strings otherwise, and win over the keys of ``--json``.
"""

from __future__ import annotations

import sys
from typing import Any, NoReturn

import click
import msgspec

from iii.cli.client import Target, connected, run, target_options
from iii.cli.output import fail, pretty
from iii.client.errors import IIITimeoutError
from iii.errors import Code, IIIError, InvocationError


@click.command()
@click.argument("function", required=False)
@click.argument("pairs", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--function-id", help="The function, as an option.")
@click.option("--payload", "--json", "payload", help="The input as JSON.  [default: {}]")
@click.option("-n", "--namespace", help="Namespace of the function.")
@click.option(
    "--timeout-ms",
    type=click.IntRange(1),
    default=30_000,
    show_default=True,
    help="How long to wait for the answer.",
)
@target_options
def trigger(
    function: str | None,
    pairs: tuple[str, ...],
    function_id: str | None,
    payload: str | None,
    namespace: str | None,
    timeout_ms: int,
    target: Target,
) -> None:
    """Call FUNCTION and print its result as JSON."""
    if function_id is not None and function is not None:
        # With --function-id a first argument can only be one more pair.
        pairs, function = (function, *pairs), None
    name = function_id or function
    if name is None:
        raise click.UsageError("Name a function: `iii trigger FUNCTION` or --function-id.")
    try:
        data = _input(payload, pairs)
        result = run(_call(target, name, data, namespace, timeout_ms))
    except IIITimeoutError as error:
        _refused(Code.TIMEOUT, error.message)
    except InvocationError as error:
        _refused(error.code, error.message, error.stacktrace)
    except IIIError as error:
        if error.code == Code.AUTH_ERROR:
            _refused(error.code, error.message)
        fail(error)
    if result is not None:
        click.echo(pretty(result))


async def _call(
    target: Target, function_id: str, data: Any, namespace: str | None, timeout_ms: int
) -> Any:
    async with connected(target) as client:
        return await client.invoke(function_id, data, timeout_ms / 1000, namespace=namespace)


def _input(payload: str | None, pairs: tuple[str, ...]) -> Any:
    """The input the options and pairs describe.

    :raises IIIError: the payload is not JSON
    """
    try:
        data = msgspec.json.decode(payload) if payload is not None else {}
    except msgspec.DecodeError as error:
        raise IIIError(Code.INVALID_JSON, f"Invalid JSON payload: {error}") from error
    if not pairs:
        return data
    if not isinstance(data, dict):
        raise click.UsageError("KEY=VALUE needs --json to be an object.")
    return data | dict(_pair(pair) for pair in pairs)


def _pair(text: str) -> tuple[str, Any]:
    key, separator, value = text.partition("=")
    if not separator or not key:
        raise click.UsageError(f"'{text}' is not KEY=VALUE.")
    try:
        return key, msgspec.json.decode(value)
    except msgspec.DecodeError:
        return key, value


def _refused(code: str, message: str, stacktrace: str | None = None) -> NoReturn:
    """The error as the engine sent it: scripts read it from stderr."""
    body = {"code": code, "message": message, "stacktrace": stacktrace}
    click.echo(f"Error: {pretty(body)}", err=True)
    sys.exit(1)

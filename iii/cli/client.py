"""How the subcommands reach a running engine.

Each makes one connection with the ordinary Python client and one attempt to open
it: a command that waits for an engine to appear would look hung.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlsplit

import click

from iii.client.client import III
from iii.client.options import InitOptions, ReconnectionConfig
from iii.errors import Code, IIIError

T = TypeVar("T")
Command = TypeVar("Command", bound=Callable[..., Any])

CONNECT_S = 10.0
DEFAULT_PORT = 49134


@dataclass(frozen=True, slots=True)
class Target:
    """The engine a command talks to."""

    address: str | None
    port: int | None

    @property
    def url(self) -> str:
        """``ws://host:port``; without options ``III_URL``, else localhost.

        :raises click.UsageError: two ports that differ
        """
        if self.address is None and self.port is None and os.environ.get("III_URL"):
            return os.environ["III_URL"]
        address = self.address or "localhost"
        if "://" in address:
            if self.port is not None and urlsplit(address).port not in (None, self.port):
                raise click.UsageError("--address has a port already; leave --port out.")
            given = urlsplit(address).port is not None or self.port is None
            return address if given else f"{address.rstrip('/')}:{self.port}"
        host = f"[{address}]" if address.count(":") > 1 and "[" not in address else address
        if ":" in host.rpartition("]")[2]:
            return f"ws://{host}"
        return f"ws://{host}:{self.port or DEFAULT_PORT}"


def target_options(command: Command) -> Command:
    """``--address`` and ``--port``."""
    address = click.option(
        "--address",
        metavar="HOST|URL",
        help="The engine's host or WebSocket URL.  [default: III_URL, else localhost]",
    )
    port = click.option(
        "--port", type=click.IntRange(1, 65535), help=f"Worker port.  [default: {DEFAULT_PORT}]"
    )
    return address(port(command))


@asynccontextmanager
async def connected(target: Target) -> AsyncIterator[III]:
    """A client of the engine, connected.

    :raises IIIError: nobody answers there
    """
    options = InitOptions(
        worker_name="iii-cli",
        worker_description="the iii command",
        reconnection_config=ReconnectionConfig(max_retries=0),
    )
    try:
        client = III(target.url, options)
    except ValueError as error:
        raise click.UsageError(f"{error}.") from error
    try:
        await client.connect(CONNECT_S)
    except (OSError, TimeoutError) as error:
        reason = f"no engine at {target.url}: {error}; is it running? (`iii` starts one)"
        raise IIIError(Code.SHUTDOWN, reason) from error
    try:
        yield client
    finally:
        await client.disconnect()


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a command's coroutine; Ctrl-C ends it quietly.

    :raises SystemExit: 130 on Ctrl-C
    """
    # The command tells its own error, once; the client's log would tell it again.
    logging.getLogger("iii.client").setLevel(logging.CRITICAL)
    try:
        return asyncio.run(work)
    except KeyboardInterrupt:
        raise SystemExit(130) from None

"""How the subcommands reach a running engine.

Each makes one connection with the ordinary Python client and one attempt to open
it: a command that waits for an engine to appear would look hung.  All of them take the
same options; what they leave out comes from the same variables as for a worker.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar, cast
from urllib.parse import urlsplit

import click

from iii.client.client import III
from iii.client.errors import UnwelcomeError
from iii.client.options import InitOptions, ReconnectionConfig, shown_address
from iii.errors import Code, IIIError

T = TypeVar("T")
Command = TypeVar("Command", bound=Callable[..., Any])

CONNECT_S = 10.0
DEFAULT_PORT = 49134


@dataclass(frozen=True, slots=True)
class Target:
    """The engine a command talks to, and what it shows there.

    :ivar full: ``--url``, instead of the next two
    :ivar token: None: ``III_TOKEN``
    :ivar ca: authorities to trust; None: ``III_CA``, else the system's
    :ivar client_cert: a certificate for engines that ask for one; None: ``III_CLIENT_CERT``
    :ivar client_key: belongs to it; None: ``III_CLIENT_KEY``
    """

    address: str | None = None
    port: int | None = None
    full: str | None = None
    token: str | None = field(default=None, repr=False)
    ca: Path | None = None
    client_cert: Path | None = None
    client_key: Path | None = None

    @property
    def url(self) -> str:
        """``ws://host:port``; without options ``III_URL``, else localhost.

        :raises click.UsageError: two addresses, or two ports that differ
        """
        if self.full is not None:
            if self.address is not None or self.port is not None:
                raise click.UsageError(
                    "--url is the whole address; leave --address and --port out."
                )
            return self.full
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
    """Where the engine is and who asks; the command gets all of it as ``target``."""

    @wraps(command)
    def gathered(
        *arguments: Any,
        address: str | None,
        port: int | None,
        url: str | None,
        token: str | None,
        ca: Path | None,
        client_cert: Path | None,
        client_key: Path | None,
        **more: Any,
    ) -> Any:
        target = Target(address, port, url, token, ca, client_cert, client_key)
        return command(*arguments, target=target, **more)

    for option in reversed(_options()):
        gathered = option(gathered)
    return cast(Command, gathered)


def _options() -> list[Callable[[Any], Any]]:
    file = click.Path(path_type=Path, dir_okay=False)
    return [
        click.option("--url", metavar="URL", help="The engine's address, ws:// or wss://."),
        click.option(
            "--address",
            metavar="HOST|URL",
            help="The engine's host or URL.  [default: III_URL, else localhost]",
        ),
        click.option(
            "--port", type=click.IntRange(1, 65535), help=f"Worker port.  [default: {DEFAULT_PORT}]"
        ),
        click.option(
            "--token",
            metavar="TOKEN",
            help="Worker token; others can see it in the list of processes, so rather set "
            "III_TOKEN.",
        ),
        click.option("--ca", type=file, help="Authorities to trust, PEM.  [default: III_CA]"),
        click.option(
            "--client-cert", type=file, help="Certificate to show, PEM.  [default: III_CLIENT_CERT]"
        ),
        click.option(
            "--client-key", type=file, help="Its private key, PEM.  [default: III_CLIENT_KEY]"
        ),
    ]


@asynccontextmanager
async def connected(target: Target) -> AsyncIterator[III]:
    """A client of the engine, connected.

    :raises IIIError: nobody answers there
    """
    options = InitOptions(
        worker_name="iii-cli",
        worker_description="the iii command",
        reconnection_config=ReconnectionConfig(max_retries=0),
        token=target.token,
        ca=target.ca,
        client_cert=target.client_cert,
        client_key=target.client_key,
    )
    try:
        client = III(target.url, options)
    except ValueError as error:
        raise click.UsageError(f"{error}.") from error
    try:
        await client.connect(CONNECT_S)
    except UnwelcomeError as error:
        raise IIIError(Code.AUTH_ERROR, str(error)) from error
    except (OSError, TimeoutError) as error:
        where = shown_address(target.url)
        reason = f"no engine at {where}: {error}; is it running? (`iii` starts one)"
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

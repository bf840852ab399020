"""``iii console``: where the console is, or one for an engine that has none.

An engine with a console has everything already: then its address is printed, and that is
all.  Otherwise this process serves one, connected to the engine like a worker.
"""

from __future__ import annotations

import os
import sys
import webbrowser
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import ProxyHandler, build_opener

import click

from iii.cli.client import DEFAULT_PORT as WORKER_PORT
from iii.cli.client import Target
from iii.cli.output import fail
from iii.cli.watching import talk
from iii.client.client import III
from iii.errors import IIIError
from iii.net import show_address

PORT = 3113
LOOK_S = 2.0
ANSWER_S = 5.0
#: On these an engine listens for this machine; another one reaches it under its name.
_NEARBY = (None, "localhost", "0.0.0.0", "::", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class Wanted:
    """A console to be served here."""

    host: str
    port: int
    token: str | None
    read_only: bool
    enable_flow: bool
    ports: dict[str, int]


@click.command()
@click.option(
    "-p",
    "--port",
    type=click.IntRange(0, 65535),
    default=PORT,
    show_default=True,
    help="Port of the console, if it is served here.",
)
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Address of the console, if it is served here.",
)
@click.option("--engine-host", default="127.0.0.1", show_default=True, help="The engine's host.")
@click.option(
    "--engine-port",
    type=click.IntRange(1, 65535),
    help="The engine's HTTP port, if it is not the one it tells.",
)
@click.option(
    "--ws-port",
    type=click.IntRange(1, 65535),
    help="The engine's stream port, if it is not the one it tells.",
)
@click.option(
    "--bridge-port",
    type=click.IntRange(1, 65535),
    default=WORKER_PORT,
    show_default=True,
    help="The engine's worker port.",
)
@click.option("--url", metavar="URL", help="The engine's worker port, ws:// or wss://.")
@click.option(
    "--engine-token",
    metavar="TOKEN",
    help="Worker token; others can see it in the list of processes, so rather set III_TOKEN.",
)
@click.option(
    "--ca",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Authorities to trust, PEM.  [default: III_CA]",
)
@click.option(
    "--client-cert",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Certificate to show, PEM.  [default: III_CLIENT_CERT]",
)
@click.option(
    "--client-key",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Its private key, PEM.  [default: III_CLIENT_KEY]",
)
@click.option(
    "--token",
    metavar="TOKEN",
    envvar="III_CONSOLE_TOKEN",
    help="What visitors have to show; rather set III_CONSOLE_TOKEN.",
)
@click.option("--read-only", is_flag=True, help="Change nothing, call nothing.")
@click.option("--open", "open_it", is_flag=True, help="Open it in the browser.")
@click.option("--enable-flow", is_flag=True, envvar="III_ENABLE_FLOW", help="Show the Flow page.")
@click.option("--no-otel", is_flag=True, help="Accepted; the console sends no telemetry.")
@click.option("--otel-service-name", help="Accepted; the console sends no telemetry.")
def console(
    port: int,
    host: str,
    engine_host: str,
    engine_port: int | None,
    ws_port: int | None,
    bridge_port: int,
    url: str | None,
    engine_token: str | None,
    ca: Path | None,
    client_cert: Path | None,
    client_key: Path | None,
    token: str | None,
    read_only: bool,
    open_it: bool,
    enable_flow: bool,
    no_otel: bool,
    otel_service_name: str | None,
) -> None:
    """Print the address of the engine's console, or serve one for an engine elsewhere."""
    worker_url = url or f"ws://{show_address(engine_host, bridge_port)}"
    target = Target(
        full=worker_url,
        token=engine_token,
        ca=ca,
        client_cert=client_cert,
        client_key=client_key,
    )
    running = _running(target, urlsplit(worker_url).hostname or engine_host)
    if running is not None:
        click.echo(running)
        _show(running, open_it)
        return
    ports = {"http": engine_port, "stream": ws_port}
    given = {name: number for name, number in ports.items() if number is not None}
    wanted = Wanted(host, port, token or None, read_only, enable_flow, given)
    try:
        sys.exit(_serve(target, wanted, open_it))
    except IIIError as error:
        fail(error)


def _running(target: Target, host: str) -> str | None:
    """The address of the engine's own console, when there is one that can be reached."""
    answers: list[Any] = []

    async def work(client: III) -> None:
        for function_id in ("engine::instance::info", "engine::config::get"):
            answers.append(await client.invoke(function_id, {}, ANSWER_S))

    talk(target, work)
    instance, config = answers
    endpoint = instance["endpoints"].get("console")
    if endpoint is None:
        return None
    settings = [row["config"] for row in config["modules"] if row["name"] == "iii-console"]
    base = str(settings[0].get("base_path", "/")).strip("/") if settings else ""
    there = host if endpoint["host"] in _NEARBY else endpoint["host"]
    scheme = "https" if endpoint["tls"] else "http"
    address = f"{scheme}://{show_address(there, endpoint['port'])}/"
    if not _answers(address):
        return None
    return f"{address}{base}/" if base else address


def _answers(address: str) -> bool:
    """Whether a console is there; one with a certificate of its own counts, too."""
    # Whatever proxy this machine has: it is not on the way to an engine.
    opener = build_opener(ProxyHandler({}))
    try:
        with opener.open(f"{address}healthz", timeout=LOOK_S) as answer:
            return bool(answer.status == 200)
    except URLError as error:
        return "CERTIFICATE" in str(error.reason).upper()
    except OSError:
        return False


def _file(given: Path | None, variable: str) -> str | None:
    """A file of the command line, or of the environment."""
    return os.environ.get(variable) or None if given is None else str(given)


def _show(address: str, open_it: bool) -> None:
    if open_it and not webbrowser.open(address):
        click.echo("there is no browser here to open it", err=True)


def _serve(target: Target, wanted: Wanted, open_it: bool) -> int:
    """Serve one until a signal; the exit code.

    :raises IIIError: it can't be served
    """
    # Twisted is loaded only when a console is served.
    from twisted.internet.defer import Deferred
    from twisted.logger import globalLogBeginner

    from iii.bridge import parse_url
    from iii.logging import LogOutput
    from iii.modules.console.alone import ConsoleAlone
    from iii.modules.console.config import ConsoleConfig
    from iii.reactor import install

    reactor: Any = install()
    output: Any = LogOutput.from_environment(sys.stdout, os.environ)
    globalLogBeginner.beginLoggingTo([output], redirectStandardIO=False)
    remote = parse_url(
        target.url,
        setting="--url",
        token=target.token or os.environ.get("III_TOKEN"),
        ca=_file(target.ca, "III_CA"),
        cert=_file(target.client_cert, "III_CLIENT_CERT"),
        key=_file(target.client_key, "III_CLIENT_KEY"),
    )
    config = ConsoleConfig(
        host=wanted.host,
        port=wanted.port,
        token=wanted.token,
        read_only=wanted.read_only,
        enable_flow=wanted.enable_flow,
    )
    console = ConsoleAlone(reactor, config, remote, wanted.ports)
    console.start()
    output.say(f"the console of {remote} is at {console.server.url}\n")
    _show(console.server.url, open_it)
    reactor.addSystemEventTrigger(
        "before", "shutdown", lambda: Deferred.fromCoroutine(console.stop())
    )
    reactor.run()
    return 0

"""The ``iii`` command.

``iii`` alone runs the engine; the subcommands look into one that runs, or check
a configuration.  Exit codes: 0 done, 1 it failed (``Error: …`` on stderr), 2 the
command line is wrong, 130 stopped at once by a second signal.

Nothing here imports Twisted until an engine is really started, so the listing
commands come up quickly.
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

import click

from iii._version import __version__
from iii.cli.run import run_engine

#: Command → its file; imported when it is wanted, so the engine starts without all of them.
COMMANDS = {
    "check": "check",
    "console": "console",
    "cron": "cron",
    "functions": "lists",
    "health": "health",
    "logs": "logs",
    "queues": "queues",
    "state": "state",
    "streams": "streams",
    "t": "trigger",
    "traces": "traces",
    "trigger": "trigger",
    "triggers": "lists",
    "workers": "lists",
}
#: The same command under a name that is quicker to type.
SHORT = {"t": "trigger"}
CONTEXT = {"help_option_names": ["-h", "--help"]}
DEFAULT_CONFIG = Path("config.yaml")


class Commands(click.Group):
    """The subcommands."""

    def list_commands(self, context: click.Context) -> list[str]:
        """All of them."""
        return list(COMMANDS)

    def get_command(self, context: click.Context, cmd_name: str) -> click.Command | None:
        """One of them, imported now."""
        file = COMMANDS.get(cmd_name)
        if file is None:
            return None
        name = SHORT.get(cmd_name, cmd_name)
        module = import_module(f"iii.cli.{file}")
        command: click.Command
        if file == "lists":
            command = next(each for each in module.commands() if each.name == name)
        else:
            command = getattr(module, name)
        return command


def _show_version(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value and not context.resilient_parsing:
        click.echo(__version__)
        context.exit()


@click.group(cls=Commands, context_settings=CONTEXT, invoke_without_command=True)
@click.option(
    "-c",
    "--config",
    type=click.Path(path_type=Path),
    help="Configuration file.  [default: config.yaml]",
)
@click.option(
    "-v",
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_version,
    help="Print the version and exit.",
)
@click.option("--use-default-config", is_flag=True, help="Run the default modules, read no file.")
@click.option("--no-update-check", is_flag=True, help="Accepted; there is no update check.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    help="Worker port instead of the configured one; 0 takes free ports, also for every "
    "module whose configuration names none.",
)
@click.option(
    "--ready-fd",
    type=click.IntRange(0),
    metavar="N",
    help="Write the ready line to this file descriptor.",
)
@click.option(
    "--ready-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the ready line to this file.",
)
@click.option(
    "--no-watch",
    is_flag=True,
    help="Do not reload the configuration when its file changes; SIGHUP still does.",
)
@click.option("--console", is_flag=True, help="Serve the console, also when it is not configured.")
@click.pass_context
def cli(
    context: click.Context,
    config: Path | None,
    use_default_config: bool,
    no_update_check: bool,
    port: int | None,
    ready_fd: int | None,
    ready_file: Path | None,
    no_watch: bool,
    console: bool,
) -> None:
    """Run the iii engine, or talk to a running one.

    Without a command the engine starts with the configuration file, or with the
    default modules when there is none.
    """
    if context.invoked_subcommand is not None:
        context.obj = config
        return
    if use_default_config and config is not None:
        raise click.UsageError("--use-default-config and --config exclude each other.")
    chosen = None if use_default_config else config or DEFAULT_CONFIG
    sys.exit(
        run_engine(
            chosen,
            port=port,
            ready_fd=ready_fd,
            ready_file=ready_file,
            watch=not no_watch,
            console=console,
        )
    )


def main() -> None:
    """The console script."""
    cli(prog_name="iii")

"""What the subcommands print: tables for people, JSON for programs, errors."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import Any, NoReturn, TextIO

import click
import msgspec

from iii.errors import ConfigError, IIIError


def pretty(value: Any) -> str:
    """JSON with two spaces of indentation."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()


def tell_error(error: BaseException, file: TextIO | None = None) -> None:
    """``Error: …``, one line for each line of the error.

    :param file: where to; None for stderr
    """
    text = str(error)
    if isinstance(error, IIIError) and not isinstance(error, ConfigError):
        text = error.message  # the code is for programs
    for line in text.splitlines() or [type(error).__name__]:
        click.echo(f"Error: {line}", file=file, err=True)


def fail(error: BaseException) -> NoReturn:
    """Tell the error and exit with 1."""
    tell_error(error)
    sys.exit(1)


def table(columns: Mapping[str, str], rows: Iterable[Mapping[str, Any]]) -> Any:
    """A rich table.

    :param columns: key in the rows → heading
    """
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    made = Table(box=SIMPLE_HEAD, pad_edge=False)
    for heading in columns.values():
        made.add_column(heading, overflow="fold")
    for row in rows:
        # Text, not markup: ids may contain square brackets.
        made.add_row(*(Text(_cell(row.get(key))) for key in columns))
    return made


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()

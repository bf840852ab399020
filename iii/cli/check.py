"""``iii check``: is this configuration all right?"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click
import msgspec

from iii.catalogue import Catalogue
from iii.checking import Kind, Problem
from iii.config import check_modules, examine

_WORDS = {Kind.ERROR: "error", Kind.UNKNOWN: "warning", Kind.WARNING: "warning", Kind.NOTE: "note"}


@click.command()
@click.option(
    "-c",
    "--config",
    type=click.Path(path_type=Path),
    default=Path("config.yaml"),
    show_default=True,
    help="Configuration file.",
)
@click.option("--strict", is_flag=True, help="Unknown names and keys are errors.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def check(config: Path, strict: bool, as_json: bool) -> None:
    """Check a configuration without starting anything."""
    catalogue = Catalogue.with_entry_points()
    report = examine(
        config, environ=os.environ, catalogue=catalogue, strict=strict, must_exist=True
    )
    problems = list(report.problems)
    if report.configuration is not None:
        problems += check_modules(report.configuration.entries, strict=strict)
    failed = any(problem.kind is Kind.ERROR for problem in problems)
    if as_json:
        click.echo(_as_json(config, problems, failed))
    else:
        for problem in problems:
            click.echo(f"{_WORDS[problem.kind]}: {problem}", err=problem.kind is Kind.ERROR)
        count = sum(problem.kind is Kind.ERROR for problem in problems)
        click.echo(f"{config}: {f'{count} error(s)' if count else 'ok'}")
    sys.exit(1 if failed else 0)


def _as_json(config: Path, problems: list[Problem], failed: bool) -> str:
    rows = [
        {
            "severity": _WORDS[problem.kind],
            "message": problem.message,
            "path": problem.path,
            "line": problem.line,
        }
        for problem in problems
    ]
    return msgspec.json.encode({"config": str(config), "ok": not failed, "problems": rows}).decode()

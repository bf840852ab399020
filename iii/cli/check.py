"""``iii check``: is this configuration all right?"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import click
import msgspec

from iii.catalogue import Catalogue
from iii.checking import Kind, Problem
from iii.config import check_modules, examine
from iii.tlscheck import check_certificates

_WORDS = {Kind.ERROR: "error", Kind.UNKNOWN: "warning", Kind.WARNING: "warning", Kind.NOTE: "note"}


@click.command()
@click.option(
    "-c",
    "--config",
    type=click.Path(path_type=Path),
    help="Configuration file.  [default: config.yaml]",
)
@click.option("--strict", is_flag=True, help="Unknown names and keys are errors.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_obj
def check(given: Path | None, config: Path | None, strict: bool, as_json: bool) -> None:
    """Check a configuration without starting anything."""
    # ``iii -c FILE check`` means the same as ``iii check -c FILE``.
    path = config or given or Path("config.yaml")
    catalogue = Catalogue.with_entry_points()
    report = examine(path, environ=os.environ, catalogue=catalogue, strict=strict, must_exist=True)
    problems = list(report.problems)
    if report.configuration is not None:
        problems += check_modules(report.configuration.entries, strict=strict)
        problems += check_certificates(report.configuration, datetime.now(UTC))
    words = _WORDS | ({Kind.UNKNOWN: "error"} if strict else {})
    errors = sum(words[problem.kind] == "error" for problem in problems)
    if as_json:
        click.echo(_as_json(path, problems, words, ok=not errors))
    else:
        for problem in problems:
            word = words[problem.kind]
            click.echo(f"{word}: {problem}", err=word == "error")
        click.echo(f"{path}: {f'{errors} error(s)' if errors else 'ok'}")
    sys.exit(1 if errors else 0)


def _as_json(config: Path, problems: list[Problem], words: Mapping[Kind, str], *, ok: bool) -> str:
    rows = [
        {
            "severity": words[problem.kind],
            "message": problem.message,
            "path": problem.path,
            "line": problem.line,
        }
        for problem in problems
    ]
    return msgspec.json.encode({"config": str(config), "ok": ok, "problems": rows}).decode()

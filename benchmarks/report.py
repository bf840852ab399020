"""The table, the result file, and the comparison with a saved result."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Sequence
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.processes import REPOSITORY
from benchmarks.stats import Change, Figure, Rounds, Target
from benchmarks.suite import Plan

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("Twisted", "autobahn", "msgspec", "httptools", "websockets", "picows", "uvloop")
#: below this share of a core the engine was waiting for the benchmark, not the reverse
BUSY_SHARE = 0.85
DIGITS = {"s": 2, "ms": 3, "kB": 1, "MB": 1, "% of a core": 2}


def number(value: float, unit: str) -> str:
    return f"{value:,.{DIGITS.get(unit, 0)}f}"


def target_text(target: Target | None, unit: str) -> str:
    if target is None:
        return ""
    sign = "≥" if target.sense == "at least" else "≤"
    if target.of == "ratio":
        return f"{sign} {target.bound:.2f} ×"
    return f"{sign} {number(target.bound, unit)} {unit}"


def _side(rounds: Rounds | None, unit: str) -> tuple[str, str]:
    if rounds is None:
        return "", ""
    share = median(rounds.cpu)
    busy = f"{share:.0%}" if share and unit.endswith("/s") else ""
    return number(median(rounds.values), unit), busy


def table(title: str, sides: Sequence[str], figures: Sequence[Figure]) -> Table:
    """Absolute figures of both sides, the median ratio, the target and whether it is met."""
    result = Table(title=title, title_justify="left")
    result.add_column("")
    for side in sides:
        result.add_column(side, justify="right")
        result.add_column("busy", justify="right")
    result.add_column("unit")
    for column in ("ratio", "per CPU", "target"):
        result.add_column(column, justify="right")
    result.add_column("met")
    for figure in figures:
        columns = (figure.subject, figure.reference)[: len(sides)]
        ratio, per_cpu = figure.ratio, figure.ratio_per_cpu
        result.add_row(
            figure.name,
            *(cell for rounds in columns for cell in _side(rounds, figure.unit)),
            figure.unit,
            "" if ratio is None else f"{ratio:.2f}",
            "" if per_cpu is None else f"{per_cpu:.2f}",
            target_text(figure.target, figure.unit),
            {None: "", True: "[green]yes[/]", False: "[bold red]NO[/]"}[figure.met],
        )
    return result


def not_busy(figures: Sequence[Figure]) -> list[str]:
    """The rates at which the engine had time left: they are the benchmark's limit, or noise."""
    return [
        f"{figure.name}: the measured process used only {median(figure.subject.cpu):.0%} of a "
        "core, so this shows the limit of its clients or a busy machine"
        for figure in figures
        if figure.unit.endswith("/s") and median(figure.subject.cpu) < BUSY_SHARE
    ]


def comparison(title: str, changes: Sequence[Change]) -> Table:
    result = Table(title=title, title_justify="left")
    result.add_column("")
    for column in ("saved", "now", "now / saved", "ratio saved", "ratio now", "now / saved"):
        result.add_column(column, justify="right")
    for change in changes:
        factor = change.ratio_factor
        result.add_row(
            f"{change.name} ({change.unit})",
            number(change.before, change.unit),
            number(change.now, change.unit),
            f"{change.factor:.2f}",
            *(f"{x:.2f}" if x else "" for x in (change.ratio_before, change.ratio_now)),
            "" if factor is None else f"{factor:.2f}",
        )
    return result


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=REPOSITORY, capture_output=True, text=True)
    return done.stdout.strip()


def surroundings() -> dict[str, Any]:
    """What a figure depends on besides the code."""
    return {
        "commit": _git("rev-parse", "HEAD"),
        "changed_files": len(_git("status", "--porcelain").splitlines()),
        "python": platform.python_version(),
        "system": platform.platform(),
        "cores": os.cpu_count(),
        "load_average": os.getloadavg(),
        "packages": {package: _version(package) for package in PACKAGES},
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None  # the tests run without what only a benchmark needs


def result(
    suite: str, sides: Sequence[str], figures: Sequence[Figure], plan: Plan
) -> dict[str, Any]:
    """The content of a result file."""
    return {
        "suite": suite,
        "time": datetime.now().astimezone().isoformat(timespec="seconds"),
        "sides": list(sides),
        "plan": {"rounds": plan.rounds, "seconds": plan.seconds, "scale": plan.scale},
        "surroundings": surroundings(),
        "figures": [figure.as_dict() for figure in figures],
    }


def write_result(content: dict[str, Any], directory: Path = RESULTS) -> Path:
    stamp = datetime.fromisoformat(content["time"]).strftime("%Y%m%d-%H%M%S")
    return _write(directory / f"{content['suite']}-{stamp}.json", content)


def saved_path(name: str, suite: str, directory: Path = RESULTS) -> Path:
    return directory / "saved" / name / f"{suite}.json"


def save(content: dict[str, Any], name: str, directory: Path = RESULTS) -> Path:
    return _write(saved_path(name, content["suite"], directory), content)


def load(name: str, suite: str, directory: Path = RESULTS) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(saved_path(name, suite, directory).read_text())
    return content


def _write(path: Path, content: dict[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return path


def show(console: Console, content: dict[str, Any], figures: Sequence[Figure], path: Path) -> None:
    console.print(table(content["suite"], content["sides"], figures))
    for line in not_busy(figures):
        console.print(f"[yellow]note:[/] {line}")
    console.print(f"[dim]{path}[/]\n")

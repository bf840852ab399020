"""The command line: ``python -m benchmarks SUITE``."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from contextlib import ExitStack

import click
from rich.console import Console

from benchmarks import report
from benchmarks.processes import BenchmarkError
from benchmarks.profiling import profile
from benchmarks.revision import checked_out
from benchmarks.stats import compare
from benchmarks.suite import Plan
from benchmarks.suites import SUITES

QUICK = Plan(rounds=2, seconds=1, scale=0.05)
NO_WRK = "wrk is missing: apt-get install wrk (the suites without http_ in their name need none)"
EXIT_FAILED, EXIT_USAGE, EXIT_NOT_MET = 1, 2, 3


def chosen(name: str) -> list[str]:
    """The suites a name stands for."""
    return list(SUITES) if name == "all" else [name]


def run(suites: Sequence[str], plan: Plan, save: str | None, baseline: str | None) -> bool:
    """Run suites, print and write their results; whether all targets were met."""
    console = Console(width=None if sys.stdout.isatty() else 140)
    met = True
    for name in suites:
        before = report.load(baseline, name) if baseline else None
        with console.status(name) as status:
            sides, figures = SUITES[name].run(plan, status.update)
        content = report.result(name, sides, figures, plan)
        report.show(console, content, figures, report.write_result(content))
        if before:
            changes = compare(content["figures"], before["figures"])
            title = f"{name}, compared with {baseline} ({before['time']})"
            console.print(report.comparison(title, changes))
        if save:
            console.print(f"saved as {save}: {report.save(content, save)}\n")
        met = met and all(figure.met is not False for figure in figures)
    return met


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("suite", type=click.Choice([*SUITES, "all"]))
@click.option("--save-baseline", metavar="NAME", help="Keep the result under this name.")
@click.option("--baseline", metavar="NAME", help="Compare with the result of that name.")
@click.option(
    "--against",
    metavar="REV",
    help="Measure this source tree against a git revision instead of the yardstick.",
)
@click.option("--rounds", type=click.IntRange(1), help="Rounds of each side.  [default: 5]")
@click.option("--seconds", type=click.IntRange(1), help="Length of a round.  [default: 3]")
@click.option("--quick", is_flag=True, help="A smoke run: 2 rounds of 1 s, few connections.")
@click.option("--check", is_flag=True, help=f"Exit with {EXIT_NOT_MET} when a target isn't met.")
@click.option("--profile", "top", type=int, metavar="N", help="Print the N hottest functions.")
def main(
    suite: str,
    save_baseline: str | None,
    baseline: str | None,
    against: str | None,
    rounds: int | None,
    seconds: int | None,
    quick: bool,
    check: bool,
    top: int | None,
) -> None:
    """How fast is it?

    Runs engine and yardstick (benchmarks/baseline.py) alternately in processes of
    their own, prints a table and writes benchmarks/results/SUITE-TIME.json.
    """
    if baseline and save_baseline:
        raise click.UsageError("--baseline and --save-baseline exclude each other")
    suites = chosen(suite)
    if any(name.startswith("http_") for name in suites) and shutil.which("wrk") is None:
        raise click.UsageError(NO_WRK)
    if baseline:
        missing = [name for name in suites if not report.saved_path(baseline, name).exists()]
        if missing:
            raise click.UsageError(f"no result of {', '.join(missing)} is saved as {baseline!r}")
    default = QUICK if quick else Plan(rounds=5, seconds=3)
    try:
        with ExitStack() as stack:
            program = stack.enter_context(checked_out(against)) if against else None
            plan = Plan(
                rounds or default.rounds, seconds or default.seconds, default.scale, program
            )
            if top:
                for name in suites:
                    profile(SUITES[name], plan.seconds, top)
                return
            met = run(suites, plan, save_baseline, baseline)
    except BenchmarkError as error:
        click.echo(f"benchmarks: {error}", err=True)
        sys.exit(EXIT_FAILED)
    if check and not met:
        sys.exit(EXIT_NOT_MET)


if __name__ == "__main__":
    main(prog_name="python -m benchmarks")

"""Acceptance probes: which number a test stands for.

A number is the specification's document and probe, ``01.23``.  It stands in the
decorator or at the start of the test's docstring; ``tests.probes.test_complete``
collects both and compares them with ``tests.probes.catalogue``.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

F = TypeVar("F", bound=Callable[..., object])

_NUMBER = re.compile(r"\b0[1-7]\.\d+\b")


def probe(*numbers: str) -> Callable[[F], F]:
    """Mark a test as the probe(s) with these numbers."""
    for number in numbers:
        if _NUMBER.fullmatch(number) is None:
            raise ValueError(f"{number!r} is no probe number")

    def mark(test: F) -> F:
        return test

    return mark


def numbers_in(folder: Path) -> dict[str, list[str]]:
    """Every probe number with a test below ``folder`` → the tests that carry it."""
    found: dict[str, list[str]] = {}
    for path in sorted(folder.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                for number in set(_numbers_of(node)):
                    found.setdefault(number, []).append(f"{path.name}:{node.name}")
    return found


def _numbers_of(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> Iterator[str]:
    is_test = isinstance(node, ast.ClassDef) or node.name.startswith("test")
    if not is_test:
        return
    for decorator in node.decorator_list:
        if isinstance(decorator, ast.Call) and _name(decorator.func) == "probe":
            yield from (str(a.value) for a in decorator.args if isinstance(a, ast.Constant))
    first_line = (ast.get_docstring(node) or "").partition("\n")[0]
    numbers, colon, _ = first_line.partition(":")
    if colon:
        yield from _NUMBER.findall(numbers)


def _name(function: ast.expr) -> str:
    return function.id if isinstance(function, ast.Name) else getattr(function, "attr", "")

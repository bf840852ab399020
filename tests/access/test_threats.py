"""SECURITY.md: each threat has its tests, and they exist."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from unittest import TestCase

PAGE = Path(__file__).parents[2] / "SECURITY.md"

_TEST = re.compile(r"`(tests\.[\w.]+)`")


def rows() -> list[list[str]]:
    """The rows of the table, without its head."""
    lines = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line[:2] == "| "]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[1:]]


class Threats(TestCase):
    """Issue, part 6: a threat model, each threat with the test that covers it."""

    def test_every_threat_has_a_test(self) -> None:
        """And there are some."""
        self.assertGreater(len(rows()), 20)
        for threat, answer, tests in rows():
            self.assertTrue(answer, threat)
            self.assertTrue(_TEST.findall(tests), threat)

    def test_every_test_exists(self) -> None:
        """By its id, as ``trial`` takes it."""
        missing = []
        for name in _TEST.findall(PAGE.read_text(encoding="utf-8")):
            module, case, method = name.rsplit(".", 2)
            found = getattr(getattr(importlib.import_module(module), case, None), method, None)
            if not (callable(found) and method.startswith("test_")):
                missing.append(name)
        self.assertEqual(missing, [])

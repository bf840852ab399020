"""Every acceptance probe of this release has a test."""

from __future__ import annotations

from pathlib import Path
from unittest import TestCase

from tests.probes import catalogue
from tests.support.probes import numbers_in, probe

TESTS = Path(__file__).parent.parent


class Completeness(TestCase):
    """The catalogue and the tests agree."""

    def test_no_probe_is_without_a_test(self) -> None:
        """Numbers stand in decorators and docstrings."""
        missing = catalogue.here() - numbers_in(TESTS).keys()
        self.assertEqual(sorted(missing, key=_order), [])

    def test_no_number_is_made_up(self) -> None:
        """Tests carry numbers that exist."""
        self.assertEqual(sorted(numbers_in(TESTS).keys() - catalogue.every()), [])

    def test_the_checks_of_published_sdks_are_there(self) -> None:
        """By name, in the programs that ``make test-sdks`` runs."""
        text = "".join(path.read_text(encoding="utf-8") for path in (TESTS / "sdks").glob("*.py"))
        for number, names in catalogue.SDKS.items():
            for name in names:
                self.assertIn(f'"{name}"', text, number)

    def test_each_number_has_one_home(self) -> None:
        """And is the number of a probe that exists."""
        homes = [*catalogue.VOID, *catalogue.LATER, *catalogue.SDKS]
        self.assertEqual(len(homes), len(set(homes)))
        self.assertEqual(set(homes) - catalogue.every(), set())

    def test_a_wrong_number_is_refused(self) -> None:
        """``probe`` takes numbers only."""
        with self.assertRaises(ValueError):
            probe("1.23")


def _order(number: str) -> tuple[str, int]:
    document, _, probe_number = number.partition(".")
    return (document, int(probe_number))

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
        known = catalogue.here() | catalogue.VOID.keys() | catalogue.LATER.keys()
        self.assertEqual(sorted(numbers_in(TESTS).keys() - known), [])

    def test_void_and_later_are_apart(self) -> None:
        """And name probes that exist."""
        self.assertEqual(catalogue.VOID.keys() & catalogue.LATER.keys(), set())
        for number in (*catalogue.VOID, *catalogue.LATER):
            document, _, probe_number = number.partition(".")
            self.assertLessEqual(int(probe_number), catalogue.DOCUMENTS[document])

    def test_a_wrong_number_is_refused(self) -> None:
        """``probe`` takes numbers only."""
        with self.assertRaises(ValueError):
            probe("1.23")


def _order(number: str) -> tuple[str, int]:
    document, _, probe_number = number.partition(".")
    return (document, int(probe_number))

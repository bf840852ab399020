"""Alert rules: spellings, comparisons, windows (05 A12)."""

from __future__ import annotations

from typing import Any

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from iii.modules.observability.config import AlertRule, ObservabilityConfig
from iii.modules.observability.metrics.rules import MAX_WINDOW_SAMPLES, Rule, Window

SPELLINGS = {
    "GreaterThan": (">", "gt", "greaterthan", "greater_than", "GreaterThan"),
    "GreaterThanOrEqual": (">=", "gte", "greaterthanorequal", "greater_than_or_equal"),
    "LessThan": ("<", "LT", "lessthan", "less-than"),
    "LessThanOrEqual": ("<=", "lte", "LessThanOrEqual"),
    "Equal": ("==", "eq", "equal", " Equal "),
    "NotEqual": ("!=", "ne", "not_equal", "NotEqual"),
}
# Whether 1, 2 and 3 compare so with 2.
HOLDS = {
    "GreaterThan": (False, False, True),
    "GreaterThanOrEqual": (False, True, True),
    "LessThan": (True, False, False),
    "LessThanOrEqual": (True, True, False),
    "Equal": (False, True, False),
    "NotEqual": (True, False, True),
}


def rule(**said: Any) -> Rule:
    """A rule."""
    return Rule(AlertRule(**{"name": "busy", "metric": "m", "threshold": 2, **said}))


class Operators(SynchronousTestCase):
    """All spellings of all comparisons."""

    def test_every_spelling_is_its_operator(self) -> None:
        """Events call it by one name."""
        for name, spellings in SPELLINGS.items():
            for spelling in spellings:
                self.assertEqual(rule(operator=spelling).operator.name, name, spelling)

    def test_they_compare(self) -> None:
        """The value with the threshold, in that order."""
        for name, expected in HOLDS.items():
            held = tuple(rule(operator=name).holds(value) for value in (1, 2, 3))
            self.assertEqual(held, expected, name)

    def test_equality_is_not_to_the_last_bit(self) -> None:
        """0.1 + 0.2 is 0.3."""
        self.assertTrue(rule(operator="==", threshold=0.3).holds(0.1 + 0.2))
        self.assertFalse(rule(operator="!=", threshold=0.3).holds(0.1 + 0.2))

    def test_above_is_what_is_meant(self) -> None:
        """Without an operator."""
        self.assertEqual(rule().operator.name, "GreaterThan")

    def test_what_makes_no_sense_is_refused_with_its_place(self) -> None:
        """So `iii check` tells of it."""
        for wrong, why, where in (
            ({"operator": "~"}, "operator '~' is none of > >= < <= == !=", ""),
            ({"action": {"type": "webhook"}}, "a webhook needs a url", ".action"),
            ({"action": {"type": "webhook", "url": "ops.local"}}, "not 'ops.local'", ".action"),
            ({"action": {"type": "webhook", "url": "ftp://x"}}, "not 'ftp://x'", ".action"),
            ({"action": {"type": "webhook", "url": "http://[x"}}, "not 'http://[x'", ".action"),
            ({"action": {"type": "function"}}, "a function needs a path", ".action"),
        ):
            said = {"alerts": [{"name": "busy", "metric": "m", "threshold": 2, **wrong}]}
            error = self.assertRaises(
                msgspec.ValidationError, msgspec.convert, said, ObservabilityConfig
            )
            self.assertIn(why, str(error))
            self.assertIn(f"`$.alerts[0]{where}`", str(error))


class Windows(SynchronousTestCase):
    """How much totals grew lately."""

    def test_until_it_has_passed_once_all_growth_counts(self) -> None:
        """Then only that of the window."""
        window = Window(60, 0.0, (0.0,))
        grown = [window.add(float(at), (at / 10,)).grown[0] for at in range(10, 121, 10)]
        self.assertEqual(grown, [1, 2, 3, 4, 5, 6, 6, 6, 6, 6, 6, 6])

    def test_a_late_timer_makes_no_difference(self) -> None:
        """The sample of a hair less than a window ago is taken."""
        window = Window(60, 0.0, (0.0,))
        for at in (10.9, 20.0, 40.0, 60.0):
            window.add(at, (at,))
        change = window.add(70.5, (70.5,))
        self.assertAlmostEqual(change.seconds, 59.6)
        self.assertAlmostEqual(change.grown[0], 59.6)

    def test_no_window_is_all_of_it(self) -> None:
        """Since the beginning."""
        window = Window(0, 5.0, (2.0, 1.0))
        window.add(50.0, (3.0, 1.0))
        self.assertEqual(window.add(105.0, (7.0, 2.0)), (100.0, (5.0, 1.0)))

    def test_a_long_window_remembers_no_more_than_a_short_one(self) -> None:
        """Its samples are further apart."""
        window = Window(1_000_000, 0.0, (0.0,))
        for at in range(0, 2_000_000, 500):
            window.add(float(at), (float(at),))
        self.assertLessEqual(len(window._samples), MAX_WINDOW_SAMPLES + 2)
        self.assertApproximates(window.add(2e6, (2e6,)).grown[0], 1e6, 25_000)

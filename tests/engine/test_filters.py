"""Which triggers an event concerns."""

from __future__ import annotations

from typing import Any, cast

from twisted.trial.unittest import TestCase

from iii.engine.bindings import Binding
from iii.engine.filters import Filters


class Finding(TestCase):
    """04 §3.3, §7.1: exact values, or any."""

    def setUp(self) -> None:
        self.filters = Filters()

    def add(self, name: str, *wanted: str | None, condition: str | None = None) -> Binding:
        binding = cast(Any, name)
        self.filters.add(binding, wanted, condition)
        return cast(Binding, binding)

    def concerned(self, *properties: str | None) -> list[Any]:
        return sorted(cast(Any, binding) for binding, _ in self.filters.concerned(*properties))

    def test_every_property_fits_or_is_not_asked_for(self) -> None:
        self.add("both", "a", "b")
        self.add("first", "a", None)
        self.add("second", None, "b")
        self.add("any", None, None)
        self.assertEqual(self.concerned("a", "b"), ["any", "both", "first", "second"])
        self.assertEqual(self.concerned("a", "x"), ["any", "first"])
        self.assertEqual(self.concerned("x", "y"), ["any"])

    def test_a_property_that_is_missing_fits_no_value(self) -> None:
        self.add("item", "a", "b")
        self.add("group", "a", None)
        self.assertEqual(self.concerned("a", None), ["group"])

    def test_an_empty_text_is_a_value(self) -> None:
        self.add("empty", "", None)
        self.assertEqual(self.concerned("", "b"), ["empty"])
        self.assertEqual(self.concerned("a", "b"), [])

    def test_what_was_removed_is_not_found(self) -> None:
        binding = self.add("one", "a")
        self.add("two", "a")
        self.filters.remove(binding)
        self.filters.remove(binding)
        self.assertEqual(self.concerned("a"), ["two"])

    def test_conditions_come_with_their_binding(self) -> None:
        self.add("asked", "a", condition="f")
        self.add("empty", "a", condition="")
        self.assertEqual(
            sorted(self.filters.concerned("a"), key=str), [("asked", "f"), ("empty", None)]
        )

"""Which items a subscriber wants."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from iii.engine.watching.filtering import compiled
from iii.errors import Code, InvocationError

FIELDS = frozenset(("n", "text", "tags", "on"))

#: Filter, item, whether it fits.
ROWS: tuple[tuple[dict[str, Any] | None, dict[str, Any], bool], ...] = (
    (None, {}, True),
    ({}, {}, True),
    ({"n": 1}, {"n": 1}, True),
    ({"n": 1}, {"n": 2}, False),
    ({"n": 1}, {"n": True}, False),
    ({"on": True}, {"on": True}, True),
    ({"n": None}, {}, True),
    ({"n": [1, 2]}, {"n": 2}, True),
    ({"n": []}, {"n": 2}, False),
    ({"n": {"min": 2, "max": 3}}, {"n": 3}, True),
    ({"n": {"min": 2, "max": 3}}, {"n": 4}, False),
    ({"n": {"min": 2}}, {"n": "5"}, False),
    ({"text": {"contains": "OLT"}}, {"text": "no bolt"}, True),
    ({"text": {"contains": "x"}}, {"text": None}, False),
    ({"text": {"prefix": "No"}}, {"text": "no bolt"}, True),
    ({"text": {"prefix": "bolt"}}, {"text": "no bolt"}, False),
    ({"text": {"not": ["a", "b"]}}, {"text": "c"}, True),
    ({"text": {"not": {"contains": "c"}}}, {"text": "c"}, False),
    ({"tags.a.b": 1}, {"tags": {"a.b": 1}}, True),
    ({"tags.a": 1}, {"tags": None}, False),
    ({"n": 1, "text": "x"}, {"n": 1, "text": "y"}, False),
)

WRONG: tuple[dict[str, Any], ...] = (
    {"other": 1},
    {"n": {"like": 1}},
    {"n": {"min": "1"}},
    {"n": {"min": True}},
    {"text": {"contains": 1}},
    {"text": "x" * 2_000},
    {"text": [["x"]]},
    {"n": list(range(101))},
    {f"tags.{number}": 1 for number in range(17)},
)


class Filtering(SynchronousTestCase):
    """``compiled``."""

    def test_rows(self) -> None:
        for filter, item, fits in ROWS:
            self.assertEqual(compiled(filter, FIELDS)(item), fits, (filter, item))

    def test_wrong_ones(self) -> None:
        for filter in WRONG:
            with self.assertRaises(InvocationError) as caught:
                compiled(filter, FIELDS)
            self.assertEqual(caught.exception.code, Code.INVALID_ARGUMENTS, filter)

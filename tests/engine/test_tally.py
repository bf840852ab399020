"""Counting by names that come from outside (``iii.engine.tally``)."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from iii.engine import tally
from iii.engine.tally import Tally


class Counting(SynchronousTestCase):
    """A bound for names, none for the few labels beside them."""

    def test_labels_are_counted_apart(self) -> None:
        counts = Tally()
        for status in ("ok", "ok", "error"):
            counts.add("f", status)
        self.assertEqual(dict(counts), {("f", "ok"): 2, ("f", "error"): 1})

    def test_beyond_the_bound_all_names_are_one(self) -> None:
        self.patch(tally, "MAX_NAMES", 2)
        counts = Tally()
        for name in ("a", "b", "c", "d", "a"):
            counts.add(name, "ok")
        counts.add("b", "error")
        counts.add("c", "error")
        self.assertEqual(
            dict(counts),
            {
                ("a", "ok"): 2,
                ("b", "ok"): 1,
                ("b", "error"): 1,
                ("__other__", "ok"): 2,
                ("__other__", "error"): 1,
            },
        )

"""W3C trace context (05 A8.1)."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from iii.engine import tracecontext

PARENT = f"00-{'ab' * 16}-{'cd' * 8}-01"
_CONTEXT = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]").fullmatch


class Contexts(SynchronousTestCase):
    """What is made is well-formed and new."""

    def test_a_root_is_recorded_and_like_no_other(self) -> None:
        roots = {tracecontext.new_root() for _ in range(3_000)}
        self.assertEqual(len(roots), 3_000)
        self.assertEqual(len({tracecontext.trace_id(root) for root in roots}), 3_000)
        for root in roots:
            self.assertTrue(_CONTEXT(root), root)
            self.assertTrue(tracecontext.is_sampled(root))

    def test_a_child_is_of_the_same_trace(self) -> None:
        children = {tracecontext.child_of(PARENT) for _ in range(3_000)}
        self.assertEqual(len(children), 3_000)
        self.assertEqual({tracecontext.trace_id(child) for child in children}, {"ab" * 16})
        self.assertNotIn("cd" * 8, {tracecontext.span_id(child) for child in children})

    def test_what_is_not_recorded_has_children_that_are_not(self) -> None:
        parent = tracecontext.unsampled(PARENT)
        self.assertFalse(tracecontext.is_sampled(parent))
        self.assertFalse(tracecontext.is_sampled(tracecontext.child_of(parent)))

    def test_a_usable_one_is_taken_as_it_is(self) -> None:
        self.assertIs(tracecontext.usable(PARENT), PARENT)

    def test_nonsense_is_none(self) -> None:
        bad = [
            None,
            "",
            "nonsense",
            f"00-{'0' * 32}-{'cd' * 8}-01",
            f"00-{'ab' * 16}-{'0' * 16}-01",
            f"ff-{'ab' * 16}-{'cd' * 8}-01",
            f"00-{'AB' * 16}-{'cd' * 8}-01",
            f"00-{'ab' * 16}-{'cd' * 8}",
            f"00-{'ab' * 16}-{'cd' * 8}-1",
            f" {PARENT}",
            f"{PARENT}\n",
            f"{PARENT}-more",  # only later versions have more
        ]
        for text in bad:
            self.assertIsNone(tracecontext.usable(text), text)

    def test_flags_of_the_future_are_not_passed_on(self) -> None:
        self.assertEqual(tracecontext.usable(PARENT[:-2] + "03"), PARENT)
        self.assertEqual(tracecontext.usable(PARENT[:-2] + "02"), tracecontext.unsampled(PARENT))
        for later in ("cc" + PARENT[2:], "cc" + PARENT[2:] + "-more"):
            self.assertEqual(tracecontext.usable(later), PARENT)

    @given(st.text(max_size=70))
    def test_any_text_is_refused_or_makes_a_child(self, text: str) -> None:
        usable = tracecontext.usable(text)
        if usable is not None:
            self.assertEqual(len(tracecontext.child_of(usable)), 55)

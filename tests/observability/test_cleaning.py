"""05 A15: what is taken out of log records."""

from __future__ import annotations

from unittest import TestCase

from hypothesis import given
from hypothesis.strategies import lists, sampled_from

from iii.modules.observability.cleaning import uncoloured

PARTS = ("\x1b", "[", "]", "0;1", "m", "P", "\\", "\x07", "(B", "é", "text ", "\n", "^", "_")


class Terminal(TestCase):
    """Commands to a terminal."""

    def test_each_kind_goes(self) -> None:
        for text, left in (
            ("a\x1b[1;31mred\x1b[0m", "ared"),
            ("\x1b[?25l\x1b[2K\x1b[38:5:1mx", "x"),
            ("\x1b]0;title\x07x", "x"),
            ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
            ("\x1bP1$r\x1b\\\x1b_app\x1b\\\x1b^pm\x1b\\\x1bXs\x1b\\x", "x"),
            ("\x1bM\x1b7\x1b(B\x1b=x", "x"),
        ):
            self.assertEqual(uncoloured(text), left)

    def test_one_that_does_not_end_costs_no_text(self) -> None:
        for text, left in (
            ("\x1b]0;paid 5 EUR", "0;paid 5 EUR"),
            ("\x1bPthe rest", "the rest"),
            ("\x1b[12", "12"),
            ("x\x1b", "x"),
            ("\x1bé", "é"),
        ):
            self.assertEqual(uncoloured(text), left)

    def test_a_text_without_any_is_the_same_object(self) -> None:
        text = "plain [31m ]0; \\"
        self.assertIs(uncoloured(text), text)

    @given(lists(sampled_from(PARTS), max_size=30).map("".join))
    def test_no_escape_is_left(self, text: str) -> None:
        once = uncoloured(text)
        self.assertNotIn("\x1b", once)
        self.assertEqual(uncoloured(once), once)

    def test_long_texts_take_no_longer_than_they_are(self) -> None:
        """A quadratic expression would need minutes for these."""
        for part in ("\x1b]", "\x1b[0;", "\x1bP", "\x1b[ "):
            self.assertNotIn("\x1b", uncoloured(part * 200_000))
        self.assertEqual(len(uncoloured("\x1b]" + "x" * 1_000_000)), 1_000_000)

"""YAML 1.2: what a scalar means, what is refused, where things stand.

The oracle for random scalars is written from the specification's grammar (01
§12.3), independently of the table in ``iii.yaml12``.
"""

from __future__ import annotations

import math
from typing import Any
from unittest import TestCase

from hypothesis import given, settings
from hypothesis import strategies as st

from iii.yaml12 import Fault, YamlError, parse, plain_scalar

SCALARS: list[tuple[str, Any]] = [
    *((text, text) for text in ("yes", "Yes", "YES", "no", "on", "off", "y", "n", "Y", "N")),
    *((text, True) for text in ("true", "True", "TRUE")),
    *((text, False) for text in ("false", "False", "FALSE")),
    *((text, text) for text in ("tRUE", "fALSE", "nULL", "Nan", ".Nan2", "+.nan")),
    *((text, None) for text in ("null", "Null", "NULL", "~", "")),
    *((text, text) for text in ("0777", "00", "-01", "1_000", "12:30", "190:20:30")),
    *((text, text) for text in ("2024-01-02", "2001-12-14t21:59:43.10-05:00", "0x", "0o8", "0b2")),
    *((text, text) for text in (".", "+", "-", "1e", "e3", "0xZZ", "1.2.3", "127.0.0.1", "=")),
    ("0", 0),
    ("-0", 0),
    ("+12", 12),
    ("-12", -12),
    ("0x1F", 31),
    ("0xff", 255),
    ("-0x10", -16),
    ("0o17", 15),
    ("0b1", 1),
    ("0b101", 5),
    ("1e3", 1000.0),
    ("1E-2", 0.01),
    ("1.", 1.0),
    (".5", 0.5),
    ("-1.5e+2", -150.0),
    (".inf", math.inf),
    ("-.INF", -math.inf),
    ("+.Inf", math.inf),
]


def faults(text: str) -> list[Fault]:
    try:
        parse(text)
    except YamlError as error:
        return error.faults
    raise AssertionError(f"{text!r} was accepted")


def number_grammar(text: str) -> bool:
    """Is ``text`` a number in 01 §12.3's grammar?  Written without regular expressions."""
    body = text[1:] if text[:1] in ("+", "-") else text
    for prefix, digits in (("0x", "0123456789abcdefABCDEF"), ("0o", "01234567"), ("0b", "01")):
        if body.startswith(prefix):
            return len(body) > 2 and all(c in digits for c in body[2:])
    if body.lower() in (".inf",) and body in (".inf", ".Inf", ".INF"):
        return True
    if text in (".nan", ".NaN", ".NAN"):
        return True
    if not body or any(c not in "0123456789.eE+-" for c in body):
        return False
    if body.isdigit():
        return body == "0" or not body.startswith("0")
    mantissa, exponent, power = body.replace("E", "e").partition("e")
    whole, _, fraction = mantissa.partition(".")
    if any(part and not part.isdigit() for part in (whole, fraction)) or not (whole or fraction):
        return False
    power = power[1:] if power[:1] in ("+", "-") else power
    return power.isdigit() if exponent else True


class Scalars(TestCase):
    """01 §12.3: the 1.2 core schema, not 1.1."""

    def test_every_scalar_of_the_table_means_what_the_table_says(self) -> None:
        for text, value in SCALARS:
            with self.subTest(text):
                read = plain_scalar(text)
                self.assertEqual((type(read), read), (type(value), value))

    def test_the_same_holds_inside_a_document(self) -> None:
        for text, value in SCALARS:
            if text in ("-", "?"):
                continue  # indicators of YAML itself
            with self.subTest(text):
                self.assertEqual(parse(f"key: {text}\n").value, {"key": value})

    def test_nan_is_a_number(self) -> None:
        for text in (".nan", ".NaN", ".NAN"):
            self.assertTrue(math.isnan(plain_scalar(text)))

    def test_quotes_make_a_string(self) -> None:
        self.assertEqual(
            parse("""a: "1"\nb: 'true'\nc: ""\n""").value, {"a": "1", "b": "true", "c": ""}
        )

    def test_the_tags_of_the_core_schema_are_honoured(self) -> None:
        text = (
            "{a: !!str 12, b: !!int '12', c: !!float '1.5', d: !!bool 'true', e: !!null '', "
            "f: !!map {}, g: !!seq [], h: ! 12}"
        )
        self.assertEqual(
            parse(text).value,
            {"a": "12", "b": 12, "c": 1.5, "d": True, "e": None, "f": {}, "g": [], "h": "12"},
        )

    @settings(max_examples=400, deadline=None)
    @given(st.text(alphabet="0123456789.eE+-xobaFf_:infINaN", max_size=8))
    def test_what_looks_like_a_number_is_one_exactly_when_the_grammar_says_so(
        self, text: str
    ) -> None:
        is_number = type(plain_scalar(text)) in (int, float)
        self.assertEqual(is_number, number_grammar(text), text)


class Documents(TestCase):
    """01 §12.3: structure."""

    def test_an_empty_text_is_no_value(self) -> None:
        for text in ("", "---\n", "# only a comment\n", "\ufeff"):
            self.assertIsNone(parse(text).value)

    def test_anchors_and_aliases_work_and_may_be_given_anew(self) -> None:
        text = "a: &x {p: 1}\nb: *x\nc: &x 2\nd: *x\n"
        self.assertEqual(parse(text).value, {"a": {"p": 1}, "b": {"p": 1}, "c": 2, "d": 2})

    def test_merge_keys_are_ordinary_keys(self) -> None:
        text = "base: &b {p: 1}\nuse:\n  <<: *b\n  q: 2\n"
        self.assertEqual(parse(text).value["use"], {"<<": {"p": 1}, "q": 2})

    def test_keys_are_strings(self) -> None:
        self.assertEqual(
            parse("1: a\ntrue: b\n~: c\n0x10: d").value,
            dict(zip(("1", "true", "~", "0x10"), "abcd", strict=True)),
        )

    def test_all_duplicate_keys_are_reported_with_their_places(self) -> None:
        text = "port: 1\nport: 2\nsub: {x: 1, x: 2}\n"
        self.assertEqual(
            faults(text),
            [Fault(8, "duplicate key 'port'"), Fault(text.index("x: 2"), "duplicate key 'x'")],
        )

    def test_a_key_written_in_two_ways_is_a_duplicate_too(self) -> None:
        self.assertEqual(faults("a: 1\n'a': 2\n"), [Fault(5, "duplicate key 'a'")])

    def test_a_second_document_is_refused(self) -> None:
        [fault] = faults("a: 1\n---\nb: 2\n")
        self.assertEqual(fault, Fault(5, "more than one YAML document in the file"))

    def test_what_is_not_well_formed_is_refused_with_its_place(self) -> None:
        cases = {
            "a: *nowhere": (3, "undefined alias"),
            "a: &a [*a]": (3, "inside its own anchor"),
            "x: !custom 1": (3, "unsupported tag !custom"),
            "x: !!set {a}": (3, "unsupported tag !!set"),
            "x: !!int abc": (3, "'abc' is not a value of !!int"),
            "? [a]\n: b": (2, "a key must be a single value"),
            "x: \x01": (3, "not allowed"),
            "a: b: c": (4, "mapping values are not allowed here"),
            "\tx: 1": (0, "cannot start any token"),
            "x: " + "9" * 5000: (3, "too many digits"),
            "[" * 3000: (0, "nested too deeply"),
            'x: "\\UFFFFFFFF"': (0, "not valid YAML"),
        }
        for text, (place, message) in cases.items():
            with self.subTest(text[:30]):
                [fault] = faults(text)
                self.assertEqual(fault.place, place)
                self.assertIn(message, fault.message)

    def test_aliases_that_unfold_without_bound_are_refused(self) -> None:
        lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
        lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
        [fault] = faults("\n".join(lines))
        self.assertEqual(fault.message, "aliases unfold to too many values")

    def test_a_place_is_that_of_the_key_or_of_the_list_item(self) -> None:
        text = "a:\n  - b: 1\n    c:\n      d: 2\n  - e\nz: &z {k: 1}\ny: *z\n"
        document = parse(text)
        self.assertEqual(document.index(("a", 0, "c", "d")), text.index("d: 2"))
        self.assertEqual(document.index(("a", 1)), text.index("e\nz"))
        self.assertEqual(document.index(("a", 0, "c", "missing")), text.index("c:\n"))
        self.assertEqual(document.index(("nothing",)), 0)
        self.assertEqual(document.index(("y",)), text.index("y: *z"))

    @settings(max_examples=300, deadline=None)
    @given(st.text(alphabet="ab1: -[]{},&*!|>'\"#%@`?~\n\t\\xU", max_size=40))
    def test_any_text_is_read_or_refused(self, text: str) -> None:
        """Nothing but ``YamlError`` comes out, and its places lie in the text."""
        try:
            document = parse(text)
        except YamlError as error:
            self.assertTrue(error.faults)
            for fault in error.faults:
                self.assertTrue(0 <= fault.place <= len(text) + 1)
        else:
            self.assertEqual(document.index(()), 0)

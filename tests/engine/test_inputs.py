"""How inputs are read and refused (``iii.engine.inputs``)."""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Any, ClassVar, Literal

import msgspec
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec import Meta, Raw
from twisted.trial.unittest import SynchronousTestCase

from iii.engine.inputs import MAX_SHOWN_CHARS, Input, InputError, Reader, actual

names = st.sampled_from(["scope", "key", "value", "data", "group_id", "item_id", "item", "limit"])
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names | st.text(), inner),
    max_leaves=12,
)


def read_ops(raw: Raw) -> None:
    """As the reader of update operations: a list, not empty."""
    if not bytes(raw).startswith(b"["):
        raise InputError(f"invalid type: {actual(raw)}, expected a sequence")


class Setting(Input):
    """As ``state::set``."""

    called: ClassVar[str] = "StateSetInput"
    aliases: ClassVar[dict[str, tuple[str, ...]]] = {
        "scope": ("group_id",),
        "key": ("item_id", "id"),
        "value": ("data",),
    }

    scope: str
    key: str
    value: Raw


class Updating(Input):
    """As ``state::update``."""

    called: ClassVar[str] = "StateUpdateInput"
    checks: ClassVar[dict[str, Any]] = {"ops": read_ops}

    scope: str
    key: str
    ops: Raw


class ListingAll(Input):
    """As ``state::list_groups``."""

    called: ClassVar[str] = "StateListGroupsInput"


class Colour(Enum):
    """Few values."""

    RED = "red"
    BLUE = "blue"
    GREEN = "green"


class Point(msgspec.Struct):
    """A part of an input."""

    x: int
    y: int


class Kinds(Input):
    """A field of every kind, all of them optional."""

    called: ClassVar[str] = "KindsInput"

    text: str | None = None
    whole: int = 0
    real: float = 0.0
    flag: bool = False
    texts: list[str] = []
    table: dict[str, int] = {}
    point: Point | None = None
    points: list[Point] = []
    colour: Colour = Colour.RED
    side: Literal["read", "write"] = "read"
    only: Literal["one"] = "one"
    either: int | list[int] | None = None
    bounded: Annotated[int, Meta(ge=1, le=9)] | None = None
    described: Annotated[str, Meta(description="for listings")] = ""
    deep: list[Annotated[str, Meta(min_length=2)]] = []
    anything: Any = None


class Named(msgspec.Struct):
    """An input that is no ``Input``, its field renamed and its values checked."""

    caller: str = msgspec.field(name="_caller_worker_id")
    low: int = 0
    high: int = 1

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise ValueError("low is above high")


class InputCase(SynchronousTestCase):
    """Reads JSON as an input."""

    def text(self, takes: type[msgspec.Struct], sent: bytes) -> str:
        """What is said about an input that can't be read."""
        return self.assertRaises(InputError, Reader(takes).read, sent).text

    def check(self, takes: type[msgspec.Struct], rows: tuple[tuple[bytes, str], ...]) -> None:
        """All rows: what is sent, what is said."""
        for sent, text in rows:
            self.assertEqual(self.text(takes, sent), text, sent)


class Taking(InputCase):
    """04 §3.2: what is read as what."""

    def test_older_names_are_taken(self) -> None:
        """All of them, in any mixture."""
        rows = (
            b'{"scope":"s","key":"k","value":1}',
            b'{"scope":"s","key":"k","data":1}',
            b'{"group_id":"s","item_id":"k","data":1}',
            b'{"group_id":"s","id":"k","data":1,"_caller_worker_id":"w"}',
        )
        for sent in rows:
            taken = Reader(Setting).read(sent)
            self.assertEqual((taken.scope, taken.key, bytes(taken.value)), ("s", "k", b"1"), sent)

    def test_the_newest_name_wins(self) -> None:
        """Whatever is under the older ones, and wherever they stand."""
        rows = (
            b'{"data":2,"scope":"s","key":"k","value":1,"group_id":5}',
            b'{"value":1,"group_id":"s","id":7,"item_id":"k","data":2}',
        )
        for sent in rows:
            taken = Reader(Setting).read(sent)
            self.assertEqual((taken.scope, taken.key, bytes(taken.value)), ("s", "k", b"1"), sent)

    def test_null_is_a_value_and_missing_is_not(self) -> None:
        """04 §3.5: of a field that takes anything, under either name."""
        for name in (b"value", b"data"):
            taken = Reader(Setting).read(b'{"scope":"s","key":"k","%s":null}' % name)
            self.assertEqual(bytes(taken.value), b"null")
        self.check(Setting, ((b'{"scope":"s","key":"k"}', "missing field `value`"),))

    def test_a_null_under_the_newest_name_hides_the_older(self) -> None:
        """It is there."""
        sent = b'{"scope":null,"group_id":"s","key":"k","value":1}'
        self.check(Setting, ((sent, "invalid type: null, expected a string"),))

    def test_nothing_is_an_empty_object_where_nothing_is_needed(self) -> None:
        """04 §3.5 OURS, `state::list_groups`."""
        for sent in (b"null", b" null\n", b"{}", b'{"x":1}'):
            self.assertEqual(Reader(ListingAll).read(sent), ListingAll())

    def test_of_equal_members_the_last_counts(self) -> None:
        """Also when the first is wrong."""
        taken = Reader(Setting).read(b'{"scope":5,"scope":"s","key":"k","value":1}')
        self.assertEqual(taken.scope, "s")
        sent = b'{"scope":"s","scope":5,"key":"k","value":1}'
        self.check(Setting, ((sent, "invalid type: integer `5`, expected a string"),))

    def test_a_right_input_is_not_looked_at_closely(self) -> None:
        """It is the hot path."""
        reader = Reader(Setting)
        self.patch(reader, "read_closely", lambda _: self.fail("looked at closely"))
        reader.read(b'{"scope":"s","key":"k","value":1,"_caller_worker_id":"w"}')

    @settings(max_examples=200, deadline=None)
    @given(st.text(), st.text(), anything)
    def test_both_ways_of_reading_agree(self, scope: str, key: str, sent: Any) -> None:
        """The quick one and the close one."""
        data = msgspec.json.encode({"scope": scope, "key": key, "value": sent})
        reader = Reader(Setting)
        quick, close = reader.read(data), reader.read_closely(data)
        self.assertEqual((quick.scope, quick.key), (close.scope, close.key))
        self.assertEqual(msgspec.json.decode(quick.value), msgspec.json.decode(close.value))


class Texts(InputCase):
    """04 §3.5: the words clients know."""

    def test_what_is_no_object(self) -> None:
        """The struct is named, and every kind of JSON has its words."""
        end = ", expected struct StateSetInput"
        rows = (
            (b"null", "null"),
            (b" null ", "null"),
            (b"true", "boolean `true`"),
            (b"false", "boolean `false`"),
            (b"5", "integer `5`"),
            (b"-5", "integer `-5`"),
            (b"1.5", "floating point `1.5`"),
            (b"1e2", "floating point `100.0`"),
            (b"-2.50E-3", "floating point `-0.0025`"),
            (b"1e21", "floating point `1000000000000000000000.0`"),
            (b'"x"', 'string "x"'),
            (b'""', 'string ""'),
            (rb'"a\"b\\c\n\u0007\u00e9"', r'string "a\"b\\c\n\u{7}é"'),
            (b"[]", "sequence"),
            (b' [{"scope":1}]', "sequence"),
        )
        self.check(Setting, tuple((sent, f"invalid type: {what}{end}") for sent, what in rows))

    def test_wrong_types(self) -> None:
        """What is there, and what was expected."""
        self.check(
            Kinds,
            (
                (b'{"text":5}', "invalid type: integer `5`, expected a string"),
                (b'{"whole":1.5}', "invalid type: floating point `1.5`, expected i64"),
                (b'{"whole":1.0}', "invalid type: floating point `1.0`, expected i64"),
                (b'{"whole":null}', "invalid type: null, expected i64"),
                (b'{"whole":true}', "invalid type: boolean `true`, expected i64"),
                (b'{"real":"x"}', 'invalid type: string "x", expected f64'),
                (b'{"flag":0}', "invalid type: integer `0`, expected a boolean"),
                (b'{"texts":{}}', "invalid type: map, expected a sequence"),
                (b'{"texts":["a",1]}', "invalid type: integer `1`, expected a string"),
                (b'{"table":[]}', "invalid type: sequence, expected a map"),
                (b'{"table":{"b":"x","a":[]}}', "invalid type: sequence, expected i64"),
                (b'{"point":5}', "invalid type: integer `5`, expected struct Point"),
                (b'{"point":{"x":1}}', "missing field `y`"),
                (b'{"point":{"y":"1"}}', 'invalid type: string "1", expected i64'),
                (b'{"points":[{"x":1,"y":2},{}]}', "missing field `x`"),
                (b'{"either":"x"}', 'invalid type: string "x", expected i64 or a sequence'),
                (b'{"either":["x"]}', 'invalid type: string "x", expected i64'),
                (b'{"described":5}', "invalid type: integer `5`, expected a string"),
            ),
        )

    def test_null_where_it_is_allowed(self) -> None:
        """Nothing is wrong with it."""
        taken = Reader(Kinds).read(b'{"text":null,"point":null,"either":null,"bounded":null}')
        self.assertEqual(taken, Kinds())

    def test_variants(self) -> None:
        """One, two and more of them."""
        self.check(
            Kinds,
            (
                (b'{"only":"x"}', "unknown variant `x`, expected `one`"),
                (b'{"side":"x"}', "unknown variant `x`, expected `read` or `write`"),
                (
                    b'{"colour":"x"}',
                    "unknown variant `x`, expected one of `red`, `blue`, `green`",
                ),
                (b'{"colour":5}', "invalid type: integer `5`, expected a string"),
                (b'{"side":[]}', "invalid type: sequence, expected a string"),
            ),
        )

    def test_values_out_of_bounds(self) -> None:
        """The type is right."""
        self.check(
            Kinds,
            (
                (b'{"bounded":0}', "invalid value: integer `0`, expected i64 >= 1"),
                (b'{"bounded":10}', "invalid value: integer `10`, expected i64 <= 9"),
                (
                    b'{"deep":["ab","c"]}',
                    "invalid value: expected a string of length >= 2 at `[1]`",
                ),
                (
                    b'{"real":1e999}',
                    "invalid value: floating point `1e999`, number out of range",
                ),
                (
                    b'{"whole":%s}' % (b"9" * 5000),
                    f"invalid value: integer `{'9' * MAX_SHOWN_CHARS}…`, "
                    "integer value out of range",
                ),
            ),
        )

    def test_what_is_there_comes_before_what_is_missing(self) -> None:
        """Wrong members by the names they were sent under, missing ones as declared."""
        text, whole = "expected a string", "invalid type: integer"
        self.check(
            Setting,
            (
                (b"{}", "missing field `scope`"),
                (b'{"value":1}', "missing field `scope`"),
                (b'{"scope":"s","value":1}', "missing field `key`"),
                (b'{"index":"s","key":"k","value":1}', "missing field `scope`"),
                (b'{"key":6}', f"{whole} `6`, {text}"),
                (b'{"scope":5,"key":6}', f"{whole} `6`, {text}"),
                (b'{"group_id":5,"key":6}', f"{whole} `5`, {text}"),
                (b'{"scope":5,"item_id":6}', f"{whole} `6`, {text}"),
                (b'{"id":6,"group_id":5}', f"{whole} `5`, {text}"),
            ),
        )

    def test_a_part_its_handler_reads_has_its_turn(self) -> None:
        """`checks`: before a member that comes later, before what is missing."""
        self.check(
            Updating,
            (
                (b'{"ops":{},"scope":5}', "invalid type: map, expected a sequence"),
                (b'{"ops":{}}', "invalid type: map, expected a sequence"),
                (b'{"ops":[],"scope":5}', "invalid type: integer `5`, expected a string"),
                (b'{"ops":{},"key":5}', "invalid type: integer `5`, expected a string"),
                (b'{"ops":[]}', "missing field `scope`"),
            ),
        )

    def test_without_a_name_of_its_own_the_field_is_named(self) -> None:
        """Nobody knows these texts to the letter, and people look for the field."""
        self.check(
            Named,
            (
                (b"null", "missing field `_caller_worker_id`"),
                (b"[1]", "invalid type: sequence, expected struct Named"),
                (
                    b'{"_caller_worker_id":1}',
                    "invalid type: integer `1`, expected a string at `_caller_worker_id`",
                ),
                (b'{"low":"x"}', 'invalid type: string "x", expected i64 at `low`'),
                (b'{"_caller_worker_id":"w","low":2}', "low is above high"),
            ),
        )

    def test_long_values_are_cut(self) -> None:
        """An error is never as large as what it is about."""
        long = b"x" * 300_000
        rows = (
            (Setting, b'{"scope":1,"key":2,"item_id":"%s"}' % long),
            (Setting, b'"%s"' % long),
            (Kinds, b'{"whole":"%s"}' % long),
            (Kinds, b'{"colour":"%s"}' % long),
            (Kinds, b'{"text":%s}' % (b"1" * 4000)),
            (Kinds, b'{"text":1.%s}' % (b"1" * 4000)),
            (Kinds, b'{"text":1e308}'),
        )
        for takes, sent in rows:
            self.assertLess(len(self.text(takes, sent)), 400, sent[:40])


class Unreadable(InputCase):
    """What is no JSON, or more of it than can be read."""

    def test_broken_json(self) -> None:
        """It is said so, with the place."""
        for sent in (
            b"",
            b"{",
            b"nul",
            b'{"scope":}',
            b'{"scope":"s"} x',
            b"NaN",
            b'{"a":01}',
            b"[1",
            b"0:e",
        ):
            for takes in (Setting, Kinds, Named):
                self.assertTrue(self.text(takes, sent).startswith("invalid JSON: "), sent)

    def test_strings_that_are_no_text(self) -> None:
        """Bytes that are no UTF-8, halves of surrogate pairs: in values and in names."""
        rows = (
            b'{"scope":"\xff","key":"k","value":1}',
            b'{"scope":"\\ud800","key":"k","value":1}',
            b'{"scope":"\\udc00\\ud800","key":"k","value":1}',
            b'{"\xff":1,"scope":"s"}',
            b'{"\\ud800":1,"scope":"s"}',
        )
        for sent in rows:
            self.assertTrue(self.text(Setting, sent).startswith("invalid JSON: "), sent)

    def test_a_wrong_string_that_is_no_text_is_still_shown(self) -> None:
        """As far as it goes."""
        self.assertEqual(actual(Raw(b'"a\xff"')), 'string "a\N{REPLACEMENT CHARACTER}"')

    def test_nesting_too_deep(self) -> None:
        """In a field, in a value, in a member nobody knows."""
        deep = b"[" * 100_000 + b"]" * 100_000
        for sent in (
            deep,
            b'{"scope":%s}' % deep,
            b'{"scope":"s","key":"k","value":%s}' % deep,
            b'{"zzz":%s}' % deep,
        ):
            self.assertEqual(self.text(Setting, sent), "recursion limit exceeded")

    @settings(max_examples=400, deadline=None)
    @given(st.sampled_from([Setting, Updating, ListingAll, Kinds, Named]), anything)
    @example(Setting, {"group_id": None, "scope": "s", "key": "k", "value": {}})
    def test_any_json_is_read_or_refused(self, takes: type[msgspec.Struct], sent: Any) -> None:
        """Nothing escapes."""
        self.read_or_refused(takes, msgspec.json.encode(sent))

    @settings(max_examples=400, deadline=None)
    @given(st.dictionaries(st.sampled_from(Kinds.__struct_fields__), anything, max_size=4))
    def test_any_field_is_read_or_refused(self, sent: dict[str, Any]) -> None:
        """Nothing escapes, and what is refused can be said."""
        self.read_or_refused(Kinds, msgspec.json.encode(sent))

    @settings(max_examples=400, deadline=None)
    @given(st.binary(max_size=40) | st.text(alphabet='{}[]":,\\u0d8-1.e+n ', max_size=30))
    def test_any_bytes_are_read_or_refused(self, sent: bytes | str) -> None:
        """Nothing escapes."""
        data = sent.encode() if isinstance(sent, str) else sent
        for takes in (Setting, Kinds, Named):
            self.read_or_refused(takes, b'{"scope":%s,"text":%s}' % (data, data))
            self.read_or_refused(takes, data)

    def read_or_refused(self, takes: type[msgspec.Struct], data: bytes) -> None:
        """One of the two, and a refusal has words, a bounded number of them."""
        try:
            taken = Reader(takes).read(data)
        except InputError as error:
            self.assertTrue(error.text)
            self.assertLess(len(error.text), 1500)
            self.assertNotIn("Expected `", error.text)
        else:
            self.assertIsInstance(taken, takes)

"""Finding the items of a frame without decoding it."""

from __future__ import annotations

from itertools import pairwise
from typing import Any
from unittest import TestCase

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from iii.modules.observability.ingest.walk import MAX_DEPTH, STEP_BYTES, Broken, Walk
from iii.modules.observability.ingest.wire import TRACES

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.sampled_from(['"', "\\", '\\"', "[{", "}]", '",{"']),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


def walked(data: bytes) -> list[tuple[str, bytes]]:
    """What was found where."""
    places = [place for place in Walk(data, TRACES).places() if place is not None]
    return [(place.what, data[place.start : place.end]) for place in places]


def spans(*items: bytes, before: bytes = b"", after: bytes = b"") -> bytes:
    """A frame whose one scope has these items, and text around them."""
    return b'{"resourceSpans":[{"scopeSpans":[{%s"spans":[%s]%s}]}]}' % (
        before,
        b",".join(items),
        after,
    )


class Places(TestCase):
    """What is found."""

    def test_headers_come_before_their_items(self) -> None:
        """Also when they stand behind them."""
        inner = b'"spans":[{"a":1},{"b":2}]'
        scope = b'"scope":{"name":"s"}'
        expected = [
            ("resource", b'{"r":1}'),
            ("scope", b'{"name":"s"}'),
            ("item", b'{"a":1}'),
            ("item", b'{"b":2}'),
        ]
        for first, second in ((scope, inner), (inner, scope)):
            level = b'{"x":[1],%s,"y":2,%s,"z":"]"}' % (first, second)
            for group in (
                b'{"resource":{"r":1},"scopeSpans":[%s]}',
                b'{"scopeSpans":[%s],"q":{},"resource":{"r":1},"w":0}',
            ):
                data = b' {"t": [], "resourceSpans" : [%s , ] , "u":1}' % (group % level)
                self.assertEqual(walked(data), expected)

    def test_a_scope_without_a_header_still_has_items(self) -> None:
        """Its place is empty."""
        self.assertEqual(walked(spans(b"{}")), [("resource", b""), ("scope", b""), ("item", b"{}")])

    def test_what_stands_where_a_group_should_is_misplaced(self) -> None:
        """And what follows it is found."""
        data = b'{"resourceSpans":[7,{"scopeSpans":[null,{"spans":"x"},{"spans":[1]}]}]}'
        self.assertEqual(
            walked(data),
            [
                ("misplaced", b"7"),
                ("resource", b""),
                ("misplaced", b"null"),
                ("misplaced", b'"x"'),
                ("scope", b""),
                ("item", b"1"),
            ],
        )

    def test_brackets_in_strings_are_text(self) -> None:
        """As are quotes behind a backslash."""
        items = [rb'{"a":"]}\"},{"}', rb'{"a":"\\"}', rb'"\\\"]"', b"NaN", b"-Infinity"]
        self.assertEqual([text for what, text in walked(spans(*items)) if what == "item"], items)

    @given(st.lists(JSON, max_size=6), st.booleans())
    @settings(deadline=None)
    def test_any_items_are_found(self, items: list[Any], indented: bool) -> None:
        """Whatever they are, however they are written."""
        document = msgspec.json.encode({"resourceSpans": [{"scopeSpans": [{"spans": items}]}]})
        if indented:
            document = msgspec.json.format(document, indent=2)
        found = [msgspec.json.decode(text) for what, text in walked(document) if what == "item"]
        self.assertEqual(found, items)

    @given(st.binary() | st.text(alphabet='{}[]",:\\ n1').map(str.encode))
    @settings(deadline=None)
    def test_anything_else_is_broken(self, data: bytes) -> None:
        """Nothing but that is raised."""
        for frame in (data, spans(data), b'{"resourceSpans":[' + data):
            try:
                for place in Walk(frame, TRACES).places():
                    assert place is None or 0 <= place.start <= place.end <= len(frame)
            except Broken:
                continue


class Steps(TestCase):
    """However large a value is, the walk pauses."""

    def test_large_values(self) -> None:
        """Between two pauses it goes a few steps at most."""
        large = 6 * STEP_BYTES
        values = {
            "a long string": b'"%s"' % (b"x" * large),
            "one of quotes": b'"%s"' % (rb"\"" * (large // 2)),
            "one of backslashes": b'"%s"' % (rb"\\" * (large // 2)),
            "a long list": b"[%s]" % (b"1," * (large // 2))[:-1],
            "of objects": b"[%s]" % (b'{"a":[]},' * (large // 9))[:-1],
            "of lists": b"[%s]" % (b"[0,1]," * (large // 6))[:-1],
            "deep": b"[" * MAX_DEPTH + b"1" + b"]" * MAX_DEPTH,
            "deep and large": (b'[{"a":"%s","b":' % (b"x" * 30_000)) * 12 + b"1" + b"}]" * 12,
        }
        for what, value in values.items():
            frame = spans(b"{}", value, b'{"last":1}', before=b'"y":%s,' % value)
            self.assertEqual([text for _, text in walked(frame)][2:], [b"{}", value, b'{"last":1}'])
            self.assertLessEqual(self.longest_step(frame), 2 * STEP_BYTES, what)

    def test_many_small_values(self) -> None:
        """Members of an object, groups with nothing in them."""
        members = b'"y":1,' * 50_000
        groups = b'{"resourceSpans":[%s]}' % (b"{}," * 50_000 + b'{"scopeSpans":[{}]}')
        for frame in (spans(b"{}", before=members, after=b"," + members[:-1]), groups):
            self.assertLessEqual(self.longest_step(frame), 2 * STEP_BYTES)

    def test_nesting_without_end_is_broken(self) -> None:
        """No decoder would follow."""
        with self.assertRaises(Broken):
            walked(spans(b"[" * (MAX_DEPTH + 20) + b"]" * (MAX_DEPTH + 20)))

    def test_much_nothing_is_broken(self) -> None:
        """Blanks without end are no frame."""
        with self.assertRaises(Broken):
            walked(spans(b"{}", b" " * 2 * STEP_BYTES + b"{}"))

    def longest_step(self, data: bytes) -> int:
        """In bytes."""
        way = Walk(data, TRACES)
        stops = [0]
        for _ in way.places():
            stops.append(way._at)
        return max((later - earlier for earlier, later in pairwise(stops)), default=0)

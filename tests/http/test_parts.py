"""The pure parts against simple models: router, chunks, JSON, header blocks."""

from __future__ import annotations

import json
from unittest import TestCase

from hypothesis import example, given, settings
from hypothesis import strategies as st

from iii.errors import RegistrationError
from iii.modules.http import json_body
from iii.modules.http.chunked import ChunkedDecoder
from iii.modules.http.heads import BadHead, HeaderBlock
from iii.modules.http.pattern import PARAMETER, WILDCARD, Pattern, parse
from iii.modules.http.request import query_pairs
from iii.modules.http.router import Router


class FakeEntry:
    """What the router needs of an entry."""

    def __init__(self, method: str, text: str) -> None:
        self.method = method
        self.pattern = parse(text)


def naive_values(pattern: Pattern, segments: list[str]) -> tuple[str, ...] | None:
    """The values when ``pattern`` matches, found the slow and obvious way."""
    values = []
    for at, wanted in enumerate(pattern.shape):
        if wanted == WILDCARD:
            rest = "/".join(segments[at:])
            return (*values, rest) if rest else None
        if at >= len(segments):
            return None
        if wanted == PARAMETER:
            if not segments[at]:
                return None
            values.append(segments[at])
        elif wanted != segments[at]:
            return None
    return tuple(values) if len(segments) == len(pattern.shape) else None


def naive_match(
    entries: list[FakeEntry], path: str
) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
    """The best shape for ``path`` by sorting all that match, and its values."""
    segments = path.lstrip("/").split("/")
    rank = {PARAMETER: 1, WILDCARD: 2}
    found = []
    for entry in entries:
        values = naive_values(entry.pattern, segments)
        if values is not None:
            shape = entry.pattern.shape
            found.append(([rank.get(segment, 0) for segment in shape], shape, values))
    if not found:
        return None
    _, shape, values = min(found)
    return shape, values


segment = st.sampled_from(["a", "b", "c", ":x", ""])
patterns = st.builds(
    lambda parts, tail: "/".join([*dict_names(parts), *tail]),
    st.lists(segment, max_size=4),
    st.sampled_from([[], ["*"], ["{*rest}"]]),
)
paths = st.lists(st.sampled_from(["a", "b", "c", "d", ""]), max_size=5).map(
    lambda parts: "/" + "/".join(parts)
)


def dict_names(parts: list[str]) -> list[str]:
    """Each parameter with a name of its own."""
    return [f":x{at}" if part == ":x" else part for at, part in enumerate(parts)]


class RouterModel(TestCase):
    """02 A3: the trie finds what a linear search finds, after any history."""

    @settings(max_examples=300, deadline=None)
    @given(
        st.lists(st.tuples(st.sampled_from(["GET", "POST"]), patterns), max_size=12),
        st.lists(st.integers(0, 11), max_size=8),
        st.lists(paths, max_size=12),
    )
    def test_it_finds_the_same(
        self, registered: list[tuple[str, str]], removed: list[int], asked: list[str]
    ) -> None:
        """Literal before parameter before wildcard, with backtracking."""
        router: Router[FakeEntry] = Router()
        live: list[FakeEntry] = []
        for method, text in registered:
            entry = FakeEntry(method, text)
            try:
                router.add(entry)
            except RegistrationError:
                # Wildcards of one shape with two names.
                continue
            live.append(entry)
        for at in removed:
            if at < len(live):
                router.remove(live.pop(at))
        self.assertEqual(len(router), len({(entry.method, entry.pattern.shape) for entry in live}))
        self.assertEqual(sorted(id(e) for r in router for e in r.stack), sorted(map(id, live)))
        for path in asked:
            expected = naive_match(live, path)
            found = router.match(path)
            if expected is None:
                self.assertIsNone(found, path)
                continue
            assert found is not None, path
            place, values = found
            shapes = {route.serving.pattern.shape for route in place.routes.values()}
            self.assertEqual((shapes, values), ({expected[0]}, expected[1]), path)
        for entry in live:
            router.remove(entry)
        self.assertTrue(router._root.empty)
        self.assertEqual((len(router), router._literal), (0, {}))

    def test_a_thousand_routes_are_found_without_looking_at_them(self) -> None:
        """02 "better" 7: the work grows with the path, not with the table."""
        router: Router[FakeEntry] = Router()
        for number in range(1000):
            router.add(FakeEntry("GET", f"svc{number}/:id/items/:item"))
        node = router._root
        self.assertEqual(len(node.literals), 1000)
        found = router.match("/svc777/1/items/2")
        assert found is not None
        self.assertEqual(found[1], ("1", "2"))
        self.assertEqual(found[0].routes["GET"].serving.pattern.text, "svc777/:id/items/:item")


def chunked(pieces: list[bytes], trailer: bytes) -> bytes:
    """``pieces`` in the chunked coding."""
    chunks = b"".join(b"%X\r\n%b\r\n" % (len(piece), piece) for piece in pieces if piece)
    return chunks + b"0\r\n" + trailer + b"\r\n"


class Chunks(TestCase):
    """RFC 9112 §7.1."""

    @settings(max_examples=300, deadline=None)
    @given(
        st.lists(st.binary(max_size=40), max_size=6),
        st.sampled_from([b"", b"X: y\r\n"]),
        st.binary(max_size=20),
        st.lists(st.integers(1, 30), max_size=20),
    )
    def test_cuts_make_no_difference(
        self, pieces: list[bytes], trailer: bytes, after: bytes, cuts: list[int]
    ) -> None:
        """Whole or cut anywhere: the same body, the same rest."""
        data = chunked(pieces, trailer) + after
        decoder = ChunkedDecoder()
        decoded = []
        at = 0
        for size in [*cuts, len(data)]:
            if decoder.done:
                break
            decoded.extend(decoder.feed(data[at : at + size]))
            at += size
        self.assertTrue(decoder.done)
        self.assertEqual(b"".join(decoded), b"".join(pieces))
        self.assertEqual(decoder.rest + data[at:], after)


def is_strict(text: str) -> bool:
    """Python's reader with the strictness of 02 A5.1."""

    def number(spelled: str) -> float:
        value = float(spelled)
        if value in (float("inf"), float("-inf")):
            raise ValueError(spelled)
        return value

    def never(spelled: str) -> float:
        raise ValueError(spelled)

    try:
        value = json.loads(text, parse_float=number, parse_int=number, parse_constant=never)
        json.dumps(value, ensure_ascii=False).encode()
    except ValueError:
        return False
    return True


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=12,
)


class JsonBodies(TestCase):
    """02 A5.1: strict JSON, seen without decoding."""

    def accepts(self, body: bytes) -> bool:
        try:
            json_body.parse(body)
        except json_body.NotJson:
            return False
        return True

    @settings(max_examples=300, deadline=None)
    @given(json_values, st.integers(0, 200), st.sampled_from('{}[]",:\\ue+-.0159 \tNx'))
    @example([1e308], 1, "9")
    @example(["\ud83d\ude00".encode("utf-16", "surrogatepass").decode("utf-16")], 3, "d")
    def test_damaged_json_is_judged_as_python_judges_it(
        self, value: object, at: int, damage: str
    ) -> None:
        """One character of a valid text is replaced."""
        text = json.dumps(value)
        self.assertTrue(self.accepts(text.encode()))
        at %= len(text)
        damaged = text[:at] + damage + text[at + 1 :]
        self.assertEqual(self.accepts(damaged.encode()), is_strict(damaged), damaged)

    @given(st.integers(1, 400), st.booleans())
    @settings(max_examples=60, deadline=None)
    def test_depth_is_counted_exactly(self, depth: int, objects: bool) -> None:
        """128 is fine, 129 is not, brackets in texts don't count."""
        opening, closing = (b'{"]":', b"}") if objects else (b'["\\"[",', b"]")
        body = opening * (depth - 1) + (b"{}" if objects else b"[]") + closing * (depth - 1)
        self.assertEqual(self.accepts(body), depth <= 128)

    def test_members_are_for_small_objects(self) -> None:
        """Decision 30: objects up to 256 KiB."""
        members = json_body.parse(b' {"a":1}')
        assert members is not None
        self.assertEqual(bytes(members["a"]), b"1")
        self.assertIsNone(json_body.parse(b"[1]"))
        self.assertIsNone(json_body.parse(b'{"a":"' + b"x" * 262_144 + b'"}'))


class Blocks(TestCase):
    """Header lines: accepted as a whole or refused as a whole."""

    @settings(max_examples=500, deadline=None)
    @given(st.integers(0, 200), st.integers(0, 255))
    def test_no_byte_sneaks_in(self, at: int, byte: int) -> None:
        """One byte of good lines is replaced: what is delivered holds no control character."""
        lines = b"Host: a\r\nX-One: first\r\nContent-Length: 10\r\nX-Two: second\r\n"
        at %= len(lines)
        damaged = lines[:at] + bytes((byte,)) + lines[at + 1 :]
        try:
            block = HeaderBlock(damaged)
        except BadHead as bad:
            self.assertIn(bad.status, (400, 417, 501))
            return
        self.assertFalse(block.chunked)
        for name, value in block.headers.pairs:
            self.assertRegex(name, r"^[!#$%&'*+\-.^_`|~0-9a-z]+$")
            self.assertRegex(value, r"^[\t\x20-\x7e\x80-\xff]*$")
        lengths = [value for name, value in block.headers.pairs if name == "content-length"]
        self.assertEqual([block.length], [int(value) for value in lengths] or [0])


class Queries(TestCase):
    """02 A5: ``application/x-www-form-urlencoded``."""

    @given(st.text(max_size=60))
    def test_anything_is_a_query(self, text: str) -> None:
        """No query is refused, and what comes out can be encoded."""
        for name, value in query_pairs(text):
            (name + value).encode("utf-8", "strict")

    @given(st.lists(st.tuples(st.text(min_size=1), st.text()), max_size=5))
    def test_what_was_encoded_is_decoded(self, pairs: list[tuple[str, str]]) -> None:
        """``urlencode`` and back."""
        from urllib.parse import urlencode

        self.assertEqual(query_pairs(urlencode(pairs)), pairs)

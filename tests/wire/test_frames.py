"""The fast frame path against Autobahn's own, byte stream by byte stream.

Both get the same chunks; after every chunk both must have delivered the same
messages, written the same bytes and be in the same state.
"""

from __future__ import annotations

import struct

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from websockets.speedups import apply_mask

from iii.websocket import frames
from tests.wire.memory import CLOSE_ME, DROP_ME, Fast, Generic, Side

SMALL = (300, 700)
LARGE = (70_000, 150_000)
APPLICATION_CLOSES = -1
"""In the list of chunk sizes: the application closes here."""
FRAME_BY_FRAME: list[int] = []
"""As the list of chunk sizes: cut where the parts of the stream meet."""


def frame(
    first: int,
    payload: bytes,
    *,
    masked: bool = True,
    form: int = 0,
    mask: bytes = b"\x01\x80\xff7",
) -> bytes:
    """A frame with any first byte.

    :param form: 126 or 127 force a longer length field than needed
    """
    bit = 0x80 if masked else 0
    length = len(payload)
    if form == 127 or (form == 0 and length > 0xFFFF):
        head = struct.pack("!BBQ", first, bit | 127, length)
    elif form == 126 or (form == 0 and length > 125):
        head = struct.pack("!BBH", first, bit | 126, length)
    else:
        head = bytes((first, bit | length))
    return head + mask + apply_mask(payload, mask) if masked else head + payload


def claimed(first: int, length: int) -> bytes:
    """The head of a frame that claims ``length`` bytes of payload, and a few of them."""
    return struct.pack("!BBQ", first, 0xFF, length) + b"\x01\x02\x03\x04" + b"some"


SIZES = st.sampled_from((0, 1, 2, 3, 5, 124, 125, 126, 127, 200, 299, 300, 301, 320))
LARGE_SIZES = st.sampled_from((65_534, 65_535, 65_536, 65_537, 69_999, 70_000, 70_001))
MASKS = st.sampled_from((b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x11\x22\x33\x44", b"{}[]"))
TEXTS = st.one_of(
    st.text(max_size=40),
    st.sampled_from(("κόσμε", "a" * 125, "𐍈" * 31, "\x00", "{}", "퟿")),
    SIZES.map(lambda size: "y" * size),
    SIZES.map(lambda size: "é" * (size // 2)),
).map(str.encode)
NOT_UTF8 = st.sampled_from(
    (
        b"\xff",
        b"\xc0\xaf",
        b"\xed\xa0\x80",
        b"\xed\xa0",
        b"\xed",
        b"\xe0\x80\x80",
        b"\xf0\x80\x80\x80",
        b"\xf4\x90\x80\x80",
        b"\xf4\x90",
        b"\xf5",
        b"\x80",
        b"ok \xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited",
        b"cut \xe2\x82",
        b"cut \xf0\x9f\x98",
        b"x" * 130 + b"\xc3",
    )
)
BINARY = st.one_of(
    st.binary(max_size=40), SIZES.map(lambda size: bytes(range(256))[:size] * (1 + size // 256))
)
CLOSE_CODES = st.sampled_from(
    (0, 999, *range(1000, 1017), 1100, 2999, 3000, 3999, 4000, 4999, 5000, 65_535)
)


@st.composite
def closes(draw: st.DrawFn) -> bytes:
    """A close frame: with and without code, with good and bad reasons."""
    if draw(st.booleans()):
        code = struct.pack("!H", draw(CLOSE_CODES))
        reason = draw(st.one_of(st.just(b""), TEXTS, NOT_UTF8))
        return frame(0x88, (code + reason)[:125])
    return frame(0x88, draw(st.sampled_from((b"", b"\x03"))))


@st.composite
def fragmented(draw: st.DrawFn, sizes: st.SearchStrategy[int] | None = None) -> bytes:
    """A message in pieces, some with control frames between them."""
    text = draw(st.booleans())
    payload = draw(st.one_of(TEXTS, NOT_UTF8) if text else BINARY)
    if sizes is not None:
        payload = bytes(draw(sizes))
    cuts = sorted(draw(st.lists(st.integers(0, len(payload)), max_size=3)))
    pieces = [payload[a:b] for a, b in zip([0, *cuts], [*cuts, len(payload)], strict=True)]
    out = b""
    for index, piece in enumerate(pieces):
        kind = (1 if text else 2) if index == 0 else 0
        final = 0x80 if index == len(pieces) - 1 else 0
        out += frame(kind | final, piece)
        if not final and draw(st.booleans()):
            out += draw(st.sampled_from((frame(0x89, b"between"), frame(0x8A, b""))))
    return out


USUAL = st.one_of(
    st.builds(lambda text, mask: frame(0x81, text, mask=mask), TEXTS, MASKS),
    st.builds(lambda data, mask: frame(0x82, data, mask=mask), BINARY, MASKS),
    st.builds(frame, st.sampled_from((0x89, 0x8A)), st.binary(max_size=125)),
    fragmented(),
)
UNUSUAL = st.one_of(
    NOT_UTF8.map(lambda data: frame(0x81, data)),
    closes(),
    st.sampled_from(
        (frame(0x81, CLOSE_ME), frame(0x82, DROP_ME), frame(0x81, b"open", masked=False))
    ),
    st.builds(frame, st.integers(0, 255), st.binary(max_size=130)),
    st.builds(frame, st.integers(0, 255), st.binary(max_size=9), masked=st.just(False)),
    st.builds(
        frame,
        st.sampled_from((0x81, 0x82, 0x89, 0x88)),
        st.sampled_from((b"", b"short", b"z" * 125, b"z" * 130)),
        form=st.sampled_from((126, 127)),
    ),
    st.builds(
        claimed,
        st.sampled_from((0x81, 0x82, 0x01, 0x89)),
        st.sampled_from((301, 70_001, 1 << 31, (1 << 63) - 1, 1 << 63, (1 << 64) - 1)),
    ),
    st.sampled_from((0x01, 0x02)).map(lambda first: frame(first, b"begun")),
    st.binary(min_size=1, max_size=20),
)
LARGE_FRAMES = st.one_of(
    st.builds(lambda n, kind: frame(kind, b"L" * n), LARGE_SIZES, st.sampled_from((0x81, 0x82))),
    LARGE_SIZES.map(lambda size: frame(0x81, b"m" * size + "é".encode()[:1])),
    fragmented(LARGE_SIZES),
)
CHUNKS = st.lists(
    st.one_of(st.integers(1, 12), st.integers(1, 400), st.just(10**9), st.just(APPLICATION_CLOSES)),
    max_size=14,
)


@st.composite
def streams(draw: st.DrawFn, usual: st.SearchStrategy[bytes] = USUAL) -> list[bytes]:
    """What a peer sends, in parts; the end may be missing, one byte may be wrong."""
    parts = draw(st.lists(st.one_of(usual, usual, usual, UNUSUAL), min_size=1, max_size=7))
    spoil = draw(st.integers(0, 9))
    last = parts[-1]
    if spoil == 0:
        parts[-1] = last[: draw(st.integers(0, len(last)))]
    elif spoil == 1:
        at = draw(st.integers(0, len(last) - 1))
        parts[-1] = last[:at] + bytes((last[at] ^ draw(st.integers(1, 255)),)) + last[at + 1 :]
    return parts


class Comparison(SynchronousTestCase):
    """Feeds two implementations the same chunks."""

    def compare(
        self, limits: tuple[int, int], parts: list[bytes], sizes: list[int], cycle: bool
    ) -> None:
        """Feed both and look at both, after every chunk and at the end."""
        self.patch(frames, "MAX_FRAME_BYTES", limits[0])
        fast, generic = Side(Fast, *limits), Side(Generic, *limits)
        sides = (fast, generic)
        for chunk in chunks(parts, sizes, cycle):
            for side in sides:
                if side.over:
                    continue
                if chunk is None:
                    side.close()
                else:
                    side.feed(chunk)
            self.assertEqual(fast.outcome(), generic.outcome(), chunk)
        for side in sides:
            side.wait()
        self.assertEqual(fast.outcome(), generic.outcome(), "after the time-outs")
        for side in sides:
            side.lose()
        self.assertEqual(fast.outcome(), generic.outcome(), "after the end")


class SameAsAutobahn(Comparison):
    """Issue 3, "Bad input": every outcome of the fast path is Autobahn's."""

    @settings(max_examples=1500, deadline=None, suppress_health_check=list(HealthCheck))
    @given(parts=streams(), sizes=st.one_of(st.just(FRAME_BY_FRAME), CHUNKS), cycle=st.booleans())
    @example(parts=[frame(0x01, b"a"), frame(0x81, b"b")], sizes=FRAME_BY_FRAME, cycle=False)
    @example(parts=[frame(0x81, b"ab") * 2], sizes=[9, APPLICATION_CLOSES], cycle=False)
    @example(parts=[frame(0x82, DROP_ME) + frame(0x81, b"b")], sizes=[9], cycle=False)
    @example(parts=[frame(0x88, b"\0\0") + frame(0x88, b"\3\xe8")], sizes=[99], cycle=False)
    def test_small_frames(self, parts: list[bytes], sizes: list[int], cycle: bool) -> None:
        """Frames of all kinds, good and bad, cut anywhere."""
        self.compare(SMALL, parts, sizes, cycle)

    @settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
    @given(parts=streams(), closes_at=st.integers(0, 400))
    @example(parts=[frame(0x81, b"\xed\xa0\x80"), frame(0x81, b"next")], closes_at=400)
    def test_byte_by_byte(self, parts: list[bytes], closes_at: int) -> None:
        """The finest cut there is; the application closes somewhere."""
        sizes = [1] * sum(map(len, parts))
        if closes_at < len(sizes):
            sizes.insert(closes_at, APPLICATION_CLOSES)
        self.compare(SMALL, parts, sizes, cycle=False)

    @settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
    @given(
        parts=streams(st.one_of(USUAL, LARGE_FRAMES)),
        sizes=st.lists(st.integers(1, 80_000), max_size=8),
        cycle=st.booleans(),
    )
    def test_large_frames(self, parts: list[bytes], sizes: list[int], cycle: bool) -> None:
        """Around the limits and the 16-bit length."""
        self.compare(LARGE, parts, [*sizes, 40_000], cycle)


def chunks(parts: list[bytes], sizes: list[int], cycle: bool) -> list[bytes | None]:
    """The stream in pieces; None where the application closes."""
    if sizes == FRAME_BY_FRAME:
        return list(parts)
    data = b"".join(parts)
    out: list[bytes | None] = []
    at = 0
    for size in sizes if not cycle or max(sizes) < 1 else sizes * (len(data) + 1):
        if size == APPLICATION_CLOSES:
            out.append(None)
        else:
            out.append(data[at : at + size])
            at += size
        if at >= len(data):
            return out
    out.append(data[at:])
    return out

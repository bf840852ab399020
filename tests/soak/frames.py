"""The comparison with Autobahn over many more byte streams (short: ``tests.wire.test_frames``)."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.wire import test_frames as short

MANY = settings(max_examples=40_000, deadline=None, suppress_health_check=list(HealthCheck))
SOME = settings(max_examples=8_000, deadline=None, suppress_health_check=list(HealthCheck))


class ManyStreams(short.Comparison):
    """Any stream, any cuts."""

    timeout = 1200

    @MANY
    @given(parts=short.streams(), sizes=short.CHUNKS, cycle=st.booleans())
    def test_small_frames(self, parts: list[bytes], sizes: list[int], cycle: bool) -> None:
        """Frames of all kinds, good and bad, cut anywhere."""
        self.compare(short.SMALL, parts, sizes, cycle)

    @SOME
    @given(
        parts=short.streams(st.one_of(short.USUAL, short.LARGE_FRAMES)),
        sizes=st.lists(st.integers(1, 80_000), max_size=8),
        cycle=st.booleans(),
    )
    def test_large_frames(self, parts: list[bytes], sizes: list[int], cycle: bool) -> None:
        """Around the limits and the 16-bit length."""
        self.compare(short.LARGE, parts, [*sizes, 40_000], cycle)

"""Any mixture of good and broken items yields exactly the good ones."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from iii.modules.observability.ingest import reader
from tests.observability.ingest.cases import ITEMS, IngestCase, attribute, frame, resource, span

#: Kind → an item that is all right, by its number.
GOOD: dict[str, Any] = {
    "OTLP": lambda n: span(name=str(n), attributes=[attribute("n", intValue=n)]),
    "MTRC": lambda n: {"name": str(n), "gauge": {"dataPoints": [{"asDouble": n}]}},
    "LOGS": lambda n: {"body": {"stringValue": str(n)}, "severityNumber": 9},
}

ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)
#: No item of any kind, though some are all but one.
BROKEN = st.one_of(
    st.none() | st.booleans() | st.integers() | st.text(),
    st.lists(ANY_JSON, max_size=3),
    st.sampled_from(
        [
            {"name": 5, "body": 5, "gauge": {}},
            span(traceId="", attributes=5) | {"gauge": 1},
            span(startTimeUnixNano="x") | {"name": None, "severityNumber": []},
            span(attributes=[{"value": {}}]) | {"name": []},
        ]
    ),
).map(msgspec.json.encode)
UNREADABLE = st.sampled_from(
    [b"NaN", b"nope", b"{nope}", b'{"name":}', b'{"name" "x"}', b"[1 2]", b'"\xff"', b'"\\ud800"']
)
BAD = BROKEN | UNREADABLE


class Mixtures(IngestCase):
    """05 "Where we must be better" 7."""

    @given(
        kind=st.sampled_from(sorted(GOOD)),
        items=st.lists(st.none() | BAD, max_size=12),
        whole=st.booleans(),
    )
    @settings(deadline=None, suppress_health_check=list(HealthCheck))
    def test_the_good_ones_come_out(
        self, kind: str, items: list[bytes | None], whole: bool
    ) -> None:
        """In their order, each with its service; the bad ones are counted."""
        self.clear()
        self.patch(reader, "WHOLE_BYTES", 10**6 if whole else 100)
        texts = [
            msgspec.json.encode(GOOD[kind](n)) if item is None else item
            for n, item in enumerate(items)
        ]
        self.receive(kind, frame(kind, *texts, resource=resource("mix")))
        found = self.heard.spans + self.heard.metrics + self.heard.logs
        names = [getattr(item, "name", None) or getattr(item, "body", None) for item in found]
        self.assertEqual(names, [str(n) for n, item in enumerate(items) if item is None])
        self.assertEqual({item.service_name for item in found}, {"mix"} if found else set())
        self.assertEqual(
            sum(self.hub.dropped.values()), sum(1 for item in items if item is not None)
        )

    @given(
        kind=st.sampled_from(sorted(GOOD)),
        data=st.binary() | ANY_JSON.map(msgspec.json.encode),
        cut=st.integers(0, 400),
        where=st.integers(0, 400),
    )
    @settings(deadline=None, suppress_health_check=list(HealthCheck))
    def test_nothing_raises(self, kind: str, data: bytes, cut: int, where: int) -> None:
        """Neither anything at all, nor a frame with something else in the middle."""
        self.clear()
        whole = frame(kind, *(GOOD[kind](n) for n in range(3)), resource=resource("x"))
        self.receive(kind, data)
        self.receive(kind, frame(kind, data))
        self.receive(kind, whole[:where] + data + whole[where + cut :])
        self.assertEqual(self.flushLoggedErrors(), [])
        self.assertEqual(self.ingest.waiting_bytes, 0)
        # What came out can be written as strict JSON.
        msgspec.json.encode([self.heard.spans, self.heard.metrics, self.heard.logs])

    @given(kind=st.sampled_from(sorted(GOOD)), content=ANY_JSON)
    @settings(deadline=None, suppress_health_check=list(HealthCheck))
    def test_both_ways_read_the_same(self, kind: str, content: Any) -> None:
        """A frame decoded as a whole and one that is walked through."""
        item = {**GOOD[kind](1), "attributes": [attribute("a", stringValue=str(content))]}
        payload = msgspec.json.encode({**msgspec.json.decode(frame(kind, item)), "more": content})
        both = []
        for size in (10**6, 0):
            self.clear()
            self.patch(reader, "WHOLE_BYTES", size)
            self.receive(kind, payload)
            both.append((list(self.heard.spans), list(self.heard.metrics), list(self.heard.logs)))
        self.assertEqual(*both)
        self.assertEqual(sum(map(len, both[0])), 1, ITEMS[kind])

    def clear(self) -> None:
        """Forget what came before."""
        self.hub.dropped.clear()
        for heard in (self.heard.spans, self.heard.metrics, self.heard.logs):
            heard.clear()

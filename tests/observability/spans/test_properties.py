"""The store beside the simplest one that could work: a list, searched from end to end."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.internet import task
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from iii.engine.clock import Clock
from iii.engine.core import Engine
from iii.engine.module import ModuleApi
from iii.modules.observability.config import ObservabilityConfig, settings_of
from iii.modules.observability.hub import Hub
from iii.modules.observability.model import Span
from iii.modules.observability.spans import segments, store
from iii.modules.observability.spans.pace import Pace
from iii.modules.observability.spans.query import Search
from iii.modules.observability.spans.shapes import ListInput
from iii.modules.observability.spans.store import SpanStore
from tests.observability.spans.cases import EPOCH, span

TRACES = [f"{n:032x}" for n in (1, 2)]
IDS = [f"{n:016x}" for n in range(1, 9)]
FUNCTIONS = ["orders::create", "orders::list", "engine::log::info"]

_ms = st.integers(0, 5)
_parents = st.one_of(st.none(), st.sampled_from(IDS))
_spans = st.builds(
    span,
    st.sampled_from(IDS),
    trace=st.sampled_from(TRACES),
    parent=_parents,
    at_ms=_ms,
    took_ms=_ms,
    name=st.sampled_from(FUNCTIONS),
    status=st.sampled_from(["ok", "error", "unset"]),
    service=st.sampled_from(["a", "b"]),
    attributes=st.sampled_from([[], [("k", "v")], [("iii.function.kind", "internal")]]),
)
_pending = st.builds(
    span,
    st.sampled_from(IDS[5:]),
    trace=st.sampled_from(TRACES),
    parent=_parents,
    end_ns=st.just(0),
)


# The engine's spans are never under way, so their ids are others.
@st.composite
def _calls(draw: st.DrawFn) -> tuple[Any, ...]:
    """A record of a call."""
    trace = draw(st.sampled_from(TRACES))

    def context(id: str | None) -> str | None:
        return None if id is None else f"00-{trace}-{id}-01"

    own, received, parent = draw(
        st.lists(st.sampled_from(IDS[:5]), min_size=3, max_size=3, unique=True)
    )
    started = draw(_ms) / 1_000
    return (
        draw(st.sampled_from(FUNCTIONS)),
        "id",
        context(draw(st.sampled_from([None, parent]))),
        context(draw(st.sampled_from([None, received]))),
        context(own),
        "caller",
        "worker",
        started,
        started + draw(_ms) / 1_000,
        draw(st.sampled_from([None, ("E", "boom", None)])),
    )


_asked = st.builds(
    ListInput,
    limit=st.sampled_from([None, 0, 1, 3]),
    offset=st.integers(0, 3),
    name=st.sampled_from([None, "LIST", "call"]),
    status=st.sampled_from([None, "err", "ok"]),
    service_name=st.sampled_from([None, "A"]),
    trace_id=st.sampled_from([None, None, TRACES[0]]),
    min_duration_ms=st.sampled_from([None, 2.0]),
    start_time=st.sampled_from([None, EPOCH * 1_000.0 + 3]),
    end_time=st.sampled_from([None, EPOCH * 1_000.0 + 2]),
    sort_by=st.sampled_from([None, "duration", "name", "service_name"]),
    sort_order=st.sampled_from([None, "desc"]),
    attributes=st.sampled_from([None, [["k", "v"]], [["function_id", "orders::list"]]]),
    include_internal=st.booleans(),
    search_all_spans=st.booleans(),
)
_steps = st.lists(
    st.one_of(
        st.tuples(st.just("spans"), st.lists(_spans, min_size=1, max_size=6)),
        st.tuples(st.just("begin"), st.lists(_pending, min_size=1, max_size=2)),
        st.tuples(st.just("calls"), st.lists(_calls(), min_size=1, max_size=6)),
        st.tuples(st.just("list"), _asked),
        st.tuples(st.just("list"), st.builds(ListInput)),
    ),
    min_size=1,
    max_size=20,
)


class Naive:
    """Keeps everything, and looks at all of it."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._spans: list[Span] = []
        self._pending: dict[tuple[str, str], Span] = {}
        self._ended: set[tuple[str, str]] = set()

    def add(self, spans: list[Span]) -> None:
        """Spans, under way or not."""
        for one in spans:
            self._pending.pop((one.trace_id, one.span_id), None)
            if one.pending:
                self._pending[one.trace_id, one.span_id] = one
            else:
                self._spans.append(one)
                self._ended.add((one.trace_id, one.span_id))

    def ended(self, one: Span) -> bool:
        """Whether a span has ended already."""
        return (one.trace_id, one.span_id) in self._ended

    def visible(self) -> list[Span]:
        """The newest; the others are gone for good."""
        while len(self._pending) > self._limit:
            del self._pending[next(iter(self._pending))]
        over = len(self._spans) + len(self._pending) - self._limit
        del self._spans[: max(0, over)]
        return [*self._spans, *self._pending.values()]

    def list(self, asked: ListInput) -> tuple[list[tuple[str, str, str]], int]:
        """The spans of the page, and how many match."""
        spans = self.visible()
        ids = {(s.trace_id, s.span_id) for s in spans}
        pairs = [(pair[0], pair[1]) for pair in asked.attributes or []]
        having = [
            {s.trace_id for s in spans if pair in s.attributes}
            if asked.search_all_spans
            else {id(s) for s in spans if pair in s.attributes}
            for pair in pairs
        ]
        found = []
        for place, s in enumerate(spans):
            end_ns = s.end_ns or s.start_ns
            duration = 0.0 if s.pending else s.duration_ns / 1e6
            parent = s.parent_span_id
            root = parent is None or parent == s.span_id or (s.trace_id, parent) not in ids
            who = s.trace_id if asked.search_all_spans else id(s)
            if (
                (root or asked.search_all_spans)
                and (asked.include_internal or not _internal(s))
                and asked.trace_id in (None, s.trace_id)
                and (asked.name or "").lower() in s.name.lower()
                and (asked.status or "") in s.status
                and (asked.service_name or "").lower() in s.service_name.lower()
                and duration >= (asked.min_duration_ms or 0)
                and (asked.start_time is None or end_ns >= int(asked.start_time) * 10**6)
                and (asked.end_time is None or s.start_ns <= int(asked.end_time) * 10**6)
                and all(who in some for some in having)
            ):
                keys: dict[str | None, Any] = {
                    None: s.start_ns,
                    "duration": duration,
                    "name": s.name,
                    "service_name": s.service_name,
                }
                found.append((keys[asked.sort_by], place, (s.trace_id, s.span_id, s.name)))
        found.sort(reverse=asked.sort_order == "desc")
        limit = 100 if asked.limit is None else asked.limit
        first = asked.offset or 0
        return [what for _, _, what in found[first : first + limit]], len(found)


def _internal(s: Span) -> bool:
    return ("iii.function.kind", "internal") in s.attributes


class LikeTheNaiveOne(SynchronousTestCase):
    """05 A6.3 and "better" 15: indexes change nothing about what is found."""

    @settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
    @given(limit=st.integers(0, 12), steps=_steps)
    def test_every_list_is_that_of_a_naive_store(self, limit: int, steps: list[Any]) -> None:
        # Small segments and tables, so that there are many.
        self.patch(store, "SEGMENT_ITEMS", 3)
        self.patch(segments, "_GENERATION", 2)
        clock = Clock.virtual(task.Clock(), epoch=EPOCH)
        api = ModuleApi(Engine(task.Clock(), clock=clock), "iii-observability")
        hub = Hub(api, settings_of(ObservabilityConfig(memory_max_spans=limit), {}))
        stored, naive = SpanStore(hub), Naive(limit)
        hub.start()
        stored.start()
        for what, value in steps:
            if what == "calls":
                assert api.tracing.sink is not None
                api.tracing.sink(value)
                naive.add([one for fields in value for one in hub.maker.spans(fields)])
            elif what == "list":
                self.assertEqual(self.listed(stored, clock, value), naive.list(value))
            else:
                # A beginning that comes after its end is another test's.
                spans = [one for one in value if not (one.pending and naive.ended(one))]
                hub.add_spans(spans)
                naive.add(spans)
        everything = ListInput(search_all_spans=True, include_internal=True)
        for asked in (ListInput(), everything):
            self.assertEqual(self.listed(stored, clock, asked), naive.list(asked))
        self.assertEqual(stored.stats.spans, len(naive.visible()))
        self.assertEqual(stored.stats.bytes > 0, bool(naive.visible()))

    def listed(self, stored: SpanStore, clock: Clock, asked: ListInput) -> Any:
        """The spans of a page, and how many match."""
        searching = Deferred.fromCoroutine(Search(stored, Pace(clock), asked).run())
        found = self.successResultOf(searching)
        return [(s.trace_id, s.span_id, s.name) for s in found.spans], found.total

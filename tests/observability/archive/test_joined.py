"""``engine::traces::*`` with traces on disk: memory and the archive are one."""

from __future__ import annotations

import json
import sqlite3
from itertools import product
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet import reactor, task
from twisted.trial.unittest import TestCase

from iii.engine import tracecontext
from iii.engine.clock import Clock
from iii.engine.core import Engine
from iii.engine.module import ModuleApi
from iii.errors import IIIError
from iii.modules.observability.archive import reading
from iii.modules.observability.archive.archive import Archive
from iii.modules.observability.archive.rows import pair_bytes
from iii.modules.observability.config import ObservabilityConfig, settings_of
from iii.modules.observability.hub import Hub
from iii.modules.observability.model import Span
from iii.modules.observability.spans import functions, tree
from iii.modules.observability.spans.part import Spans
from iii.modules.observability.spans.shapes import MAX_PAIRS, ListInput
from iii.testing import InProcessEngine, in_process
from tests.observability.archive.cases import MS, T0, span
from tests.observability.spans.cases import TRACE, Row, shape
from tests.support.commands import Commands
from tests.support.engine_case import RawWorker
from tests.support.probes import probe
from tests.support.rawsocket import open_socket

A = "a".rjust(32, "0")


class Run:
    """One run of an engine with spans in memory and an archive, as the module has them.

    :param settings: the module's configuration
    """

    def __init__(self, directory: Path, settings: dict[str, Any]) -> None:
        clock = Clock.virtual(task.Clock(), epoch=T0 / 1e9)
        self.engine = Engine(reactor, clock=clock)
        self.api = ModuleApi(self.engine, "iii-observability")
        storage = {"trace_storage": {"directory": str(directory)}}
        config = msgspec.convert(storage | settings, ObservabilityConfig)
        self.hub = Hub(self.api, settings_of(config, {}))
        assert self.hub.settings.trace_storage is not None
        self.archive = Archive(self.hub, self.hub.settings.trace_storage, {})
        self.spans = Spans(self.hub, self.archive)
        self.archive.start()
        self.hub.start()
        self.spans.start()

    async def stop(self) -> None:
        """End it, in the order of the module."""
        self.spans.stop()
        self.hub.stop()
        await self.archive.stop()
        self.engine.stop()


class JoinedCase(TestCase):
    """Runs of an engine, one after the other, over one archive."""

    timeout = 60

    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).absolute()
        self.now: Run | None = None

    async def tearDown(self) -> None:
        if self.now is not None:
            await self.now.stop()

    async def begin(self, **settings: Any) -> Run:
        """End the run there is, and begin the next."""
        if self.now is not None:
            await self.now.stop()
        self.now = Run(self.directory, settings)
        return self.now

    def add(self, *spans: Span) -> None:
        """Spans of a worker arrive."""
        assert self.now is not None
        self.now.hub.add_spans(list(spans))

    async def ask(self, function: str, **asked: Any) -> Row:
        """The result of ``engine::traces::<function>``."""
        assert self.now is not None
        context = tracecontext.unsampled(tracecontext.new_root())
        name = f"engine::traces::{function}"
        answer: Row = msgspec.json.decode(
            bytes(await self.now.api.invoke(name, asked, traceparent=context))
        )
        return answer

    async def ids(self, **asked: Any) -> list[str]:
        """``trace/span`` of the rows of a list, without zeros in front."""
        rows = (await self.ask("list", **asked))["spans"]
        return [f"{row['trace_id'].lstrip('0')}/{row['span_id'].lstrip('0')}" for row in rows]

    async def shape(self, trace: str = A) -> list[Any]:
        """The tree of a trace: span ids without zeros in front."""
        roots = (await self.ask("tree", trace_id=trace))["roots"]
        return list(json.loads(json.dumps(shape(roots)).replace('"' + "0" * 15, '"')))

    def break_reading(self) -> None:
        """From now on the file can't be read."""

        def broken(*_: object) -> None:
            raise sqlite3.DatabaseError("database disk image is malformed")

        self.patch(reading, "find", broken)
        self.patch(reading, "spans_of", broken)

    def break_writing(self) -> None:
        """From now on the file can't be written."""
        assert self.now is not None

        def full(_: object, done: Any) -> None:
            done(sqlite3.OperationalError("database or disk is full"))

        self.patch(self.now.archive._database, "submit", full)


class Restart(JoinedCase):
    """05 "better" 12: what was before is still there."""

    async def test_lists_and_trees_go_on(self) -> None:
        await self.begin()
        self.add(span("a", "2", parent="1"), span("a"))
        await self.begin()
        self.add(span("b", start_ns=T0 + MS))
        self.assertEqual(await self.ids(), ["a/1", "b/1"])
        self.assertEqual(await self.shape(), [["1", ["2"]]])

    async def test_a_trace_of_two_runs_is_one(self) -> None:
        await self.begin()
        self.add(span("a"), span("a", "2", parent="1", start_ns=T0 + 1))
        await self.begin()
        self.add(span("a", "3", parent="2", start_ns=T0 + 2))
        self.assertEqual(await self.ids(), ["a/1"])
        self.assertEqual(await self.shape(), [["1", ["2", ["3"]]]])

    async def test_what_is_in_both_is_shown_once_and_as_in_memory(self) -> None:
        await self.begin()
        self.add(span("a", end_ns=0))
        await self.begin()
        self.add(span("a", status="error"), span("a", "2", parent="1"))
        (row,) = (await self.ask("list", count_spans=True))["spans"]
        self.assertEqual((row["status"], row["span_count"]), ("error", 2))
        (root,) = (await self.ask("tree", trace_id=A))["roots"]
        self.assertEqual((root["status"], len(root["children"])), ("error", 1))

    async def test_a_trace_can_be_asked_for_by_its_id(self) -> None:
        await self.begin()
        self.add(span("a"), span("b"))
        await self.begin()
        self.assertEqual(await self.ids(trace_ids=[A, "none"]), ["a/1"])
        self.assertEqual(await self.ids(trace_id=A), ["a/1"])

    async def test_groups_are_of_what_is_in_memory(self) -> None:
        await self.begin()
        self.add(span("a", attributes=[("k", "before")]))
        await self.begin()
        self.add(span("b", attributes=[("k", "now")]))
        groups = (await self.ask("group_by", attribute="k"))["groups"]
        self.assertEqual([group["value"] for group in groups], ["now"])


class Evicted(JoinedCase):
    """05 A6.3: memory holds less than the archive."""

    async def fill(self) -> None:
        """Seven traces."""
        await self.begin(memory_max_spans=3)
        self.add(*(span(f"{n}", start_ns=T0 + n * MS, name=f"n{n % 2}") for n in range(1, 8)))

    async def test_pages_go_over_the_border(self) -> None:
        await self.fill()
        for offset, page in ((0, "1 2"), (2, "3 4"), (3, "4 5"), (4, "5 6"), (6, "7"), (9, "")):
            answer = await self.ask("list", offset=offset, limit=2)
            found = " ".join(row["trace_id"].lstrip("0") for row in answer["spans"])
            self.assertEqual((found, answer["total"]), (page, 7))
        self.assertEqual(
            await self.ids(sort_by="name", sort_order="desc", limit=3), ["7/1", "5/1", "3/1"]
        )

    async def test_a_root_whose_parent_memory_forgot_is_none(self) -> None:
        await self.begin(memory_max_spans=1)
        self.add(span("a"), span("a", "2", parent="1", start_ns=T0 + 1))
        self.assertEqual(await self.ids(), ["a/1"])
        self.assertEqual(await self.shape(), [["1", ["2"]]])

    async def test_engine_spans_that_memory_is_not_to_keep_are_found(self) -> None:
        run = await self.begin(exporter="otlp")
        tracing = run.engine.invocations.tracing
        context = tracing.context(None, "GET /")
        tracing.span("GET /", "server", None, context, 0.0, True)
        self.assertEqual(len(await self.ids(name="GET")), 1)

    async def test_starts_are_not_shown_when_live_spans_are_off(self) -> None:
        await self.begin(live_spans=False)
        self.add(span("a", end_ns=0), span("b"))
        self.assertEqual(await self.ids(), ["b/1"])


class Rows(JoinedCase):
    """05 A15 0.21.3, 0.23: what an answer says."""

    async def test_storage_says_how_the_archive_is(self) -> None:
        await self.begin()
        self.add(span("a"))
        storage = (await self.ask("list"))["storage"]
        self.assertGreater(storage.pop("physical_bytes"), 0)
        self.assertEqual(
            storage,
            {
                "archive": "ready",
                "completeness": "complete",
                "known_dropped_spans": 0,
                "max_disk_bytes": 1 << 30,
                "last_error": None,
            },
        )

    async def test_tags_are_those_of_the_whole_trace_and_the_newest_win(self) -> None:
        await self.begin()
        self.add(
            span("a", "3", parent="1", start_ns=T0 + 2, attributes=[("iii.tag.kind", "new")]),
            span("a", attributes=[("iii.session.id", "s"), ("iii.tag.kind", "old")]),
            span("a", "2", parent="1", attributes=[("iii.message.id", "m"), ("k", "iii.tag.")]),
            span("b", start_ns=T0 + 9, attributes=[("k", "v")]),
        )
        first, second = (await self.ask("list"))["spans"]
        tags = {"iii.session.id": "s", "iii.message.id": "m", "iii.tag.kind": "new"}
        self.assertEqual(first["trace_tags"], tags)
        self.assertNotIn("trace_tags", second)

    async def test_a_tree_of_very_many_spans_says_that_it_is_cut(self) -> None:
        self.patch(functions, "MAX_TREE_SPANS", 2)
        self.patch(tree, "MAX_TREE_SPANS", 2)
        await self.begin()
        self.add(span("a"), span("a", "3", parent="1", start_ns=T0 + 2))
        await self.begin()
        self.assertNotIn("truncated", await self.ask("tree", trace_id=A))
        self.add(span("a", "2", parent="1", start_ns=T0 + 1))
        self.assertEqual(await self.shape(), [["1", ["2"]]])
        self.assertTrue((await self.ask("tree", trace_id=A))["truncated"])


class Failing(JoinedCase):
    """While the file can't be used memory answers, and the answer says so."""

    async def fill(self) -> None:
        """One trace of before, one of now."""
        await self.begin()
        self.add(span("a"))
        await self.begin()
        self.add(span("b"))

    async def test_a_file_that_cannot_be_read(self) -> None:
        await self.fill()
        self.break_reading()
        answer = await self.ask("list")
        self.assertEqual([row["trace_id"].lstrip("0") for row in answer["spans"]], ["b"])
        storage = answer["storage"]
        self.assertEqual((storage["archive"], storage["completeness"]), ("failing", "partial"))
        self.assertIn("malformed", storage["last_error"])
        self.assertEqual(await self.shape("b".rjust(32, "0")), [["1"]])

    async def test_a_file_that_cannot_be_written(self) -> None:
        await self.fill()
        self.break_writing()
        for _ in range(2):
            answer = await self.ask("list")
            self.assertEqual([row["trace_id"].lstrip("0") for row in answer["spans"]], ["b"])
            self.assertEqual(answer["storage"]["archive"], "failing")
            self.assertIn("full", answer["storage"]["last_error"])
        self.assertEqual(await self.shape(), [["1"]])
        self.assertEqual(len(self.flushLoggedErrors()), 0)

    async def test_nothing_is_cleared_when_the_file_refuses(self) -> None:
        await self.fill()
        await self.ids()
        self.break_writing()
        with self.assertRaises(IIIError) as caught:
            await self.ask("clear")
        self.assertEqual(caught.exception.code, "trace_storage_clear_failed")
        self.assertEqual(await self.ids(), ["a/1", "b/1"])
        assert self.now is not None
        self.assertEqual(self.now.spans.store.stats.spans, 1)


class Clear(JoinedCase):
    """05 A6.5."""

    @probe("05.26")
    async def test_memory_and_archive_are_empty_afterwards(self) -> None:
        await self.begin()
        self.add(span("a"))
        await self.begin()
        self.add(span("b"))
        self.assertEqual(await self.ask("clear"), {"success": True})
        self.assertEqual((await self.ask("list"))["total"], 0)
        self.assertEqual(await self.shape(), [])
        assert self.now is not None
        self.assertEqual(self.now.spans.store.stats.spans, 0)
        await self.begin()
        self.assertEqual((await self.ask("list"))["total"], 0)


# The archive beside memory --------------------------------------------------------------

_PAIRS = [
    ("k", "v"),
    ("k", "vv"),
    ("kk", "v"),
    ("⒡", "\u2461"),
    ("long", "x" * 300),
    ("iii.function.kind", "internal"),
    ("iii.tag.kind", "a"),
    ("iii.tag.kind", "b"),
    ("iii.session.id", "b"),
]
_spans = st.lists(
    st.builds(
        span,
        st.sampled_from("abc"),
        st.sampled_from("123456"),
        parent=st.one_of(st.none(), st.sampled_from("123456")),
        start_ns=st.integers(0, 5).map(lambda ms: T0 + ms * MS),
        end_ns=st.one_of(st.integers(0, 9).map(lambda ms: T0 + ms * MS), st.just(0)),
        name=st.sampled_from(["GET /a", "get /B", "Éclair", "n_%"]),
        service_name=st.sampled_from(["a", "B"]),
        status=st.sampled_from(["ok", "error", "unset"]),
        attributes=st.lists(st.sampled_from(_PAIRS), max_size=3),
    ),
    max_size=14,
    # What memory gets twice it shows twice.
    unique_by=lambda one: (one.trace_id, one.span_id),
)
_lists = st.one_of(
    st.none(),
    st.lists(st.sampled_from([list(pair) for pair in _PAIRS] + [["bad"]]), max_size=2),
)
_questions = {
    "limit": st.integers(0, 5),
    "offset": st.integers(0, 5),
    "trace_id": st.just(A),
    "name": st.sampled_from(["", "GET", "éC", "_"]),
    "status": st.sampled_from(["ERR", "o"]),
    "service_name": st.sampled_from(["b", "x"]),
    "min_duration_ms": st.sampled_from([0.1, 2.0, 1e300]),
    "max_duration_ms": st.sampled_from([0.0, 2.3, 3.0]),
    "start_time": st.sampled_from([T0 / MS + 3, -1e300, 1e300]),
    "end_time": st.sampled_from([T0 / MS + 2, -1e300]),
    "sort_by": st.sampled_from(["duration", "duration_ms", "name", "service_name", "x"]),
    "sort_order": st.sampled_from(["asc", "desc"]),
    "attributes": _lists,
    "exclude_attributes": _lists,
    "include_internal": st.booleans(),
    "search_all_spans": st.booleans(),
    "count_spans": st.booleans(),
}
# Few at once, or little would be found.
_asked = st.lists(
    st.sampled_from(sorted(_questions)).flatmap(
        lambda name: st.tuples(st.just(name), _questions[name])
    ),
    max_size=4,
).map(dict)


class Alike(JoinedCase):
    """Whatever is asked, both say the same of what both have."""

    async def test_of_lists(self) -> None:
        run = await self.begin()
        alone = functions.TraceFunctions(run.hub, run.spans.store)
        cases: list[tuple[list[Span], list[dict[str, Any]]]] = []

        @settings(max_examples=150, deadline=None, database=None)
        @given(_spans, st.lists(_asked, min_size=4, max_size=8))
        def collect(spans: list[Span], questions: list[dict[str, Any]]) -> None:
            # For memory those under way are the newest.
            cases.append((sorted(spans, key=lambda one: one.pending), questions))

        collect()
        for spans, questions in cases:
            await self.ask("clear")
            self.add(*spans)
            for asked in questions:
                of_disk = await self.ask("list", **asked)
                self.assertEqual(of_disk.pop("storage")["archive"], "ready")
                question = msgspec.convert(asked, ListInput)
                of_memory = msgspec.json.decode(bytes(await alone.list(question)))
                self.assertEqual(of_disk, of_memory, (spans, asked))

    async def test_of_as_many_attributes_as_may_be_asked_for(self) -> None:
        await self.begin()
        many = [("k", f"{n}") for n in range(MAX_PAIRS)]
        self.add(span("a", attributes=many))
        for search_all in (False, True):
            asked = {"attributes": many, "exclude_attributes": [("no", v) for _, v in many]}
            self.assertEqual(await self.ids(search_all_spans=search_all, **asked), ["a/1"])

    def test_no_pair_is_found_where_another_is(self) -> None:
        texts = ["", "a", "\x12", "\u2461a", "é", "x" * 40, "y" * 200]
        pairs = list(product(texts, texts))
        encode = msgspec.msgpack.encode
        for one, other in product(pairs, pairs):
            found = pair_bytes(one) in encode([other, other])
            self.assertEqual(found, one == other, (one, other))


class Command(Commands):
    """``iii traces`` after a restart of the whole engine."""

    timeout = 90

    async def test_it_shows_what_was_before(self) -> None:
        entry = {
            "class": "modules::observability::OtelModule",
            "config": {"prometheus_port": 0, "trace_storage": {"directory": self.mktemp()}},
        }
        first = await in_process(reactor, {"port": 0}, modules=[entry], environ={})
        self.addCleanup(first.stop)
        await self.call(first)
        await first.stop()

        second = await in_process(reactor, {"port": 0}, modules=[entry], environ={})
        self.addCleanup(second.stop)
        self.port = second.ready["worker"]
        listed = (await self.done("traces")).out.decode()
        self.assertIn("handle_invocation hello", listed)
        self.assertIn(f" {TRACE[:12]} ", f" {listed} ")
        (row,) = json.loads((await self.done("traces", "--json")).out)["traces"]
        self.assertEqual((row["trace_id"], row["span_count"]), (TRACE, 2))
        shown = (await self.done("traces", TRACE[:6])).lines
        self.assertEqual(shown[0], f"trace {TRACE}")
        self.assertIn("2 spans", shown[1])
        self.assertIn("call hello", shown[-1])

    async def call(self, engine: InProcessEngine) -> None:
        """A worker of ``engine`` calls itself."""
        socket = await open_socket(engine.ready["worker"])
        worker = RawWorker(socket, await socket.next_message())
        await worker.register("hello")
        id = worker.invoke("hello", traceparent=f"00-{TRACE}-b7ad6b7169203331-01")
        await worker.answer("hello", result=None)
        await worker.result_of(id)
        socket.drop()

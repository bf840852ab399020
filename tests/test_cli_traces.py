"""``iii traces`` against an engine whose traces are given by the test."""

from __future__ import annotations

import json
from typing import Any

import msgspec
from rich.console import Console
from twisted.trial.unittest import SynchronousTestCase

from iii.cli import tracetree
from iii.engine.module import ModuleApi
from tests.support.commands import Commands
from tests.support.engine_case import EngineCase

MS = 1_000_000
T0 = 1_760_000_000_000 * MS
A, B = "aaaa" + "0" * 28, "aaab" + "0" * 28

Node = dict[str, Any]


class Strict(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """An input that takes nothing else; who calls is put in by the engine."""

    caller: str = msgspec.field(name="_caller_worker_id", default="")


class ListInput(Strict):
    """05 A6.3: what the list may be asked."""

    limit: int = 100
    offset: int = 0
    service_name: str | None = None
    name: str | None = None
    status: str | None = None
    min_duration_ms: float | None = None
    include_internal: bool = False
    sort_by: str = "start_time"
    sort_order: str = "asc"
    count_spans: bool = False


class TreeInput(Strict):
    """05 A6.4."""

    trace_id: str


def node(name: str, start_ms: float, end_ms: float, *children: Node, **more: Any) -> Node:
    """A span as ``engine::traces::tree`` answers it; ``end_ms`` 0: it is under way."""
    return {
        "trace_id": A,
        "span_id": "1" * 16,
        "parent_span_id": None,
        "name": name,
        "start_time_unix_nano": T0 + int(start_ms * MS),
        "end_time_unix_nano": T0 + int(end_ms * MS) if end_ms else 0,
        "status": "ok",
        "attributes": [["http.route", "/orders"]],
        "service_name": "iii",
        "events": [],
        "links": [],
        "children": list(children),
    } | more


TREE = [
    node(
        "POST /orders",
        0,
        100,
        node(
            "call orders::create",
            10,
            90,
            node(
                "charge",
                20,
                60,
                service_name="billing",
                status="error",
                status_description="card declined",
            ),
            node("mail", 60, 80, service_name="mailer"),
        ),
        node("enqueue", 90, 100),
    )
]


class TracesCommand(EngineCase, Commands):
    """08 §7: a list of the newest traces, and each as a tree."""

    timeout = 90

    def prepare(self) -> None:
        self.asked: list[ListInput] = []
        self.more: dict[str, Any] = {}
        self.trees: dict[str, list[Node]] = {A: TREE, B: [node("cron", 0, 0, trace_id=B)]}
        api = ModuleApi(self.engine, "iii-observability")
        api.function("engine::traces::list", self.list, takes=ListInput)
        api.function("engine::traces::tree", self.tree, takes=TreeInput)

    def list(self, asked: ListInput) -> Any:
        """The stub of ``engine::traces::list``."""
        self.asked.append(msgspec.structs.replace(asked, caller=""))
        spans = [
            {key: value for key, value in roots[0].items() if key != "children"}
            | ({"span_count": len(list(tracetree.walk(roots)))} if asked.count_spans else {})
            for roots in self.trees.values()
        ]
        return {
            "spans": spans[: asked.limit],
            "total": len(spans),
            "offset": 0,
            "limit": 100,
        } | self.more

    def tree(self, asked: TreeInput) -> Any:
        """The stub of ``engine::traces::tree``."""
        return {"roots": self.trees.get(asked.trace_id, [])}

    async def refused(self, *arguments: str) -> str:
        """What a command says that exits with 1."""
        command = await self.iii("traces", *arguments)
        self.assertEqual(command.code, 1, command.out)
        return command.err.decode()

    async def test_the_newest_traces_are_listed_with_their_spans_counted(self) -> None:
        lines = (await self.done("traces")).lines
        (line,) = (line for line in lines if "POST /orders" in line)
        for part in ("aaaa00000000", "2025-10-09T08:53:20Z", "iii", "100.0 ms", " 5 ", "ok"):
            self.assertIn(part, line)
        (line,) = (line for line in lines if "cron" in line)
        self.assertIn("running", line)
        (asked,) = self.asked
        self.assertEqual((asked.limit, asked.sort_by, asked.sort_order), (20, "start_time", "desc"))

    async def test_filters_are_the_engines(self) -> None:
        options = "-n 1 --service ord --name POST --status error --min-duration 2.5"
        answer = json.loads(
            (await self.done("traces", *options.split(), "--include-internal", "--json")).out
        )
        self.assertEqual([row["span_count"] for row in answer["traces"]], [5])
        self.assertEqual(
            self.asked,
            [
                ListInput(
                    limit=1,
                    service_name="ord",
                    name="POST",
                    status="error",
                    min_duration_ms=2.5,
                    include_internal=True,
                    sort_order="desc",
                    count_spans=True,
                )
            ],
        )

    async def test_it_says_when_the_disk_has_more_that_it_cannot_show(self) -> None:
        self.more = {"storage": {"archive": "ready", "last_error": "long ago"}}
        self.assertEqual((await self.done("traces")).errors, [])
        self.more = {"storage": {"archive": "failing", "last_error": "disk is full"}}
        command = await self.done("traces")
        self.assertEqual(command.errors, ["only what is in memory: disk is full"])
        self.assertIn("POST /orders", command.out.decode())

    async def test_without_traces_it_says_so(self) -> None:
        self.trees.clear()
        self.assertEqual((await self.done("traces")).lines, ["no traces"])

    async def test_a_trace_is_a_tree_with_its_error(self) -> None:
        lines = (await self.done("traces", A)).lines
        self.assertEqual(lines[0], f"trace {A}")
        self.assertIn("5 spans · 3 services · 100.0 ms · 1 error", lines[1])
        names = [line.split("  iii")[0].rstrip() for line in lines[3:]]
        self.assertEqual(names[0], "POST /orders")
        self.assertEqual(names[1], "├─ call orders::create")
        self.assertTrue(names[2].startswith("│  ├─ charge"), names[2])
        self.assertEqual(names[3], "│  │     error: card declined")
        self.assertTrue(names[4].startswith("│  └─ mail"), names[4])
        self.assertEqual(names[5], "└─ enqueue")

    async def test_attributes_are_shown_on_demand(self) -> None:
        self.assertNotIn(b"http.route", (await self.done("traces", A)).out)
        out = (await self.done("traces", A, "--attributes")).out.decode()
        self.assertEqual(out.count("http.route = /orders"), 5)

    async def test_as_json_it_is_what_the_engine_says(self) -> None:
        answer = json.loads((await self.done("traces", A, "--json")).out)
        self.assertEqual(answer, {"trace_id": A, "roots": TREE})

    async def test_the_beginning_of_an_id_is_enough(self) -> None:
        self.assertEqual((await self.done("traces", "AAAA")).lines[0], f"trace {A}")
        self.assertEqual((self.asked[0].limit, self.asked[0].include_internal), (1000, True))

    async def test_a_beginning_of_two_is_not(self) -> None:
        self.trees["aaaa1" + "0" * 27] = [node("x", 0, 1, trace_id="aaaa1" + "0" * 27)]
        error = await self.refused("aaaa")
        self.assertIn(f"Error: 2 traces begin with 'aaaa': {A}, aaaa1", error)

    async def test_a_trace_that_is_not_there_is_an_error(self) -> None:
        self.assertIn("no trace begins with 'beef'", await self.refused("beef"))
        self.assertIn("no trace ffff", await self.refused("f" * 32))

    async def test_what_makes_no_sense_is_refused_before_connecting(self) -> None:
        for arguments, text in (
            (("abc",), "'abc' is not a trace id"),
            (("nothex",), "'nothex' is not a trace id"),
            ((A, "--name", "x"), "Filters are for the list"),
            (("--attributes",), "--attributes needs a TRACE_ID"),
        ):
            command = await self.iii("traces", *arguments)
            self.assertEqual(command.code, 2)
            self.assertIn(text, command.err.decode())

    async def test_watching_tells_of_changes(self) -> None:
        command = self.begin("traces", "--watch", "--json")
        await self.eventually(lambda: command.lines)
        del self.trees[A]
        await self.eventually(lambda: len(command.lines) > 1)
        first, second = (json.loads(line)["traces"] for line in command.lines[:2])
        self.assertEqual([len(first), len(second)], [2, 1])


class Waterfall(SynchronousTestCase):
    """Bars beside the tree, for any width."""

    def shown(self, roots: list[Node], width: int = 100, **options: Any) -> list[str]:
        """What a terminal of ``width`` columns shows below the heading."""
        console = Console(width=width, highlight=False)
        made = tracetree.tree(A, roots, console, **{"attributes": False, **options})
        with console.capture() as capture:
            console.print(made)
        return capture.get().splitlines()[3:]

    def bars(self, roots: list[Node]) -> list[tuple[int, int]]:
        """Offset and length of each span's bar, in hundredths of the longest line."""
        lines = self.shown(roots, 400)
        first = min(line.index("━") for line in lines if "━" in line)
        width = tracetree.MAX_BAR
        return [
            (
                round(100 * (line.index("━") - first) / width),
                round(100 * line.count("━") / width),
            )
            for line in lines
            if "━" in line
        ]

    def test_a_bar_is_as_long_as_its_span_and_begins_with_it(self) -> None:
        self.assertEqual(self.bars(TREE), [(0, 100), (10, 80), (20, 40), (60, 20), (90, 10)])

    def test_the_shortest_span_has_a_bar(self) -> None:
        bars = self.bars([node("a", 0, 1000, node("b", 0.001, 0.002), node("c", 1000, 1000))])
        self.assertEqual([length for _, length in bars], [100, 2, 2])
        self.assertEqual(bars[2][0], 98)

    def test_a_trace_of_one_instant_fills_the_width(self) -> None:
        self.assertEqual(self.bars([node("a", 5, 5)]), [(0, 100)])

    def test_a_span_under_way_goes_on_to_the_edge(self) -> None:
        root, child = self.shown([node("a", 0, 100, node("b", 50, 0, pending=True))], 400)
        self.assertIn("running", child)
        self.assertEqual(child.count("┄"), tracetree.MAX_BAR // 2)
        self.assertEqual(len(root.rstrip()), len(child.rstrip()))

    def test_a_trace_that_has_just_begun_is_all_under_way(self) -> None:
        (line,) = self.shown([node("a", 5, 5, pending=True)], 400)
        self.assertEqual(line.count("┄"), tracetree.MAX_BAR)

    def test_it_fits_into_the_terminal(self) -> None:
        long = [node("a" * 200, 0, 10, node("数据" * 40, 1, 2, service_name="s" * 90))]
        for width in (40, 80, 120):
            for line in self.shown(long, width):
                self.assertLessEqual(Console().measure(line).maximum, width, line)

    def test_a_long_message_is_whole_and_stays_in_its_branch(self) -> None:
        words = " ".join(f"word{n}" for n in range(60))
        failed = node("b", 0, 1, status="error", status_description=words)
        lines = self.shown([node("a", 0, 2, failed, node("c", 1, 2))], 60)
        below = [line for line in lines if line.startswith("│     ")]
        self.assertGreater(len(below), 5)
        self.assertEqual(" ".join(line[6:].strip() for line in below), f"error: {words}")

    def test_an_exception_says_what_the_status_does_not(self) -> None:
        event = {
            "name": "exception",
            "timestamp_unix_nano": T0,
            "attributes": [["exception.type", "boom"], ["exception.message", "it broke"]],
        }
        lines = self.shown([node("a", 0, 1, status="error", events=[event])])
        self.assertIn("error: it broke", lines[1])

    def test_nothing_a_span_says_reaches_the_terminal_as_a_command(self) -> None:
        (line,) = self.shown([node("a\x1b[2Jb\nc", 0, 1)])
        self.assertIn("a·[2Jb·c", line)

    def test_a_deep_trace_is_no_trouble(self) -> None:
        deep = node("leaf", 0, 1)
        for _ in range(3_000):
            deep = node("x", 0, 1, deep)
        self.assertEqual(sum(1 for _ in tracetree.walk([deep])), 3_001)

    def test_durations_have_fitting_units(self) -> None:
        for ms, text in (
            (0, "0 ns"),
            (0.0005, "500 ns"),
            (0.25, "250.0 µs"),
            (1.5, "1.50 ms"),
            (12_345, "12.3 s"),
        ):
            span = node("a", 1, 1 + ms)
            self.assertEqual(tracetree.duration_text(span), text)

"""``engine::traces::list``."""

from __future__ import annotations

from iii.modules.observability.spans.shapes import MAX_PAIRS
from tests.observability.spans.cases import EPOCH, TRACE, SpansCase, span
from tests.support.probes import probe

PARENT = f"00-{TRACE}-b7ad6b7169203331-01"


class Pages(SpansCase):
    """05 A6.3: pages and their order."""

    @probe("05.19")
    async def test_total_counts_what_is_beyond_the_page(self) -> None:
        self.ingest(*(span(str(n), at_ms=n) for n in range(5)))

        page = await self.page(limit=2)
        self.assertEqual([row["span_id"] for row in page.pop("spans")], ["0", "1"])
        self.assertEqual(page, {"total": 5, "offset": 0, "limit": 2})
        self.assertEqual(await self.ids(offset=3), ["3", "4"])
        self.assertEqual(
            await self.page(limit=0), {"spans": [], "total": 5, "offset": 0, "limit": 0}
        )

    @probe("05.20")
    async def test_spans_are_sorted_as_asked(self) -> None:
        self.ingest(
            span("b", at_ms=0, took_ms=2, name="n3", service="s2"),
            span("c", at_ms=1, took_ms=3, name="n1", service="s1"),
            span("a", at_ms=2, took_ms=1, name="n2", service="s3"),
        )

        for key, order, expected in (
            ("duration", "DESC", "cba"),
            ("duration", "ASC", "abc"),
            ("duration_ms", "asc", "abc"),
            ("start_time", None, "bca"),
            ("start_time", "down", "acb"),
            ("no such key", None, "bca"),
            ("name", "asc", "cab"),
            ("service_name", "desc", "abc"),
        ):
            ids = await self.ids(sort_by=key, sort_order=order)
            self.assertEqual("".join(ids), expected, (key, order))

    async def test_a_limit_beyond_reason_is_cut(self) -> None:
        self.assertEqual((await self.page(limit=10**9))["limit"], 10_000)

    async def test_nulls_are_as_good_as_absent(self) -> None:
        self.ingest(span("1"))

        nothing = dict.fromkeys(("limit", "offset", "name", "attributes", "include_internal"))
        self.assertEqual(await self.ids(**nothing), ["1"])
        self.assertEqual((await self.ask("list", None))["total"], 1)

    async def test_wrong_input_is_refused(self) -> None:
        many = [["k", "v"]] * (MAX_PAIRS + 1)
        for wrong in (
            {"limit": -1},
            {"offset": "x"},
            {"attributes": 5},
            {"start_time": "now"},
            {"exclude_attributes": many},
        ):
            error = await self.client.error_of("engine::traces::list", wrong)
            self.assertEqual(error["code"], "deserialization_error", wrong)


class Rows(SpansCase):
    """05 A5.1: what a row says."""

    async def test_a_full_row(self) -> None:
        self.ingest(
            span(
                "1",
                kind="client",
                at_ms=5,
                took_ms=1.5,
                status="error",
                status_description="boom",
                attributes=[("k", "v")],
                scope_name="lib",
                scope_version="1.0",
                flags=257,
                trace_state="a=b",
            )
        )

        start_ns = EPOCH * 10**9 + 5 * 10**6
        self.assertEqual(
            await self.rows(),
            [
                {
                    "trace_id": TRACE,
                    "span_id": "1",
                    "parent_span_id": None,
                    "name": "span 1",
                    "kind": "client",
                    "start_time_unix_nano": start_ns,
                    "end_time_unix_nano": start_ns + 1_500_000,
                    "start_time_ms": EPOCH * 1_000 + 5,
                    "duration_ms": 1.5,
                    "status": "error",
                    "status_description": "boom",
                    "attributes": [["k", "v"]],
                    "service_name": "orders",
                    "events": [],
                    "links": [],
                    "instrumentation_scope_name": "lib",
                    "instrumentation_scope_version": "1.0",
                    "flags": 257,
                    "trace_state": "a=b",
                }
            ],
        )

    async def test_what_is_empty_is_left_out(self) -> None:
        self.ingest(span("1"))

        (row,) = await self.rows()
        for key in ("status_description", "instrumentation_scope_name", "flags", "trace_tags"):
            self.assertNotIn(key, row)

    async def test_tags_are_those_of_the_whole_trace_and_the_newest_win(self) -> None:
        self.ingest(
            span("3", parent="1", at_ms=2, attributes=[("iii.tag.kind", "new")]),
            span("1", at_ms=0, attributes=[("iii.session.id", "s"), ("iii.tag.kind", "old")]),
            span("2", parent="1", at_ms=1, attributes=[("iii.message.id", "m"), ("k", "v")]),
            span("1", trace="other", attributes=[("iii.tag.kind", "else")]),
        )

        (row,) = await self.rows(trace_id=TRACE)
        tags = {"iii.session.id": "s", "iii.message.id": "m", "iii.tag.kind": "new"}
        self.assertEqual(row["trace_tags"], tags)

    async def test_how_many_spans_a_trace_has_is_said_on_demand(self) -> None:
        await self.call_worker()
        self.ingest(span("1"), span("2", parent="1"), span("3", parent="1", at_ms=1))

        rows = await self.rows(count_spans=True, sort_by="name")
        self.assertEqual([row["span_count"] for row in rows], [2, 3])
        self.assertNotIn("span_count", (await self.rows())[0])


class Filters(SpansCase):
    """05 A6.3: what is found."""

    @probe("05.21")
    async def test_texts_match_in_part_and_in_any_case(self) -> None:
        self.ingest(
            span("1", name="get orders", status="error", service="Shop"),
            span("2", name="get users", status="ok"),
        )

        self.assertEqual(await self.ids(name="ORD"), ["1"])
        self.assertEqual(await self.ids(status="err"), ["1"])
        self.assertEqual(await self.ids(service_name="sHo"), ["1"])
        self.assertEqual(await self.ids(name="get", status="OK"), ["2"])

    @probe("05.22")
    async def test_attributes_match_exactly_and_lists_that_are_no_pairs_do_not_count(self) -> None:
        self.ingest(
            span("1", attributes=[("k", "v"), ("l", "w")]),
            span("2", attributes=[("k", "vv")]),
        )

        self.assertEqual(await self.ids(attributes=[["k", "v"], ["bad"]]), ["1"])
        self.assertEqual(await self.ids(attributes=[["k", "v"], ["l", "x"]]), [])
        self.assertEqual(await self.ids(attributes=[["k", "v", "w"], []]), ["1", "2"])
        self.assertEqual(await self.ids(exclude_attributes=[["k", "vv"], ["x"]]), ["1"])

    async def test_durations_are_inclusive(self) -> None:
        self.ingest(*(span(str(n), took_ms=n, at_ms=n) for n in (1, 2, 3)))
        self.ingest(span("0", at_ms=9, end_ns=5))

        self.assertEqual(await self.ids(min_duration_ms=2), ["2", "3"])
        self.assertEqual(await self.ids(max_duration_ms=2), ["1", "2", "0"])
        self.assertEqual(await self.ids(min_duration_ms=1.5, max_duration_ms=2.0), ["2"])

    async def test_times_need_only_overlap(self) -> None:
        self.ingest(*(span(str(n), at_ms=10 * n, took_ms=5) for n in range(3)))

        at = EPOCH * 1_000
        self.assertEqual(await self.ids(start_time=at + 15), ["1", "2"])
        self.assertEqual(await self.ids(start_time=at + 16), ["2"])
        self.assertEqual(await self.ids(end_time=at + 10), ["0", "1"])
        self.assertEqual(await self.ids(start_time=at + 3, end_time=at + 9), ["0"])
        self.assertEqual(await self.ids(start_time=1e300), [])

    async def test_traces_are_chosen_by_id(self) -> None:
        self.ingest(*(span(str(n), trace=f"t{n}", at_ms=n) for n in range(4)))

        self.assertEqual(await self.ids(trace_id="t2"), ["2"])
        self.assertEqual(await self.ids(trace_ids=["t3", "t1", "none"]), ["1", "3"])
        self.assertEqual(await self.ids(trace_ids=[]), [])
        self.assertEqual(await self.ids(trace_ids=["t1", "t2"], trace_id="t2"), ["2"])

    @probe("05.23")
    async def test_a_search_in_all_spans_finds_children(self) -> None:
        self.ingest(span("1", name="root"), span("2", parent="1", name="leaf", at_ms=1))

        self.assertEqual(await self.rows(name="leaf"), [])
        (row,) = await self.rows(name="leaf", search_all_spans=True)
        self.assertEqual((row["trace_id"], row["span_id"]), (TRACE, "2"))
        self.assertEqual(await self.ids(search_all_spans=True), ["1", "2"])

    async def test_there_attributes_are_those_of_the_trace(self) -> None:
        self.ingest(
            span("1", name="root", attributes=[("a", "1")]),
            span("2", parent="1", name="leaf", at_ms=1, attributes=[("b", "2")]),
            span("3", trace="other", name="leaf", at_ms=2, attributes=[("b", "2")]),
        )

        both = [["a", "1"], ["b", "2"]]
        self.assertEqual(await self.ids(attributes=both), [])
        self.assertEqual(await self.ids(attributes=both, search_all_spans=True), ["1", "2"])
        self.assertEqual(
            await self.ids(name="leaf", exclude_attributes=[["a", "1"]], search_all_spans=True),
            ["3"],
        )


class Roots(SpansCase):
    """05 A6.3 and "better" 9: spans whose parent is not stored are roots."""

    @probe("05.10")
    async def test_a_span_without_a_parent_is_a_root(self) -> None:
        self.ingest(span("1", parent=None), span("2", parent="1"))

        self.assertEqual(await self.ids(), ["1"])
        self.assertEqual(await self.ids(trace_id=TRACE), ["1"])

    async def test_one_whose_parent_is_missing_is_until_the_parent_comes(self) -> None:
        self.ingest(span("2", parent="1", at_ms=1))
        self.assertEqual(await self.ids(), ["2"])
        self.assertEqual(await self.ids(trace_id=TRACE), ["2"])

        self.ingest(span("1"))
        self.assertEqual(await self.ids(), ["1"])

    async def test_a_span_of_another_trace_is_no_parent(self) -> None:
        self.ingest(span("1", trace="other"), span("2", parent="1", at_ms=1))

        self.assertEqual(await self.ids(), ["1", "2"])

    async def test_a_span_that_is_its_own_parent_is_a_root(self) -> None:
        self.ingest(span("1", parent="1"))

        self.assertEqual(await self.ids(), ["1"])

    async def test_the_parent_may_be_in_another_segment(self) -> None:
        many = [span(f"c{n}", parent="p", at_ms=n) for n in range(3_000)]
        self.ingest(*many)
        self.assertEqual((await self.page())["total"], 3_000)

        self.ingest(span("p"))
        self.assertEqual(await self.ids(), ["p"])

    async def test_a_call_of_a_worker_is_one_root(self) -> None:
        await self.call_worker("orders::create")

        (row,) = await self.rows()
        self.assertEqual(row["name"], "handle_invocation orders::create")
        self.assertEqual((row["kind"], row["service_name"]), ("server", "iii"))
        self.assertEqual(
            await self.names(search_all_spans=True, sort_by="name"),
            ["call orders::create", "handle_invocation orders::create"],
        )

    async def test_a_call_from_elsewhere_is_one_too(self) -> None:
        await self.call_worker("orders::create", traceparent=PARENT)

        (row,) = await self.rows()
        self.assertEqual((row["trace_id"], row["parent_span_id"]), (TRACE, PARENT[36:52]))


class Internal(SpansCase):
    """05 A6.3: the engine's own functions are shown to whoever asks for them."""

    @probe("05.24")
    async def test_calls_of_engine_functions_are_hidden(self) -> None:
        await self.client.call("engine::functions::list", {})
        self.assertEqual(await self.names(), [])
        self.assertEqual(await self.names(search_all_spans=True), [])

        names = await self.names(include_internal=True)
        self.assertEqual(names, ["handle_invocation engine::functions::list"])

    async def test_spans_that_say_so_are_hidden_as_well(self) -> None:
        self.ingest(
            span("1", attributes=[("iii.function.kind", "internal")]),
            span("2", attributes=[("function_id", "engine::log::info")], trace="t2"),
            span("3", attributes=[("iii.function.kind", "user")], trace="t3"),
            span("4", parent="none", attributes=[("iii.function.kind", "internal")], trace="t4"),
        )

        self.assertEqual(await self.ids(), ["3"])
        self.assertEqual(await self.ids(trace_ids=[TRACE, "t2"]), [])
        self.assertEqual(
            await self.ids(trace_ids=[TRACE, "t2", "t4"], include_internal=True), ["1", "2", "4"]
        )


class Clearing(SpansCase):
    """05 A6.5."""

    @probe("05.26")
    async def test_clear_forgets_everything(self) -> None:
        await self.call_worker()
        self.ingest(span("1"), span("2", end_ns=0))
        self.assertEqual((await self.page())["total"], 3)

        self.assertEqual(await self.ask("clear", {}), {"success": True})
        self.assertEqual((await self.page())["total"], 0)
        self.ingest(span("3"))
        self.assertEqual(await self.ids(), ["3"])

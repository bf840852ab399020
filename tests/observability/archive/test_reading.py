"""Lists of the archive: what is a root, filters, order, pages."""

from __future__ import annotations

from iii.modules.observability.archive import reading
from iii.modules.observability.archive.archive import Archive
from tests.observability.archive.cases import MS, T0, ArchiveCase, ids, span


class Roots(ArchiveCase):
    """05 A6.3: a span without a parent, or whose parent is not stored."""

    async def test_a_child_is_no_root(self) -> None:
        archive = self.open()
        self.hub.add_spans([span("a", "2", parent="1"), span("a")])
        self.assertEqual(await self.found(archive), ["a/1"])

    async def test_a_span_whose_parent_is_missing_is_one(self) -> None:
        archive = self.open()
        self.hub.add_spans([span("a", "2", parent="1"), span("b", "1")])
        self.assertEqual(await self.found(archive), ["a/2", "b/1"])

    async def test_until_its_parent_comes(self) -> None:
        archive = self.open()
        self.hub.add_spans([span("a", "2", parent="1")])
        self.assertEqual(await self.found(archive), ["a/2"])
        self.hub.add_spans([span("a")])
        self.assertEqual(await self.found(archive), ["a/1"])

    async def test_a_child_that_comes_after_its_parent_is_none(self) -> None:
        archive = self.open()
        self.hub.add_spans([span("a")])
        await self.found(archive)
        self.hub.add_spans([span("a", "2", parent="1"), span("b", "3", parent="1")])
        self.assertEqual(await self.found(archive), ["a/1", "b/3"])

    async def test_a_pending_child_that_ends_is_still_none(self) -> None:
        archive = self.open()
        self.hub.add_spans([span("a"), span("a", "2", parent="1", end_ns=0)])
        await self.found(archive)
        self.hub.add_spans([span("a", "2", parent="1")])
        self.assertEqual(await self.found(archive), ["a/1"])

    async def test_all_spans_can_be_asked_for(self) -> None:
        archive = self.open()
        self.hub.add_spans([span("a"), span("a", "2", parent="1", start_ns=T0 + MS)])
        self.assertEqual(await self.found(archive, children=True), ["a/1", "a/2"])

    async def test_the_engines_own_calls_only_when_asked_for(self) -> None:
        archive = self.open()
        self.hub.add_spans(
            [
                span("a", attributes=[("iii.function.kind", "internal")]),
                span("b", attributes=[("function_id", "engine::workers::list")]),
                span("c", attributes=[("function_id", "x"), ("iii.function.kind", "user")]),
            ]
        )
        self.assertEqual(await self.found(archive), ["c/1"])
        self.assertEqual(await self.found(archive, internal=True), ["a/1", "b/1", "c/1"])


class Filters(ArchiveCase):
    """05 A6.3: all of them hold at once."""

    def filled(self) -> Archive:
        """Three traces: one quick, one slow and wrong, one that goes on."""
        archive = self.open()
        self.hub.add_spans(
            [
                span("a", name="GET /orders", service_name="http", status="ok"),
                span("b", name="ÉCLAIR_50%", status="error", end_ns=T0 + 500 * MS),
                span("c", name="cron", start_ns=T0 + 1000 * MS, end_ns=0),
            ]
        )
        return archive

    async def test_texts_are_parts_without_case(self) -> None:
        archive = self.filled()
        self.assertEqual(await self.found(archive, name="get /ORD"), ["a/1"])
        self.assertEqual(await self.found(archive, status="err"), ["b/1"])
        self.assertEqual(await self.found(archive, service="HTT"), ["a/1"])
        self.assertEqual(await self.found(archive, service="http", status="err"), [])

    async def test_texts_beyond_ascii_too(self) -> None:
        archive = self.filled()
        self.assertEqual(await self.found(archive, name="éclair"), ["b/1"])

    async def test_no_character_of_a_text_is_a_wild_card(self) -> None:
        archive = self.filled()
        self.assertEqual(await self.found(archive, name="%"), ["b/1"])
        self.assertEqual(await self.found(archive, name="_"), ["b/1"])

    async def test_durations_are_inclusive_and_pending_spans_have_none(self) -> None:
        archive = self.filled()
        self.assertEqual(await self.found(archive, min_duration_ms=500.0), ["b/1"])
        self.assertEqual(await self.found(archive, max_duration_ms=5.0), ["a/1", "c/1"])

    async def test_times_are_an_overlap(self) -> None:
        archive = self.filled()
        self.assertEqual(await self.found(archive, since_ns=T0 + 6 * MS), ["b/1", "c/1"])
        self.assertEqual(await self.found(archive, until_ns=T0 + 999 * MS), ["a/1", "b/1"])
        self.assertEqual(await self.found(archive, since_ns=T0 + 1001 * MS), [])
        self.assertEqual(await self.found(archive, since_ns=2**80), [])
        self.assertEqual(await self.found(archive, until_ns=-(2**80)), [])

    async def test_traces_can_be_named(self) -> None:
        archive = self.filled()
        wanted = [name.rjust(32, "0") for name in "acx"]
        self.assertEqual(await self.found(archive, trace_ids=wanted), ["a/1", "c/1"])
        self.assertEqual(await self.found(archive, trace_ids=[]), [])


class Pages(ArchiveCase):
    """05.19, 05.20 as far as SQL answers them."""

    def filled(self) -> Archive:
        """Four traces, each later and shorter than the one before."""
        archive = self.open()
        self.hub.add_spans(
            [
                span(f"{n + 1}", name=f"n{n % 2}", start_ns=T0 + n * MS, end_ns=T0 + 10 * MS)
                for n in range(4)
            ]
        )
        return archive

    async def test_a_page_and_how_many_there_are(self) -> None:
        page = await self.page(self.filled(), offset=1, limit=2)
        self.assertEqual((ids(page.spans), page.total), (["2/1", "3/1"], 4))

    async def test_a_page_beyond_everything_is_empty(self) -> None:
        page = await self.page(self.filled(), offset=2**70, limit=2**70)
        self.assertEqual((page.spans, page.total), ([], 4))

    async def test_an_empty_page_counts_too(self) -> None:
        page = await self.page(self.filled(), limit=0)
        self.assertEqual((page.spans, page.total), ([], 4))

    async def test_orders(self) -> None:
        archive = self.filled()
        for sort_by, wanted in (
            ("start_time", ["1/1", "2/1", "3/1", "4/1"]),
            ("duration", ["4/1", "3/1", "2/1", "1/1"]),
            ("name", ["1/1", "3/1", "2/1", "4/1"]),
            ("service_name", ["1/1", "2/1", "3/1", "4/1"]),
        ):
            self.assertEqual(await self.found(archive, sort_by=sort_by), wanted)
            backwards = await self.found(archive, sort_by=sort_by, descending=True)
            self.assertEqual(backwards, wanted[::-1])

    async def test_an_answer_is_bounded_in_bytes_and_in_number(self) -> None:
        archive = self.filled()
        self.patch(reading, "MAX_READ_SPANS", 3)
        self.assertEqual(len(await self.found(archive)), 3)
        self.patch(reading, "MAX_READ_BYTES", 1)
        self.assertEqual(len(await self.found(archive)), 1)

    async def test_an_unknown_trace_has_no_spans(self) -> None:
        self.assertEqual(await self.filled().spans_of("nope"), [])

"""What is kept, and for how long."""

from __future__ import annotations

from iii.modules.observability.model import Event, Link
from tests.observability.spans.cases import TRACE, SpansCase, span
from tests.support.probes import probe


class Newest(SpansCase):
    """05 A3: the newest spans are kept, exactly as many as the settings say."""

    settings = {"memory_max_spans": 3}

    @probe("05.27")
    async def test_of_five_spans_the_three_newest_are_seen(self) -> None:
        for number in range(5):
            self.ingest(span(str(number), at_ms=number, trace=f"t{number}"))

        self.assertEqual(await self.ids(), ["2", "3", "4"])
        self.assertEqual((await self.page())["total"], 3)

    async def test_what_one_frame_brings_is_cut_as_well(self) -> None:
        self.ingest(*(span(str(number), at_ms=number) for number in range(5_000)))

        self.assertEqual(await self.ids(), ["4997", "4998", "4999"])
        self.assertEqual(self.spans.store.stats.evicted, 4_997)

    async def test_what_is_counted_in_bytes_is_what_is_left(self) -> None:
        context = f"00-{TRACE}-b7ad6b7169203331-01"
        named = ("🙂" * 50, "id", None, None, context, None, None, 0.0, 1.0, None)
        plain = ("f", *named[1:])
        tell = self.hub.engine.tracing.sink
        assert tell is not None
        for _ in range(100):
            tell([named, *[plain] * 9])
            self.assertEqual(self.spans.store.stats.spans, 3)

        self.assertLess(self.spans.store.stats.bytes, 3_000)
        self.assertGreater(self.spans.store.stats.bytes, 1_000)

    async def test_a_call_may_be_cut_between_its_two_spans(self) -> None:
        await self.call_worker("a")
        await self.call_worker("b")

        self.assertEqual(
            await self.names(search_all_spans=True, sort_by="name"),
            ["call a", "call b", "handle_invocation b"],
        )
        self.assertEqual(await self.names(sort_by="name"), ["call a", "handle_invocation b"])

    async def test_a_span_whose_parent_was_evicted_is_a_root(self) -> None:
        self.ingest(span("1"), span("2", parent="1", at_ms=1), span("3", parent="2", at_ms=2))
        self.assertEqual(await self.ids(), ["1"])

        self.ingest(span("4", at_ms=3))
        self.assertEqual(await self.ids(), ["2", "4"])
        self.ingest(span("5", at_ms=4))
        self.assertEqual(await self.ids(), ["3", "4", "5"])


class Bytes(SpansCase):
    """08 §7: the store is bounded in bytes, whatever is in a span."""

    settings = {"memory_max_bytes": 1 << 20}

    async def test_many_small_spans_stay_within_the_limit(self) -> None:
        for number in range(5_000):
            self.ingest(span(str(number), at_ms=number))

        stats = self.spans.store.stats
        self.assertLessEqual(stats.bytes, 1 << 20)
        self.assertGreater(stats.spans, 500)
        self.assertEqual(stats.spans + stats.evicted, 5_000)
        self.assertEqual((await self.page(sort_order="desc"))["spans"][0]["span_id"], "4999")

    def test_a_few_large_ones_do_too(self) -> None:
        for number in range(20):
            self.ingest(span(str(number), attributes=[("k", "x" * 200_000)]))

        stats = self.spans.store.stats
        self.assertLessEqual(stats.bytes, 1 << 20)
        self.assertEqual(stats.spans, 5)

    def test_whatever_a_worker_may_choose_counts(self) -> None:
        text = "x" * 200_000
        for fields in (
            {"trace": text},
            {"parent": text},
            {"name": text},
            {"status_description": text},
            {"trace_state": text},
            {"scope_name": text},
            {"scope_version": text},
            {"attributes": [("k", text)]},
            {"attributes": [(text, "v")]},
            {"events": [Event(text, 1, [])]},
            {"events": [Event("e", 1, [("k", text)])]},
            {"links": [Link("t", "s", "", [("k", text)])]},
            {"links": [Link("t", "s", text)]},
            {"resource": {"k": text}},
        ):
            self.spans.store.clear()
            for number in range(10):
                one = span(str(number), **fields)
                if one.resource is not None:
                    one.resource = dict(one.resource)
                self.ingest(one)
            self.assertEqual(self.spans.store.stats.spans, 5, list(fields))

    def test_what_the_spans_of_a_frame_share_counts_once(self) -> None:
        sender = {"k": "x" * 200_000}
        self.ingest(*(span(str(number), resource=sender) for number in range(100)))

        self.assertEqual(self.spans.store.stats.spans, 100)

    def test_large_errors_of_calls_count(self) -> None:
        error = ("E", "x" * 100_000, "y" * 100_000)
        context = f"00-{TRACE}-b7ad6b7169203331-01"
        call = ("f", "id", None, None, context, None, None, 0.0, 1.0, error)
        self.hub.engine.tracing.sink([call] * 50)

        stats = self.spans.store.stats
        self.assertLessEqual(stats.bytes, 1 << 20)
        self.assertEqual(stats.spans, 5)

    def test_spans_under_way_count(self) -> None:
        for number in range(20):
            self.ingest(span(str(number), end_ns=0, attributes=[("k", "x" * 200_000)]))

        self.assertLessEqual(self.spans.store.stats.bytes, 1 << 20)

    async def test_a_span_that_fits_nowhere_is_not_kept(self) -> None:
        self.ingest(span("1", attributes=[("k", "x" * (2 << 20))]))

        self.assertEqual(await self.ids(), [])
        self.assertEqual(self.spans.store.stats.bytes, 0)


class Pending(SpansCase):
    """05 A4.5: spans under way."""

    @probe("05.52")
    async def test_the_end_takes_the_place_of_the_beginning(self) -> None:
        self.ingest(span("1", end_ns=0))
        self.ingest(span("1", took_ms=5))

        (row,) = await self.rows(search_all_spans=True)
        self.assertNotIn("pending", row)
        self.assertEqual(row["duration_ms"], 5)

    async def test_until_then_it_has_no_length(self) -> None:
        self.time.advance(10)
        self.ingest(span("1", end_ns=0))

        (row,) = await self.rows()
        self.assertIs(row["pending"], True)
        self.assertEqual(row["duration_ms"], 0)
        self.assertEqual(row["end_time_unix_nano"], row["start_time_unix_nano"])

    async def test_a_beginning_that_comes_after_its_end_is_not_shown(self) -> None:
        self.ingest(span("1", took_ms=5))
        self.ingest(span("1", end_ns=0))

        (row,) = await self.rows(search_all_spans=True)
        self.assertEqual(row["duration_ms"], 5)

    async def test_a_second_beginning_replaces_the_first(self) -> None:
        self.ingest(span("1", end_ns=0, name="old"))
        self.ingest(span("1", end_ns=0, name="new"))

        self.assertEqual(await self.names(), ["new"])

    async def test_a_child_of_a_span_under_way_is_no_root(self) -> None:
        self.ingest(span("1", end_ns=0), span("2", parent="1"))
        self.assertEqual(await self.ids(), ["1"])

        self.ingest(span("1", took_ms=5))
        self.assertEqual(await self.ids(), ["1"])

    async def test_after_an_hour_without_an_end_it_is_dropped(self) -> None:
        self.ingest(span("1", end_ns=0))
        self.time.advance(3_599)
        self.assertEqual(await self.ids(), ["1"])

        self.time.advance(1)
        self.assertEqual(await self.ids(), [])


class NotLive(SpansCase):
    """05 A4.5: without live spans, beginnings are dropped."""

    settings = {"live_spans": False}

    async def test_only_ends_are_kept(self) -> None:
        self.ingest(span("1", end_ns=0), span("2"))

        self.assertEqual(await self.ids(), ["2"])


class Redaction(SpansCase):
    """05 A15 head: the engine's own spans hide what is on the list, also from searches."""

    settings = {"redact": ["Function_ID"]}

    async def test_what_a_call_says_is_redacted(self) -> None:
        await self.call_worker("orders::create")

        (row,) = await self.rows()
        self.assertIn(["function_id", "[REDACTED]"], row["attributes"])
        self.assertEqual(await self.ids(attributes=[["function_id", "orders::create"]]), [])


class Exporting(SpansCase):
    """05 A3: with ``exporter: otlp`` spans of workers are kept, the engine's are not."""

    settings = {"exporter": "otlp"}

    async def test_only_spans_of_workers_are_there(self) -> None:
        await self.call_worker()
        self.ingest(span("1"))

        self.assertEqual(await self.ids(include_internal=True), ["1"])


class Off(SpansCase):
    """05 A1.2: with ``enabled: false`` there are no spans, and whoever asks is told why."""

    settings = {"enabled": False}

    async def test_every_function_says_so(self) -> None:
        for function, data in (
            ("list", {}),
            ("tree", {"trace_id": "t"}),
            ("group_by", {"attribute": "a"}),
            ("clear", {}),
        ):
            error = await self.client.error_of(f"engine::traces::{function}", data)
            self.assertEqual(error["code"], "memory_exporter_not_enabled")
            self.assertIn("Set exporter: memory or both", error["message"])

    async def test_nothing_is_kept(self) -> None:
        self.ingest(span("1"))

        self.assertEqual(self.spans.store.stats.spans, 0)
        self.assertEqual(await self.spans.durations_ms(), [])


class Durations(SpansCase):
    """05 A6.6: how long spans took."""

    async def test_each_span_counts_the_shortest_first(self) -> None:
        self.ingest(span("1", took_ms=3), span("2", took_ms=1), span("3", end_ns=0))
        self.ingest(span("4", took_ms=2))
        context = f"00-{TRACE}-b7ad6b7169203331-01"
        two_spans = ("f", "id", None, context, context, "w", "w", 0.0, 0.5, None)
        self.hub.engine.tracing.sink([two_spans])

        self.assertEqual(await self.spans.durations_ms(), [1, 2, 3, 500, 500])

    async def test_many_segments_are_merged(self) -> None:
        for _ in range(5):
            self.ingest(*(span(str(n), took_ms=n % 7) for n in range(1_500)))

        durations = await self.spans.durations_ms()
        self.assertEqual(durations, sorted([float(n % 7) for n in range(1_500)] * 5))

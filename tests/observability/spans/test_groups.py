"""``engine::traces::group_by``."""

from __future__ import annotations

from typing import Any

from tests.observability.spans.cases import EPOCH, SpansCase, span


class Groups(SpansCase):
    """05 A15 0.12: spans with the same value of an attribute."""

    async def groups(self, **asked: Any) -> list[dict[str, Any]]:
        """The groups."""
        groups: list[dict[str, Any]] = (await self.ask("group_by", asked))["groups"]
        return groups

    async def values(self, **asked: Any) -> list[str]:
        """What they are of."""
        return [group["value"] for group in await self.groups(**asked)]

    async def test_a_group_tells_of_its_spans(self) -> None:
        session = ("iii.session.id", "s1")
        self.ingest(
            span("1", trace="b", at_ms=10, took_ms=5, attributes=[session, ("title", "new")]),
            span("2", trace="a", at_ms=2, took_ms=1, attributes=[session, ("title", "old")]),
            span("3", trace="a", at_ms=3, status="error", attributes=[session]),
            span("4", trace="c", attributes=[("other", "s1")]),
        )

        self.assertEqual(
            await self.groups(attribute="iii.session.id", label_attribute="title"),
            [
                {
                    "value": "s1",
                    "label": "new",
                    "trace_ids": ["a", "b"],
                    "span_count": 3,
                    "first_seen_ms": EPOCH * 1_000 + 2,
                    "last_seen_ms": EPOCH * 1_000 + 15,
                    "duration_ms": 13,
                    "error_count": 1,
                }
            ],
        )

    async def test_the_newest_come_first_and_the_limit_counts_groups(self) -> None:
        self.ingest(*(span(str(n), at_ms=n, attributes=[("k", str(n))]) for n in (2, 1, 3)))

        self.assertEqual(await self.values(attribute="k"), ["3", "2", "1"])
        self.assertEqual(await self.values(attribute="k", limit=2), ["3", "2"])
        self.assertEqual(await self.values(attribute="k", limit=0), [])

    async def test_without_a_label_the_value_is_one(self) -> None:
        self.ingest(span("1", attributes=[("k", "v")]))

        self.assertEqual((await self.groups(attribute="k", label_attribute="l"))[0]["label"], "v")

    async def test_what_ended_before_does_not_count(self) -> None:
        self.ingest(*(span(str(n), at_ms=10 * n, attributes=[("k", str(n))]) for n in range(3)))

        since = EPOCH * 1_000 + 11
        self.assertEqual(await self.values(attribute="k", since_ms=since), ["2", "1"])
        self.assertEqual(await self.values(attribute="k", since_ms=since + 1), ["2"])

    async def test_calls_are_grouped_by_what_the_engine_says_of_them(self) -> None:
        await self.call_worker("orders::create")
        await self.client.call("engine::functions::list", {})

        (group,) = await self.groups(attribute="function_id")
        self.assertEqual((group["value"], group["span_count"]), ("orders::create", 2))
        self.assertEqual(len(group["trace_ids"]), 1)
        self.assertEqual(
            sorted(await self.values(attribute="function_id", include_internal=True)),
            ["engine::functions::list", "orders::create"],
        )
        self.assertEqual(await self.values(attribute="worker_id"), [self.client.id])

    async def test_the_attribute_must_be_named(self) -> None:
        error = await self.client.error_of("engine::traces::group_by", {})
        self.assertEqual(error["code"], "deserialization_error")

"""Spans sent to streams as they come."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from iii.modules.observability.hub import HAND_ON_S
from iii.modules.observability.spans.live import (
    ALL,
    GATHER_S,
    LOOK_S,
    MAX_EVENT_SPANS,
    MAX_LIVE_ITEMS,
    ROWS,
    SUBSCRIPTIONS,
    TRACE,
)
from tests.observability.spans.cases import SpansCase, span


class Sent(Struct):
    """What ``stream::send`` is given."""

    stream_name: str
    group_id: str
    type: str
    data: dict[str, Any]


class LiveCase(SpansCase):
    """A case with a stand-in for the stream module.

    :cvar offered: whether there is one
    """

    offered = True

    def prepare(self) -> None:
        """EngineCase: stand in for the stream module."""
        super().prepare()
        self.subscriptions = 1
        self.sent: list[Sent] = []
        self.trouble: Exception | None = None
        if self.offered:
            self.api.function("stream::send", self.send, takes=Sent)
        self.api.instrument(
            SUBSCRIPTIONS,
            "gauge",
            "Subscriptions",
            lambda: [(("true",), self.subscriptions), (("false",), 5)],
            ("recordings",),
        )

    def send(self, sent: Sent) -> None:
        """``stream::send``."""
        if self.trouble is not None:
            raise self.trouble
        self.sent.append(sent)

    async def look(self) -> None:
        """The time comes to look whether anybody follows."""
        self.time.advance(LOOK_S)

    async def later(self) -> None:
        """What was recorded is sent."""
        await self.client.settled()
        self.time.advance(HAND_ON_S)
        self.time.advance(GATHER_S)

    def to(self, stream: str, group: str = "all") -> list[str]:
        """The spans that were sent to a stream."""
        events = [e for e in self.sent if (e.stream_name, e.group_id) == (stream, group)]
        return [row["span_id"] for event in events for row in event.data["spans"]]


class Live(LiveCase):
    """05 A15 0.19.x and 0.21.3: ``iii:devtools:*``, when somebody follows streams."""

    async def test_spans_go_to_the_streams_they_belong_to(self) -> None:
        await self.look()
        self.ingest(span("1", trace="a"), span("2", trace="a", parent="1"), span("3", trace="b"))
        await self.later()

        self.assertEqual(self.to(ALL), ["1", "2", "3"])
        self.assertEqual(self.to(ROWS), ["1", "3"])
        self.assertEqual(self.to(TRACE, "a"), ["1", "2"])
        self.assertEqual(self.to(TRACE, "b"), ["3"])
        self.assertEqual({event.type for event in self.sent}, {"spans"})

    async def test_rows_look_like_those_of_a_list(self) -> None:
        await self.look()
        self.ingest(span("1", attributes=[("k", "v")]))
        await self.later()

        self.assertEqual(self.sent[0].data["spans"], await self.rows())

    async def test_calls_are_sent_and_internal_ones_are_no_rows(self) -> None:
        await self.look()
        await self.call_worker("orders::create")
        await self.client.call("engine::functions::list", {})
        await self.later()

        self.assertEqual(len(self.to(ALL)), 4)
        (root,) = await self.rows()
        self.assertEqual(self.to(ROWS), [root["span_id"]])

    async def test_the_beginning_of_a_span_is_sent_too(self) -> None:
        await self.look()
        self.ingest(span("1", end_ns=0))
        await self.later()

        (row,) = self.sent[0].data["spans"]
        self.assertIs(row["pending"], True)

    async def test_nothing_is_looked_at_while_nobody_follows(self) -> None:
        self.subscriptions = 0
        await self.look()
        before = len(self.hub._on_records), len(self.hub._on_ingested)
        self.ingest(span("1"))
        await self.later()
        self.assertEqual(self.sent, [])

        self.subscriptions = 1
        await self.look()
        self.ingest(span("2"))
        await self.later()
        self.assertEqual(self.to(ALL), ["2"])

        self.subscriptions = 0
        await self.look()
        self.assertEqual((len(self.hub._on_records), len(self.hub._on_ingested)), before)
        self.ingest(span("3"))
        await self.later()
        self.assertEqual(self.to(ALL), ["2"])

    async def test_sending_makes_no_spans(self) -> None:
        await self.look()
        self.ingest(span("1"))
        await self.later()
        self.assertTrue(self.sent)

        self.assertEqual((await self.page(include_internal=True))["total"], 1)
        await self.later()
        self.assertEqual(self.to(ALL), ["1"])

    async def test_many_spans_go_in_several_events_and_too_many_are_dropped(self) -> None:
        await self.look()
        self.ingest(*(span(str(n)) for n in range(MAX_LIVE_ITEMS + 5)))
        await self.later()

        self.assertEqual(len(self.to(ALL)), MAX_LIVE_ITEMS)
        self.assertEqual(max(len(e.data["spans"]) for e in self.sent), MAX_EVENT_SPANS)
        self.assertEqual(self.hub.dropped, {"live.too_many": 5})
        self.ingest(span("next"))
        await self.later()
        self.assertEqual(self.to(ALL)[-1], "next")

    async def test_a_refusal_is_counted_and_the_next_spans_are_sent(self) -> None:
        await self.look()
        self.trouble = RuntimeError("full")
        self.ingest(span("1"))
        await self.later()
        self.assertEqual(self.hub.dropped, {"live.not_sent": 3})
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 3)

        self.trouble = None
        self.ingest(span("2"))
        await self.later()
        self.assertEqual(self.to(ALL), ["2"])


class NoStreams(LiveCase):
    """Without a stream module there is nobody to send to."""

    offered = False

    async def test_nothing_is_looked_at(self) -> None:
        before = len(self.hub._on_records), len(self.hub._on_ingested)
        await self.look()

        self.assertEqual((len(self.hub._on_records), len(self.hub._on_ingested)), before)

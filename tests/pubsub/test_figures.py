"""Figures of pub/sub (03 §1.14)."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from iii.errors import Code, IIIError
from tests.pubsub.cases import ByHand, PubSubCase
from tests.support.recording import figures


class Local(PubSubCase):
    """Published, delivered."""

    async def test_messages_are_counted_by_topic(self) -> None:
        for topic in ("a", "b", "a"):
            await self.publish(1, topic)
        published = await figures(self.engine, "iii_pubsub_published_total")
        self.assertEqual(published, {("a",): 2, ("b",): 1})

    async def test_deliveries_are_counted_by_their_end(self) -> None:
        worker = await self.subscriber()
        await self.publish(1)
        await self.publish(2)
        await worker.answer("hook", result=None)
        await worker.answer("hook", error={"code": "oops", "message": ""})
        await worker.settled()
        delivered = await figures(self.engine, "iii_pubsub_delivered_total")
        self.assertEqual(delivered, {("ok",): 1, ("error",): 1})
        self.assertEqual((await figures(self.engine, "iii_pubsub_dropped_total"))[()], 0)


class Broker(PubSubCase):
    """A message is published when its broker has it."""

    def make_adapter(self) -> ByHand:
        """PubSubCase: a broker that the test plays."""
        self.broker = ByHand()
        return self.broker

    async def test_it_counts_when_it_was_sent(self) -> None:
        sending: Deferred[None] = Deferred()
        self.broker.answer = sending
        id = self.publisher.invoke("publish", {"topic": "a", "data": 1})
        await self.publisher.settled()
        self.assertEqual(await figures(self.engine, "iii_pubsub_published_total"), {})
        sending.callback(None)
        await self.publisher.result_of(id)
        published = await figures(self.engine, "iii_pubsub_published_total")
        self.assertEqual(published, {("a",): 1})

    async def test_not_when_it_could_not_be_sent(self) -> None:
        self.broker.answer = IIIError(Code.INTERNAL_ERROR, "no broker")
        await self.publisher.error_of("publish", {"topic": "a", "data": 1})
        self.assertEqual(await figures(self.engine, "iii_pubsub_published_total"), {})

"""The list of topics, and what an adapter is asked (03 §2.4)."""

from __future__ import annotations

from msgspec import Raw
from twisted.internet.defer import Deferred

from iii.engine import fanout
from iii.engine.module import ModuleApi
from iii.engine.native import Empty
from iii.errors import IIIError
from iii.modules.pubsub import PubSubAdapter
from tests.pubsub.cases import ByHand, PubSubCase


class Listing(PubSubCase):
    """03 §2.4: ``engine::pubsub::list_topics``."""

    async def test_topics_with_subscribers_by_name(self) -> None:
        """Every trigger counts; a topic goes with its last one."""
        self.assertEqual(await self.topics(), [])
        b = await self.subscriber(topic="b")
        await self.subscriber(topic="b")
        await b.trigger("subscribe", "hook", {"topic": "a::c"})
        self.assertEqual(
            await self.topics(),
            [
                {"name": "a::c", "broker_type": "local", "subscriber_count": 1},
                {"name": "b", "broker_type": "local", "subscriber_count": 2},
            ],
        )
        await self.gone(b)
        self.assertEqual(
            await self.topics(), [{"name": "b", "broker_type": "local", "subscriber_count": 1}]
        )

    async def test_it_is_found_among_functions_and_trigger_types(self) -> None:
        """With what they take."""
        listed = await self.publisher.call("engine::functions::list", {"include_internal": True})
        functions = {row["function_id"]: row for row in listed["functions"]}
        self.assertEqual(functions["publish"]["description"], "Publishes an event")
        self.assertIn("engine::pubsub::list_topics", functions)


class Leaving(PubSubCase):
    """Who unsubscribes hears nothing more, and leaves nothing behind."""

    def prepare(self) -> None:
        super().prepare()
        ModuleApi(self.engine, "iii-demo").function("expel", self.expel)

    def expel(self, _: Empty) -> None:
        """Takes trigger ``x`` away while a message is being handed out."""
        for worker in list(self.engine.workers.connections()):
            self.engine.triggers.unregister("x", worker)

    async def test_while_a_message_is_being_handed_out(self) -> None:
        """Who comes after the one that took the trigger away is not called."""
        first = await self.worker()
        await first.trigger("subscribe", "expel", {"topic": "t"})
        hook = await self.subscriber(id="x")
        other = await self.subscriber("other")
        await self.publish({})
        self.assertEqual(await self.heard(hook), [])
        self.assertEqual(await self.heard(other, "other"), [{}])

    async def test_with_messages_that_wait(self) -> None:
        """They are dropped; a stop doesn't wait for them."""
        self.patch(fanout, "MAX_RUNNING", 1)
        hook = await self.subscriber(id="x")
        for number in range(3):
            await self.publish(number)
        self.assertEqual(self.module.under_way, 2)
        hook.send("unregistertrigger", id="x", trigger_type="subscribe")
        await hook.settled()
        self.assertEqual(self.module.under_way, 0)
        hook.reply(await hook.invoked("hook"))
        self.assertEqual(await self.heard(hook), [])


class Adapters(PubSubCase):
    """The seam for brokers: what the module asks and what it does with what comes."""

    def make_adapter(self) -> PubSubAdapter:
        self.broker = ByHand()
        return self.broker

    async def test_a_topic_is_wanted_from_its_first_to_its_last_subscriber(self) -> None:
        """03 §2.4: SUBSCRIBE on first, UNSUBSCRIBE on last."""
        one = await self.subscriber("one")
        two = await self.subscriber("two")
        self.assertEqual(self.broker.asked, [("subscribe", "t")])
        await self.gone(one)
        self.assertEqual(self.broker.asked, [("subscribe", "t")])
        await self.gone(two)
        self.assertEqual(self.broker.asked, [("subscribe", "t"), ("unsubscribe", "t")])

    async def test_only_what_the_broker_hands_back_is_heard(self) -> None:
        """Publishing alone reaches nobody here."""
        hook = await self.subscriber()
        await self.publish(1)
        self.assertEqual(
            [(m.topic, bytes(m.data)) for m in self.broker.sent], [("t", bytes(Raw(b"1")))]
        )
        self.assertEqual(await self.heard(hook), [])
        self.broker.arrive("t", b'{"x":1}')
        self.broker.arrive("unknown", b"2")
        self.assertEqual(await self.heard(hook), [{"x": 1}])

    async def test_the_publisher_is_answered_when_the_broker_has_the_message(self) -> None:
        """Not before."""
        sent: Deferred[None] = Deferred()
        self.broker.answer = sent
        id = self.publisher.invoke("publish", {"topic": "t", "data": 1})
        await self.quiet(self.publisher)
        sent.callback(None)
        self.assertNotIn("error", await self.publisher.result_of(id))

    async def test_a_broker_that_is_away_is_an_error(self) -> None:
        """03 §6.16: the original said it was fine."""
        error = IIIError("publish_failed", "no connection")
        late: Deferred[None] = Deferred()
        late.errback(error)
        for answer in (error, late):
            self.broker.answer = answer
            got = await self.publisher.error_of("publish", {"topic": "t", "data": 1})
            self.assertEqual((got["code"], got["message"]), ("publish_failed", "no connection"))

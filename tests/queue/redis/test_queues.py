"""What is special about queues in Redis: names, kinds that change, pieces, several at once."""

from __future__ import annotations

from collections import Counter
from unittest import TestCase

import msgspec
from msgspec import Raw
from twisted.internet import reactor
from twisted.internet.defer import Deferred

from iii.engine.core import Engine
from iii.engine.module import ModuleApi
from iii.errors import Code, StartError
from iii.modules.queue.adapter import DeadFilter, New, Once, QueueName
from iii.modules.queue.adapters.redis import RedisAdapter
from iii.modules.queue.adapters.redis.codec import body_of, data_of, with_data
from iii.modules.queue.adapters.redis.config import RedisQueueConfig
from iii.modules.queue.adapters.redis.keys import name_of
from iii.modules.queue.adapters.redis.work_script import WORK
from iii.modules.queue.names import named, topic
from iii.modules.queue.settings import LaneSettings
from iii.redis import RedisAway
from tests.queue.redis.direct import DONE, MAIL, RETURNED, DirectCase, Hands, failed


class Names(TestCase):
    """Keys."""

    def test_as_people_know_them(self) -> None:
        """03 §1.9."""
        self.assertEqual(name_of(topic("mail")), "mail")
        self.assertEqual(name_of(named("mail")), "__fn_queue::mail")
        self.assertEqual(name_of(QueueName("group", "t", "a::b")), "t::a::b")
        self.assertEqual(name_of(QueueName("group", "t", "f", "blue")), "t::f@blue")

    def test_no_two_are_one(self) -> None:
        """Whatever they are called."""
        queues = [
            topic("a::b"),
            QueueName("group", "a", "b"),
            QueueName("group", "a:", "b"),
            QueueName("group", "a", ":b"),
            QueueName("group", "a", "b", "x"),
            QueueName("group", "a", "b@x"),
            topic("__fn_queue::a"),
            QueueName("group", "__fn_queue", "a"),
            QueueName("group", "%5F_fn_queue", "a"),
            named("a"),
            topic("a%3A%3Ab"),
            topic("a{b}"),
        ]
        names = [name_of(queue) for queue in queues]
        self.assertEqual(len(set(names)), len(queues))
        self.assertFalse([name for name in names if "{" in name or "}" in name])


class Bodies(TestCase):
    """Messages as they lie there."""

    def test_data_are_untouched(self) -> None:
        """Whatever they are, lines and all."""
        for data in (b"null", b'{"a":\n1}', b"[1,\n\n2]", b'"\\u0000"'):
            body = body_of(New("1", Raw(data), [MAIL]), 5)
            self.assertEqual(data_of(body), data)
            self.assertEqual(data_of(with_data(body, Raw(b"7"))), b"7")


class Kinds(DirectCase):
    """How a queue is worked off may change while messages wait."""

    async def test_many_messages_get_their_rows(self) -> None:
        """Piece by piece, while more come; then they run in order again."""
        for number in range(450):
            await self.put({"k": number % 3, "n": number})
        hands = self.consume(key_field="k", ordered=True, concurrency=10)
        for number in range(450, 460):
            await self.put({"k": number % 3, "n": number})
        await self.until(lambda: len(hands.held) == 3, "one of each group")
        self.assertEqual(sorted(one["n"] for one in hands.ids), [0, 1, 2])
        await self.check()
        done = 0
        while done < 460:
            await self.until(lambda: hands.held)
            for _ in range(len(hands.held)):
                hands.end(DONE)
                done += 1
        await self.counted(waiting=0, active=0)
        await self.check()

    async def test_another_field(self) -> None:
        """What waits, is delayed or dead gets keys of the new one."""
        hands = self.consume(key_field="a", per_key=1, max_attempts=1)
        for number in range(4):
            await self.put({"a": 1, "b": number})
        await self.put({"a": 1, "b": 9}, due_ms=self.adapter._hub.clock.wall_ms() + 100)
        await self.until(lambda: len(hands.held) == 1)
        self.consume(hands=hands, key_field="b", per_key=1, max_attempts=1)
        await self.until(lambda: len(hands.held) == 5, "all at once")
        self.assertEqual(sorted(one["b"] for one in hands.ids), [0, 1, 2, 3, 9])

    async def test_a_producer_that_does_not_know_the_field(self) -> None:
        """It is told, and puts the message with its key."""
        other = await self.start()
        hands = self.consume(adapter=other, key_field="k", ordered=True, concurrency=5)
        await self.put({"k": 1, "n": 0})
        await self.until(lambda: hands.held)
        for number in (1, 2):
            await self.put({"k": 1, "n": number})
        await self.put({"k": 2, "n": 3})
        await self.until(lambda: len(hands.held) == 2)
        self.assertEqual([one["n"] for one in hands.ids], [0, 3])


class Putting(DirectCase):
    """Several queues, several messages, several keys."""

    async def test_all_queues_or_none(self) -> None:
        """And one receipt."""
        queues = [named(name) for name in "abc"]
        receipt = await self.put(1, *queues)
        for queue in queues:
            [(_, status, message)] = await self.adapter.messages([queue], None, 0, 5)
            self.assertEqual((status, message.id), ("waiting", receipt.id))
        self.assertEqual(await self.adapter.cancel(receipt.id), "waiting")
        for queue in queues:
            await self.counted(queue, waiting=0)

    async def test_one_key_over_two_engines(self) -> None:
        """The first one's receipt, whoever asks."""
        other = await self.start()
        once = Once("queue:mail", "k", 60_000)
        first = await self.put(1, once=once)
        again = await self.put(1, once=once, adapter=other)
        self.assertEqual((again.id, again.duplicate), (first.id, True))
        await self.counted(waiting=1)

    async def test_one_id_twice_in_a_queue(self) -> None:
        """Both are messages; what is said of the id is said of both."""
        new = New("x", Raw(b"1"), [MAIL], function_id="f")
        for _ in range(3):
            await self.adapter.put(new)
        await self.counted(waiting=3)
        self.assertEqual(await self.adapter.cancel("x"), "waiting")
        await self.counted(waiting=0)
        await self.check()

    async def test_copies_meet_in_one_queue(self) -> None:
        """Moved from two; both are there."""
        await self.put(1, named("a"), named("b"))
        for name in "ab":
            self.assertEqual(await self.adapter.move(named(name), [MAIL]), 1)
        await self.counted(waiting=2)
        hands = self.consume()
        await self.until(lambda: len(hands.held) == 2)
        self.assertEqual(len({message.id for message, _ in hands.held}), 1)

    async def test_another_prefix_is_another_world(self) -> None:
        """``key_prefix``."""
        other = await self.start(key_prefix="else")
        await self.put(1)
        self.assertEqual((await other.counts(MAIL)).waiting, 0)
        self.assertEqual(other.known(MAIL), None)
        keys = self.server.ask("KEYS", "*")
        self.assertEqual([key for key in keys if not key.startswith("iii:")], [])

    async def test_away(self) -> None:
        """It fails at once."""
        self.server.kill()
        await self.until(lambda: not self.adapter._hub.redis.up)
        await self.assertFailure(self.adapter.put(New("1", Raw(b"1"), [MAIL])), RedisAway)


class Working(DirectCase):
    """Taking messages."""

    async def test_large_messages_come_a_few_at_a_time(self) -> None:
        """A call brings about 4 MiB."""
        for _ in range(8):
            await self.put("x" * 2_000_000)
        hands = self.consume(concurrency=20)
        came: list[int] = []
        hands.at_once = lambda message: came.append(self.calls()) or None  # type: ignore[func-returns-value]
        await self.until(lambda: len(hands.held) == 8)
        self.assertEqual(max(Counter(came).values()), 3)
        self.assertEqual({len(message.data) for message, _ in hands.held}, {2_000_002})

    def calls(self) -> int:
        """How many calls the lane has made."""
        return self.adapter._lanes[MAIL]._calls

    async def test_many_targets_keep_the_order(self) -> None:
        """By age over all functions."""
        for number in range(30):
            await self.put(number, function_id=f"f{number % 7}")
        hands = self.consume(concurrency=30)
        await self.until(lambda: len(hands.held) == 30)
        self.assertEqual(hands.ids, list(range(30)))

    async def test_who_can_t_run_it_calls_the_other(self) -> None:
        """However often the two have asked for more."""
        other = await self.start()
        theirs = self.consume(adapter=other)
        ours = self.consume()
        ours.missing.add("f")
        await self.put(0, function_id="g")
        await self.until(lambda: ours.held or theirs.held)
        for number in range(1, 4):
            self.adapter._lanes[MAIL].poke()
            await self.moment(0.05)
            await self.put(number)
            await self.until(lambda n=number: n in theirs.ids)  # type: ignore[misc]

    async def test_what_came_back_at_once_rests(self) -> None:
        """No endless loop."""
        hands = self.consume()
        came: list[int] = []
        hands.at_once = lambda message: came.append(1) or RETURNED  # type: ignore[func-returns-value]
        await self.put(1)
        await self.until(lambda: came)
        await self.moment(0.05)
        self.assertEqual(len(came), 1)
        hands.at_once = lambda message: DONE
        await self.counted(waiting=0, active=0, delivered=1)

    async def test_an_unreadable_message_is_dead(self) -> None:
        """It is not tried again and again."""
        await self.put(1)
        [id] = await self.ask("HKEYS", "iii:{q:__fn_queue::mail}:jobs")
        await self.ask("HSET", "iii:{q:__fn_queue::mail}:jobs", id, b"nonsense")
        self.consume()
        await self.counted(waiting=0, active=0, dead=1)

    async def test_a_handler_s_wish_counts(self) -> None:
        """``retry_after``."""
        hands = self.consume(backoff_ms=60_000)
        await self.put(1)
        await self.until(lambda: hands.held)
        hands.end(failed(after_ms=5))
        await self.until(lambda: hands.held)
        message, _ = hands.held[0]
        self.assertEqual(message.details.attempts, 1)
        self.assertEqual(message.details.failures[0].code, "boom")

    async def test_dead_letters_are_kept_within_bounds(self) -> None:
        """``dlq_max`` and ``dlq_ttl_ms``, for many."""
        hands = self.consume(max_attempts=1, concurrency=50)
        hands.at_once = lambda message: failed()
        for number in range(250):
            await self.put(number)
        await self.counted(dead=250)
        await self.adapter._trim(120, None)
        await self.counted(dead=120)
        letters = await self.adapter.messages([MAIL], "dead", 0, 1)
        self.assertEqual(msgspec.json.decode(letters[0][2].data), 249)
        await self.adapter._trim(None, 0)
        await self.counted(dead=0)
        await self.check()

    async def test_redrive_of_many(self) -> None:
        """Oldest first, and each once although it dies again."""
        hands = self.consume(max_attempts=1, concurrency=1)
        hands.at_once = lambda message: failed()
        for number in range(250):
            await self.put(number)
        await self.counted(dead=250)
        order: list[int] = []

        def again(message: object) -> object:
            order.append(msgspec.json.decode(message.data))  # type: ignore[attr-defined]
            return failed()

        hands.at_once = again  # type: ignore[assignment]
        self.assertEqual(len(await self.adapter.redrive([MAIL], DeadFilter())), 250)
        await self.counted(dead=250)
        self.assertEqual(order, list(range(250)))


class Start(DirectCase):
    """What has to be there."""

    async def test_without_redis_there_is_no_start(self) -> None:
        """And a stop afterwards finds nothing to do."""
        self.server.kill()
        settings = RedisQueueConfig(redis_url=self.server.url)
        adapter = RedisAdapter(settings)
        api = ModuleApi(Engine(reactor), "iii-queue")
        error = await self.assertFailure(Deferred.fromCoroutine(adapter.start(api, {})), StartError)
        self.assertEqual(error.code, Code.REDIS_UNAVAILABLE)
        await adapter.stop()

    async def test_a_topic_with_the_name_of_our_channel(self) -> None:
        """Does not take it over."""
        adapter = await self.start(legacy_pubsub=True)
        channel = topic("iii:q:wake")
        adapter.consume(channel, LaneSettings(), Hands())
        hands = self.consume(adapter=adapter)
        await self.put(1)
        await self.until(lambda: hands.held)


class Lost(DirectCase):
    """The connection ends while a call is under way."""

    options = ("--appendonly", "yes", "--appendfsync", "always")

    async def test_an_outcome_is_told_again(self) -> None:
        """Nobody knows whether Redis heard it."""
        hands = self.consume()
        await self.put(1)
        await self.until(lambda: hands.held)
        self.server.freeze()
        hands.end(DONE)
        await self.until(lambda: self.adapter._lanes[MAIL]._under_way, "a call")
        self.server.kill()
        await self.until(lambda: not self.adapter._hub.redis.up)
        self.server.start()
        await self.until(lambda: self.adapter._hub.redis.up)
        await self.counted(active=0, waiting=0, delivered=1)
        self.assertEqual(hands.held, [])

    async def test_what_came_without_our_knowing_goes_back(self) -> None:
        """At once, not only when its lease runs out."""
        hands = self.consume(max_attempts=1)
        hands.missing.add("f")
        await self.put(1)
        lane = self.adapter._lanes[MAIL]
        await self.until(lambda: lane.absent)
        lane.absent.clear()
        given = await self.adapter._hub.run(WORK, *lane._parts(f"{self.adapter._hub.me}:x", 5, []))
        self.assertEqual(len(given), 3 + 7)
        await self.counted(active=1)
        wire = self.adapter._hub.redis._commands.wire
        assert wire is not None
        hands.missing.clear()
        wire.abort("the test cut it")
        await self.until(lambda: hands.held)


class Facts(DirectCase):
    """Known to all engines."""

    async def test_what_one_remembers_the_other_knows(self) -> None:
        """Also one that comes later."""
        other = await self.start()
        await self.adapter.remember(MAIL, settings={"concurrency": 3})
        await self.until(lambda: (f := other.known(MAIL)) and f.settings == {"concurrency": 3})
        await other.remember(MAIL, left_ms=5)
        await self.until(lambda: (f := self.adapter.known(MAIL)) and f.left_ms == 5)
        third = await self.start()
        facts = third.known(MAIL)
        assert facts is not None
        self.assertEqual((facts.settings, facts.left_ms), ({"concurrency": 3}, 5))
        await other.drop(MAIL)
        await self.until(lambda: self.adapter.known(MAIL) is None)
        self.assertEqual(await self.ask("KEYS", "iii:{q:__fn_queue::mail}*"), [])

    async def test_what_changes_while_all_is_read_is_newer(self) -> None:
        """Reading takes its time."""
        loading = Deferred.fromCoroutine(self.adapter._known.load())
        remembering = self.adapter.remember(MAIL, left_ms=7)
        await loading
        facts = self.adapter.known(MAIL)
        assert facts is not None
        self.assertEqual(facts.left_ms, 7)
        await remembering

    async def test_a_group_ends_with_its_last_engine(self) -> None:
        """Not while another one has triggers for it."""
        other = await self.start()
        group = QueueName("group", "t", "f")
        for adapter in (self.adapter, other):
            await adapter.remember(group, subscribed=True)
        await other.remember(group, subscribed=False)
        for adapter in (self.adapter, other):
            await self.until(lambda a=adapter: a.known(group).subscribed)  # type: ignore[misc]
        await self.put(1, topic("t"))
        await self.counted(group, waiting=1)
        await self.adapter.remember(group, subscribed=False)
        await self.until(lambda: not other.known(group).subscribed)  # type: ignore[union-attr]
        await self.put(1, topic("t"))
        await self.counted(topic("t"), waiting=1)

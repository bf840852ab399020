"""Functions for people: dead letters, lists, pause, purge, move (03 §1.4, §1.16).

What every adapter owes stands in ``tests.queue.contract``; here is what needs a clock that
stands still, or no adapter at all.
"""

from __future__ import annotations

import re
from typing import Any

from tests.queue.cases import QueueCase
from tests.support.engine_case import RawWorker
from tests.support.probes import probe


class AdminCase(QueueCase):
    """Queues whose messages die at the first failure."""

    queues = {
        "mail": {"max_retries": 1, "concurrency": 4},
        "other": {"max_retries": 1},
    }
    settings = {"max_attempts": 1}

    async def die(self, *data: Any, worker: RawWorker | None = None, **error: Any) -> list[str]:
        """Dead letters of ``mail``; their receipts."""
        worker = worker or await self.worker("f")
        receipts = []
        for one in data:
            receipts.append(await self.enqueue("mail", "f", one))
            self.assertEqual(await self.failed(worker, **error), [one])
            await self.advance(1.0)
        return receipts

    async def error(self, function: str, **asked: Any) -> tuple[str, str]:
        """Code and message of a function that fails."""
        error = await self.caller.error_of(function, asked)
        return error["code"], error["message"]


class DeadLetters(AdminCase):
    """03 §1.4, 08 §3: a DLQ that tells the truth."""

    @probe("03.34")
    async def test_what_a_dead_letter_says(self) -> None:
        """Its id is the receipt; the time is in seconds."""
        [receipt] = await self.die({"to": "x"})
        [letter] = await self.dead("mail")
        self.assertEqual(letter["id"], receipt)
        self.assertEqual(letter["payload"], {"to": "x"})
        self.assertEqual(letter["retries"], 1)
        self.assertGreater(letter["size_bytes"], 10)
        self.assertLessEqual(abs(letter["failed_at"] - self.clock.wall()), 5)
        self.assertEqual(letter["function_id"], "f")

    @probe("03.35")
    async def test_the_error_is_there(self) -> None:
        """As consoles look for it, and with all that was said."""
        await self.die(1, code="boom", message='it "broke"\n', stacktrace="File x, line 1")
        [letter] = await self.dead("mail")
        self.assertEqual(
            letter["error"],
            'ErrorBody { code: "boom", message: "it \\"broke\\"\\n", stacktrace: None }',
        )
        found = re.search(r'message:\s*"((?:[^"\\]|\\.)*)"', letter["error"])
        assert found is not None
        self.assertEqual(found[1], 'it \\"broke\\"\\n')
        self.assertEqual(letter["code"], "boom")
        self.assertEqual(letter["stacktrace"], "File x, line 1")
        [attempt] = letter["attempts"]
        self.assertEqual((attempt["code"], attempt["message"]), ("boom", 'it "broke"\n'))

    async def test_redriven_messages_go_to_the_end_oldest_first(self) -> None:
        """Behind everything that waits."""
        worker = await self.worker("f")
        await self.die(1, 2, 3, worker=worker)
        await self.admin("pause", topic="mail")
        await self.enqueue("mail", "f", 4)
        await self.caller.call("iii::queue::redrive", {"queue": "mail"})
        await self.admin("resume", topic="mail")
        self.assertEqual(await self.handled(worker), [4, 1, 2, 3])

    @probe("03.37")
    async def test_one_message(self) -> None:
        """Unknown: 0, and it is told; empty names are errors."""
        one, _ = await self.die(1, 2)
        function = "iii::queue::redrive_message"
        answer = await self.caller.call(function, {"queue": "mail", "message_id": "no"})
        self.assertEqual(
            answer, {"queue": "mail", "message_id": "no", "redriven": 0, "missing": ["no"]}
        )
        answer = await self.caller.call(function, {"topic": "mail", "message_id": one})
        self.assertEqual(answer, {"queue": "mail", "message_id": one, "redriven": 1})
        self.assertEqual(len(await self.dead("mail")), 1)
        self.assertEqual(
            await self.error(function, queue="mail", message_id=""),
            ("message_id_not_set", "Message ID is required"),
        )
        self.assertEqual(
            await self.error(function, queue="", message_id="x"),
            ("queue_not_set", "Queue name is required"),
        )

    @probe("03.38")
    async def test_discard(self) -> None:
        """Exactly one of two."""
        one, other = await self.die(1, 2)
        answer = await self.caller.call(
            "iii::queue::discard_message", {"queue": "mail", "message_id": one}
        )
        self.assertEqual(answer["redriven"], 1)
        self.assertEqual([letter["id"] for letter in await self.dead("mail")], [other])

    async def test_many_at_once(self) -> None:
        """``dlq_bulk``: by ids or filter; what is missing is told."""
        worker = await self.worker("f")
        one, two = await self.die(1, 2, worker=worker, code="a")
        [_three] = await self.die(3, worker=worker, code="b")
        answer = await self.admin(
            "dlq_bulk", topic="mail", ids=[one, "gone"], action="redrive", payload={"new": 1}
        )
        self.assertEqual(answer, {"done": 1, "missing": ["gone"]})
        self.assertEqual(await self.handled(worker), [{"new": 1}])
        answer = await self.admin("dlq_bulk", queue="mail", error_code="b", action="discard")
        self.assertEqual(answer, {"done": 1, "missing": []})
        self.assertEqual([letter["id"] for letter in await self.dead("mail")], [two])
        young = {"older_than_ms": 3_600_000}
        answer = await self.admin("dlq_bulk", topic="mail", filter=young, action="discard")
        self.assertEqual(answer["done"], 0)
        await self.advance(3601)
        answer = await self.admin("dlq_bulk", topic="mail", filter=young, action="discard")
        self.assertEqual(answer["done"], 1)
        self.assertEqual(
            (await self.error("engine::queue::dlq_bulk", topic="mail", action="discard"))[0],
            "INVALID_ARGUMENTS",
        )


class Bounds(AdminCase):
    """03 §1.13: dead letters may be kept for a time, or so many."""

    settings = {"max_attempts": 1, "dlq_max": 2, "dlq_ttl_ms": 3_600_000}

    async def test_they_go(self) -> None:
        """The oldest first; then all."""
        receipts = await self.die(1, 2, 3)
        await self.advance(61)
        self.assertEqual([letter["id"] for letter in await self.dead("mail")], receipts[:0:-1])
        await self.advance(3600)
        await self.advance(61)
        self.assertEqual(await self.dead("mail"), [])


class Lists(AdminCase):
    """03 §1.4."""

    @probe("03.40")
    async def test_stats(self) -> None:
        """An empty name is refused, an unknown one has nothing."""
        for asked in ({"topic": ""}, {}, {"queue": ""}):
            self.assertEqual(
                await self.error("engine::queue::topic_stats", **asked),
                ("topic_required", "topic is required"),
            )
        stats = await self.stats("unknown")
        known = ("depth", "consumer_count", "dlq_depth", "config")
        self.assertEqual([stats[key] for key in known], [0, 0, 0, None])

    async def test_dead_letter_topics(self) -> None:
        """Everything is listed, with its count."""
        await self.die(1)
        rows = await self.admin("dlq_topics")
        self.assertEqual([row["topic"] for row in rows], ["default", "mail", "other"])
        self.assertEqual([row["message_count"] for row in rows], [0, 1, 0])


class Mending(AdminCase):
    """03 §1.16."""

    async def test_a_new_group_of_a_paused_topic_is_paused(self) -> None:
        """A pause is the topic's."""
        await self.admin("pause", topic="t")
        worker = await self.subscriber("f", "t", "durable:subscriber")
        await self.publish("t", 1)
        self.assertEqual(await self.calls(worker), [])
        await self.admin("resume", topic="t")
        self.assertEqual(await self.handled(worker), [1])

    async def test_purge(self) -> None:
        """What waits goes; what runs goes on."""
        worker = await self.subscriber("f", "t", queue_config={"concurrency": 1})
        for number in range(300):
            self.caller.send(
                "invokefunction", function_id="enqueue", data={"topic": "t", "data": number}
            )
        await self.publish("t", "later", delay_ms=5000)
        self.assertEqual(await self.admin("purge", topic="t", state="delayed"), {"purged": 1})
        self.assertEqual(await self.admin("purge", topic="t"), {"purged": 299})
        self.assertEqual(await self.handled(worker), [0])
        self.assertEqual(await self.depth("t"), 0)
        await self.advance(10)
        self.assertEqual(await self.calls(worker), [])

    async def test_a_topic_s_messages_have_no_function(self) -> None:
        """So they can't go to a named queue."""
        await self.publish("t", 1)
        error = await self.error("engine::queue::move", **{"from": "t", "to": "mail"})
        self.assertEqual(error[0], "INVALID_ARGUMENTS")
        self.assertEqual(await self.depth("t"), 1)

"""Dead letters: what they say, how they come back, how they go (03 §1.4, §1.16; 08 §3)."""

from __future__ import annotations

from time import time
from typing import Any

from tests.queue.contract.backend import BOUNDS, FILTERS, HISTORY, REPLACING, needs
from tests.queue.contract.case import ContractCase
from tests.support.engine_case import RawWorker
from tests.support.probes import probe


class DeadCase(ContractCase):
    """A queue whose messages die after as few attempts as the adapter allows."""

    queues = {"mail": {"max_retries": 0, "backoff_ms": 1, "concurrency": 1}}
    settings = {"max_attempts": 1}

    async def die(self, worker: RawWorker, *data: Any, **error: Any) -> list[str]:
        """Dead letters of ``mail``, one after the other; their receipts."""
        receipts = []
        for one in data:
            before = (await self.stats("mail"))["dlq_depth"]
            receipts.append(await self.enqueue("mail", "f", one))
            attempts = self.backend.named_attempts(0)
            self.assertEqual(await self.failed(worker, attempts, **error), [one] * attempts)
            await self.counts("mail", dlq_depth=before + 1, depth=0)
        return receipts


class DeadLetters(DeadCase):
    """03 §1.4, 08 §3."""

    async def test_what_a_dead_letter_says(self) -> None:
        """Its id is the receipt; the time is in seconds."""
        worker = await self.worker("f")
        [receipt] = await self.die(worker, {"to": "x"})
        [letter] = await self.dead("mail", 1)
        self.assertEqual((letter["id"], letter["payload"]), (receipt, {"to": "x"}))
        self.assertEqual(letter["retries"], self.backend.named_attempts(0))
        self.assertEqual(letter["function_id"], "f")
        self.assertGreater(letter["size_bytes"], 9)
        self.assertLessEqual(abs(letter["failed_at"] - time()), 15)

    @needs(HISTORY)
    async def test_it_tells_every_attempt(self) -> None:
        """With code, message and stack."""
        worker = await self.worker("f")
        await self.die(worker, 1, code="boom", message="no", stacktrace="File x, line 1")
        [letter] = await self.dead("mail", 1)
        self.assertEqual((letter["code"], letter["stacktrace"]), ("boom", "File x, line 1"))
        self.assertEqual(len(letter["attempts"]), self.backend.named_attempts(0))
        attempt = letter["attempts"][-1]
        self.assertEqual((attempt["code"], attempt["message"]), ("boom", "no"))
        self.assertLessEqual(abs(attempt["at_ms"] / 1000 - time()), 15)

    @probe("03.41")
    async def test_pages(self) -> None:
        """Newest first."""
        worker = await self.worker("f")
        receipts = await self.die(worker, *range(5))
        page = await self.dead("mail", 2, offset=1, limit=2)
        self.assertEqual([letter["id"] for letter in page], [receipts[3], receipts[2]])
        await self.dead("mail", 5)

    @probe("03.36")
    async def test_redrive(self) -> None:
        """All of them, by either name, oldest first; the attempts begin anew."""
        worker = await self.worker("f")
        for key in ("queue", "topic"):
            await self.die(worker, 1, 2)
            answer = await self.call("iii::queue::redrive", {key: "mail"})
            self.assertEqual(answer, {"queue": "mail", "redriven": 2})
            self.assertEqual(await self.handled(worker, 2), [1, 2])
            await self.counts("mail", depth=0, dlq_depth=0)
            answer = await self.call("iii::queue::redrive", {key: "mail"})
            self.assertEqual(answer, {"queue": "mail", "redriven": 0})
        await self.die(worker, 3)
        await self.call("iii::queue::redrive", {"queue": "mail"})
        attempts = self.backend.named_attempts(0)
        self.assertEqual(await self.failed(worker, attempts), [3] * attempts)
        [letter] = await self.dead("mail", 1)
        self.assertEqual(letter["retries"], attempts)

    async def test_redrive_of_a_topic(self) -> None:
        """Each goes back to its own group."""
        one = await self.subscriber("f", "t", "durable:subscriber")
        other = await self.subscriber("g", "t", "durable:subscriber")
        await self.publish("t", 1)
        await self.failed(one)
        await self.failed(other)
        await self.dead("t", 2)
        await self.dead("t::g", 1)
        answer = await self.call("iii::queue::redrive", {"queue": "t::g"})
        self.assertEqual(answer["redriven"], 1)
        self.assertEqual(await self.handled(other), [1])
        await self.counts("t", depth=0, dlq_depth=1)
        answer = await self.call("iii::queue::redrive", {"queue": "t"})
        self.assertEqual(answer["redriven"], 1)
        self.assertEqual(await self.handled(one), [1])
        await self.counts("t", depth=0, dlq_depth=0)
        await self.idle(one, other)

    async def test_one_message(self) -> None:
        """Redriven or discarded; unknown: 0, and it is told; the rest stays as it is."""
        worker = await self.worker("f")
        one, two, three, four = await self.die(worker, 1, 2, 3, 4)
        function = "iii::queue::redrive_message"
        asked = {"queue": "mail", "message_id": "no"}
        answer = await self.call(function, asked)
        self.assertEqual(answer, {**asked, "redriven": 0, "missing": ["no"]})
        asked = {"queue": "mail", "message_id": two}
        self.assertEqual(await self.call(function, asked), {**asked, "redriven": 1})
        self.assertEqual(await self.handled(worker), [2])
        asked = {"queue": "mail", "message_id": three}
        answer = await self.call("iii::queue::discard_message", asked)
        self.assertEqual(answer, {**asked, "redriven": 1})
        letters = await self.dead("mail", 2)
        self.assertEqual({letter["id"] for letter in letters}, {one, four})
        await self.empty("mail")
        await self.idle(worker)

    async def test_several_by_id(self) -> None:
        """``dlq_bulk``; what is missing is told."""
        worker = await self.worker("f")
        one, two, three = await self.die(worker, 1, 2, 3)
        asked = {"topic": "mail", "action": "redrive", "ids": [one, "gone", two]}
        self.assertEqual(await self.admin("dlq_bulk", **asked), {"done": 2, "missing": ["gone"]})
        self.assertEqual(sorted(await self.handled(worker, 2)), [1, 2])
        asked = {"topic": "mail", "action": "discard", "ids": [three]}
        self.assertEqual(await self.admin("dlq_bulk", **asked), {"done": 1, "missing": []})
        await self.counts("mail", depth=0, dlq_depth=0)
        await self.idle(worker)

    @needs(FILTERS)
    async def test_by_filter(self) -> None:
        """Error code, function, age."""
        worker = await self.worker("f")
        await self.die(worker, 1, 2, code="a")
        await self.die(worker, 3, code="b")
        asked: dict[str, Any] = {"topic": "mail", "action": "discard", "function_id": "other"}
        self.assertEqual((await self.admin("dlq_bulk", **asked))["done"], 0)
        asked = {"topic": "mail", "action": "discard", "filter": {"older_than_ms": 3_600_000}}
        self.assertEqual((await self.admin("dlq_bulk", **asked))["done"], 0)
        asked = {"topic": "mail", "action": "redrive", "error_code": "b"}
        self.assertEqual(await self.admin("dlq_bulk", **asked), {"done": 1, "missing": []})
        self.assertEqual(await self.handled(worker), [3])
        asked = {"topic": "mail", "action": "discard", "function_id": "f", "error_code": "a"}
        self.assertEqual((await self.admin("dlq_bulk", **asked))["done"], 2)
        await self.counts("mail", depth=0, dlq_depth=0)

    @needs(REPLACING)
    async def test_with_another_payload(self) -> None:
        """``payload`` of a redrive."""
        worker = await self.worker("f")
        [one] = await self.die(worker, 1)
        asked = {"topic": "mail", "action": "redrive", "ids": [one], "payload": {"new": [1]}}
        self.assertEqual((await self.admin("dlq_bulk", **asked))["done"], 1)
        self.assertEqual(await self.handled(worker), [{"new": [1]}])

    async def test_they_outlive_a_restart(self) -> None:
        """As they are, in their order."""
        worker = await self.worker("f")
        receipts = await self.die(worker, 1, 2)
        letters = await self.dead("mail", 2)
        self.assertEqual([letter["id"] for letter in letters], receipts[::-1])
        await self.restart()
        self.assertEqual(await self.dead("mail", 2), letters)
        self.assertEqual((await self.call("iii::queue::redrive", {"queue": "mail"}))["redriven"], 2)
        worker = await self.worker("f")
        self.assertEqual(await self.handled(worker, 2), [1, 2])

    async def test_purge_takes_them_when_it_says_so(self) -> None:
        """``state: dead``."""
        worker = await self.worker("f")
        await self.die(worker, 1, 2)
        self.assertEqual(await self.admin("purge", queue="mail", state="dead"), {"purged": 2})
        await self.counts("mail", depth=0, dlq_depth=0)


class Bounds(DeadCase):
    """03 §1.13: dead letters may be so many, or so old."""

    settings = {"max_attempts": 1, "dlq_max": 2}

    @needs(BOUNDS)
    async def test_the_oldest_go(self) -> None:
        """``dlq_max``; within the time of upkeep."""
        worker = await self.worker("f")
        attempts = self.backend.named_attempts(0)
        receipts = []
        for data in range(4):
            receipts.append(await self.enqueue("mail", "f", data))
            await self.failed(worker, attempts)
            await self.empty("mail")
        # Bounds are kept at the latest when an engine starts.
        await self.restart()
        letters = await self.dead("mail", 2)
        self.assertEqual([letter["id"] for letter in letters], receipts[:1:-1])

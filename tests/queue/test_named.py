"""Named queues (03 §1.5, §1.8).

What every adapter owes stands in ``tests.queue.contract``; here is what needs a clock that
stands still, or no adapter at all.
"""

from __future__ import annotations

from typing import Any

from twisted.logger import capturedLogs, formatEvent

from tests.queue.cases import QueueCase
from tests.support.probes import probe


class Enqueueing(QueueCase):
    """03 §1.5: ``action: {"type": "enqueue"}``."""

    queues = {
        "mail": {"type": "standard", "concurrency": 4},
        "ledger": {"type": "fifo", "message_group_field": "account"},
    }

    async def test_the_answer_is_the_receipt_and_the_trace(self) -> None:
        """Nothing else."""
        trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        id = self.caller.invoke(
            "f", 1, action={"type": "enqueue", "queue": "mail"}, traceparent=trace, baggage="k=v"
        )
        answer = await self.caller.result_of(id)
        self.assertEqual(list(answer["result"]), ["messageReceiptId"])
        self.assertEqual((answer["traceparent"], answer["baggage"]), (trace, "k=v"))
        worker = await self.worker("f")
        call = await worker.invoked("f")
        self.assertEqual(call["traceparent"].split("-")[1], trace.split("-")[1])

    @probe("03.21")
    async def test_an_unknown_queue_is_refused(self) -> None:
        """And the connection stays usable."""
        self.assertEqual(await self.refused("nope"), "Queue 'nope' not found")
        await self.caller.settled()

    @probe("03.22")
    async def test_fifo_needs_its_field(self) -> None:
        """Not absent, not null; data that is no object has none."""
        missing = "FIFO queue 'ledger' requires field 'account' in data, but it was not found"
        for data in ({}, {"other": 1}, [1], "x", None):
            self.assertEqual(await self.refused("ledger", data), missing)
        self.assertEqual(
            await self.refused("ledger", {"account": None}),
            "FIFO queue 'ledger': field 'account' must not be null",
        )

    @probe("03.23")
    async def test_without_an_invocation_id_nothing_is_answered(self) -> None:
        """The message is delivered all the same; an error is not told either."""
        worker = await self.worker("f")
        for queue in ("mail", "nope"):
            self.caller.send(
                "invokefunction",
                function_id="f",
                data={"q": queue},
                action={"type": "enqueue", "queue": queue},
            )
        self.assertEqual(await self.handled(worker), [{"q": "mail"}])
        await self.quiet(self.caller)


class Absent(QueueCase):
    """08 §3: no worker is no failure."""

    @probe("03.24")
    async def test_messages_wait_for_their_function(self) -> None:
        """As long as it takes."""
        await self.enqueue("default", "late", 1)
        await self.advance(3600)
        self.assertTrue((await self.stats("default"))["waiting_for_worker"])
        worker = await self.worker("late")
        self.assertEqual(await self.handled(worker), [1])
        self.assertEqual(await self.dead("default"), [])
        self.assertFalse((await self.stats("default"))["waiting_for_worker"])

    @probe("03.25")
    async def test_others_don_t_wait_with_them(self) -> None:
        """Of the same queue, also when there are more of them than slots."""
        worker = await self.worker("f")
        for number in range(30):
            await self.enqueue("default", "ghost", number)
        await self.enqueue("default", "f", "x")
        self.assertEqual(await self.handled(worker), ["x"])
        self.assertEqual(await self.depth("default"), 30)
        ghost = await self.worker("ghost")
        self.assertEqual(await self.handled(ghost), list(range(30)))

    async def test_a_handler_that_calls_nobody_has_failed(self) -> None:
        """``function_not_found`` as the handler's own error is an attempt."""
        worker = await self.worker("f")
        await self.enqueue("default", "f", 1)
        await self.failed(worker, code="function_not_found")
        await self.advance(1.01)
        self.assertEqual(await self.data(worker), [1])


class Attempts(QueueCase):
    """03 §1.7, §1.12."""

    queues = {
        "four": {"max_retries": 4, "backoff_ms": 50},
        "none": {"max_retries": 0},
        "one": {"concurrency": 1},
        "capped": {"backoff_ms": 1000, "max_backoff_ms": 1500, "max_retries": 4},
        "quick": {"dispatch_timeout_ms": 500, "max_retries": 2},
    }

    @probe("03.26")
    async def test_max_retries_counts_the_calls(self) -> None:
        """4 means 4, with gaps of 50, 100, 200 ms; 0 means 1."""
        worker = await self.worker("f")
        await self.enqueue("four", "f", 1)
        for gap in (0.05, 0.1, 0.2):
            self.assertEqual(await self.failed(worker), [1])
            await self.advance(gap - 0.005)
            self.assertEqual(await self.calls(worker), [])
            await self.advance(0.01)
        self.assertEqual(await self.failed(worker), [1])
        await self.advance(60)
        self.assertEqual(await self.calls(worker), [])
        self.assertEqual(len(await self.dead("four")), 1)
        await self.enqueue("none", "f", 1)
        self.assertEqual(await self.failed(worker), [1])
        self.assertEqual(len(await self.dead("none")), 1)

    async def test_the_back_off_has_an_end(self) -> None:
        """``max_backoff_ms``."""
        worker = await self.worker("f")
        await self.enqueue("capped", "f", 1)
        for gap in (1.0, 1.5, 1.5):
            self.assertEqual(await self.failed(worker), [1])
            await self.advance(gap - 0.01)
            self.assertEqual(await self.calls(worker), [])
            await self.advance(0.02)
        self.assertEqual(await self.failed(worker), [1])

    async def test_an_attempt_has_a_bound(self) -> None:
        """08 §3: ``dispatch_timeout_ms``; the slot is free again, a late answer is nothing."""
        worker = await self.worker("f")
        await self.enqueue("quick", "f", 1)
        [slow] = await self.calls(worker)
        await self.advance(0.51)
        await self.advance(1.01)
        self.assertEqual(await self.data(worker), [1])
        worker.reply(slow, result="late")
        await self.advance(0.51)
        [letter] = await self.dead("quick")
        self.assertEqual(letter["code"], "invocation_timeout")
        self.assertEqual(letter["retries"], 2)

    async def test_a_handler_may_say_when(self) -> None:
        """08 §3: ``retry_after``; the attempt counts."""
        worker = await self.worker("f")
        await self.enqueue("default", "f", 1)
        for wait in (30.0, 5.0):
            await self.failed(
                worker, code="retry_after", details={"retry_after_ms": int(wait * 1000)}
            )
            await self.advance(wait - 0.01)
            self.assertEqual(await self.calls(worker), [])
            await self.advance(0.02)
        await self.failed(worker, code="retry_after", details={"retry_after_ms": 1})
        self.assertEqual(len(await self.dead("default")), 1)

    async def test_retried_messages_go_first(self) -> None:
        """03 §1.7 OURS: to the head, in due order."""
        worker = await self.worker("f")
        for number in range(3):
            await self.enqueue("one", "f", number)
        self.assertEqual(await self.failed(worker), [0])
        [second] = await self.calls(worker)
        await self.advance(1.01)
        worker.reply(second)
        self.assertEqual(await self.handled(worker), [0, 2])


class Fifo(QueueCase):
    """03 §1.7 OURS: order within each group, also across retries."""

    queues = {"ledger": {"type": "fifo", "message_group_field": "g", "backoff_ms": 1000}}

    async def put(self, group: Any, number: int) -> None:
        """A message of a group."""
        await self.enqueue("ledger", "f", {"g": group, "n": number})

    async def test_groups_are_values(self) -> None:
        """``1`` and ``"1"`` are two; an object is the same however it is written."""
        worker = await self.worker("f")
        await self.put({"x": 1, "y": 2}, 0)
        await self.put({"y": 2, "x": 1}, 1)
        await self.put(1, 2)
        await self.put("1", 3)
        self.assertEqual([d["n"] for d in await self.failed(worker)], [0])
        self.assertEqual([d["n"] for d in await self.handled(worker)], [2, 3])

    async def test_order_survives_a_restart(self) -> None:
        """Also that of a message which waits out its back-off."""
        worker = await self.worker("f")
        for number in range(3):
            await self.put("a", number)
        self.assertEqual([d["n"] for d in await self.failed(worker)], [0])
        await self.restart()
        worker = await self.worker("f")
        self.assertEqual(await self.calls(worker), [])
        await self.advance(1.01)
        self.assertEqual([d["n"] for d in await self.handled(worker)], [0, 1, 2])


class Defining(QueueCase):
    """03 §1.4: ``queue::define``."""

    queues = {"fixed": {"concurrency": 2}}

    async def define(self, queue: str, **config: Any) -> Any:
        """``queue::define``."""
        return await self.caller.call("queue::define", {"queue": queue, "config": config})

    async def test_a_queue_is_made_and_kept(self) -> None:
        """Over a restart; the same again changes nothing."""
        self.assertEqual(await self.define("new", max_retries=1), {"queue": "new", "changed": True})
        self.assertFalse((await self.define("new", max_retries=1))["changed"])
        await self.restart()
        worker = await self.worker("f")
        await self.enqueue("new", "f", 1)
        self.assertEqual(await self.failed(worker), [1])
        self.assertEqual(len(await self.dead("new")), 1)

    async def test_the_configuration_counts(self) -> None:
        """What is in it can't be changed here."""
        self.assertFalse((await self.define("fixed", concurrency=2))["changed"])
        error = await self.caller.error_of(
            "queue::define", {"queue": "fixed", "config": {"concurrency": 3}}
        )
        self.assertIn("'fixed'", error["message"])

    async def test_a_queue_that_is_gone_keeps_its_messages(self) -> None:
        """It is told at the start; they can be moved."""
        await self.enqueue("fixed", "f", 1)
        self.queues = {}
        with capturedLogs() as logs:
            await self.restart()
        told = [formatEvent(event) for event in logs]
        self.assertTrue(any("queue 'fixed' is not configured any more" in t for t in told), told)
        worker = await self.worker("f")
        self.assertEqual(await self.calls(worker), [])
        self.assertEqual((await self.stats("fixed"))["depth"], 1)
        answer = await self.admin("move", **{"from": "fixed", "to": "default"})
        self.assertEqual(answer, {"moved": 1})
        self.assertEqual(await self.handled(worker), [1])

    async def test_nonsense_is_refused(self) -> None:
        """With the words of the configuration."""
        error = await self.caller.error_of(
            "queue::define", {"queue": "x", "config": {"type": "lifo"}}
        )
        self.assertIn("invalid type 'lifo'", error["message"])
        error = await self.caller.error_of(
            "queue::define", {"queue": "x", "config": {"concurrency": "many"}}
        )
        self.assertEqual(error["code"], "deserialization_error")
        self.assertIn("concurrency", error["message"])

    async def test_waiting_messages_get_their_groups(self) -> None:
        """A standard queue that becomes FIFO."""
        await self.define("q")
        for number in range(4):
            await self.enqueue("q", "f", {"g": number % 2, "n": number})
        await self.define("q", type="fifo", message_group_field="g")
        worker = await self.worker("f")
        [held] = await self.failed(worker)
        others = [n for n in range(4) if n % 2 != held["g"]]
        self.assertEqual([d["n"] for d in await self.handled(worker)], others)
        await self.advance(1.01)
        rest = [n for n in range(4) if n % 2 == held["g"]]
        self.assertEqual([d["n"] for d in await self.handled(worker)], rest)

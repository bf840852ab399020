"""How many at once, in which order, how fast (03 §1.7; 08 §3)."""

from __future__ import annotations

from time import monotonic
from typing import Any

from tests.queue.contract.backend import FIFO_GROUPS, KEYS, PAUSE, RATES, needs
from tests.queue.contract.case import ContractCase
from tests.support.probes import probe


class Concurrency(ContractCase):
    """Bounds, and the order of starts."""

    queues = {"one": {"concurrency": 1}, "three": {"concurrency": 3}, "off": {"concurrency": 0}}

    @probe("03.27")
    async def test_of_a_named_queue(self) -> None:
        """One: in order; three: three at once; none: a paused queue."""
        worker = await self.worker("f")
        for number in range(6):
            await self.enqueue("one", "f", number)
        for number in range(6):
            [call] = await self.take(worker)
            self.assertEqual(call["data"], number)
            await self.idle(worker)
            worker.reply(call)
        await self.enqueue("off", "f", "never")
        for number in range(4):
            await self.enqueue("three", "f", number)
        calls = await self.take(worker, 3)
        self.assertEqual(sorted(call["data"] for call in calls), [0, 1, 2])
        await self.counts("three", depth=4)
        await self.idle(worker)
        worker.reply(calls[0])
        self.assertEqual(await self.data(worker), [3])
        self.assertEqual((await self.stats("off"))["depth"], 1)

    @probe("03.14")
    async def test_of_a_trigger(self) -> None:
        """``queue_config.concurrency``; the newest trigger says."""
        worker = await self.worker("f")
        config = {"queue_config": {"concurrency": 2}}
        await self.subscribe(worker, "f", "t", **config)
        for number in range(6):
            await self.publish("t", number)
        calls = await self.take(worker, 2)
        self.assertEqual([call["data"] for call in calls], [0, 1])
        await self.counts("t", depth=6)
        await self.idle(worker)
        await self.subscribe(worker, "f", "t", queue_config={"concurrency": 3})
        calls += await self.take(worker)
        for call in calls:
            worker.reply(call)
        self.assertEqual(await self.handled(worker, 3), [3, 4, 5])


class Fifo(ContractCase):
    """Strictly one after the other, also across retries."""

    queues = {
        "ledger": {"type": "fifo", "message_group_field": "g", "backoff_ms": 20, "max_retries": 3},
        "wide": {"type": "fifo", "message_group_field": "g", "concurrency": 2},
    }
    settings = {"backoff_ms": 20}

    async def put(self, queue: str, *messages: tuple[Any, int]) -> None:
        """Messages: their group and number."""
        for group, number in messages:
            await self.enqueue(queue, "f", {"g": group, "n": number})

    @probe("03.13")
    async def test_a_topic(self) -> None:
        """Never two at once; the first failing once still precedes the second."""
        worker = await self.subscriber("f", "t", queue_config={"type": "fifo"})
        for number in range(20):
            await self.publish("t", number)
        self.assertEqual(await self.failed(worker), [0])
        for number in range(20):
            [call] = await self.take(worker)
            self.assertEqual(call["data"], number)
            await self.idle(worker)
            worker.reply(call)
        await self.empty("t")

    @needs(FIFO_GROUPS)
    @probe("03.28")
    async def test_groups_keep_their_order(self) -> None:
        """A failing message holds back its own group and nobody else."""
        worker = await self.worker("f")
        await self.put("ledger", *((group, n) for n in range(5) for group in "ab"))
        await self.counts("ledger", depth=10)
        [call] = await self.take(worker)
        failing = call["data"]["g"]
        worker.reply(call, error={"code": "oops", "message": "no"})
        got: dict[str, list[int]] = {"a": [], "b": []}
        for _ in range(10):
            [call] = await self.take(worker)
            await self.idle(worker)
            got[call["data"]["g"]].append(call["data"]["n"])
            worker.reply(call)
        self.assertEqual(got, {"a": list(range(5)), "b": list(range(5))})
        self.assertIn(failing, got)
        await self.empty("ledger")

    @needs(FIFO_GROUPS)
    async def test_a_burst_keeps_its_order(self) -> None:
        """Also the first one that an engine gets: nobody waits for a receipt."""
        worker = await self.worker("f")
        action = {"type": "enqueue", "queue": "wide"}
        for number in range(90):
            data = {"g": number % 3, "n": number}
            self.caller.send("invokefunction", function_id="f", data=data, action=action)
        got: dict[int, list[int]] = {0: [], 1: [], 2: []}
        for data in await self.handled(worker, 90):
            got[data["g"]].append(data["n"])
        self.assertEqual(got, {group: list(range(group, 90, 3)) for group in range(3)})

    @needs(FIFO_GROUPS)
    async def test_other_groups_go_on_while_one_waits(self) -> None:
        """Until its message has used up its attempts, and is dead."""
        worker = await self.worker("f")
        details = {"retry_after_ms": 3_600_000}
        await self.put("ledger", ("a", 0), ("a", 1), ("b", 0))
        [call] = await self.take(worker)
        self.assertEqual(call["data"], {"g": "a", "n": 0})
        worker.reply(call, error={"code": "retry_after", "message": "", "details": details})
        self.assertEqual(await self.handled(worker), [{"g": "b", "n": 0}])
        await self.put("ledger", ("b", 1))
        self.assertEqual(await self.handled(worker), [{"g": "b", "n": 1}])
        await self.counts("ledger", depth=2)
        await self.idle(worker)

    @needs(FIFO_GROUPS)
    async def test_a_dead_message_lets_its_group_go_on(self) -> None:
        """After the last attempt."""
        worker = await self.worker("f")
        await self.put("ledger", ("a", 0), ("a", 1))
        attempts = self.backend.named_attempts(3)
        self.assertEqual([d["n"] for d in await self.failed(worker, attempts)], [0] * attempts)
        self.assertEqual(await self.handled(worker), [{"g": "a", "n": 1}])
        await self.dead("ledger", 1)

    @needs(FIFO_GROUPS)
    async def test_groups_run_beside_each_other_when_concurrency_says_so(self) -> None:
        """03 §5: and never two of a group."""
        worker = await self.worker("f")
        await self.put("wide", *((group, n) for n in range(2) for group in "abc"))
        got: dict[str, list[int]] = {"a": [], "b": [], "c": []}
        running = await self.take(worker, 2)
        left = 4
        while running:
            await self.idle(worker)
            self.assertEqual(len({call["data"]["g"] for call in running}), len(running))
            call = running.pop(0)
            got[call["data"]["g"]].append(call["data"]["n"])
            worker.reply(call)
            if left:
                running += await self.take(worker)
                left -= 1
        self.assertEqual(got, {group: [0, 1] for group in "abc"})

    @needs(FIFO_GROUPS)
    async def test_a_group_is_a_value(self) -> None:
        """``1`` and ``"1"`` are two; an object is the same however it is written."""
        worker = await self.worker("f")
        await self.put("wide", ({"x": 1, "y": 2}, 0), ({"y": 2, "x": 1}, 1), (1, 2), ("1", 3))
        first = await self.take(worker, 2)
        self.assertEqual(sorted(call["data"]["n"] for call in first), [0, 2])
        worker.reply(next(call for call in first if call["data"]["n"] == 2))
        [call] = await self.take(worker)
        self.assertIn(call["data"]["n"], (1, 3))
        if call["data"]["n"] == 1:
            self.fail("both spellings of an object ran at once")


class Keys(ContractCase):
    """Concurrency per key: one tenant can't starve the others."""

    queues = {"jobs": {"concurrency_key": "tenant", "concurrency_per_key": 2, "concurrency": 5}}

    @needs(KEYS, PAUSE)
    async def test_round_robin(self) -> None:
        """At most two of one tenant; tenants take turns."""
        worker = await self.worker("f")
        await self.admin("pause", queue="jobs")
        for number in range(10):
            await self.enqueue("jobs", "f", {"tenant": "big", "n": number})
        for tenant in "bc":
            for number in range(2):
                await self.enqueue("jobs", "f", {"tenant": tenant, "n": number})
        await self.enqueue("jobs", "f", {"n": "nobody's"})
        await self.admin("resume", queue="jobs")
        held = []
        for more in (5, 2):  # all of the others, and two of the big one's
            calls = await self.take(worker, more)
            if not held:
                tenants = {call["data"].get("tenant") for call in calls}
                self.assertEqual(tenants, {"big", "b", "c", None})
            for call in calls:
                if call["data"].get("tenant") == "big":
                    held.append(call)
                else:
                    worker.reply(call)
        self.assertEqual(len(held), 2)
        await self.counts("jobs", depth=10)
        await self.idle(worker)
        for call in held:
            worker.reply(call)
        rest = await self.handled(worker, 8)
        self.assertEqual([data["n"] for data in rest], list(range(2, 10)))

    @needs(KEYS)
    async def test_of_a_trigger(self) -> None:
        """``concurrencyKey``, also for what waited before anybody said so."""
        for key in "aaab":
            await self.publish("t", {"k": key})
        settings = {"concurrencyKey": "k", "concurrency": 10}
        worker = await self.subscriber("f", "t", queue_config=settings)
        running = await self.take(worker, 2)
        self.assertEqual(sorted(call["data"]["k"] for call in running), ["a", "b"])
        await self.counts("t", depth=4)
        await self.idle(worker)
        for call in running:
            worker.reply(call)
        self.assertEqual(await self.handled(worker, 2), [{"k": "a"}] * 2)


class Rates(ContractCase):
    """``rate_limit``: waiting messages stay in place."""

    queues = {
        "slow": {"rate_limit": {"count": 2, "per_ms": 200}},
        "keyed": {"rate_limit": {"count": 1, "per_ms": 150, "key_field": "k"}},
    }

    @needs(RATES)
    async def test_of_a_queue(self) -> None:
        """Two at once, then one every tenth of a second."""
        worker = await self.worker("f")
        started = monotonic()
        for number in range(5):
            await self.enqueue("slow", "f", number)
        self.assertEqual(await self.handled(worker, 5), list(range(5)))
        self.assertGreaterEqual(monotonic() - started, 0.295)

    @needs(RATES, PAUSE)
    async def test_of_a_key(self) -> None:
        """Each has its own."""
        worker = await self.worker("f")
        await self.admin("pause", queue="keyed")
        for key in "aab":
            await self.enqueue("keyed", "f", {"k": key})
        started = monotonic()
        await self.admin("resume", queue="keyed")
        self.assertEqual(await self.handled(worker, 3), [{"k": key} for key in "aba"])
        self.assertGreaterEqual(monotonic() - started, 0.145)

    @needs(RATES)
    async def test_of_a_trigger(self) -> None:
        """``rateLimit``."""
        settings = {"rateLimit": {"count": 1, "perMs": 100}}
        worker = await self.subscriber("f", "t", queue_config=settings)
        started = monotonic()
        for number in range(3):
            await self.publish("t", number)
        self.assertEqual(await self.handled(worker, 3), [0, 1, 2])
        self.assertGreaterEqual(monotonic() - started, 0.195)

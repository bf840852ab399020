"""An engine that stops gives everything back, and the next one has it all (03 §1.13)."""

from __future__ import annotations

from typing import Any

from tests.queue.contract.backend import DELAY, FIFO_GROUPS, needs
from tests.queue.contract.case import ContractCase


class Restarts(ContractCase):
    """Stop and start over the same data."""

    queues: dict[str, dict[str, Any]] = {
        "mail": {"max_retries": 0},
        "ledger": {"type": "fifo", "message_group_field": "g", "backoff_ms": 50, "max_retries": 3},
    }
    settings = {"max_attempts": 1}

    async def test_nothing_is_lost(self) -> None:
        """Held messages, those of groups, those of named queues; in order."""
        for name in "fg":
            worker = await self.subscriber(name, "t", "durable:subscriber")
            await self.gone(worker)
        for number in range(20):
            await self.publish("held", number)
            await self.publish("t", number)
            await self.enqueue("mail", "h", number)
        await self.restart()
        for topic, depth in (("held", 20), ("t", 40), ("mail", 20)):
            await self.counts(topic, depth=depth)
        for name in "fg":
            config = {"queue_config": {"type": "fifo"}}
            worker = await self.subscriber(name, "t", "durable:subscriber", **config)
            self.assertEqual(await self.handled(worker, 20), list(range(20)))
        worker = await self.subscriber("k", "held", queue_config={"type": "fifo"})
        self.assertEqual(await self.handled(worker, 20), list(range(20)))
        worker = await self.worker("h")
        self.assertEqual(await self.handled(worker, 20), list(range(20)))
        for name in ("held", "t", "mail"):
            await self.empty(name)

    async def test_what_was_done_does_not_come_again(self) -> None:
        """An acknowledgement that was told before the stop is kept."""
        worker = await self.worker("f")
        for number in range(20):
            await self.enqueue("mail", "f", number)
        await self.handled(worker, 20)
        await self.empty("mail")
        await self.restart()
        worker = await self.worker("f")
        await self.enqueue("mail", "f", "last")
        self.assertEqual(await self.handled(worker), ["last"])
        await self.empty("mail")
        await self.idle(worker)

    async def test_what_runs_comes_again_and_no_attempt_counts(self) -> None:
        """A message is never dead because something stopped."""
        worker = await self.worker("f")
        await self.subscribe(worker, "f", "t")
        for _ in range(3):
            if _ == 0:
                await self.enqueue("mail", "f", "mail")
                await self.publish("t", "t")
            self.assertEqual(sorted(await self.data(worker, 2)), ["mail", "t"])
            await self.restart()
            worker = await self.worker("f")
            await self.subscribe(worker, "f", "t")
        self.assertEqual(sorted(await self.handled(worker, 2)), ["mail", "t"])
        for name in ("mail", "t"):
            await self.empty(name)
            await self.dead(name, 0)

    @needs(DELAY)
    async def test_delays_survive(self) -> None:
        """What became due meanwhile runs at once."""
        await self.enqueue("mail", "f", 1, delay_ms=150)
        await self.publish("t", 2, delay_ms=150)
        await self.restart()
        worker = await self.subscriber("f", "t")
        self.assertEqual(sorted(await self.handled(worker, 2)), [1, 2])

    @needs(FIFO_GROUPS)
    async def test_order_survives(self) -> None:
        """Also that of a message which waits out its back-off."""
        worker = await self.worker("f")
        for number in range(3):
            await self.enqueue("ledger", "f", {"g": "a", "n": number})
        self.assertEqual(await self.failed(worker), [{"g": "a", "n": 0}])
        await worker.settled()
        await self.restart()
        worker = await self.worker("f")
        self.assertEqual([d["n"] for d in await self.handled(worker, 3)], [0, 1, 2])

    async def test_a_queue_that_is_gone_keeps_its_messages(self) -> None:
        """They are seen, and can be moved."""
        await self.enqueue("mail", "f", 1)
        self.configured = dict  # type: ignore[method-assign]
        await self.restart()
        worker = await self.worker("f")
        await self.counts("mail", depth=1)
        await self.idle(worker)
        answer = await self.admin("move", **{"from": "mail", "to": "default"})
        self.assertEqual(answer, {"moved": 1})
        self.assertEqual(await self.handled(worker), [1])

"""Figures of queues (03 §1.14, 05 A10)."""

from __future__ import annotations

from typing import Any

from iii.modules.queue import depths, figures
from iii.modules.queue.adapter import QueueAdapter
from tests.queue.cases import QueueCase
from tests.queue.dict_adapter import DictAdapter
from tests.support.recording import figures as figures_of

MAIL, ORDERS = ("mail", "named"), ("orders", "topic")


class FigureCase(QueueCase):
    """A queue ``mail``."""

    queues = {"mail": {"max_retries": 0, "backoff_ms": 1000}}

    async def figures(self, name: str) -> dict[tuple[str, ...], Any]:
        """Those of one instrument, as they are when nothing is under way."""
        await self.idle()
        return await figures_of(self.engine, f"iii_queue_{name}")


class WhatWentThrough(FigureCase):
    """Counted since the start."""

    async def test_messages_are_counted_where_they_go(self) -> None:
        await self.enqueue("mail", "f")
        await self.publish("orders", 1)
        await self.publish("orders", 2)
        published = await self.figures("published_total")
        self.assertEqual((published[MAIL], published[ORDERS]), (1, 2))

    async def test_a_duplicate_is_no_message(self) -> None:
        for _ in range(2):
            await self.publish("orders", 1, idempotency_key="k")
        self.assertEqual((await self.figures("published_total"))[ORDERS], 1)

    async def test_attempts_are_counted_by_their_end(self) -> None:
        worker = await self.subscriber("one", "orders")
        await self.publish("orders", 1)
        await self.handled(worker)
        for number in (2, 3):
            await self.publish("orders", number)
        await self.failed(worker)
        delivered = await self.figures("delivered_total")
        self.assertEqual(
            {key[2]: count for key, count in delivered.items() if key[:2] == ORDERS},
            {"ok": 1, "error": 2, "returned": 0},
        )
        self.assertEqual((await self.figures("delivery_seconds"))[ORDERS].count, 3)

    async def test_a_message_whose_worker_went_away_is_returned(self) -> None:
        worker = await self.worker("f")
        await self.enqueue("mail", "f")
        await self.calls(worker)
        await self.gone(worker)
        delivered = await self.figures("delivered_total")
        self.assertEqual(delivered[*MAIL, "returned"], 1)
        self.assertEqual(delivered[*MAIL, "error"], 0)

    async def test_every_group_of_a_topic_counts(self) -> None:
        workers = [
            await self.subscriber(name, "orders", "durable:subscriber") for name in ("one", "two")
        ]
        await self.publish("orders", 1)
        for worker in workers:
            await self.handled(worker)
        self.assertEqual((await self.figures("published_total"))[ORDERS], 1)
        self.assertEqual((await self.figures("delivered_total"))[*ORDERS, "ok"], 2)

    async def test_there_are_never_more_names_than_allowed(self) -> None:
        self.patch(figures, "MAX_COUNTED_QUEUES", 3)  # mail, default and one more
        for topic in ("a", "b", "c"):
            await self.publish(topic, 1)
        published = await self.figures("published_total")
        self.assertEqual(published["a", "topic"], 1)
        self.assertEqual(published["__other__", "topic"], 2)
        self.assertNotIn(("b", "topic"), published)


class WhatIsThere(FigureCase):
    """Asked of the adapter."""

    async def test_messages_by_state(self) -> None:
        await self.enqueue("mail", "f")
        await self.enqueue("mail", "f", delay_ms=1000)
        worker = await self.worker("g")
        await self.enqueue("mail", "g")
        await self.calls(worker)
        depth = await self.figures("depth")
        counts = {key[2]: count for key, count in depth.items() if key[:2] == MAIL}
        self.assertEqual(counts, {"waiting": 1, "delayed": 1, "active": 1})

    async def test_dead_letters(self) -> None:
        worker = await self.worker("f")
        await self.enqueue("mail", "f")
        self.assertEqual((await self.figures("dlq_depth"))[MAIL], 0)
        await self.failed(worker)
        self.assertEqual((await self.figures("dlq_depth"))[MAIL], 1)

    async def test_whether_messages_wait_for_a_worker(self) -> None:
        await self.enqueue("mail", "f")
        self.assertEqual((await self.figures("waiting_for_worker"))[MAIL], 1)
        await self.worker("f")
        self.assertEqual((await self.figures("waiting_for_worker"))[MAIL], 0)

    async def test_whether_it_is_paused(self) -> None:
        await self.admin("pause", queue="mail")
        self.assertEqual((await self.figures("paused"))[MAIL], 1)

    async def test_a_topic_is_the_sum_of_its_groups(self) -> None:
        for name in ("one", "two"):
            await self.gone(await self.subscriber(name, "orders", "durable:subscriber"))
        await self.publish("orders", 1)
        depth = await self.figures("depth")
        self.assertEqual(depth[*ORDERS, "waiting"], 2)
        self.assertEqual([key for key in depth if key[0].startswith("orders::")], [])

    async def test_many_queues_are_read_in_slices_and_beyond_a_bound_as_one(self) -> None:
        for number in range(5):
            await self.publish(f"t{number}", 1)
        self.patch(depths, "STRIDE", 2)
        self.patch(depths, "MAX_COUNTED_QUEUES", 3)
        depth = await self.figures("depth")
        self.assertEqual(sum(depth.values()), 5)
        self.assertGreater(depth["__other__", "topic", "waiting"], 1)

    async def test_the_file_has_a_size(self) -> None:
        self.assertGreater((await self.figures("file_bytes"))[()], 4096)


class Uncounted(DictAdapter):
    """An adapter need not be able to count."""

    counts = QueueAdapter.counts  # type: ignore[assignment]


class WithoutCounts(FigureCase):
    """What went through is known all the same."""

    def make_adapter(self) -> Any:
        """QueueCase."""
        return Uncounted({})

    async def test_what_it_can_t_tell_is_not_shown(self) -> None:
        await self.publish("orders", 1)
        self.assertEqual(await self.figures("depth"), {})
        self.assertEqual(await self.figures("dlq_depth"), {})
        self.assertEqual((await self.figures("published_total"))[ORDERS], 1)

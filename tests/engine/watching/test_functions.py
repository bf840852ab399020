"""``engine::watch::…`` as workers see it."""

from __future__ import annotations

from typing import Any

from tests.support.engine_case import EngineCase


class Watching(EngineCase):
    """Any worker that may do everything can watch."""

    async def test_a_worker_watches_another_come(self) -> None:
        worker = await self.worker()
        opened = await worker.call("engine::watch::open")
        self.assertIn("workers", opened["topics"])
        session = {"session": opened["session"]}
        await worker.call("engine::watch::subscribe", {**session, "id": "w", "topic": "workers"})
        first = (await worker.call("engine::watch::next", session))["messages"]
        self.assertEqual([message["event"] for message in first], ["snapshot"])

        asked = worker.invoke("engine::watch::next", session)
        other = await self.worker()
        told = (await worker.result_of(asked))["result"]["messages"]
        self.assertEqual(told[0]["items"][0]["id"], other.id)

        self.assertTrue((await worker.call("engine::watch::close", session))["done"])
        self.assertEqual(
            (await worker.error_of("engine::watch::next", session))["code"], "NOT_FOUND"
        )

    async def test_a_session_is_its_workers_own(self) -> None:
        worker, other = await self.worker(), await self.worker()
        opened = await worker.call("engine::watch::open")
        session = {"session": opened["session"]}
        for name in ("next", "close"):
            error = await other.error_of(f"engine::watch::{name}", session)
            self.assertEqual(error["code"], "FORBIDDEN")

    async def test_it_ends_with_its_worker(self) -> None:
        worker, other = await self.worker(), await self.worker()
        await worker.call("engine::watch::open")
        self.assertEqual(len(self.engine.watched), 1)
        await worker.leave()
        await other.settled()
        self.assertEqual(len(self.engine.watched), 0)

    async def test_nothing_happens(self) -> None:
        worker = await self.worker()
        session = (await worker.call("engine::watch::open"))["session"]
        asked = {"session": session, "wait_ms": 0}
        self.assertEqual(await worker.call("engine::watch::next", asked), {"messages": []})
        asked["wait_ms"] = 60_000
        error = await worker.error_of("engine::watch::next", asked)
        self.assertEqual(error["code"], "deserialization_error")

    async def test_unsubscribing(self) -> None:
        worker = await self.worker()
        session = {"session": (await worker.call("engine::watch::open"))["session"]}
        await worker.call("engine::watch::subscribe", {**session, "id": "w", "topic": "triggers"})
        for there in (True, False):
            done = await worker.call("engine::watch::unsubscribe", {**session, "id": "w"})
            self.assertEqual(done["done"], there)


class Nothing:
    """What a worker may that may do nothing but call."""

    def may_call(self, id: str, namespace: str | None = None) -> bool:
        return True


class Restricted(EngineCase):
    """A worker that may not do everything, whatever it may call."""

    async def test_it_may_neither_watch_nor_read_what_others_say(self) -> None:
        worker = await self.worker()
        found: Any = self.engine.workers.get(worker.id)
        found.access = Nothing()
        self.engine.invocations.history = self.engine.history
        for id, data in (
            ("engine::watch::open", None),
            ("engine::watch::open", {}),
            ("engine::watch::next", {"session": "x"}),
            ("engine::invocations::list", None),
            ("engine::invocations::list", {}),
            ("engine::invocations::get", {"invocation_id": "x"}),
            ("engine::invocations::replay", {"invocation_id": "x"}),
            ("engine::invocations::cancel", {"invocation_id": "x"}),
            ("engine::invocations::clear", {}),
            ("engine::workers::protocol", {"worker_id": worker.id}),
            ("engine::channels::list", None),
            ("engine::workers::disconnect", {"worker_id": worker.id}),
        ):
            self.assertEqual((await worker.error_of(id, data))["code"], "FORBIDDEN", id)

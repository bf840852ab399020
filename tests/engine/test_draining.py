"""08 §4: ``engine::workers::drain``."""

from __future__ import annotations

from iii.engine.corefunctions import MAX_DRAINS
from tests.support.engine_case import EngineCase, RawWorker


class Draining(EngineCase):
    """A worker that is about to leave gets nothing new and finishes what it runs."""

    async def running(self, caller: RawWorker, worker: RawWorker) -> tuple[str, dict[str, object]]:
        """A call that ``worker`` has begun."""
        call = caller.invoke("t::f")
        return call, await worker.invoked("t::f")

    async def test_answers_when_its_calls_are_done(self) -> None:
        caller, worker = await self.worker(), await self.worker("t::f")
        call, running = await self.running(caller, worker)
        drained = worker.invoke("engine::workers::drain", {})
        await self.pause(0.05)
        self.assertEqual(worker.inbox, [])
        worker.reply(running, result=1)
        self.assertEqual((await caller.result_of(call))["result"], 1)
        answer = await worker.result_of(drained)
        self.assertEqual(answer["result"], {"drained": True, "in_flight": 0})

    async def test_others_get_what_is_new(self) -> None:
        caller = await self.worker()
        leaving, staying = await self.worker("t::f", "t::g"), await self.worker("t::f")
        await leaving.call("engine::workers::drain", {})
        for number in range(4):
            call = caller.invoke("t::f")
            await staying.answer("t::f", result=number)
            self.assertEqual((await caller.result_of(call))["result"], number)
        error = await caller.error_of("t::g")
        self.assertEqual(error["code"], "function_not_found")
        await leaving.register("t::h")
        error = await caller.error_of("t::h")
        self.assertEqual(error["code"], "function_not_found")
        await self.quiet(leaving)

    async def test_whoever_comes_later_takes_over(self) -> None:
        caller, leaving = await self.worker(), await self.worker("t::f")
        await leaving.call("engine::workers::drain", {})
        successor = await self.worker("t::f")
        call = caller.invoke("t::f")
        await successor.answer("t::f", result=1)
        await caller.result_of(call)
        await self.gone(leaving)
        call = caller.invoke("t::f")
        await successor.answer("t::f", result=2)
        await caller.result_of(call)

    async def test_says_what_is_left_when_the_time_is_up(self) -> None:
        caller, worker = await self.worker(), await self.worker("t::f")
        call, running = await self.running(caller, worker)
        answer = await worker.call("engine::workers::drain", {"timeout_ms": 50})
        self.assertEqual(answer, {"drained": False, "in_flight": 1})
        worker.reply(running, result=1)
        self.assertEqual((await caller.result_of(call))["result"], 1)

    async def test_another_worker_by_its_id(self) -> None:
        caller, worker = await self.worker(), await self.worker("t::f")
        await caller.call("engine::workers::drain", {"worker_id": worker.id})
        error = await caller.error_of("t::f")
        self.assertEqual(error["code"], "function_not_found")
        error = await caller.error_of("engine::workers::drain", {"worker_id": "nope"})
        self.assertEqual(error["code"], "worker_not_found")
        await caller.register("t::mine")
        call = caller.invoke("t::mine")
        await caller.answer("t::mine", result=1)
        await caller.result_of(call)

    async def test_only_so_many_wait_for_one_worker(self) -> None:
        """Each looks again and again whether it has finished."""
        caller, worker = await self.worker(), await self.worker("t::f")
        call, running = await self.running(caller, worker)
        waiting = [worker.invoke("engine::workers::drain", {}) for _ in range(MAX_DRAINS)]
        error = await worker.error_of("engine::workers::drain", {})
        self.assertEqual(error["code"], "overloaded")
        worker.reply(running, result=1)
        await caller.result_of(call)
        for each in waiting:
            self.assertTrue((await worker.result_of(each))["result"]["drained"])
        self.assertTrue((await worker.call("engine::workers::drain", {}))["drained"])

    async def test_a_wrong_time_is_refused(self) -> None:
        worker = await self.worker()
        error = await worker.error_of("engine::workers::drain", {"timeout_ms": -1})
        self.assertEqual(error["code"], "deserialization_error")


class NewestRouting(EngineCase):
    """Also when one worker gets everything."""

    routing = "newest"

    async def test_the_newest_of_those_that_stay(self) -> None:
        caller = await self.worker()
        older, newest = await self.worker("t::f"), await self.worker("t::f")
        await newest.call("engine::workers::drain", {})
        call = caller.invoke("t::f")
        await older.answer("t::f", result=1)
        await caller.result_of(call)

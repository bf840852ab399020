"""01 §17.8: modules come, go and change while workers stay connected."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from iii.engine import holding
from iii.errors import Code
from tests.reload.reload_case import DemoModule, ReloadCase, demo


class Entries(ReloadCase):
    """What differs is exchanged, and nothing else."""

    async def test_nothing_differs_and_nothing_happens(self) -> None:
        await self.start(demo("a", answer=1), demo("b", answer=2))
        self.path.write_text(
            "# the same, said differently\n"
            "port: 0\n"
            "modules:\n"
            "  - class: test::Demo\n"
            "    config: {answer: 2, name: b}\n"
            "  - class: test::Demo\n"
            "    config: {answer: 1, name: a}\n"
        )
        await self.engine.service.reload()
        self.assertEqual(self.diary, [])
        self.assertIn("configuration read again: nothing differs", self.log)
        self.assertEqual(self.metric("iii_config_reloads_total")[("unchanged",)], 1)

    async def test_added_changed_removed(self) -> None:
        await self.start(demo("a"), demo("b"), demo("c"))
        worker = await self.worker()
        self.assertEqual(await worker.call("c::ask"), [None, None])
        await self.reload(demo("a"), demo("d"), demo("b", answer=1))
        # c and b are both test::Demo: the first left over becomes the first that is new.
        self.assertEqual(
            self.diary, ["closing c", "stop c", "closing b", "stop b", "start d", "start b"]
        )
        self.assertEqual(await worker.call("b::ask"), [1, None])
        self.assertEqual(await worker.call("d::ask"), [None, None])
        error = await worker.error_of("c::ask")
        self.assertEqual(error["code"], "function_not_found")
        self.assertEqual((await worker.error_of("c.ask"))["code"], "function_not_found")
        self.assertEqual(self.metric("demo_c"), {})
        self.assertNotIn("c", self.engine.ready)
        self.assertIn("d", self.engine.ready)

    async def test_a_removed_module_leaves_nothing_behind(self) -> None:
        await self.start(demo("a"), demo("b"))
        worker = await self.worker("t::f")
        trigger = await worker.trigger("b-type", "t::f")
        await self.reload(demo("a"))
        self.assertEqual(self.diary, [f"bind b {trigger}", "closing b", "stop b"])
        self.assertEqual(self.engine.engine.triggers.parked, 1)
        self.assertIn("configuration reloaded: removed test::Demo", self.log)
        await self.reload(demo("a"), demo("b"))
        self.assertEqual(self.diary, ["start b", f"bind b {trigger}"])
        self.assertEqual(self.engine.engine.triggers.parked, 0)

    async def test_the_log_names_what_was_done(self) -> None:
        await self.start(demo("a"))
        await self.reload(demo("a", answer=1), {"name": "iii-cron"}, function_routing="newest")
        self.assertIn(
            "configuration reloaded: added iii-cron; changed test::Demo, function_routing",
            self.log,
        )
        await self.reload(demo("a", answer=1), function_routing="newest")
        self.assertIn("configuration reloaded: removed iii-cron", self.log)

    async def test_a_mandatory_module_that_is_taken_out_runs_on_with_its_defaults(self) -> None:
        observability = {"name": "iii-observability", "config": {"logs_max_count": 7}}
        await self.start(observability)
        await self.reload()
        names = [service.entry.name for service in self.engine.service.modules]
        self.assertIn("iii-observability", names)
        worker = await self.worker()
        self.assertEqual((await worker.call("engine::health::check"))["status"], "healthy")

    async def test_two_of_a_kind(self) -> None:
        """The one that stays keeps serving what both offer."""
        await self.start(demo("a", answer=1), demo("a", answer=2))
        worker = await self.worker("t::f")
        trigger = await worker.trigger("a-type", "t::f")
        self.assertEqual(await worker.call("a::ask"), [2, None])
        self.diary  # noqa: B018
        await self.reload(demo("a", answer=1))
        self.assertEqual(self.diary, ["closing a", "stop a"])
        self.assertEqual(await worker.call("a::ask"), [1, None])
        self.assertEqual(await worker.call("a.ask"), [1, None])
        self.assertEqual(self.engine.engine.triggers.parked, 0)
        self.assertEqual(self.metric("demo_a"), {(): 1.0})
        self.assertEqual(self.engine.engine.ready["a"], 1)
        await self.reload(demo("a", answer=1), demo("a", answer=3))
        self.assertEqual(
            self.diary, ["start a", f"unbind a {trigger}", f"bind a {trigger}", f"bind a {trigger}"]
        )
        self.assertEqual(await worker.call("a::ask"), [3, None])

    async def test_starts_in_the_order_of_the_file_and_stops_in_reverse(self) -> None:
        await self.start(demo("a"), demo("b"))
        await self.reload(demo("x", answer=1), demo("a", answer=1), demo("b"))
        self.diary  # noqa: B018
        await self.engine.destroy()
        self.assertEqual(
            [told for told in self.diary if told.startswith("stop")], ["stop b", "stop a", "stop x"]
        )


class Live(ReloadCase):
    """A module that can go on with other settings does."""

    async def test_changes_without_a_restart(self) -> None:
        await self.start(demo("a", live=1))
        worker = await self.worker()
        await self.reload(demo("a", live=2))
        self.assertEqual(self.diary, ["change a 2"])
        self.assertEqual(await worker.call("a::ask"), [None, 2])

    async def test_and_gets_its_old_settings_back_when_another_fails(self) -> None:
        await self.start(demo("a", live=1))
        worker = await self.worker()
        await self.reload(demo("a", live=2), demo("b", fails=True))
        self.assertEqual(self.diary, ["change a 2", "start b", "closing b", "stop b", "change a 1"])
        self.assertEqual(await worker.call("a::ask"), [None, 1])


class Callers(ReloadCase):
    """Nobody who calls a module that starts anew hears of it."""

    async def test_calls_wait_for_the_new_one(self) -> None:
        await self.start(demo("a", answer=1))
        worker = await self.worker()
        DemoModule.slow_start = Deferred()
        self.write(demo("a", answer=2))
        reloaded = self.engine.service.reload()
        await self.eventually(lambda: "start a" in DemoModule.diary)
        calls = [worker.invoke("a::ask"), worker.invoke("a.ask")]
        worker.send("registerfunction", id="a::ask")  # nobody else can take it meanwhile
        await worker.settled()
        self.assertEqual(worker.inbox, [])
        DemoModule.slow_start.callback(None)
        await reloaded
        for call in calls:
            self.assertEqual((await worker.result_of(call))["result"], [2, None])

    async def test_calls_that_wait_when_the_engine_stops_may_be_tried_again(self) -> None:
        await self.start(demo("a", answer=1))
        worker = await self.worker()
        DemoModule.slow_start = Deferred()
        self.write(demo("a", answer=2))
        reloaded = self.engine.service.reload()
        await self.eventually(lambda: "start a" in DemoModule.diary)
        call = worker.invoke("a::ask")
        await worker.settled()
        destroyed = self.engine.destroy()
        error = (await worker.result_of(call))["error"]
        self.assertEqual(error["code"], Code.SHUTTING_DOWN)
        await reloaded
        await destroyed

    async def test_only_so_many_bytes_wait(self) -> None:
        self.patch(holding, "MAX_HELD_BYTES", 100)
        await self.start(demo("a", answer=1))
        worker = await self.worker()
        DemoModule.slow_start = Deferred()
        self.write(demo("a", answer=2))
        reloaded = self.engine.service.reload()
        await self.eventually(lambda: "start a" in DemoModule.diary)
        waits = worker.invoke("a::ask", {})
        error = await worker.error_of("a::ask", {"x": "y" * 100})
        self.assertEqual(error["code"], "overloaded")
        DemoModule.slow_start.callback(None)
        await reloaded
        self.assertEqual((await worker.result_of(waits))["result"], [2, None])

    async def test_calls_that_wait_go_to_the_old_one_when_the_new_one_fails(self) -> None:
        await self.start(demo("a", answer=1))
        worker = await self.worker()
        DemoModule.slow_start = Deferred()
        self.write(demo("a", answer=2, fails=True))
        reloaded = self.engine.service.reload()
        await self.eventually(lambda: "start a" in DemoModule.diary)
        call = worker.invoke("a::ask")
        await worker.settled()
        starting, DemoModule.slow_start = DemoModule.slow_start, None
        starting.callback(None)
        await reloaded
        self.assertEqual((await worker.result_of(call))["result"], [1, None])

    async def test_calls_that_wait_for_what_the_new_one_lacks_are_told(self) -> None:
        await self.start(demo("a"))
        worker = await self.worker()
        DemoModule.slow_start = Deferred()
        self.write(demo("b"))
        reloaded = self.engine.service.reload()
        await self.eventually(lambda: "start b" in DemoModule.diary)
        call = worker.invoke("a::ask")
        await worker.settled()
        DemoModule.slow_start.callback(None)
        await reloaded
        self.assertEqual((await worker.result_of(call))["error"]["code"], "function_not_found")

    async def test_what_the_old_one_runs_may_finish(self) -> None:
        await self.start(demo("a", answer=1))
        worker = await self.worker()
        DemoModule.gate = Deferred()
        call = worker.invoke("a::ask")
        await worker.settled()
        self.write(demo("a", answer=2))
        reloaded = self.engine.service.reload()
        await self.eventually(lambda: "closing a" in DemoModule.diary)
        self.assertNotIn("stop a", DemoModule.diary)
        gate, DemoModule.gate = DemoModule.gate, None
        gate.callback(None)
        await reloaded
        self.assertEqual((await worker.result_of(call))["result"], [1, None])
        self.assertEqual(await worker.call("a::ask"), [2, None])

    async def test_what_does_not_finish_in_time_ends_with_an_error(self) -> None:
        await self.start(demo("a", answer=1), shutdown_timeout_ms=100)
        worker = await self.worker()
        DemoModule.gate = Deferred()
        call = worker.invoke("a::ask")
        await worker.settled()
        await self.reload(demo("a", answer=2), shutdown_timeout_ms=100)
        self.assertEqual((await worker.result_of(call))["error"]["code"], "invocation_stopped")
        DemoModule.gate.callback(None)

    async def test_a_refused_trigger_is_told(self) -> None:
        """The new settings may not like what the old ones took."""
        await self.start(demo("a"))
        worker = await self.worker("t::f")
        trigger = await worker.trigger("b-type", "t::f", {"no": True})
        await self.reload(demo("b"))
        told = await worker.expect("triggerregistrationresult", id=trigger)
        self.assertEqual(told["error"]["message"], "no")

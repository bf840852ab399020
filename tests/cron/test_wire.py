"""Cron over the worker port, in real time where that is short."""

from __future__ import annotations

from twisted.internet.task import Clock as Ticks

from iii.engine.clock import Clock
from iii.engine.module import ModuleApi
from iii.modules.cron.adapters.local import LocalClaims, LocalConfig
from iii.modules.cron.config import CronConfig
from iii.modules.cron.module import CronModule
from tests.cron.cases import START, stamp
from tests.support.engine_case import EngineCase
from tests.support.probes import probe


class CronWire(EngineCase):
    """A worker of flesh and blood."""

    def make_clock(self) -> Clock:
        """EngineCase: the test's."""
        self.ticks = Ticks()
        return Clock.virtual(self.ticks, epoch=START)

    def prepare(self) -> None:
        """EngineCase: load the module."""
        self.module = CronModule(CronConfig())
        self.module.adapter = LocalClaims(LocalConfig(store_method="in_memory"))
        self.module.start(ModuleApi(self.engine, "iii-cron"))

    async def tearDown(self) -> None:
        await super().tearDown()
        self.module.stop()

    @probe("03.55")
    async def test_a_worker_is_called(self) -> None:
        """The payload as it is on the wire."""
        worker = await self.worker("job")
        id = await worker.trigger("cron", "job", {"expression": "* * * * * *"})
        for second in (1, 2):
            self.ticks.advance(1)
            call = await worker.answer("job", result=None)
            expected = {
                "trigger": "cron",
                "job_id": id,
                "scheduled_time": stamp(second),
                "actual_time": stamp(second),
            }
            self.assertEqual(call["data"], expected)
            await worker.settled()

    @probe("03.59")
    async def test_a_refusal_is_sent(self) -> None:
        """`triggerregistrationresult`."""
        worker = await self.worker("job")
        rows = (
            ({"expression": "0 0 0 * * 8"}, "Invalid cron expression '0 0 0 * * 8': "),
            ({}, "Cron expression is required"),
        )
        for config, expected in rows:
            worker.send(
                "registertrigger", id="t", trigger_type="cron", function_id="job", config=config
            )
            answer = await worker.expect("triggerregistrationresult", id="t")
            self.assertEqual(answer["error"]["code"], "trigger_registration_failed")
            self.assertTrue(answer["error"]["message"].startswith(expected))

    @probe("03.60")
    async def test_a_disconnect_ends_it_and_a_reconnect_resumes(self) -> None:
        """Exactly once per tick."""
        worker = await self.worker("job")
        await worker.trigger("cron", "job", {"expression": "* * * * * *"})
        await self.gone(worker)
        self.ticks.advance(5)
        worker = await self.worker("job")
        await worker.trigger("cron", "job", {"expression": "* * * * * *"})
        for second in (6, 7):
            self.ticks.advance(1)
            call = await worker.answer("job")
            self.assertEqual(call["data"]["scheduled_time"], stamp(second))
            await self.quiet(worker)

    async def test_the_trigger_type_is_listed(self) -> None:
        """03 §3.2: with its description and what a trigger takes."""
        worker = await self.worker()
        answer = await worker.call("engine::trigger-types::list", {"include_internal": True})
        [row] = [row for row in answer["trigger_types"] if row["id"] == "cron"]
        self.assertEqual(row["description"], "Cron-based scheduled triggers")
        self.assertIn("expression", str(row))

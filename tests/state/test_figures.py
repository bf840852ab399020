"""Figures of the state: what became of its events, how large its file is."""

from __future__ import annotations

from iii.engine import fanout
from iii.engine.module import ModuleApi
from iii.modules.state import StateModule
from iii.storage.kvstore import KvStore, StoreConfig
from tests.state.cases import StateCase
from tests.support.recording import figures


class Deliveries(StateCase):
    """``iii_state_triggers_…``."""

    async def test_events_are_counted_by_their_end(self) -> None:
        hook = await self.hooked()
        for outcome in (
            {"result": None},
            {"result": 1},
            {"error": {"code": "oops", "message": ""}},
        ):
            await self.set("k", 1)
            await hook.answer("hook", **outcome)
        await hook.settled()
        self.assertEqual(
            await figures(self.engine, "iii_state_triggers_delivered_total"),
            {("ok",): 2, ("error",): 1},
        )

    async def test_a_condition_that_fails_is_a_failure(self) -> None:
        hook = await self.hooked({"condition_function_id": "check"})
        await hook.register("check")
        await self.set("k", 1)
        await hook.answer("check", error={"code": "oops", "message": ""})
        await hook.settled()
        delivered = await figures(self.engine, "iii_state_triggers_delivered_total")
        self.assertEqual(delivered, {("ok",): 0, ("error",): 1})

    async def test_what_waits_and_what_was_dropped(self) -> None:
        self.patch(fanout, "MAX_RUNNING", 1)
        self.patch(fanout, "MAX_WAITING", 2)
        await self.hooked()
        for number in range(5):
            await self.set("k", number)
        waiting = await figures(self.engine, "iii_state_triggers_waiting")
        dropped = await figures(self.engine, "iii_state_triggers_dropped_total")
        self.assertEqual((waiting[()], dropped[()]), (2, 2))

    async def test_without_a_file_it_has_no_size(self) -> None:
        names = [instrument.name for instrument in self.engine.instruments]
        self.assertNotIn("iii_state_file_bytes", names)


class OnDisk(StateCase):
    """A store in a file."""

    def prepare(self) -> None:
        """StateCase: with the real adapter."""
        self.module = StateModule(self.settings)
        self.module.adapter = KvStore(StoreConfig(file_path=self.mktemp()))
        self.module.start(ModuleApi(self.engine, "iii-state"))

    async def test_its_file_has_a_size(self) -> None:
        before = (await figures(self.engine, "iii_state_file_bytes"))[()]
        await self.set("k", "x" * 100_000)
        self.assertGreater((await figures(self.engine, "iii_state_file_bytes"))[()], before)

"""`catch_up: one`: the last run survives the engine (08 §3)."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import msgspec
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from iii.engine.clock import Clock
from iii.engine.core import Engine
from iii.engine.invocations import STOPPED, ErrorBody
from iii.engine.module import ModuleApi
from iii.errors import StartError
from iii.modules.cron.adapters.local import RUNS, LocalClaims, LocalConfig
from iii.modules.cron.config import CronConfig
from iii.modules.cron.jobs import CATCH_UP_AFTER_S
from iii.modules.cron.module import CronModule
from tests.cron.cases import CronCase, stamp
from tests.engine.cases import raw, value

DAY = 86_400.0


class Remembering(LocalClaims):
    """A back end whose store outlives the engine."""

    kept: dict[str, int]

    def recall(self, key: str) -> Deferred[int | None]:
        """Claims."""
        answer: Deferred[int | None] = Deferred()
        answer.callback(self.kept.get(key))
        return answer

    def remember(self, key: str, tick: int) -> Deferred[None]:
        """Claims."""
        self.kept[key] = tick
        done: Deferred[None] = Deferred()
        done.callback(None)
        return done


class CatchUp(CronCase):
    """08 §3: after downtime, once."""

    def load(self, **adapter: Any) -> None:
        """CronCase: with what the engine before remembered."""
        kept = self.module.adapter.kept if hasattr(self, "module") else {}
        clock = Clock(self.ticks, wall=self.wall, monotonic=self.ticks.seconds)
        self.engine = Engine(self.ticks, clock=clock)
        self.module = CronModule(CronConfig())
        self.module.adapter = Remembering(LocalConfig())
        self.module.adapter.kept = kept
        self.module.start(ModuleApi(self.engine, "iii-cron"))

    def restart(self, down_s: float) -> None:
        """The engine stops, time passes, it starts again with a new worker."""
        self.module.closing()
        self.module.stop()
        self.ticks.advance(down_s)
        self.load()
        self.owner = self.worker("job")

    def nightly(self, **more: Any) -> None:
        """02:00 every night."""
        self.cron("0 0 2 * * *", catch_up="one", **more)
        self.ticks.advance(0)

    def test_what_was_missed_runs_once(self) -> None:
        """With the time of the first run that was missed; then as planned."""
        self.nightly()
        self.assertEqual(self.runs(CATCH_UP_AFTER_S), [])
        self.restart(3 * DAY)
        self.nightly()
        self.assertEqual(self.runs(2), [stamp(16 * 3600)])
        self.assertEqual(self.row()["next_runs"][0], stamp(3 * DAY + 16 * 3600))
        self.assertEqual(self.runs(60), [])

    def test_nothing_missed_nothing_made_up_for(self) -> None:
        """A short stop, and one more after a run that was made up for."""
        self.nightly()
        self.restart(3600)
        self.nightly()
        self.assertEqual(self.runs(2), [])
        self.restart(3 * DAY)
        self.nightly()
        self.assertEqual(len(self.runs(2)), 1)
        self.restart(60)
        self.nightly()
        self.assertEqual(self.runs(2), [])

    def test_without_it_nothing_is_made_up_for(self) -> None:
        """The default, and nothing is kept for it."""
        self.cron("0 0 2 * * *")
        self.restart(3 * DAY)
        self.cron("0 0 2 * * *")
        self.assertEqual(self.runs(2), [])
        self.assertEqual(self.module.adapter.kept, {})

    def test_a_run_that_did_not_end_is_missed(self) -> None:
        """Its worker or the engine went away meanwhile; one that failed had its run."""
        for error, again in ((STOPPED, 1), (ErrorBody("boom", "it broke"), 0)):
            self.cron("0 * * * * *", catch_up="one")
            self.pass_time(60 - self.ticks.seconds() % 60 + 0.5)
            [call] = self.calls()
            self.answer(call, error=error)
            self.restart(1)
            self.cron("0 * * * * *", catch_up="one")
            self.assertEqual(len(self.runs(2)), again)
            self.restart(1)

    def test_two_alike_jobs_are_two(self) -> None:
        """Each has its own last run."""
        for _ in range(2):
            self.nightly()
        self.assertEqual(len(self.module.adapter.kept), 2)
        self.restart(DAY)
        for _ in range(2):
            self.nightly()
        self.assertEqual(self.runs(2), [stamp(16 * 3600)] * 2)


class Durable(TestCase):
    """The store of the adapter `kv`."""

    timeout = 20

    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        self.started: list[tuple[CronModule, Engine]] = []

    async def tearDown(self) -> None:
        for module, engine in self.started:
            await self.stop(module, engine)
        gc.collect()

    async def stop(self, module: CronModule, engine: Engine) -> None:
        """Stop a module and its engine."""
        stopped = module.stop()
        if stopped is not None:
            await stopped
        engine.stop()

    def start(self, **settings: Any) -> LocalClaims:
        """A module of its own engine; its adapter."""
        engine = Engine(reactor)
        module = CronModule(CronConfig())
        settings.setdefault("file_path", str(self.directory))
        adapter = module.adapter = LocalClaims(LocalConfig(**settings))
        module.start(ModuleApi(engine, "iii-cron"))
        self.started.append((module, engine))
        return adapter

    async def restart(self, **settings: Any) -> LocalClaims:
        """Stop the module that runs and start another."""
        await self.stop(*self.started.pop())
        return self.start(**settings)

    async def test_it_survives_the_engine(self) -> None:
        """08 §1: kept means on disk."""
        adapter = self.start()
        self.assertEqual(await adapter.recall("k"), None)
        await adapter.remember("k", 17)
        adapter = await self.restart()
        self.assertEqual(await adapter.recall("k"), 17)
        self.assertIn("cron", self.started[-1][0].stores)

    async def test_without_catch_up_there_is_no_file(self) -> None:
        """The default set creates no file that nobody needs."""
        self.start()
        self.assertFalse(self.directory.exists())

    async def test_in_memory_makes_no_file(self) -> None:
        """`store_method: in_memory`, `III_IN_MEMORY`."""
        adapter = self.start(store_method="in_memory")
        await adapter.remember("k", 17)
        self.assertEqual(await adapter.recall("k"), 17)
        self.assertFalse(self.directory.exists())

    async def test_a_file_that_can_t_be_used_stops_the_start(self) -> None:
        """08 §1: one that exists; here another engine has it."""
        adapter = self.start()
        await adapter.remember("k", 17)
        with self.assertRaises(StartError):
            self.start()

    async def test_a_store_that_can_t_be_made_refuses_the_trigger(self) -> None:
        """Later, when the first trigger needs one."""
        self.directory.write_text("not a directory")
        self.start()
        _, engine = self.started[-1]
        case = CronCase("load")
        case.engine = engine
        _, done = case.bind(None, "cron", "job", {"expression": "@daily", "catch_up": "one"})
        failure = self.failureResultOf(done)
        self.assertIn("catch_up: one needs a store", failure.getErrorMessage())
        self.assertEqual(value(await engine.invoke("engine::cron::list", {})), [])

    async def test_an_entry_that_is_no_time_is_told(self) -> None:
        """Somebody else wrote into the store; the job itself runs on."""
        adapter = self.start()
        await adapter._opened().set(RUNS, "k", raw({"what": 1}))
        with self.assertRaises(msgspec.ValidationError):
            await adapter.recall("k")

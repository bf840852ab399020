"""Cron on Redis: several engines share the ticks of a job (03 §3.5, issue 7)."""

from __future__ import annotations

import time
from typing import Any

from twisted.internet import reactor
from twisted.internet.task import Clock as Ticks

from iii.engine.bindings import Registration
from iii.engine.clock import Clock
from iii.engine.core import Engine
from iii.engine.functions import FunctionSpec
from iii.engine.invocations import Call
from iii.engine.module import ModuleApi
from iii.engine.workers import Worker
from iii.errors import Code, StartError
from iii.modules.cron.adapters.claims import Claim
from iii.modules.cron.adapters.redis import BATCH, RedisClaims, RedisClaimsConfig
from iii.modules.cron.config import CronConfig
from iii.modules.cron.module import CronModule
from iii.modules.cron.schedule import Schedule, parse_schedule
from tests.engine.cases import FakeLink, raw, value
from tests.redis.cases import RedisCase
from tests.support.probes import probe

EVERY_SECOND = parse_schedule("* * * * * *")
HOURLY = parse_schedule("0 0 * * * *")


class Running:
    """An engine with cron on Redis; its clock is moved by hand, Redis is real.

    :ivar seen: the scheduled times its worker was called with
    :ivar answers: whether the worker answers at once
    """

    def __init__(self, url: str, *, lock_ttl_ms: int = 30_000, starts_at: float) -> None:
        self.ticks = Ticks()
        clock = Clock(
            self.ticks,
            wall=lambda: starts_at + self.ticks.seconds(),
            monotonic=self.ticks.seconds,
        )
        self.engine = Engine(reactor, clock=clock)
        self.module = CronModule(CronConfig())
        settings = RedisClaimsConfig(redis_url=url, lock_ttl_ms=lock_ttl_ms)
        self.claims = self.module.adapter = RedisClaims(settings)
        self.link = FakeLink()
        self.seen: list[str] = []
        self.answers = True

    async def start(self) -> None:
        """Everything up, with a worker that offers ``job``."""
        ready = self.module.start(ModuleApi(self.engine, "iii-cron"))
        assert ready is not None
        await ready
        worker = Worker(self.link, "127.0.0.1", 0)
        self.engine.workers.add(worker)
        self.engine.functions.register("job", FunctionSpec(worker))
        self.worker = worker

    def cron(self, id: str, expression: str = "* * * * * *", **more: Any) -> None:
        """Register a trigger."""
        config = raw({"expression": expression, **more})
        self.engine.triggers.register(Registration(id, "cron", "job", config, owner=self.worker))

    def begin(self, tick: int) -> None:
        """Let its only job take ``tick``."""
        jobs: Any = self.module._jobs
        [job] = jobs._jobs.values()
        jobs.again(job.key, tick)

    @property
    def waiting(self) -> int:
        """Ticks whose claim is on its way."""
        return self.module.under_way

    def work(self) -> list[Call]:
        """Note what the worker was called with, and answer."""
        calls, self.link.calls = self.link.calls, []
        for call in calls:
            self.seen.append(value(call.data)["scheduled_time"])
            if self.answers:
                self.answer(call)
        return calls

    def answer(self, call: Call) -> None:
        """The worker has done ``call``."""
        self.engine.invocations.finish(self.worker, call.id, raw(None), None)

    async def die(self) -> None:
        """As with kill -9: nothing is told to anybody."""
        self.claims._stopped = True
        for timer in self.claims._timers.values():
            if timer.active():  # type: ignore[attr-defined]
                timer.cancel()
        await self.claims._redis.stop()


class CronCase(RedisCase):
    """Engines on one Redis, whose clocks are moved together."""

    def setUp(self) -> None:
        super().setUp()
        self.starts_at = float(int(time.time()))  # a test's clock starts where Redis's is
        self.engines: list[Running] = []

    async def running(self, **more: Any) -> Running:
        """One more engine."""
        engine = Running(self.server.url, starts_at=self.starts_at, **more)
        if self.engines:
            engine.ticks.advance(self.engines[0].ticks.seconds())
        self.addCleanup(engine.module.stop)
        await engine.start()
        self.engines.append(engine)
        return engine

    async def second(self, *engines: Running) -> None:
        """Let a second pass and everything that is due then happen."""
        for engine in engines or self.engines:
            engine.ticks.advance(1)
        await self.settled(*engines)

    async def settled(self, *engines: Running) -> None:
        """Every claim has been answered, and every run that was begun by that."""
        chosen = engines or tuple(self.engines)
        await self.eventually(lambda: not any(engine.waiting for engine in chosen))
        for engine in chosen:
            engine.work()
        for engine in chosen:
            await engine.claims._redis.call("PING")

    def stamps(self, *seconds: int) -> list[str]:
        """Scheduled times so long after the start."""
        return [
            time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(self.starts_at + second))
            for second in seconds
        ]


class Sharing(CronCase):
    """Every tick once, whoever runs it."""

    @probe("03.62")
    async def test_two_hundred_ticks_on_two_engines_run_once_each(self) -> None:
        """Each engine has the function and the trigger, with an id of its own."""
        a, b = await self.running(), await self.running()
        a.cron("of-a")
        b.cron("of-b")
        for number in range(200):
            if number % 2:  # one of them is a little late
                first, second = (a, b) if number % 4 == 1 else (b, a)
                await self.second(first)
                await self.second(second)
            else:
                await self.second(a, b)
        self.assertEqual(sorted(a.seen + b.seen), self.stamps(*range(1, 201)))
        self.assertGreaterEqual(min(len(a.seen), len(b.seen)), 50)

    async def test_an_engine_whose_clock_is_behind_repeats_nothing(self) -> None:
        """03 §3.5: the original's would run the tick again after a short run."""
        a, b = await self.running(), await self.running()
        a.cron("of-a")
        b.cron("of-b")
        for _ in range(100):
            await self.second(a)
        for _ in range(100):
            await self.second(b)
        self.assertEqual((len(a.seen), b.seen), (100, []))

    async def test_alike_jobs_of_one_engine_are_two(self) -> None:
        """And each has its peer on the other engine."""
        a, b = await self.running(), await self.running()
        for engine in (a, b):
            engine.cron("one")
            engine.cron("two", more=True)
        for _ in range(5):
            await self.second()
        self.assertEqual(sorted(a.seen + b.seen), sorted(self.stamps(*range(1, 6)) * 2))

    async def test_a_run_that_takes_long_is_not_overlapped_from_elsewhere(self) -> None:
        """``overlap: skip`` holds for all engines, ``allow`` for none."""
        for overlap, expected in (("skip", 1), ("allow", 3)):
            a, b = await self.running(), await self.running()
            for engine in (a, b):
                engine.answers = False
                engine.cron(overlap, overlap=overlap, jitter_ms=0)
            for _ in range(3):
                await self.second(a, b)
            self.assertEqual(len(a.seen + b.seen), expected, overlap)

    async def test_a_removed_job_gives_its_tick_to_the_other_engine(self) -> None:
        """It was removed while Redis was asked: nobody has run it."""
        a, b = await self.running(lock_ttl_ms=300), await self.running(lock_ttl_ms=300)
        a.cron("of-a", "0 0 0 1 1 *")
        b.cron("of-b", "0 0 0 1 1 *")
        tick = int(self.starts_at)
        a.begin(tick)
        a.engine.triggers.unregister("of-a", a.worker)
        await a.claims._redis.call("PING")
        b.ticks.advance(1)
        await self.eventually(lambda: b.link.calls)
        b.work()
        self.assertEqual((a.link.calls, b.seen), ([], self.stamps(0)))


class Dying(CronCase):
    """An engine that dies between claim and result."""

    async def test_another_engine_runs_the_tick_again_within_the_ttl(self) -> None:
        """With the time it was planned for, once."""
        a, b = await self.running(lock_ttl_ms=1500), await self.running(lock_ttl_ms=1500)
        a.answers = False
        for engine in (a, b):
            engine.cron(f"of-{id(engine)}", "0 0 0 1 1 *")
        tick = int(self.starts_at)
        a.begin(tick)
        await self.settled(a)
        self.assertEqual(a.seen, self.stamps(0))
        await a.die()
        died_at = time.monotonic()

        def looked() -> bool:
            b.ticks.advance(0.1)
            return bool(b.link.calls)

        await self.eventually(looked, 3)
        self.assertLess(time.monotonic() - died_at, 1.5)
        await self.settled(b)
        self.assertEqual(b.seen, self.stamps(0))
        self.assertEqual(len(self.said("is gone; it runs here once more")), 1)
        for _ in range(30):
            b.ticks.advance(0.1)
            await self.settled(b)
        self.assertEqual(b.seen, self.stamps(0))
        self.assertEqual(self.server.ask("ZCARD", "cron_open"), 0)

    async def test_the_engine_itself_after_a_restart(self) -> None:
        """There was no other one, and its trigger has a new id."""
        a = await self.running(lock_ttl_ms=600)
        a.answers = False
        a.cron("before")
        await self.second()
        self.assertEqual(a.seen, self.stamps(1))
        await a.die()
        again = await self.running(lock_ttl_ms=600)
        again.cron("after")

        def looked() -> bool:
            again.ticks.advance(0.05)
            return bool(again.link.calls)

        await self.eventually(looked)
        again.work()
        self.assertIn(self.stamps(1)[0], again.seen)

    async def test_a_lease_that_is_renewed_is_nobody_else_s(self) -> None:
        """A run that takes longer than the TTL stays one run."""
        a, b = await self.running(lock_ttl_ms=600), await self.running(lock_ttl_ms=600)
        a.answers = False
        for engine in (a, b):
            engine.cron(f"of-{id(engine)}", "0 0 0 1 1 *")
        a.begin(int(self.starts_at))
        await self.settled(a)
        ends = time.monotonic() + 1.5

        def passed() -> bool:
            for engine in (a, b):
                engine.ticks.advance(0.01)
            return time.monotonic() > ends

        await self.eventually(passed)
        self.assertEqual(b.link.calls, [])
        self.assertEqual(self.server.ask("ZCARD", "cron_open"), 1)


class Locks(CronCase):
    """03 §3.5: what engines of the original see and set."""

    @probe("03.63")
    async def test_the_lock_is_there_while_the_handler_runs(self) -> None:
        """And gone afterwards."""
        a = await self.running()
        a.answers = False
        a.cron("t")
        a.ticks.advance(1)
        await self.eventually(lambda: a.link.calls)
        left = self.server.ask("PTTL", "cron_lock:t")
        self.assertGreater(left, 0)
        self.assertLessEqual(left, 30_000)
        [call] = a.work()
        a.answer(call)
        await a.claims._redis.call("PING")
        self.assertEqual(self.server.ask("EXISTS", "cron_lock:t"), 0)

    async def test_the_lock_of_an_original_engine_is_respected(self) -> None:
        """It runs the trigger of that id; its lock stays as it is."""
        a = await self.running()
        a.cron("t")
        self.server.ask("SET", "cron_lock:t", "0b6a4c1e-another-engine", "PX", "30000")
        await self.second()
        self.assertEqual(a.seen, [])
        self.assertEqual(self.server.ask("GET", "cron_lock:t"), "0b6a4c1e-another-engine")
        self.server.ask("DEL", "cron_lock:t")
        await self.second()
        self.assertEqual(a.seen, self.stamps(2))


class Claims(CronCase):
    """One tick and its record."""

    async def claimants(self) -> tuple[RedisClaims, RedisClaims]:
        """Two engines' claims."""
        return (await self.running()).claims, (await self.running()).claims

    def claim(self, seconds: int = 0, schedule: Schedule = EVERY_SECOND) -> Claim:
        """A claim of one job."""
        return Claim("key", "t", int(self.starts_at) + seconds, schedule, False)

    async def test_a_record_outlives_every_late_engine(self) -> None:
        """03 §3.5: twice the period, a minute at least; from the tick on, if that is later."""
        a, _ = await self.claimants()
        now = int(self.starts_at)
        on_the_hour = HOURLY.next_second(now)
        assert on_the_hour is not None
        for claim, least_s in (
            (self.claim(), 60),
            (self.claim(50), 110),
            (self.claim(on_the_hour - now, HOURLY), 7200),
        ):
            self.assertTrue(await a.take(claim))
            left = self.server.ask("PTTL", f"cron_tick:key:{claim.tick}")
            self.assertGreater(left, (least_s - 10) * 1000)

    async def test_a_tick_whose_record_is_forgotten_is_not_run_again(self) -> None:
        """By an engine that was suspended for hours."""
        a, b = await self.claimants()
        late, old = self.claim(-7200), self.claim(-7201)
        self.assertTrue(await a.take(late))
        a.release(late)
        self.server.ask("DEL", f"cron_tick:key:{late.tick}")
        self.assertFalse(await b.take(late))
        self.assertFalse(await b.take(old))
        self.assertTrue(await b.take(self.claim(-7199)))
        ancient = self.claim(-31 * 86_400)._replace(key="new")
        self.assertFalse(await b.take(ancient))

    async def test_many_claims_are_renewed(self) -> None:
        """More than fit into one command."""
        a, _ = await self.claimants()
        claims = [self.claim(n) for n in range(BATCH + 5)]
        for claim in claims:
            self.assertTrue(await a.take(claim))
        open_until = self.server.ask("ZRANGE", "cron_open", "0", "-1", "WITHSCORES")
        for _ in range(int(a.lease_s / 3) + 1):
            await self.second()
        renewed = self.server.ask("ZRANGE", "cron_open", "0", "-1", "WITHSCORES")
        before = dict(zip(open_until[::2], map(int, open_until[1::2]), strict=True))
        after = dict(zip(renewed[::2], map(int, renewed[1::2]), strict=True))
        self.assertEqual(len(after), BATCH + 5)
        self.assertEqual([m for m in before if after[m] <= before[m]], [])

    async def test_last_runs_are_everybody_s(self) -> None:
        """The newest counts, whoever says it last."""
        a, b = await self.claimants()
        self.assertIsNone(await a.recall("key"))
        await a.remember("key", 1_772_618_400)
        await b.remember("key", 1_772_618_300)
        self.assertEqual(await b.recall("key"), 1_772_618_400)


class Away(CronCase):
    """Redis goes and comes back."""

    async def test_the_engine_does_not_start_without_it(self) -> None:
        """With a code."""
        self.server.kill()
        with self.assertRaises(StartError) as caught:
            await self.running()
        self.assertEqual(caught.exception.code, Code.REDIS_UNAVAILABLE)

    async def test_ticks_are_skipped_and_go_on_afterwards(self) -> None:
        """03 §3.5: an error on acquire is a skipped tick, with its reason."""
        a = await self.running()
        a.cron("t")
        await self.second()
        self.server.kill()
        await self.eventually(lambda: not a.claims._redis.up)
        await self.second_without_redis(a)
        self.assertEqual(len(self.said("the tick could not be claimed: redis_unavailable")), 1)
        self.server.start()

        def up() -> bool:
            a.ticks.advance(0.01)
            return a.claims._redis.up

        await self.eventually(up)
        before = len(a.seen)
        await self.second()
        self.assertGreater(len(a.seen), before)

    async def test_a_claim_whose_answer_was_lost_is_given_back(self) -> None:
        """Redis has it, the engine doesn't know: the other one need not wait for the lease."""
        a, b = await self.running(), await self.running()
        for engine in (a, b):
            engine.cron(f"of-{id(engine)}", "0 0 0 1 1 *")
        self.server.freeze()
        a.begin(int(self.starts_at))
        turns = iter(range(5))
        await self.eventually(lambda: next(turns, None) is None)  # it is sent
        link: Any = a.claims._redis._commands
        link.wire.transport.loseConnection()
        await self.eventually(lambda: a.claims._ended)
        self.server.thaw()

        def told() -> bool:
            a.ticks.advance(0.01)
            return not a.claims._ended

        await self.eventually(told)
        self.assertEqual(self.server.ask("ZCARD", "cron_open"), 1)
        for _ in range(5):  # it looks every second, after a while of patience
            await self.second(b)
        await self.eventually(lambda: b.link.calls or b.seen)
        b.work()
        self.assertEqual((a.seen, b.seen), ([], self.stamps(0)))

    async def test_a_run_that_ended_meanwhile_is_told_of(self) -> None:
        """Before anybody claims it again; Redis has kept what it knew."""
        self.server.kill()
        self.server._options = ("--appendonly", "yes", "--appendfsync", "always")
        self.server.start()
        a, b = await self.running(lock_ttl_ms=600), await self.running(lock_ttl_ms=600)
        a.answers = False
        for engine in (a, b):
            engine.cron(f"of-{id(engine)}", "0 0 0 1 1 *")
        a.begin(int(self.starts_at))
        await self.eventually(lambda: a.link.calls)
        [call] = a.work()
        self.server.kill()
        await self.eventually(lambda: not a.claims._redis.up and not b.claims._redis.up)
        a.answer(call)
        self.assertEqual(len(a.claims._ended), 1)
        self.server.start()

        def told() -> bool:
            for engine in (a, b):
                engine.ticks.advance(0.005)
            return not a.claims._ended and b.claims._redis.up

        await self.eventually(told)
        for _ in range(20):
            b.ticks.advance(0.1)
            await self.settled(b)
        self.assertEqual((b.seen, self.server.ask("ZCARD", "cron_open")), ([], 0))

    async def second_without_redis(self, engine: Running) -> None:
        """A second in which nothing is answered."""
        engine.ticks.advance(1)
        self.assertEqual(engine.waiting, 0)

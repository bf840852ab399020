"""kill -9 of the engine that runs a tick: another one runs it (issue 7)."""

from __future__ import annotations

import signal
import time

from twisted.trial.unittest import TestCase

from tests.process_case import Child, ProcessCase
from tests.support.engine_case import RawWorker, _cancel_batched_timers
from tests.support.probes import probe
from tests.support.rawsocket import open_socket
from tests.support.redis import RedisServer

TTL_S = 3.0
CONFIG = """\
port: 0
modules:
  - class: modules::cron::CronModule
    config:
      adapter:
        class: modules::cron::RedisCronAdapter
        config: {redis_url: "${REDIS_URL}", lock_ttl_ms: 3000}
"""


class Killed(ProcessCase, TestCase):
    """Two engine processes on one Redis."""

    timeout = 90

    async def connected(self, child: Child) -> RawWorker:
        """A worker with the job of this test, which answers nobody by itself."""
        socket = await open_socket(child.ready["worker"])
        self.addCleanup(_cancel_batched_timers)
        self.addCleanup(socket.ended)
        self.addCleanup(socket.drop)
        worker = RawWorker(socket, await socket.next_message())
        await worker.register("job")
        await worker.trigger("cron", "job", {"expression": "* * * * * *"})
        return worker

    async def test_the_tick_runs_again_within_the_ttl_with_its_own_time(self) -> None:
        """Whoever had it first."""
        server = RedisServer(self)
        self.write("config.yaml", CONFIG)
        children = [self.start("-c", "config.yaml", REDIS_URL=server.url) for _ in range(2)]
        workers = [await self.connected(child) for child in children]
        while server.ask("ZCARD", "cron_open") == 0:
            await workers[0].settled()
        [member] = server.ask("ZRANGE", "cron_open", "0", "-1")
        tick = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(int(member.rpartition(":")[2])))
        for worker in workers:
            await worker.settled()
        [holder] = [n for n, worker in enumerate(workers) if worker.inbox]
        first = await workers[holder].invoked("job")
        self.assertTrue(first["data"]["scheduled_time"].startswith(tick))
        children[holder].signal(signal.SIGKILL)
        died_at = time.monotonic()
        second = await workers[1 - holder].expect("invokefunction", TTL_S + 2, function_id="job")
        self.assertLess(time.monotonic() - died_at, TTL_S)
        self.assertEqual(second["data"]["scheduled_time"], first["data"]["scheduled_time"])
        workers[1 - holder].reply(second, result=None)
        following = await workers[1 - holder].invoked("job")
        self.assertGreater(following["data"]["scheduled_time"], first["data"]["scheduled_time"])


class Sharing(ProcessCase, TestCase):
    """The same processes, with nobody killed."""

    timeout = 90
    connected = Killed.connected

    @probe("03.62")
    async def test_a_few_real_seconds(self) -> None:
        """With the wall clock, and a worker that answers at once."""
        server = RedisServer(self)
        self.write("config.yaml", CONFIG)
        children = [self.start("-c", "config.yaml", REDIS_URL=server.url) for _ in range(2)]
        workers = [await self.connected(child) for child in children]
        seen: list[str] = []
        while len(seen) < 4:
            for worker in workers:
                await worker.settled()
                for call in [m for m in worker.inbox if m["type"] == "invokefunction"]:
                    worker.inbox.remove(call)
                    worker.reply(call, result=None)
                    seen.append(call["data"]["scheduled_time"])
        self.assertEqual(len(set(seen)), len(seen))
        self.assertEqual(seen, sorted(seen))

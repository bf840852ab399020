"""The sample configuration of 0.8 selects Redis for queues (03 §1.2): it works."""

from __future__ import annotations

from twisted.trial.unittest import TestCase

from tests.process_case import ProcessCase
from tests.support.engine_case import RawWorker, _cancel_batched_timers
from tests.support.probes import probe
from tests.support.rawsocket import open_socket
from tests.support.redis import RedisServer

CONFIG = """\
port: 0
modules:
  - class: modules::queue::QueueModule
    config:
      adapter:
        class: modules::queue::RedisAdapter
        config:
          redis_url: ${REDIS_URL:redis://localhost:6379}
"""


class Sample(ProcessCase, TestCase):
    """An engine process with nothing but that."""

    timeout = 60

    @probe("03.45")
    async def test_it_delivers_and_redis_may_be_restarted(self) -> None:
        """Two triggers share a topic; a named queue; the same after a restart of Redis."""
        server = RedisServer(self)
        self.write("config.yaml", CONFIG)
        engine = self.start("-c", "config.yaml", REDIS_URL=server.url)
        socket = await open_socket(engine.ready["worker"])
        self.addCleanup(_cancel_batched_timers)
        self.addCleanup(socket.ended)
        self.addCleanup(socket.drop)
        worker = RawWorker(socket, await socket.next_message())
        await worker.register("f", "g", "h")
        for function_id in "fg":
            await worker.trigger("queue", function_id, {"topic": "t"})
        await self.probed(worker)
        server.kill()
        server.start()
        while "result" not in await worker.result_of(
            worker.invoke("engine::queue::topic_stats", {"topic": "t"})
        ):
            pass
        await self.probed(worker)
        self.assertEqual(engine.output.count("what was acknowledged since its last snapshot"), 1)

    async def probed(self, worker: RawWorker) -> None:
        """Probes 1, 6 and 20."""
        for number in (1, 2):
            self.assertIsNone(await worker.call("enqueue", {"topic": "t", "data": {"a": number}}))
        calls = [await worker.expect("invokefunction") for _ in range(2)]
        self.assertEqual(sorted(call["data"]["a"] for call in calls), [1, 2])
        for call in calls:
            worker.reply(call)
        answer = await worker.call("h", 5, action={"type": "enqueue", "queue": "default"})
        self.assertEqual(list(answer), ["messageReceiptId"])
        call = await worker.answer("h", result=None)
        self.assertEqual(call["data"], 5)
        await worker.settled()
        self.assertEqual([one for one in worker.inbox if one["type"] == "invokefunction"], [])

"""kill -9 of an engine, and of Redis, under load (issue 7: 0 acknowledged messages lost)."""

from __future__ import annotations

import signal
from collections import Counter
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from tests.process_case import Child, ProcessCase
from tests.support.engine_case import RawWorker, _cancel_batched_timers
from tests.support.rawsocket import open_socket
from tests.support.redis import RedisServer

CONFIG = """\
port: 0
modules:
  - class: modules::queue::QueueModule
    config:
      queue_configs:
        mail: {concurrency: 20, max_retries: 0}
      adapter:
        class: modules::queue::RedisAdapter
        config: {redis_url: "${REDIS_URL}", lease_ms: 1000}
"""
MESSAGES = 150
ROUNDS = 2


class Killed(ProcessCase, TestCase):
    """Two engine processes on one Redis; a worker on each."""

    timeout = 90

    def setUp(self) -> None:
        super().setUp()
        self.server = RedisServer(self, "--appendonly", "yes", "--appendfsync", "always")
        self.write("config.yaml", CONFIG)
        self.handled: Counter[int] = Counter()
        self.acknowledged: set[int] = set()
        self.put: dict[str, int] = {}

    def engine(self) -> Child:
        """One more engine."""
        return self.start("-c", "config.yaml", REDIS_URL=self.server.url)

    async def connected(self, child: Child) -> RawWorker:
        """A worker that handles ``f``."""
        socket = await open_socket(child.ready["worker"])
        self.addCleanup(_cancel_batched_timers)
        self.addCleanup(socket.ended)
        self.addCleanup(socket.drop)
        worker = RawWorker(socket, await socket.next_message())
        await worker.register("f")
        return worker

    def enqueue(self, worker: RawWorker, numbers: range) -> None:
        """Send messages without waiting."""
        for number in numbers:
            id = worker.invoke("f", number, action={"type": "enqueue", "queue": "mail"})
            self.put[id] = number

    async def work(self, worker: RawWorker) -> int:
        """Take in what has come: receipts are noted, calls answered; how much it was."""
        await self.moment()
        worker._collect()
        inbox, worker.inbox = worker.inbox, []
        for message in inbox:
            if message["type"] == "invocationresult" and "error" not in message:
                self.acknowledged.add(self.put[message["invocation_id"]])
            elif message["type"] == "invokefunction":
                self.handled[message["data"]] += 1
                worker.reply(message)
        return len(inbox)

    async def moment(self) -> None:
        """Let the sockets be read."""
        passed: Deferred[None] = Deferred()
        reactor.callLater(0.002, passed.callback, None)  # type: ignore[attr-defined]
        await passed

    async def finish(self, worker: RawWorker) -> None:
        """Work until the queue is empty."""
        depth = 1
        while depth:
            await self.work(worker)
            stats = await self.stats(worker)
            self.assertEqual(stats.get("dlq_depth", 0), 0)
            depth = stats.get("depth", 1)

    async def stats(self, worker: RawWorker) -> dict[str, Any]:
        """``topic_stats``; nothing when Redis is away."""
        asked = worker.invoke("engine::queue::topic_stats", {"topic": "mail"})
        return await self.answer(worker, asked)

    async def answer(self, worker: RawWorker, id: str) -> dict[str, Any]:
        """The result of a call, perhaps none; what else comes stays where it is."""
        while True:
            await self.moment()
            worker._collect()
            for message in worker.inbox:
                if message.get("invocation_id") == id and message["type"] == "invocationresult":
                    worker.inbox.remove(message)
                    result: dict[str, Any] = message.get("result", {})
                    return result

    async def test_an_engine(self) -> None:
        """What it had runs on the other one; what it did not have runs once."""
        here, there = self.engine(), self.engine()
        stays, goes = await self.connected(here), await self.connected(there)
        self.enqueue(stays, range(0, MESSAGES, 2))
        self.enqueue(goes, range(1, MESSAGES, 2))
        taken: set[int] = set()
        while len(taken) < MESSAGES // 6:
            await self.work(stays)
            before = Counter(self.handled)
            await self.work(goes)
            taken |= set(self.handled - before)
        there.signal(signal.SIGKILL)
        there.wait()
        await self.finish(stays)
        self.assertLessEqual(self.acknowledged, set(self.handled))
        twice = {number for number, count in self.handled.items() if count > 1}
        self.assertLessEqual(twice, taken)

    async def test_redis(self) -> None:
        """Again and again, while messages come and go."""
        worker = await self.connected(self.engine())
        sent = 0
        for _ in range(ROUNDS):
            self.enqueue(worker, range(sent, sent + 100))
            sent += 100
            for _ in range(5):
                await self.work(worker)
            self.server.kill()
            self.enqueue(worker, range(sent, sent + 10))
            sent += 10
            for _ in range(5):
                await self.work(worker)
            self.server.start()
            while not await self.stats(worker):
                await self.work(worker)
        self.enqueue(worker, range(sent, sent + 10))
        await self.finish(worker)
        self.assertLessEqual(self.acknowledged, set(self.handled))
        self.assertGreater(len(self.acknowledged), 100)

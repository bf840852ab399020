"""kill -9 of engines that share state and streams on one Redis (issue 7)."""

from __future__ import annotations

import signal
from typing import Any

import msgspec
from twisted.trial.unittest import TestCase

from tests.process_case import Child, ProcessCase
from tests.support.engine_case import RawWorker, _cancel_batched_timers
from tests.support.rawsocket import open_socket
from tests.support.redis import RedisServer

CONFIG = """\
port: 0
modules:
  - class: modules::state::StateModule
    config:
      adapter: {class: modules::state::adapters::RedisAdapter, config: {redis_url: "${REDIS_URL}"}}
workers:
  - name: iii-stream
    config:
      port: 0
      adapter: {name: redis, config: {redis_url: "${REDIS_URL}"}}
"""
WRITES = 300


class Killed(ProcessCase, TestCase):
    """Two engine processes, killed in turn under load."""

    timeout = 90

    async def connected(self, child: Child) -> RawWorker:
        """A worker of an engine."""
        socket = await open_socket(child.ready["worker"])
        self.addCleanup(_cancel_batched_timers)
        self.addCleanup(socket.ended)
        self.addCleanup(socket.drop)
        return RawWorker(socket, await socket.next_message())

    async def test_nothing_that_was_answered_is_lost(self) -> None:
        """Values, items and counts; the other engine and a new one have them at once."""
        server = RedisServer(self, "--appendonly", "yes", "--appendfsync", "always")
        self.write("config.yaml", CONFIG)
        children = [self.start("-c", "config.yaml", REDIS_URL=server.url) for _ in range(2)]
        kept: dict[str, int] = {}
        counted = 0
        for turn in range(2):
            child = children[turn % 2]
            victim = await self.connected(child)
            other = await self.connected(children[1 - turn % 2])
            first, last = self.burst(victim, turn), self.burst(other, turn + 100)
            await victim.result_of(first[WRITES // 3][0])
            child.signal(signal.SIGKILL)
            child.wait()
            await victim.socket.ended()
            for worker, (id, function, key) in (
                *((other, asked) for asked in last),
                *((victim, asked) for asked in first),
            ):
                answer = await self.answer(worker, id, gone=worker is victim)
                if answer is None:
                    continue
                self.assertNotIn("error", answer)
                if function == "state::update":
                    counted += 1
                else:
                    kept[key] = turn
            await self.compare(other, kept, counted)
            children[turn % 2] = self.start("-c", "config.yaml", REDIS_URL=server.url)
            await self.compare(await self.connected(children[turn % 2]), kept, counted)
        self.assertGreater(len(kept), WRITES)

    def burst(self, worker: RawWorker, turn: int) -> list[tuple[str, str, str]]:
        """Writes of all kinds at once: (invocation id, function, key)."""
        asked = []
        for number in range(WRITES):
            key = f"{turn}-{number}"
            group = {"stream_name": "s", "group_id": "g"}
            ops = [{"type": "increment", "path": "", "by": 1}]
            function, data = (
                ("state::set", {"scope": "s", "key": key, "value": turn}),
                ("stream::set", {**group, "item_id": key, "data": key}),
                ("state::update", {"scope": "count", "key": "n", "ops": ops}),
            )[number % 3]
            asked.append((worker.invoke(function, data), function, key))
        return asked

    async def answer(self, worker: RawWorker, id: str, *, gone: bool) -> Any:
        """The answer to a call; None: its engine died before."""
        if not gone:
            return await worker.result_of(id)
        worker._collect()
        answers = {m["invocation_id"]: m for m in worker.inbox if m["type"] == "invocationresult"}
        return answers.get(id)

    async def compare(self, worker: RawWorker, kept: dict[str, int], counted: int) -> None:
        """Everything that was answered is there."""
        keys = (await worker.call("state::list_keys", {"scope": "s"}))["keys"]
        items = await worker.call("stream::list", {"stream_name": "s", "group_id": "g"})
        self.assertLessEqual(set(kept), {*keys, *items})
        self.assertEqual(len(keys), len(set(keys)))
        total = await worker.call("state::get", {"scope": "count", "key": "n"})
        self.assertGreaterEqual(msgspec.convert(total or 0, int), counted)

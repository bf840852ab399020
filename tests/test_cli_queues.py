"""`iii queues`: the commands as processes, the engine in here."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet import reactor

import iii.testing
from iii.testing import InProcessEngine
from tests.support.commands import Commands
from tests.support.engine_case import RawWorker
from tests.support.rawsocket import open_socket

QUEUES = {"mail": {"max_retries": 1}}


class Queues(Commands):
    """08 §7 and issue 5: list, peek, publish, pause, resume, purge, dlq, redrive, discard."""

    timeout = 90
    engine: InProcessEngine

    async def setUp(self) -> None:
        self.engine = await iii.testing.in_process(
            reactor,
            {"port": 0},
            modules=[
                {
                    "class": "modules::queue::QueueModule",
                    "config": {
                        "queue_configs": QUEUES,
                        "adapter": {
                            "class": "modules::queue::BuiltinQueueAdapter",
                            "config": {"store_method": "in_memory"},
                        },
                    },
                }
            ],
        )
        self.addCleanup(self.engine.stop)
        self.port = self.engine.ready["worker"]

    async def worker(self, *functions: str) -> RawWorker:
        """A worker that offers functions."""
        socket = await open_socket(self.port)
        self.addCleanup(socket.drop)
        worker = RawWorker(socket, await socket.next_message())
        await worker.register(*functions)
        return worker

    async def json(self, *arguments: str) -> Any:
        """What a command prints."""
        return json.loads((await self.done("queues", *arguments)).out)

    async def dead(self, worker: RawWorker) -> str:
        """A dead letter of ``mail``; its id."""
        receipt = await self.json("publish", "mail", '{"to": "ada"}', "--function", "mail::send")
        await worker.answer("mail::send", error={"code": "boom", "message": "no"})
        await worker.settled()
        return str(receipt["messageReceiptId"])

    async def test_a_message_is_published_seen_and_thrown_away(self) -> None:
        receipt = await self.json("publish", "orders", '{"n": 1}', "--priority", "9")
        (message,) = (await self.json("peek", "orders", "--json"))["messages"]
        self.assertEqual(message["id"], receipt["messageReceiptId"])
        self.assertEqual(message["payload"], {"n": 1})
        rows = (await self.json("list", "--json"))["queues"]
        self.assertEqual({row["name"]: row["waiting"] for row in rows}["orders"], 1)
        self.assertEqual(await self.json("purge", "orders", "--yes"), {"purged": 1})
        self.assertEqual((await self.json("peek", "orders", "--json"))["messages"], [])

    async def test_without_a_command_queues_are_listed(self) -> None:
        lines = (await self.done("queues", "list")).lines
        self.assertTrue(any("mail" in line and "named" in line for line in lines), lines)

    async def test_a_key_is_kept_once(self) -> None:
        first = await self.json("publish", "orders", "1", "--key", "k")
        second = await self.json("publish", "orders", "2", "--key", "k")
        self.assertEqual(second, {**first, "duplicate": True})

    async def test_a_delayed_message_is_shown_with_its_time(self) -> None:
        await self.json("publish", "orders", "1", "--delay-ms", "3600000")
        lines = (await self.done("queues", "peek", "orders", "--state", "delayed")).lines
        self.assertTrue(any("delayed" in line and "+00:00" in line for line in lines), lines)

    async def test_a_paused_queue_hands_nothing_out(self) -> None:
        worker = await self.worker("mail::send")
        self.assertEqual(await self.json("pause", "mail"), {"paused": True})
        await self.json("publish", "mail", "1", "--function", "mail::send")
        await worker.settled()
        self.assertEqual(worker.inbox, [])
        self.assertEqual(await self.json("resume", "mail"), {"paused": False})
        await worker.answer("mail::send", result=None)

    async def test_dead_letters_are_listed_and_redriven(self) -> None:
        worker = await self.worker("mail::send")
        id = await self.dead(worker)
        counted = await self.json("dlq", "--json")
        self.assertEqual(
            [(row["topic"], row["message_count"]) for row in counted["dlq"]], [("mail", 1)]
        )
        lines = (await self.done("queues", "dlq", "mail")).lines
        self.assertTrue(any(id in line and "boom" in line for line in lines), lines)
        answer = await self.json("redrive", "mail", id, "--payload", '{"to": "bob"}')
        self.assertEqual(answer, {"done": 1, "missing": []})
        call = await worker.invoked("mail::send")
        self.assertEqual(call["data"], {"to": "bob"})
        worker.reply(call, result=None)

    async def test_ids_that_are_not_there_are_told(self) -> None:
        worker = await self.worker("mail::send")
        id = await self.dead(worker)
        command = await self.iii("queues", "discard", "mail", id, "nope")
        self.assertEqual(command.code, 1)
        self.assertEqual(json.loads(command.out), {"done": 1, "missing": ["nope"]})

    async def test_which_ones_has_to_be_said(self) -> None:
        command = await self.iii("queues", "redrive", "mail")
        self.assertEqual(command.code, 2)
        self.assertIn("Name the ids, or give --all.", command.err.decode())

    async def test_what_is_no_json_is_told_before_connecting(self) -> None:
        command = await self.iii("queues", "publish", "orders", "{")
        self.assertEqual(command.code, 1)
        self.assertIn("Invalid JSON", command.err.decode())

"""A worker that does not read: bounded, told, and nobody else's trouble (01 §18.9)."""

from __future__ import annotations

from iii.websocket import outbox
from tests.support.engine_case import RawWorker
from tests.support.rawsocket import CLOSE, PING, PONG, TEXT, frame
from tests.wire.support import TimelessCase, WireCase

LIMIT_BYTES = 512 * 1024
BULK = "b" * 32 * 1024


class NonReader(WireCase):
    """The engine's limits with 512 KiB instead of 64 MiB."""

    async def setUp(self) -> None:
        self.patch(outbox, "MAX_QUEUED_BYTES", LIMIT_BYTES)
        await super().setUp()

    async def stuck_worker(self, *functions: str) -> RawWorker:
        """A worker that reads nothing from now on."""
        worker = await self.worker(*functions)
        self.narrow(worker)
        worker.socket.pause()
        return worker

    async def assert_others_are_served(self) -> None:
        """A call between two other workers and a ping take no time."""
        owner, caller = await self.worker("other"), await self.worker()
        invocation = caller.invoke("other", {"n": 1})
        await owner.answer("other", result="fine")
        self.assertEqual((await caller.result_of(invocation))["result"], "fine")
        caller.socket.raw(frame(PING, b"quick"))
        pong = await caller.socket.next_frame()
        self.assertEqual((pong.opcode, pong.payload), (PONG, b"quick"))

    async def test_calls_to_it_are_refused(self) -> None:
        """``overloaded`` beyond the limit; what was accepted arrives when it reads again."""
        stuck, caller = await self.stuck_worker("f"), await self.worker()
        ids = [caller.invoke("f", BULK) for _ in range(80)]
        refusal = await caller.expect("invocationresult", 5)
        self.assertEqual(refusal["error"]["code"], "overloaded")
        self.assertRegex(refusal["error"]["message"], r"^worker .* does not read: \d+ bytes")
        await caller.settled()
        queued = self.connection_of(stuck.socket)._outbox.queued
        self.assertLess(queued, LIMIT_BYTES + 2 * len(BULK))
        await self.assert_others_are_served()
        refused = [message["invocation_id"] for message in [refusal, *caller.inbox]]

        stuck.socket.resume()
        for _ in range(len(ids) - len(refused)):
            await stuck.answer("f", result=1)
        for id in set(ids) - set(refused):
            self.assertEqual((await caller.result_of(id))["result"], 1)
        late = caller.invoke("f", BULK)
        await stuck.answer("f", result="again")
        self.assertEqual((await caller.result_of(late))["result"], "again")

    async def test_results_to_it_end_the_connection(self) -> None:
        """1013, which arrives when it reads again; its own functions go, others stay."""
        owner = await self.worker("big")
        stuck = await self.stuck_worker("mine")
        for _ in range(80):
            stuck.invoke("big")
        for _ in range(80):
            await owner.answer("big", result=BULK)
        await self.assert_others_are_served()
        self.assertTrue(self.is_gone(stuck))
        self.assertIsNone(self.engine.functions.get("mine"))
        self.assertEqual(len(self.problems()), 1)
        self.assertRegex(
            self.problems()[0], r"^worker .*: closed, \d+ bytes of results are waiting"
        )

        stuck.socket.resume()
        await stuck.socket.until(
            lambda: any(frame.opcode == CLOSE for frame in stuck.socket.frames), "1013", 2
        )
        *results, closed = stuck.socket.frames
        self.assertEqual(closed.close_code, 1013)
        self.assertEqual({result.opcode for result in results}, {TEXT})

    async def test_calls_go_to_the_other_owner(self) -> None:
        """The moment it is given up, before its socket is gone."""
        stuck, healthy = await self.stuck_worker("f"), await self.worker("f", "big")
        for _ in range(80):
            stuck.invoke("big")
        for _ in range(80):
            await healthy.answer("big", result=BULK)
        await healthy.settled()
        caller = await self.worker()
        for _ in range(6):
            invocation = caller.invoke("f")
            await healthy.answer("f", result=1)
            self.assertEqual((await caller.result_of(invocation))["result"], 1)


class Forever(TimelessCase):
    """What never moves is dropped."""

    async def test_a_worker_that_takes_nothing_for_a_minute_is_dropped(self) -> None:
        """01 §18.9: 60 s; its calls are stopped, the log says why, once."""
        stuck, caller = await self.worker("f"), await self.worker()
        self.narrow(stuck)
        stuck.socket.pause()
        ids = [caller.invoke("f", BULK) for _ in range(80)]
        await caller.settled()
        for _ in range(55):
            stuck.socket.raw(frame(PONG, b""))
            caller.socket.raw(frame(PONG, b""))
            await self.advance(1)
        self.assertFalse(self.is_gone(stuck))
        for _ in range(21):
            stuck.socket.raw(frame(PONG, b""))
            caller.socket.raw(frame(PONG, b""))
            await self.advance(1)
        await self.eventually(lambda: self.is_gone(stuck))
        for id in ids:
            self.assertEqual((await caller.result_of(id))["error"]["code"], "invocation_stopped")
        self.assertEqual(len(self.problems()), 1)
        self.assertRegex(self.problems()[0], r"^worker .*: dropped, it took nothing for 60 s$")

    async def test_a_goodbye_of_who_never_reads_ends_the_connection(self) -> None:
        """The peer closes with bulk on its way to it, and neither reads nor goes."""
        stuck, caller = await self.worker("f"), await self.worker()
        self.narrow(stuck)
        stuck.socket.pause()
        invocation = caller.invoke("f", BULK)
        for _ in range(80):
            caller.invoke("f", BULK)
        await caller.settled()
        stuck.socket.close_frame(1000)
        answer = await caller.result_of(invocation)
        self.assertEqual(answer["error"]["code"], "invocation_stopped")
        self.assertEqual(len(self.listener.factory.connections), 2)
        await self.advance(2.1)
        await self.eventually(lambda: len(self.listener.factory.connections) == 1)

    async def test_a_close_of_ours_nobody_answers_ends_the_connection(self) -> None:
        """2 s for the answer; meanwhile the worker gets no calls."""
        silent, caller = await self.worker("f"), await self.worker()
        silent.socket.raw(frame(TEXT, b"{}", masked=False))
        closed = await silent.socket.next_frame()
        self.assertEqual(closed.close_code, 1002)
        await self.eventually(lambda: self.is_gone(silent))
        self.assertEqual((await caller.error_of("f"))["code"], "function_not_found")
        self.assertFalse(silent.socket.lost)
        await self.advance(2.1)
        await silent.socket.ended()

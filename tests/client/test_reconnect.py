"""Losing the connection, and getting it back."""

from __future__ import annotations

import asyncio
import socket
from http import HTTPStatus
from typing import Any
from unittest import TestCase

from iii import IIIConnectionState, InvocationError, ReconnectionConfig, RegistrationRejectedError
from tests.client.stub import ClientCase, Link, Pauses


async def handler(data: Any) -> Any:
    return data


def unused_address() -> str:
    """An address nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return f"ws://127.0.0.1:{listener.getsockname()[1]}"


class BackOff(TestCase):
    """07 A6.3: the pauses."""

    def test_they_double_up_to_the_limit(self) -> None:
        """1 s, 2 s, 4 s … 30 s."""
        config = ReconnectionConfig()
        delays = [config.delay_s(retry, 0.0) for retry in range(7)]
        self.assertEqual(delays, [1, 2, 4, 8, 16, 30, 30])

    def test_jitter_spreads_them_by_its_factor(self) -> None:
        """07.8: the first pause lies between 0.7 and 1.3 s; the longest between 21 and 39 s."""
        config = ReconnectionConfig()
        self.assertAlmostEqual(config.delay_s(0, -1.0), 0.7)
        self.assertAlmostEqual(config.delay_s(0, 1.0), 1.3)
        self.assertAlmostEqual(config.delay_s(2000, 1.0), 39.0)

    def test_they_are_never_negative(self) -> None:
        """A jitter factor above 1 can't turn back time."""
        self.assertEqual(ReconnectionConfig(jitter_factor=5).delay_s(0, -1.0), 0.0)


class Loss(ClientCase):
    """A connected client whose connection ends."""

    async def test_a_dropped_connection_comes_back(self) -> None:
        """07.8: after the TCP connection drops, one pause, and everything again, once."""
        pauses = Pauses()
        client = self.client(pauses=pauses)
        trigger = client.register_trigger("http", "f", {"api_path": "f"})
        await client.connect()
        (await self.stub.link(0)).drop()
        second = await self.stub.link(1)
        self.assertEqual([f["id"] for f in second.frames if "id" in f], [trigger.id])
        self.assertEqual(len(pauses.taken), 1)
        self.assertTrue(0.7 <= pauses.taken[0] <= 1.3, pauses.taken)

    async def test_every_way_of_closing_is_a_reason_to_reconnect(self) -> None:
        """07.9: close frames 1000, 1001, 1012, without status, and none at all."""
        client, _ = await self.connected()
        ways = (
            lambda link: link.socket.close(1000),
            lambda link: link.socket.close(1001),
            lambda link: link.socket.close(1012),
            close_without_status,
        )
        for number, close in enumerate(ways):
            with self.subTest(number):
                await close(self.stub.links[number])
                await self.stub.link(number + 1)
        await client.connect()
        self.assertIs(client.get_connection_state(), IIIConnectionState.CONNECTED)

    async def test_a_503_is_tried_again(self) -> None:
        """07.10: an HTTP error on the upgrade is a failed attempt, no more."""
        self.stub.refusals = [HTTPStatus.SERVICE_UNAVAILABLE]
        client = self.client()
        with self.assertLogs("iii.client", "WARNING") as logs:
            await client.connect()
        self.assertEqual(self.stub.attempts, 2)
        self.assertIn("503", logs.output[0])
        self.assertIn(self.stub.address, logs.output[0])

    async def test_three_attempts_and_no_more(self) -> None:
        """07.11: two retries after 100 and 200 ms, then ``failed`` and ConnectionError."""
        pauses = Pauses()
        config = ReconnectionConfig(initial_delay_ms=100, jitter_factor=0, max_retries=2)
        client = self.client(unused_address(), pauses=pauses, reconnection_config=config)
        states: list[str] = []
        client.on_connection_state_change(states.append)
        with self.assertRaisesRegex(ConnectionError, "after 3 attempts"):
            await client.connect()
        self.assertEqual(pauses.taken, [0.1, 0.2])
        self.assertEqual(states, ["disconnected", "connecting", "failed"])

    async def test_a_failed_client_fails_its_calls(self) -> None:
        """A client that gave up says so at once, to calls that wait and to new ones."""
        config = ReconnectionConfig(max_retries=0)
        client = self.client(unused_address(), reconnection_config=config)
        waiting = asyncio.ensure_future(client.invoke("f", {}))
        await asyncio.sleep(0)
        with self.assertRaises(ConnectionError):
            await client.connect()
        for call in (waiting, client.invoke("f", {})):
            with self.assertRaisesRegex(InvocationError, "SHUTDOWN: no connection to"):
                await call

    async def test_connect_after_giving_up_tries_again(self) -> None:
        """``failed`` lasts until the next ``connect()``."""
        self.stub.refusals = [HTTPStatus.SERVICE_UNAVAILABLE]
        client = self.client(reconnection_config=ReconnectionConfig(max_retries=0))
        with self.assertRaises(ConnectionError):
            await client.connect()
        await client.connect()
        self.assertIs(client.get_connection_state(), IIIConnectionState.CONNECTED)

    async def test_the_pauses_start_over_after_a_success(self) -> None:
        """07 A6.3: the counter returns to 0 with each connection."""
        pauses = Pauses()
        config = ReconnectionConfig(jitter_factor=0)
        self.stub.refusals = [HTTPStatus.BAD_GATEWAY] * 2
        client = self.client(pauses=pauses, reconnection_config=config)
        await client.connect()
        self.stub.refusals = [HTTPStatus.BAD_GATEWAY]
        self.stub.links[0].drop()
        await self.stub.link(1)
        self.assertEqual(pauses.taken, [1.0, 2.0, 1.0, 2.0])

    async def test_a_socket_lost_during_the_replay_is_a_failed_attempt(self) -> None:
        """07 'better': no zombie: the client is not connected until the replay is written."""
        pauses = Pauses()
        drops = 2

        async def drop_some(link: Link) -> None:
            if len(self.stub.links) <= drops:
                link.drop()

        self.stub.on_connect = drop_some
        client = self.client(pauses=pauses, reconnection_config=ReconnectionConfig(jitter_factor=0))
        for number in range(200):
            client.register_function(f"f{number}", handler, "x" * 50_000)
        await client.connect()
        link = await self.stub.link(drops)
        self.assertEqual(link.types.count("registerfunction"), 200)
        self.assertEqual(pauses.taken, [1.0, 2.0])

    async def test_silence_is_a_loss(self) -> None:
        """07 A6.4: a connection without any frame for 60 s is dropped, and replaced."""
        client = self.client()
        ticks = asyncio.Queue[None]()
        slept: list[float] = []

        async def tick(seconds: float) -> None:
            slept.append(seconds)
            await ticks.get()

        client._connection.timing.tick = tick
        await client.connect()
        await self.stub.link(0)
        for _ in range(20):
            ticks.put_nowait(None)
        await self.stub.link(1)
        self.assertEqual(sum(slept[:12]), 60.0)

    async def test_a_blocked_loop_is_not_silence(self) -> None:
        """07.24: one late tick counts as one, and what arrived meanwhile is read first."""
        client = self.client()
        ticks = asyncio.Queue[None]()

        async def tick(seconds: float) -> None:
            await ticks.get()

        client._connection.timing.tick = tick
        await client.connect()
        link = await self.stub.link(0)
        for number in range(30):
            if number % 5 == 0:
                await link.say(type="ping")
                await link.frame("pong", number // 5)
            ticks.put_nowait(None)
            await asyncio.sleep(0)
        self.assertEqual((self.stub.attempts, len(self.stub.links)), (1, 1))

    async def test_reattach_comes_first(self) -> None:
        """07 A6.1: with a token from the previous connection ``reattach`` is the first frame."""
        self.stub.greeting = {
            "type": "workerregistered",
            "worker_id": "w-1",
            "reattach_token": "t-1",
        }
        client = self.client()
        client.register_function("f", handler)
        await client.connect()
        first = await self.stub.link(0)
        self.assertNotIn("reattach", first.types)
        await first.say(type="ping")
        await first.frame("pong")
        self.assertEqual(client.worker_id, "w-1")
        first.drop()
        second = await self.stub.link(1)
        self.assertEqual(
            second.frames[0],
            {"type": "reattach", "previous_worker_id": "w-1", "reattach_token": "t-1"},
        )

    async def test_a_rejected_worker_gives_up(self) -> None:
        """07 A14: a refusal of the worker ends it; its calls raise the reason."""
        client, link = await self.connected()
        waiting = asyncio.ensure_future(client.invoke("f"))
        await link.frame("invokefunction")
        await link.say(
            type="registrationrejected",
            code="WORKER_NAMESPACE_CONFLICT",
            namespace="shop",
            owner_worker_id="w-9",
        )
        with self.assertRaises(RegistrationRejectedError) as rejected:
            await waiting
        self.assertEqual(rejected.exception.owner_worker_id, "w-9")
        await link.closed
        self.assertIs(client.get_connection_state(), IIIConnectionState.FAILED)

    async def test_a_rejected_function_does_not(self) -> None:
        """07 A14: a conflict about one function is logged, the worker goes on."""
        client, link = await self.connected()
        with self.assertLogs("iii.client", "ERROR"):
            await link.say(
                type="registrationrejected",
                code="FUNCTION_NAMESPACE_CONFLICT",
                namespace="default",
                function_id="f",
                owner_worker_id="w-9",
            )
            await link.say(type="ping")
            await link.frame("pong")
        self.assertIs(client.get_connection_state(), IIIConnectionState.CONNECTED)


class States(ClientCase):
    """07 A6.3: connection states and their callbacks."""

    async def test_the_states_of_a_life(self) -> None:
        """Told at once, then at each change; a failing callback harms nobody."""
        client = self.client()
        states: list[str] = []

        def fails(state: str) -> None:
            raise RuntimeError("callback")

        with self.assertLogs("iii.client", "ERROR"):
            client.on_connection_state_change(fails)
            stop = client.on_connection_state_change(states.append)
            await client.connect()
            (await self.stub.link(0)).drop()
            await self.stub.link(1)
            await client.connect()
            stop()
            await client.disconnect()
        self.assertEqual(
            states,
            [
                "disconnected",
                "connecting",
                "connected",
                "disconnected",
                "reconnecting",
                "connected",
            ],
        )

    async def test_connect_with_a_time_limit(self) -> None:
        """07 A2: ``connect(timeout=…)`` raises TimeoutError and names the address."""
        client = self.client(unused_address())

        async def forever(seconds: float) -> None:
            await asyncio.Event().wait()

        client._connection.timing.pause = forever
        with self.assertRaisesRegex(TimeoutError, client.address):
            await client.connect(timeout=0.01)


class Offline(ClientCase):
    """07 A6.2: what happens to messages without a connection."""

    async def test_the_last_thousand_wait(self) -> None:
        """07.12: of 1005 calls made offline the last 1000 arrive, in order."""
        client = self.client()
        with self.assertLogs("iii.client", "WARNING") as logs:
            for number in range(1005):
                client.invoke_async("f", number)
        self.assertEqual(len(logs.output), 5)
        self.assertIn("Message queue full, dropping oldest message", logs.output[0])
        await client.connect()
        link = await self.stub.link()
        self.assertEqual([f["data"] for f in link.frames[:-1]], list(range(5, 1005)))

    async def test_what_is_registered_meanwhile_is_registered_once(self) -> None:
        """07 A6.2: registrations are replayed from the tables, not queued as well."""
        client = self.client()
        gate, paused = asyncio.Event(), asyncio.Event()

        async def gated(seconds: float) -> None:
            client.register_function("f", handler)
            paused.set()
            await gate.wait()

        client._connection.timing.pause = gated
        await client.connect()
        (await self.stub.link(0)).drop()
        await paused.wait()
        client.invoke_async("g")
        gate.set()
        second = await self.stub.link(1)
        self.assertEqual(
            [frame.get("id") or frame["function_id"] for frame in second.frames[:2]], ["f", "g"]
        )
        self.assertEqual(second.types.count("registerfunction"), 1)

    async def test_nothing_is_lost_between_the_loss_and_its_discovery(self) -> None:
        """A message put when the socket has just died is sent on the next one."""
        client, link = await self.connected()
        client._connection._socket.abort()
        client.invoke_async("f", "survives")
        second = await self.stub.link(1)
        self.assertEqual((await second.frame("invokefunction"))["data"], "survives")
        self.assertEqual(link.types, ["invokefunction"])

    async def test_a_dropped_call_fails_at_once(self) -> None:
        """07 A6.2: a waiting call that is dropped from the full queue does not wait on."""
        client = self.client()
        waiting = asyncio.ensure_future(client.invoke("f"))
        await asyncio.sleep(0)
        with self.assertLogs("iii.client", "WARNING"):
            for number in range(1000):
                client.invoke_async("f", number)
        with self.assertRaises(InvocationError) as dropped:
            await waiting
        self.assertEqual(dropped.exception.code, "overloaded")

    async def test_an_expired_call_is_taken_back(self) -> None:
        """07 A6.2: a call whose time is over while queued is never sent."""
        client = self.client()
        with self.assertRaises(TimeoutError):
            await client.invoke("late", timeout=0.01)
        cancelled = asyncio.ensure_future(client.invoke("cancelled"))
        await asyncio.sleep(0)
        cancelled.cancel()
        await asyncio.wait([cancelled])
        client.invoke_async("kept")
        await client.connect()
        link = await self.stub.link()
        self.assertEqual([f["function_id"] for f in link.frames[:-1]], ["kept"])

    async def test_a_call_already_sent_is_not_sent_again(self) -> None:
        """07 A6.2: a call in flight when the link breaks stays pending, and is never repeated."""
        client, link = await self.connected()
        waiting = asyncio.ensure_future(client.invoke("f", timeout=5))
        frame = await link.frame("invokefunction")
        link.drop()
        second = await self.stub.link(1)
        self.assertEqual(second.types, ["invokefunction"])
        self.assertFalse(waiting.done())
        await second.say(
            type="invocationresult", invocation_id=frame["invocation_id"], result="late"
        )
        self.assertEqual(await waiting, "late")

    async def test_an_answer_waits_for_the_next_connection(self) -> None:
        """07 A6.2: results made while disconnected are queued."""
        client = self.client()
        started, finish = asyncio.Event(), asyncio.Event()

        async def slow(data: Any) -> str:
            started.set()
            await finish.wait()
            return "done"

        gate = asyncio.Event()

        async def gated(seconds: float) -> None:
            await gate.wait()

        client._connection.timing.pause = gated
        client.register_function("slow", slow)
        await client.connect()
        link = await self.stub.link()
        await link.say(type="invokefunction", invocation_id="i-1", function_id="slow", data={})
        await started.wait()
        link.drop()
        lost = asyncio.Event()
        client.on_connection_state_change(
            lambda state: lost.set() if state == "reconnecting" else None
        )
        await lost.wait()
        finish.set()
        await asyncio.sleep(0)
        gate.set()
        second = await self.stub.link(1)
        result = await second.frame("invocationresult")
        self.assertEqual((result["invocation_id"], result["result"]), ("i-1", "done"))


class Disconnect(ClientCase):
    """07 A2: ``disconnect()``."""

    async def test_flushes_and_closes_with_1000(self) -> None:
        """What is queued is written, then a close frame 1000, and no new attempt."""
        client, link = await self.connected()
        for number in range(300):
            client.invoke_async("f", number)
        await client.disconnect()
        self.assertEqual(await link.closed, 1000)
        self.assertEqual([f["data"] for f in link.frames[1:]], list(range(300)))
        self.assertIs(client.get_connection_state(), IIIConnectionState.DISCONNECTED)
        self.assertEqual(self.stub.attempts, 1)

    async def test_pending_calls_are_rejected(self) -> None:
        """07 A11: code ``SHUTDOWN``, message ``iii is shutting down``."""
        client, link = await self.connected()
        waiting = asyncio.ensure_future(client.invoke("f"))
        await link.frame("invokefunction")
        await client.disconnect()
        with self.assertRaises(InvocationError) as stopped:
            await waiting
        self.assertEqual(str(stopped.exception), "SHUTDOWN: iii is shutting down")

    async def test_while_there_is_no_connection(self) -> None:
        """Disconnecting ends the attempts, and a ``connect()`` that still waits."""
        client = self.client(unused_address())
        waiting = asyncio.ensure_future(client.connect())
        await asyncio.sleep(0)
        await client.disconnect()
        with self.assertRaisesRegex(ConnectionError, "disconnect"):
            await waiting

    async def test_connect_again_replays_everything(self) -> None:
        """A second ``connect()`` on the same object registers it all again."""
        client = self.client()
        client.register_function("f", handler)
        await client.connect()
        await client.disconnect()
        await client.disconnect()
        await client.connect()
        second = await self.stub.link(1)
        self.assertEqual(second.types, ["registerfunction", "invokefunction"])
        self.assertEqual((await second.invoke("f", 3))["result"], 3)

    async def test_drain_waits_for_running_handlers(self) -> None:
        """08 §4: ``disconnect(drain=…)`` asks for no more work and lets handlers finish."""
        client = self.client()
        started, finish = asyncio.Event(), asyncio.Event()

        async def slow(data: Any) -> str:
            started.set()
            await finish.wait()
            return "done"

        client.register_function("slow", slow)
        await client.connect()
        link = await self.stub.link()
        await link.say(type="invokefunction", invocation_id="i-1", function_id="slow", data={})
        await started.wait()
        leaving = asyncio.ensure_future(client.disconnect(drain=5))
        asked = await link.frame("invokefunction")
        self.assertEqual(asked["function_id"], "engine::workers::drain")
        await link.say(
            type="invocationresult",
            invocation_id=asked["invocation_id"],
            error={"code": "function_not_found", "message": "no"},
        )
        finish.set()
        await leaving
        self.assertEqual((await link.frame("invocationresult"))["result"], "done")

    async def test_a_program_that_never_disconnects_ends(self) -> None:
        """07 A2: cancelling everything, as the end of ``asyncio.run`` does, is quick."""
        client, link = await self.connected()
        task = client._connection._task
        task.cancel()
        async with asyncio.timeout(1):
            await asyncio.wait([task])
        self.assertEqual(await link.closed, 1006)


async def close_without_status(link: Link) -> None:
    """A close frame with an empty payload."""
    protocol = link.socket.protocol
    protocol.send_close()
    link.socket.send_data()
    await link.closed

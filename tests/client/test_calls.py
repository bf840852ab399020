"""Calling functions: frames, answers, errors, limits."""

from __future__ import annotations

import asyncio
import json
import math
from typing import Any

from iii import IIIForbiddenError, InvocationError, TriggerAction
from iii.client.connection import HIGH_WATER_BYTES
from tests.client.stub import ClientCase, Link

MIB = 1024 * 1024


async def answer(link: Link, **body: Any) -> None:
    """Answer the last call of the client."""
    frame = (await link.until(lambda frames: [f for f in frames if "invocation_id" in f]))[-1]
    await link.say(type="invocationresult", invocation_id=frame["invocation_id"], **body)


class Invoke(ClientCase):
    """``await invoke(…)``."""

    async def call(self, answer_body: dict[str, Any]) -> Any:
        client, link = await self.connected()
        call = asyncio.ensure_future(client.invoke("f", {}))
        await link.frame("invokefunction")
        await answer(link, **answer_body)
        return await call

    async def test_the_result(self) -> None:
        """07 A2: the value of ``result``; an answer without one is None."""
        self.assertEqual(await self.call({"function_id": "f", "result": {"sum": 8}}), {"sum": 8})

    async def test_no_result_is_none(self) -> None:
        """07 B4.2: neither ``result`` nor ``error``: success with no value."""
        self.assertIsNone(await self.call({"function_id": "f"}))

    async def test_time_out(self) -> None:
        """07.13: ``TimeoutError`` with code ``TIMEOUT``; the late answer is ignored."""
        client, link = await self.connected()
        loop = asyncio.get_running_loop()
        began = loop.time()
        with self.assertRaises(TimeoutError) as late:
            await client.invoke("hang", {}, timeout=0.2)
        self.assertTrue(0.199 <= loop.time() - began <= 0.4)
        self.assertEqual(late.exception.code, "TIMEOUT")
        self.assertIsInstance(late.exception, InvocationError)
        self.assertEqual(str(late.exception), "TIMEOUT: invocation timed out after 200ms")
        await answer(link, result=1)
        await link.say(type="ping")
        await link.frame("pong")
        self.assertEqual(len(client._calls), 0)

    async def test_the_default_limit_is_an_option(self) -> None:
        """07 A2: ``invocation_timeout_ms`` is honoured."""
        client, _ = await self.connected(invocation_timeout_ms=10)
        with self.assertRaisesRegex(TimeoutError, "after 10ms"):
            await client.invoke("hang")

    async def test_no_limit(self) -> None:
        """``timeout=math.inf`` waits for ever."""
        client, link = await self.connected(invocation_timeout_ms=1)
        call = asyncio.ensure_future(client.invoke("f", timeout=math.inf))
        await link.frame("invokefunction")
        await answer(link, result=1)
        self.assertEqual(await call, 1)

    async def test_an_error_object(self) -> None:
        """07.14: code and message; everything else that is known about it."""
        error = {"code": "boom", "message": "msg", "stacktrace": "line 1"}
        with self.assertRaises(InvocationError) as failed:
            await self.call({"error": error, "result": "ignored"})
        self.assertEqual(str(failed.exception), "boom: msg")
        self.assertEqual(failed.exception.function_id, "f")
        self.assertEqual(failed.exception.stacktrace, "line 1")
        self.assertIsNotNone(failed.exception.invocation_id)

    async def test_an_error_that_is_no_object(self) -> None:
        """07.15: code ``UNKNOWN``, message the text."""
        with self.assertRaises(InvocationError) as failed:
            await self.call({"error": "text"})
        self.assertEqual((failed.exception.code, failed.exception.message), ("UNKNOWN", "text"))

    async def test_an_error_object_with_parts_missing(self) -> None:
        """07 A11: no string code or message: ``UNKNOWN``, ``<no message>``."""
        with self.assertRaises(InvocationError) as failed:
            await self.call({"error": {"code": 5}})
        self.assertEqual(
            (failed.exception.code, failed.exception.message), ("UNKNOWN", "<no message>")
        )

    async def test_forbidden_has_a_class(self) -> None:
        """07 A11: code ``FORBIDDEN`` is an IIIForbiddenError."""
        with self.assertRaises(IIIForbiddenError):
            await self.call({"error": {"code": "FORBIDDEN", "message": "not allowed"}})

    async def test_no_payload_is_null(self) -> None:
        """07.22: ``data`` is always there."""
        client, link = await self.connected()
        call = asyncio.ensure_future(client.invoke("f"))
        frame = await link.frame("invokefunction")
        self.assertIn("data", frame)
        self.assertIsNone(frame["data"])
        self.assertEqual(
            set(frame), {"type", "function_id", "data", "invocation_id"}, "nothing else"
        )
        await answer(link, result=1)
        await call

    async def test_other_names(self) -> None:
        """07 A2: ``trigger`` and ``call`` are ``invoke``; ``timeout`` by place too."""
        client, _ = await self.connected()
        for call in (client.trigger, client.call):
            with self.assertRaises(TimeoutError):
                await call("f", {}, 0.001)

    async def test_metadata_and_namespace(self) -> None:
        """07 A14: passed through when given."""
        client, link = await self.connected()
        client.invoke_async("f", 1, metadata={"m": 1}, namespace="shop")
        frame = await link.frame("invokefunction")
        self.assertEqual((frame["metadata"], frame["namespace"]), ({"m": 1}, "shop"))

    async def test_from_another_loop(self) -> None:
        """A thread may call with a loop of its own; its answer comes home to it."""
        client, link = await self.connected()
        call = asyncio.ensure_future(asyncio.to_thread(lambda: asyncio.run(client.invoke("f"))))
        await link.frame("invokefunction")
        await answer(link, result="here")
        self.assertEqual(await call, "here")


class Actions(ClientCase):
    """``TriggerAction``."""

    async def test_enqueue(self) -> None:
        """07.35: an id, the action, and the receipt as it came."""
        client, link = await self.connected()
        call = asyncio.ensure_future(
            client.trigger("f", {}, action=TriggerAction.Enqueue(queue="q"))
        )
        frame = await link.frame("invokefunction")
        self.assertEqual(frame["action"], {"type": "enqueue", "queue": "q"})
        await answer(link, result={"messageReceiptId": "r-1"})
        self.assertEqual(await call, {"messageReceiptId": "r-1"})

    async def test_void(self) -> None:
        """07.36: no id, and None at once."""
        client, link = await self.connected()
        self.assertIsNone(await client.invoke("f", {}, action=TriggerAction.Void()))
        frame = await link.frame("invokefunction")
        self.assertEqual(frame["action"], {"type": "void"})
        self.assertNotIn("invocation_id", frame)


class FireAndForget(ClientCase):
    """``invoke_async(…)``."""

    async def test_is_not_a_coroutine_but_may_be_awaited(self) -> None:
        """07 A2: it has happened when it returns; awaiting it gives None."""
        client, link = await self.connected()
        sent = client.invoke_async("f", {"n": 1})
        self.assertFalse(asyncio.iscoroutine(sent))
        self.assertIsNone(await sent)
        client.trigger_void("f", 2)
        client.call_void("f", 3)
        frames = [await link.frame("invokefunction", n) for n in range(3)]
        self.assertEqual([f["data"] for f in frames], [{"n": 1}, 2, 3])
        self.assertNotIn("invocation_id", frames[0])

    async def test_what_can_not_be_written_is_raised(self) -> None:
        """07 A2: local serialisation errors are raised, with the type's name."""
        client, _ = await self.connected()
        with self.assertRaisesRegex(InvocationError, "serialization_error: .*type object"):
            client.invoke_async("f", {"x": object()})

    async def test_from_a_thread(self) -> None:
        """It may be called from any thread."""
        client, link = await self.connected()
        await asyncio.to_thread(client.invoke_async, "f", 1)
        self.assertEqual((await link.frame("invokefunction"))["data"], 1)

    async def test_awaiting_waits_while_too_much_is_queued(self) -> None:
        """An engine that does not read slows down who awaits, and nobody else."""
        client, link = await self.connected()
        link.socket.transport.pause_reading()
        block = "x" * (HIGH_WATER_BYTES // 8)
        for _ in range(16):
            sent = client.invoke_async("f", block)
        waiting = asyncio.ensure_future(asyncio.wait_for(sent, 5))
        await asyncio.sleep(0.01)
        self.assertFalse(waiting.done())
        link.socket.transport.resume_reading()
        await waiting


class Size(ClientCase):
    """07 A6.4: limits."""

    async def test_a_large_result_arrives(self) -> None:
        """07.46: 2 MiB inbound, which kills the connection of older clients."""
        client, link = await self.connected()
        call = asyncio.ensure_future(client.invoke("f"))
        await link.frame("invokefunction")
        await answer(link, result="x" * (2 * MIB))
        self.assertEqual(len(await call), 2 * MIB)

    async def test_too_large_a_payload_stays_here(self) -> None:
        """07.46: 65 MiB outbound: ``payload_too_large`` at once, the connection unharmed."""
        client, link = await self.connected()
        with self.assertRaises(InvocationError) as too_large:
            await client.invoke("f", "x" * (65 * MIB))
        self.assertEqual(too_large.exception.code, "payload_too_large")
        await link.say(type="ping")
        await link.frame("pong")

    async def test_a_large_payload_is_fragmented(self) -> None:
        """01 §1.3: above 16 MiB a message goes out in frames the engine takes."""
        client, link = await self.connected()
        client.invoke_async("f", "x" * (17 * MIB))
        client.invoke_async("g", 1)
        self.assertEqual((await link.frame("invokefunction", 1))["function_id"], "g")
        self.assertEqual(len(json.loads(link.raw[1])["data"]), 17 * MIB)

    async def test_too_large_a_result_is_an_error_result(self) -> None:
        """07 A6.4: the caller learns it instead of waiting."""
        client, link = await self.connected()
        client.register_function("f", lambda data: "x" * (65 * MIB))
        await link.frame("registerfunction")
        result = await link.invoke("f")
        self.assertEqual(result["error"]["code"], "payload_too_large")

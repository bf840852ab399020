"""Running handlers: arguments, results, errors, threads, trace context."""

from __future__ import annotations

import asyncio
import contextvars
import dataclasses
import datetime
import decimal
import enum
import functools
import itertools
import json
import threading
import types
import uuid
from collections import OrderedDict
from pathlib import PurePosixPath
from typing import Any

import msgspec

from iii.client.encode import encode
from tests.client.stub import ClientCase, Json

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class HandlerCase(ClientCase):
    """A client with one function ``f``."""

    async def answer_of(self, handler: Any, data: Any = None, **more: Any) -> Json:
        client = self.client()
        client.register_function("f", handler)
        await client.connect()
        link = await self.stub.link()
        return await link.invoke("f", data, **more)


class Results(HandlerCase):
    """07 A8: what a handler returns."""

    async def test_the_mission_handler(self) -> None:
        """07 A2: ``async def add(data)`` gets the payload and returns a dict."""

        async def add(data: Any) -> Any:
            return {"sum": data["a"] + data["b"]}

        answer = await self.answer_of(add, {"a": 5, "b": 3})
        self.assertEqual(answer["result"], {"sum": 8})
        self.assertEqual(answer["function_id"], "f")
        self.assertNotIn("error", answer)

    async def test_none_is_null(self) -> None:
        """07.16: a handler that returns None sends ``"result": null``."""

        async def nothing(data: Any) -> None: ...

        answer = await self.answer_of(nothing)
        self.assertIn("result", answer)
        self.assertIsNone(answer["result"])

    async def test_data_may_be_absent(self) -> None:
        """07 A8: an invocation without ``data`` gives the handler None."""
        client = self.client()
        seen: asyncio.Queue[Any] = asyncio.Queue()

        async def keep(data: Any) -> None:
            seen.put_nowait(data)

        client.register_function("f", keep)
        await client.connect()
        link = await self.stub.link()
        await link.say(type="invokefunction", function_id="f", invocation_id="i-1")
        self.assertIsNone(await seen.get())

    async def test_what_has_no_json_form_is_an_error(self) -> None:
        """07 A8: ``invocation_failed``, and the text names the type."""
        answer = await self.answer_of(lambda data: {"x": object()})
        self.assertEqual(answer["error"]["code"], "invocation_failed")
        self.assertIn("type object", answer["error"]["message"])

    async def test_metadata_goes_to_those_who_ask(self) -> None:
        """07 A8: second positional or keyword-only; all others get one argument."""

        async def positional(data: Any, metadata: Any) -> Any:
            return [data, metadata]

        async def keyword(data: Any, *, metadata: Any = None) -> Any:
            return [data, metadata]

        async def other(data: Any, something: str = "own") -> Any:
            return [data, something]

        client = self.client()
        for handler in (positional, keyword, other):
            client.register_function(handler.__name__, handler)
        client.register_function("builtin", functools.partial(max, 3))
        await client.connect()
        link = await self.stub.link()
        results = [
            (await link.invoke(name, 7, metadata={"m": 1}))["result"]
            for name in ("positional", "keyword", "other", "builtin")
        ]
        self.assertEqual(results, [[7, {"m": 1}], [7, {"m": 1}], [7, "own"], 7])


class Errors(HandlerCase):
    """07 A8: handlers that fail, and functions that are not there."""

    async def test_an_exception(self) -> None:
        """07.19: code, message and stack."""

        async def bad(data: Any) -> None:
            raise ValueError("bad")

        with self.assertLogs("iii.client", "WARNING"):
            answer = await self.answer_of(bad)
        self.assertEqual(answer["error"]["code"], "invocation_failed")
        self.assertEqual(answer["error"]["message"], "bad")
        self.assertIn("ValueError", answer["error"]["stacktrace"])
        self.assertNotIn("result", answer)

    async def test_any_exception(self) -> None:
        """07 A8: also ``sys.exit()`` and a stray cancellation, in tasks and in threads."""

        async def leaves(data: Any) -> None:
            raise SystemExit("bye")

        async def cancelled(data: Any) -> None:
            raise asyncio.CancelledError("inner")

        def stops(data: Any) -> None:
            raise StopIteration("end")

        client = self.client()
        for handler in (leaves, cancelled, stops):
            client.register_function(handler.__name__, handler)
        await client.connect()
        link = await self.stub.link()
        for name in ("leaves", "cancelled", "stops"):
            with self.subTest(name), self.assertLogs("iii.client", "WARNING"):
                answer = await link.invoke(name)
                self.assertEqual(answer["error"]["code"], "invocation_failed")

    async def test_nobody_waits(self) -> None:
        """07.20: without ``invocation_id`` nothing is sent: result, error, unknown function."""

        async def good(data: Any) -> str:
            return "result"

        async def bad(data: Any) -> None:
            raise ValueError("bad")

        client = self.client()
        client.register_function("good", good)
        client.register_function("bad", bad)
        await client.connect()
        link = await self.stub.link()
        with self.assertLogs("iii.client", "WARNING") as logs:
            for name in ("good", "bad", "unknown"):
                await link.say(type="invokefunction", function_id=name, data={})
            await link.say(type="invokefunction", function_id="good", data={}, invocation_id=None)
            await link.invoke("good")
        self.assertEqual(link.types.count("invocationresult"), 1)
        self.assertIn("ValueError: bad", "\n".join(logs.output))

    async def test_an_unknown_function(self) -> None:
        """07.21: ``function_not_found``, with the id in the message."""
        _, link = await self.connected()
        with self.assertLogs("iii.client", "WARNING"):
            answer = await link.invoke("nope")
        self.assertEqual(
            answer["error"],
            {"code": "function_not_found", "message": "Function 'nope' not found"},
        )


class Threads(HandlerCase):
    """Decision 27: plain ``def`` handlers run in threads."""

    async def test_a_blocking_handler_blocks_nobody(self) -> None:
        """07.23: while it sleeps, other invocations complete and pings are answered."""
        release = threading.Event()

        async def quick(data: Any) -> str:
            return "quick"

        def slow(data: Any) -> str:
            self.assertTrue(release.wait(5))
            return "slow"

        client = self.client()
        client.register_function("slow", slow)
        client.register_function("quick", quick)
        await client.connect()
        link = await self.stub.link()
        blocked = asyncio.ensure_future(link.invoke("slow"))
        self.assertEqual((await link.invoke("quick"))["result"], "quick")
        async with asyncio.timeout(5):
            await (await link.socket.ping())
        self.assertFalse(blocked.done())
        release.set()
        self.assertEqual((await blocked)["result"], "slow")

    async def test_nested_calls_never_run_out_of_threads(self) -> None:
        """A2: a hundred handlers that each wait for another one: no fixed pool to fill."""
        client = self.client()
        everybody = threading.Barrier(100)

        def outer(data: Any) -> Any:
            everybody.wait(5)
            return asyncio.run(client.invoke("inner", data))

        client.register_function("outer", outer)
        client.register_function("inner", lambda data: data + 1)
        await client.connect()
        link = await self.stub.link()
        relay = asyncio.ensure_future(self.relay_calls())
        self.addCleanup(relay.cancel)
        answers = await asyncio.gather(*(link.invoke("outer", n) for n in range(100)))
        self.assertEqual([answer["result"] for answer in answers], list(range(1, 101)))

    async def relay_calls(self) -> None:
        """Do what the engine does: send calls of ``inner``, and their answers, back."""
        link = self.stub.links[0]
        for position in itertools.count():
            frame = await link.until(lambda frames, n=position: frames[n:])
            if frame[0].get("function_id") == "inner":
                await link.socket.send(json.dumps(frame[0]))

    async def test_a_thread_is_used_again(self) -> None:
        """Idle threads are reused, and end when the client disconnects."""
        client = self.client()
        client.register_function("name", lambda data: threading.current_thread().ident)
        await client.connect()
        link = await self.stub.link()
        first = (await link.invoke("name"))["result"]
        second = (await link.invoke("name"))["result"]
        self.assertEqual(first, second)
        thread = next(t for t in threading.enumerate() if t.ident == first)
        self.assertTrue(thread.daemon)
        await client.disconnect()
        await asyncio.to_thread(thread.join, 5)
        self.assertFalse(thread.is_alive())

    async def test_the_context_goes_along(self) -> None:
        """A plain handler sees the context variables of its invocation."""
        variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")
        variable.set("seen")
        answer = await self.answer_of(lambda data: variable.get("unset"))
        self.assertEqual(answer["result"], "seen")

    async def test_a_plain_function_that_returns_an_awaitable(self) -> None:
        """``lambda data: coroutine(data)`` is awaited on the loop."""

        async def add(data: Any) -> Any:
            return data + 1

        answer = await self.answer_of(lambda data: add(data), 1)
        self.assertEqual(answer["result"], 2)

    async def test_a_callable_object(self) -> None:
        """An object with ``async def __call__`` is an async handler."""

        class Adder:
            async def __call__(self, data: Any) -> Any:
                return data + 1

        answer = await self.answer_of(Adder(), 1)
        self.assertEqual(answer["result"], 2)


class Loop(HandlerCase):
    """Decision 27: the caller's loop."""

    async def test_a_lock_of_main_works_in_a_handler(self) -> None:
        """07.27: handlers run on the loop that connected, with its locks and events."""
        lock = asyncio.Lock()

        async def locked(data: Any) -> Any:
            async with lock:
                return asyncio.get_running_loop() is loop

        loop = asyncio.get_running_loop()
        client = self.client()
        client.register_function("locked", locked)
        await client.connect()
        link = await self.stub.link()
        async with lock:
            waiting = asyncio.ensure_future(link.invoke("locked"))
            await link.say(type="ping")
            await link.frame("pong")
        self.assertTrue((await waiting)["result"])

    async def test_invocations_run_side_by_side(self) -> None:
        """Async handlers are tasks: one that waits does not hold up the next."""
        gate = asyncio.Event()

        async def waits(data: Any) -> None:
            await gate.wait()

        async def opens(data: Any) -> None:
            gate.set()

        client = self.client()
        client.register_function("waits", waits)
        client.register_function("opens", opens)
        await client.connect()
        link = await self.stub.link()
        await asyncio.gather(link.invoke("waits"), link.invoke("opens"))
        self.assertTrue(gate.is_set())


class Trace(HandlerCase):
    """07 A8: trace context is carried through."""

    async def test_it_is_on_the_result_and_on_calls_made_inside(self) -> None:
        """``traceparent`` and ``baggage`` go back, and along, in tasks and in threads."""
        client = self.client()

        async def calls(data: Any) -> None:
            client.invoke_async("next", "task")

        def calls_too(data: Any) -> None:
            client.invoke_async("next", "thread")

        client.register_function("task", calls)
        client.register_function("thread", calls_too)
        await client.connect()
        link = await self.stub.link()
        for number, name in enumerate(("task", "thread")):
            answer = await link.invoke(name, traceparent=TRACEPARENT, baggage="k=v")
            self.assertEqual((answer["traceparent"], answer["baggage"]), (TRACEPARENT, "k=v"))
            frame = await link.frame("invokefunction", number)
            self.assertEqual(
                (frame["data"], frame["traceparent"], frame["baggage"]),
                (name, TRACEPARENT, "k=v"),
            )

    async def test_it_stays_inside(self) -> None:
        """A call made outside a handler has none."""
        client, link = await self.connected()
        client.invoke_async("f")
        self.assertNotIn("traceparent", await link.frame("invokefunction"))


class Colour(enum.Enum):
    """An enumeration to be written."""

    RED = "red"


@dataclasses.dataclass
class Point:
    """A dataclass to be written."""

    x: int
    inner: Any = None


class Shape(msgspec.Struct):
    """A struct to be written."""

    name: str


class Model:
    """Looks like a pydantic model."""

    def model_dump(self, mode: str) -> dict[str, str]:
        return {"mode": mode}


class Name(str):
    """A subclass of a plain type."""


class Encoding(ClientCase):
    """07 A8: what values become."""

    def test_each_kind_has_a_form(self) -> None:
        """Dates, ids, numbers, enums, sets, models, at any depth."""
        moment = datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)
        kinds = [
            (
                Point(1, {"deep": [Point(2)]}),
                {"x": 1, "inner": {"deep": [{"x": 2, "inner": None}]}},
            ),
            (Shape("s"), {"name": "s"}),
            (Model(), {"mode": "json"}),
            (moment, "2026-01-02T03:04:05Z"),
            (moment.date(), "2026-01-02"),
            (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
            (decimal.Decimal("1.50"), "1.50"),
            (Colour.RED, "red"),
            ({1}, [1]),
            (frozenset([1]), [1]),
            ((1, 2), [1, 2]),
            (float("nan"), None),
            (float("-inf"), None),
            (OrderedDict(a=1), {"a": 1}),
            (types.MappingProxyType({"a": 1}), {"a": 1}),
            (Name("n"), "n"),
            (PurePosixPath("/a"), "/a"),
            (2**70, 2**70),
            ("ü\u2028", "ü\u2028"),
        ]
        for value, expected in kinds:
            with self.subTest(value=value):
                self.assertEqual(json.loads(encode([value])), [expected])

    def test_what_contains_itself_is_refused(self) -> None:
        """An endless structure is an error, not a crash."""
        endless: list[Any] = []
        endless.append(endless)
        with self.assertRaisesRegex(ValueError, "contains itself"):
            encode(endless)

"""The functions of ``iii-bridge``, between two and three real engines."""

from __future__ import annotations

import os
from typing import Any

from tests.bridge.cases import BridgeCase, bridge_entry
from tests.support.probes import probe


class Invoke(BridgeCase):
    """``bridge.invoke`` and ``bridge.invoke_async``."""

    async def setUp(self) -> None:
        await super().setUp()
        self.remote = await self.start()
        self.local = await self.bridge(self.remote.url)
        self.caller = await self.worker(self.local)
        self.there = await self.worker(self.remote, "there")

    async def test_calls_a_function_over_there(self) -> None:
        id = self.caller.invoke("bridge.invoke", {"function_id": "there", "data": {"a": [1, None]}})
        call = await self.there.answer("there", result={"sum": 5})
        self.assertEqual(call["data"]["a"], [1, None])
        self.assertEqual((await self.caller.result_of(id))["result"], {"sum": 5})

    async def test_an_absent_result_is_null(self) -> None:
        id = self.caller.invoke("bridge.invoke", {"function_id": "there"})
        call = await self.there.answer("there")
        self.assertIsNone(call["data"])
        self.assertIsNone((await self.caller.result_of(id))["result"])

    @probe("04.53")
    async def test_a_function_that_is_not_there(self) -> None:
        self.assertEqual(
            await self.caller.error_of("bridge.invoke", {"function_id": "nope"}),
            {
                "code": "bridge_error",
                "message": "remote error (function_not_found): Function nope not found",
            },
        )

    @probe("04.54")
    async def test_an_input_that_names_no_function(self) -> None:
        self.assertEqual(
            await self.caller.error_of("bridge.invoke", {}),
            {
                "code": "deserialization_error",
                "message": "Failed to parse invoke input: missing field `function_id`",
            },
        )
        error = await self.caller.error_of("bridge.invoke_async", {"function_id": 5})
        self.assertIn("Failed to parse invoke input: invalid type: integer", error["message"])

    async def test_the_name_of_older_documentation(self) -> None:
        id = self.caller.invoke("bridge.invoke", {"function_path": "there"})
        await self.there.answer("there", result=1)
        self.assertEqual((await self.caller.result_of(id))["result"], 1)

    @probe("04.57")
    async def test_without_waiting(self) -> None:
        id = self.caller.invoke("bridge.invoke_async", {"function_id": "there", "data": 7})
        answer = await self.caller.result_of(id)
        self.assertNotIn("result", answer)
        self.assertNotIn("error", answer)
        self.assertEqual((await self.there.invoked("there"))["data"], 7)

    async def test_trace_context_and_metadata_travel(self) -> None:
        context = f"00-{'a' * 32}-{'b' * 16}-01"
        self.caller.invoke(
            "bridge.invoke",
            {"function_id": "there"},
            traceparent=context,
            baggage="tenant=7",
            metadata={"m": 1},
        )
        call = await self.there.invoked("there")
        self.assertEqual(call["traceparent"][3:35], "a" * 32)
        self.assertEqual(call["baggage"], "tenant=7")
        self.assertEqual(call["metadata"], {"m": 1})

    async def test_the_other_engine_shows_who_we_are(self) -> None:
        rows = (await self.there.call("engine::workers::list", {}))["workers"]
        [row] = [row for row in rows if row["name"] == "iii-bridge-client"]
        self.assertEqual(row["runtime"], "iii-engine")


class Forwarded(BridgeCase):
    """Functions of the other engine under a name of ours."""

    async def setUp(self) -> None:
        await super().setUp()
        self.remote = await self.start()
        self.there = await self.worker(self.remote, "there")

    async def caller_behind(self, **forward: Any) -> Any:
        """A caller on an engine that forwards ``here`` to ``there``."""
        entry = {"local_function": "here", "remote_function": "there", **forward}
        self.local = await self.bridge(self.remote.url, forward=[entry])
        return await self.worker(self.local)

    @probe("04.55")
    async def test_result_and_error(self) -> None:
        caller = await self.caller_behind()
        id = caller.invoke("here", {"a": 1})
        call = await self.there.answer("there", result={"ok": True})
        self.assertEqual(
            {**call["data"], "_caller_worker_id": ""}, {"a": 1, "_caller_worker_id": ""}
        )
        self.assertEqual((await caller.result_of(id))["result"], {"ok": True})
        id = caller.invoke("here")
        await self.there.answer("there", error={"code": "Y", "message": "no", "stacktrace": "at"})
        self.assertEqual(
            (await caller.result_of(id))["error"],
            {"code": "bridge_error", "message": "remote error (Y): no", "stacktrace": "at"},
        )

    async def test_every_json_passes_unchanged(self) -> None:
        caller = await self.caller_behind()
        for value in (None, 5, "x", [1, {"b": 2}], 12345678901234567890123, 1.5e300, ""):
            id = caller.invoke("here", value)
            call = await self.there.answer("there", result=value)
            self.assertEqual(call["data"], value)
            self.assertEqual((await caller.result_of(id)).get("result"), value)

    async def test_the_caller_is_the_bridge_and_not_the_worker_behind_it(self) -> None:
        caller = await self.caller_behind()
        for data in ({}, {"a": 1}):
            caller.invoke("here", data)
            call = await self.there.invoked("there")
            [bridge] = [w for w in self.remote.engine.workers if w.name == "iii-bridge-client"]
            self.assertEqual(call["data"], {**data, "_caller_worker_id": bridge.id})

    async def test_its_time_limit(self) -> None:
        caller = await self.caller_behind(timeout_ms=50)
        error = await caller.error_of("here")
        self.assertEqual(error, {"code": "bridge_error", "message": "invocation timed out"})
        call = await self.there.invoked("there")
        self.there.reply(call, result="late")
        await self.there.settled()
        await caller.settled()
        self.assertEqual(caller.inbox, [])

    async def test_one_that_is_there_already(self) -> None:
        await self.start(
            bridge_entry(
                self.remote.url,
                forward=[
                    {"local_function": "x", "remote_function": "a"},
                    {"local_function": "x", "remote_function": "b"},
                ],
            )
        )
        self.assertTrue(self.said("bridge: x is there already"))

    async def test_a_large_payload(self) -> None:
        caller = await self.caller_behind()
        large = "x" * (15 << 20)
        id = caller.invoke("here", {"large": large})
        call = await self.there.expect("invokefunction", 20)
        self.there.reply(call, result=call["data"]["large"])
        self.assertEqual((await caller.result_of(id, 20))["result"], large)


class Exposed(BridgeCase):
    """Functions of ours over there."""

    async def setUp(self) -> None:
        await super().setUp()
        self.remote = await self.start()
        self.caller = await self.worker(self.remote)

    async def here(self, **expose: Any) -> Any:
        """A worker with a function that is exposed."""
        entry = {"local_function": "here", **expose}
        self.local = await self.bridge(self.remote.url, expose=[entry])
        worker = await self.worker(self.local, "here")
        await self.offered(self.remote, expose.get("remote_function", "here"))
        return worker

    @probe("04.56")
    async def test_result_and_error(self) -> None:
        worker = await self.here()
        id = self.caller.invoke("here", {"a": 1}, metadata={"m": 1})
        call = await worker.answer("here", result=[1])
        self.assertEqual(call["data"]["a"], 1)
        self.assertEqual(call["metadata"], {"m": 1})
        self.assertEqual((await self.caller.result_of(id))["result"], [1])
        id = self.caller.invoke("here")
        error = {"code": "Z", "message": "no", "stacktrace": "at"}
        await worker.answer("here", error=error)
        self.assertEqual((await self.caller.result_of(id))["error"], error)

    async def test_under_another_name_and_without_a_result(self) -> None:
        worker = await self.here(remote_function="shop::here")
        id = self.caller.invoke("shop::here")
        await worker.answer("here")
        answer = await self.caller.result_of(id)
        self.assertNotIn("error", answer)

    async def test_one_that_is_not_there(self) -> None:
        self.local = await self.bridge(self.remote.url, expose=[{"local_function": "gone"}])
        await self.offered(self.remote, "gone")
        self.assertEqual(
            await self.caller.error_of("gone"),
            {"code": "function_not_found", "message": "Function gone not found"},
        )

    async def test_twice_under_one_name(self) -> None:
        await self.start(
            bridge_entry(
                self.remote.url,
                expose=[
                    {"local_function": "a", "remote_function": "x"},
                    {"local_function": "b", "remote_function": "x"},
                ],
            )
        )
        self.assertTrue(self.said("bridge: x is exposed twice"))
        await self.offered(self.remote, "x")
        self.assertEqual(
            (await self.caller.error_of("x"))["message"],
            "Function b not found",
        )


class Away(BridgeCase):
    """The other engine is not there, goes, and comes back."""

    async def pending(self, timeout_ms: int) -> Any:
        """A call that waits for an engine on a port where nobody listens yet."""
        self.port = self.free_port()
        self.local = await self.start(bridge_entry(f"ws://127.0.0.1:{self.port}"))
        self.caller = await self.worker(self.local)
        asked = {"function_id": "there", "timeout_ms": timeout_ms}
        return self.caller.invoke("bridge.invoke", asked)

    @probe("04.52")
    async def test_a_call_waits_for_the_engine_as_long_as_it_may(self) -> None:
        id = await self.pending(300)
        self.assertEqual(
            (await self.caller.result_of(id))["error"],
            {"code": "bridge_error", "message": "invocation timed out"},
        )
        self.assertEqual(len(self.said("not connected to")), 1)
        id = self.caller.invoke("bridge.invoke", {"function_id": "engine::workers::list"})
        remote = await self.start(port=self.port)
        self.assertEqual(remote.port, self.port)
        self.assertIn("result", await self.caller.result_of(id, 10))

    async def test_calls_under_way_end_with_the_connection(self) -> None:
        remote = await self.start()
        local = await self.bridge(remote.url)
        caller, there = await self.worker(local), await self.worker(remote, "there")
        id = caller.invoke("bridge.invoke", {"function_id": "there"})
        await there.invoked("there")
        for worker in remote.engine.workers.connections():
            if worker.name == "iii-bridge-client":
                worker.link.evict()
        self.assertEqual(
            (await caller.result_of(id))["error"],
            {"code": "bridge_error", "message": "iii is not connected"},
        )

    @probe("04.58")
    async def test_the_engine_is_restarted(self) -> None:
        remote = await self.start()
        local = await self.bridge(remote.url, expose=[{"local_function": "here"}])
        here = await self.worker(local, "here")
        await self.offered(remote, "here")
        await remote.stop()
        again = await self.start(port=remote.port)
        caller = await self.worker(again)
        await self.offered(again, "here")
        id = caller.invoke("here")
        await here.answer("here", result=1)
        self.assertEqual((await caller.result_of(id))["result"], 1)
        self.assertTrue(self.said("closed with 1012"))

    async def test_what_nobody_waits_for_is_sent_later(self) -> None:
        await self.pending(5)
        await self.caller.call("bridge.invoke_async", {"function_id": "there", "data": 1})
        fake = await self.fake(port=self.port)
        await self.eventually(lambda: fake.got("invokefunction", function_id="there"))
        [call] = fake.got("invokefunction", function_id="there")
        self.assertNotIn("invocation_id", call)

    async def test_the_engine_stops_while_calls_wait(self) -> None:
        id = await self.pending(30_000)
        [bridge] = [s.module for s in self.local.service.modules if s.entry.name == "iii-bridge"]
        await bridge.stop()
        self.assertEqual(
            (await self.caller.result_of(id))["error"]["message"], "iii is not connected"
        )


class Addresses(BridgeCase):
    """Where the other engine is."""

    @probe("04.60")
    async def test_from_the_environment(self) -> None:
        remote, other = await self.start(), await self.start()
        for environ, wanted in (
            ({"III_URL": remote.url, "III_BRIDGE_URL": other.url}, remote),
            ({"III_BRIDGE_URL": other.url}, other),
        ):
            patched = {**os.environ, **environ}
            patched.pop("III_URL" if "III_URL" not in environ else "", None)
            self.patch(os, "environ", patched)
            self.lines.clear()
            local = await self.start(bridge_entry())
            await self.eventually(lambda: self.said("iii-bridge-client: connected"))
            self.assertTrue(self.said(wanted.url))
            await local.stop()

    async def test_itself(self) -> None:
        port = self.free_port()
        local = await self.start(bridge_entry(f"ws://127.0.0.1:{port}"), port=port)
        await self.eventually(lambda: self.said("is this engine itself"))
        [line] = self.said("is this engine itself")
        self.assertTrue(line.startswith("error"))
        caller = await self.worker(local, "there")
        id = caller.invoke("bridge.invoke", {"function_id": "there"})
        await caller.answer("there", result=1)
        self.assertEqual((await caller.result_of(id))["result"], 1)

    async def test_calls_that_go_round_end(self) -> None:
        """Three engines that each forward the function to the next."""
        ports = [self.free_port() for _ in range(3)]
        engines = []
        for at, port in enumerate(ports):
            forward = [{"local_function": "f", "remote_function": "f"}]
            to = f"ws://127.0.0.1:{ports[(at + 1) % 3]}"
            engines.append(await self.start(bridge_entry(to, forward=forward), port=port))
        await self.eventually(lambda: len(self.said(": connected to")) == 3)
        caller = await self.worker(engines[0])
        error = await caller.error_of("f")
        self.assertEqual(error["code"], "bridge_error")
        self.assertIn("it goes round", error["message"])

    async def test_a_chain_of_three(self) -> None:
        last = await self.start()
        there = await self.worker(last, "f")
        forward = [{"local_function": "f", "remote_function": "f"}]
        middle = await self.bridge(last.url, forward=forward)
        first = await self.bridge(middle.url, forward=forward)
        caller = await self.worker(first)
        id = caller.invoke("f", {"a": 1}, baggage="x=1")
        call = await there.answer("f", result=3)
        self.assertEqual(call["baggage"], "x=1,iii-bridge-hops=2")
        self.assertEqual((await caller.result_of(id))["result"], 3)

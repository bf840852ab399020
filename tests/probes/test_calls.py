"""Calls between workers (01 §6, §7)."""

from __future__ import annotations

from twisted.internet.defer import gatherResults

from tests.support.engine_case import EngineCase
from tests.support.probes import probe

UUID = r"^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$"
ONE = "6f0e1b2c-0000-4000-8000-000000000001"
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-03"


class Calls(EngineCase):
    """01 §6: from the caller to the executor and back."""

    @probe("01.7")
    async def test_a_call_and_its_answer(self) -> None:
        """01.7: what the executor sees and what the caller gets."""
        worker, caller = await self.worker("t.echo"), await self.worker()
        caller.invoke("t.echo", {"a": 1}, invocation_id=ONE)
        call = await worker.invoked("t.echo")
        self.assertEqual(
            call,
            {
                "type": "invokefunction",
                "invocation_id": ONE,
                "function_id": "t.echo",
                "data": {"a": 1, "_caller_worker_id": caller.id},
            },
        )
        worker.reply(call, result={"ok": True})
        self.assertEqual(
            await caller.result_of(ONE),
            {
                "type": "invocationresult",
                "invocation_id": ONE,
                "function_id": "t.echo",
                "result": {"ok": True},
            },
        )

    @probe("01.8")
    async def test_what_is_no_object_is_passed_on_as_it_is(self) -> None:
        """01.8: lists, strings, numbers, null; ``data`` is always there."""
        worker, caller = await self.worker("f"), await self.worker()
        for data in ([1], "s", None, 5, True, 2**70, [{"a": {"b": []}}]):
            caller.invoke("f", data)
            call = await worker.invoked("f")
            self.assertIn("data", call)
            self.assertEqual(call["data"], data)

    async def test_an_empty_object_gets_the_caller_too(self) -> None:
        """01 §6.1: with any white space in it."""
        worker, caller = await self.worker("f"), await self.worker()
        for text in ("{}", "{ }", "{" + " " * 100 + "}", "{\n\t}"):
            caller.socket.text(f'{{"type":"invokefunction","function_id":"f","data":{text}}}')
            call = await worker.invoked("f")
            self.assertEqual(call["data"], {"_caller_worker_id": caller.id})

    async def test_keys_keep_their_order_and_numbers_their_spelling(self) -> None:
        """01 §2: payloads are passed on as bytes."""
        worker, caller = await self.worker("f"), await self.worker()
        text = '{"z": 1.0, "a": 1e2, "big": 123456789012345678901234567890, "é": "\\u00e9"}'
        caller.socket.text(f'{{"type":"invokefunction","function_id":"f","data":{text}}}')
        await worker.socket.until(lambda: bool(worker.socket.frames), "the call")
        self.assertIn(text[:-1].encode(), worker.socket.frames[0].payload)

    @probe("01.9")
    async def test_missing_data_is_null(self) -> None:
        """01.9: SDKs leave out what is undefined."""
        worker, caller = await self.worker("f"), await self.worker()
        caller.send("invokefunction", function_id="f")
        call = await worker.invoked("f")
        self.assertIn("data", call)
        self.assertIsNone(call["data"])

    @probe("01.10")
    async def test_the_caller_can_not_be_forged(self) -> None:
        """01.10: whatever the client puts there, plain or escaped."""
        worker, caller = await self.worker("f"), await self.worker()
        for data in (
            '{"_caller_worker_id":"forged","a":1}',
            '{"a":1,"_caller_worker_id":{"x":1}}',
            '{"a":1,"\\u005fcaller_worker_id":"forged"}',
        ):
            caller.socket.text(f'{{"type":"invokefunction","function_id":"f","data":{data}}}')
            call = await worker.invoked("f")
            self.assertEqual(call["data"], {"a": 1, "_caller_worker_id": caller.id})

    @probe("01.11")
    async def test_an_error_is_passed_on(self) -> None:
        """01.11: exactly that object, and no result."""
        worker, caller = await self.worker("f"), await self.worker()
        error = {"code": "E1", "message": "m", "stacktrace": "s"}
        id = caller.invoke("f")
        await worker.answer("f", error=error)
        answer = await caller.result_of(id)
        self.assertEqual(answer["error"], error)
        self.assertNotIn("result", answer)

    @probe("01.12")
    async def test_an_error_wins_over_a_result(self) -> None:
        """01.12: both are there, the caller gets the error."""
        worker, caller = await self.worker("f"), await self.worker()
        id = caller.invoke("f")
        await worker.answer("f", error={"code": "E", "message": "m"}, result=1)
        answer = await caller.result_of(id)
        self.assertEqual(answer["error"]["code"], "E")
        self.assertNotIn("result", answer)

    async def test_an_error_of_any_shape_reaches_the_caller(self) -> None:
        """01 §2: code and message are strings whatever the executor sent."""
        worker, caller = await self.worker("f"), await self.worker()
        rows = (
            ("text", {"code": "invocation_failed", "message": "text"}),
            ({"message": "m"}, {"code": "UNKNOWN", "message": "m"}),
            ({"code": "c"}, {"code": "c", "message": ""}),
            ({"code": 5, "message": None}, {"code": "UNKNOWN", "message": ""}),
            ([1], {"code": "invocation_failed", "message": "[1]"}),
        )
        for sent, expected in rows:
            id = caller.invoke("f")
            await worker.answer("f", error=sent)
            self.assertEqual((await caller.result_of(id))["error"], expected)

    @probe("01.13")
    async def test_no_outcome_is_a_result_without_value(self) -> None:
        """01.13: neither key; a null result is the same."""
        worker, caller = await self.worker("f"), await self.worker()
        for outcome in ({}, {"result": None}, {"error": None}):
            id = caller.invoke("f")
            await worker.answer("f", **outcome)
            answer = await caller.result_of(id)
            self.assertEqual(answer.keys(), {"type", "invocation_id", "function_id"})

    @probe("01.14")
    async def test_an_unknown_function(self) -> None:
        """01.14: an error for who waits, nothing for who does not."""
        caller = await self.worker()
        error = await caller.error_of("nope")
        self.assertEqual(
            error, {"code": "function_not_found", "message": "Function nope not found"}
        )
        caller.send("invokefunction", function_id="nope", data={})
        await self.quiet(caller)

    @probe("01.15")
    async def test_fire_and_forget(self) -> None:
        """01.15: the executor gets an id, the caller nothing."""
        worker, caller = await self.worker("f"), await self.worker()
        for id in ({}, {"invocation_id": None}):
            caller.send("invokefunction", function_id="f", data={}, **id)
            call = await worker.invoked("f")
            self.assertRegex(call["invocation_id"], UUID)
            worker.reply(call, result=1)
            await worker.settled()
            await self.quiet(caller)

    @probe("01.16")
    async def test_void_with_an_id_is_not_answered(self) -> None:
        """01.16: the action rules."""
        worker, caller = await self.worker("f"), await self.worker()
        caller.invoke("f", {}, action={"type": "void"})
        call = await worker.invoked("f")
        self.assertNotIn("action", call)
        worker.reply(call, result=1)
        await worker.settled()
        caller.invoke("nope", {}, action={"type": "void"})
        await self.quiet(caller)

    @probe("01.17")
    async def test_a_worker_may_call_itself(self) -> None:
        """01.17: down the same socket and back."""
        worker = await self.worker("t.self")
        id = worker.invoke("t.self", 1)
        await worker.answer("t.self", result=2)
        self.assertEqual((await worker.result_of(id))["result"], 2)

    @probe("01.18")
    async def test_an_executor_that_goes_stops_its_calls(self) -> None:
        """01.18: the caller is told within a second."""
        worker, caller = await self.worker("t.slow"), await self.worker()
        id = caller.invoke("t.slow")
        await worker.invoked("t.slow")
        worker.socket.drop()
        answer = await caller.result_of(id, wait_s=1)
        self.assertEqual(
            answer["error"], {"code": "invocation_stopped", "message": "Invocation stopped"}
        )

    @probe("01.19")
    async def test_a_caller_that_goes_disturbs_nobody(self) -> None:
        """01.19: its answer is dropped."""
        worker, caller = await self.worker("t.slow"), await self.worker()
        caller.invoke("t.slow")
        call = await worker.invoked("t.slow")
        await self.gone(caller)
        worker.reply(call, result=1)
        await self.quiet(worker)

    @probe("01.20")
    async def test_a_second_answer_is_ignored(self) -> None:
        """01.20: one call, one result."""
        worker, caller = await self.worker("f"), await self.worker()
        id = caller.invoke("f")
        call = await worker.invoked("f")
        worker.reply(call, result=1)
        worker.reply(call, result=2)
        await worker.settled()
        self.assertEqual((await caller.result_of(id))["result"], 1)
        await self.quiet(caller)

    @probe("01.21")
    async def test_only_the_executor_may_answer(self) -> None:
        """01.21: somebody else's answer does nothing."""
        worker, caller, thief = await self.worker("f"), await self.worker(), await self.worker()
        id = caller.invoke("f", invocation_id=ONE)
        call = await worker.invoked("f")
        thief.reply(call, result="stolen")
        caller.reply(call, result="stolen")
        await thief.settled()
        await self.quiet(caller)
        worker.reply(call, result="real")
        self.assertEqual((await caller.result_of(id))["result"], "real")

    @probe("01.22")
    async def test_fast_answers_are_not_lost(self) -> None:
        """01.22: 1,000 calls, answered as soon as they arrive."""
        worker, caller = await self.worker("f"), await self.worker()
        ids = [caller.invoke("f", number) for number in range(1000)]
        for _ in ids:
            call = await worker.invoked("f")
            worker.reply(call, result=call["data"])
        results = [(await caller.result_of(id))["result"] for id in ids]
        self.assertEqual(results, list(range(1000)))

    @probe("01.23")
    async def test_two_callers_with_one_id(self) -> None:
        """01.23: both get their own result."""
        worker = await self.worker("f")
        first, second = await self.worker(), await self.worker()
        for caller, data in ((first, "one"), (second, "two")):
            caller.invoke("f", data, invocation_id=ONE)
            await caller.settled()
        calls = [await worker.invoked("f"), await worker.invoked("f")]
        self.assertEqual(len({call["invocation_id"] for call in calls}), 2)
        for call in reversed(calls):
            self.assertRegex(call["invocation_id"], r"^[0-9a-f-]{36}$")
            worker.reply(call, result=call["data"])
        self.assertEqual((await first.result_of(ONE))["result"], "one")
        self.assertEqual((await second.result_of(ONE))["result"], "two")

    async def test_one_caller_with_one_id_twice(self) -> None:
        """01 §18.7: a repeated id kills no call."""
        worker, caller = await self.worker("f"), await self.worker()
        for data in (1, 2):
            caller.invoke("f", data, invocation_id=ONE)
        for _ in range(2):
            call = await worker.invoked("f")
            worker.reply(call, result=call["data"])
        got = [(await caller.result_of(ONE))["result"] for _ in range(2)]
        self.assertEqual(sorted(got), [1, 2])

    @probe("01.24")
    async def test_the_callers_id_comes_back_as_it_was(self) -> None:
        """01.24: upper case and no UUID at all; the executor always sees a UUID."""
        worker, caller = await self.worker("f"), await self.worker()
        for id in (ONE.upper(), "abc-1", "urn:uuid:" + ONE, 'q"uote', "é\n", "x" * 2000):
            caller.invoke("f", invocation_id=id)
            call = await worker.answer("f", result=1)
            self.assertRegex(call["invocation_id"], UUID)
            self.assertEqual((await caller.result_of(id))["result"], 1)

    async def test_an_endless_id_is_somebodys_problem_only(self) -> None:
        """Issue 3, bad input: an id of 1 MB disturbs nobody else."""
        worker, caller, other = await self.worker("f"), await self.worker(), await self.worker()
        id = "x" * 1_000_000
        caller.invoke("f", invocation_id=id)
        await worker.answer("f", result=1)
        self.assertEqual((await caller.result_of(id))["result"], 1)
        worker.send("registerfunction", id=id)
        worker.send("registertrigger", id=id, trigger_type="tt", function_id="f", config={})
        refused = await worker.expect("triggerregistrationresult")
        self.assertEqual(refused["error"]["code"], "limit_exceeded")
        self.assertEqual((await other.error_of(id))["code"], "INVALID_ARGUMENTS")

    @probe("01.59")
    async def test_trace_context_is_passed_on(self) -> None:
        """01.59: to the executor unchanged, and back to the caller."""
        worker, caller = await self.worker("f"), await self.worker()
        id = caller.invoke("f", {}, traceparent=TRACE, baggage="k=v,x=y")
        call = await worker.answer("f", result=1, traceparent="00-ignored", baggage="z=1")
        self.assertEqual((call["traceparent"], call["baggage"]), (TRACE, "k=v,x=y"))
        answer = await caller.result_of(id)
        self.assertEqual((answer["traceparent"], answer["baggage"]), (TRACE, "k=v,x=y"))
        caller.invoke("f", {}, traceparent="no trace context")
        self.assertEqual((await worker.invoked("f"))["traceparent"], "no trace context")

    async def test_metadata_is_passed_on(self) -> None:
        """01 §6.7: next to the data; null is none."""
        worker, caller = await self.worker("f"), await self.worker()
        caller.invoke("f", {}, metadata={"tenant": [1]})
        self.assertEqual((await worker.invoked("f"))["metadata"], {"tenant": [1]})
        caller.invoke("f", {}, metadata=None)
        self.assertNotIn("metadata", await worker.invoked("f"))

    @probe("01.61")
    async def test_enqueue_without_a_queue_module(self) -> None:
        """01.61, second half: ``enqueue_error`` for who waits, nothing for who does not."""
        worker, caller = await self.worker("f"), await self.worker()
        error = await caller.error_of("f", {}, action={"type": "enqueue", "queue": "default"})
        self.assertEqual(error, {"code": "enqueue_error", "message": "QueueModule not loaded"})
        caller.send("invokefunction", function_id="f", action={"type": "enqueue", "queue": "q"})
        await self.quiet(caller, worker)

    async def test_enqueue_goes_to_the_queue_function(self) -> None:
        """01 §17.9: queue, function, data, receipt and trace; no caller is put in."""
        queue, caller = await self.worker("engine::queue::enqueue"), await self.worker()
        action = {"type": "enqueue", "queue": "default"}
        id = caller.invoke("f", {"a": 1}, action=action, traceparent=TRACE)
        call = await queue.invoked("engine::queue::enqueue")
        receipt = call["data"]["messageReceiptId"]
        self.assertRegex(receipt, UUID)
        self.assertEqual(
            call["data"],
            {
                "queue": "default",
                "function_id": "f",
                "data": {"a": 1},
                "messageReceiptId": receipt,
                "traceparent": TRACE,
                "baggage": None,
            },
        )
        queue.reply(call)
        answer = await caller.result_of(id)
        self.assertEqual(answer["result"], {"messageReceiptId": receipt})
        self.assertEqual(answer["traceparent"], TRACE)

    async def test_an_unknown_action_is_an_error(self) -> None:
        """01 §18.4: better than silence."""
        worker, caller = await self.worker("f"), await self.worker()
        for action in ({"type": "later"}, {}, "void", 5):
            error = await caller.error_of("f", {}, action=action)
            self.assertEqual(error["code"], "INVALID_ARGUMENTS")
        await self.quiet(worker)

    async def test_results_for_nobody_are_ignored(self) -> None:
        """07 B4.3: unknown, finished and missing ids."""
        worker = await self.worker("f")
        worker.send("invocationresult", invocation_id=ONE, function_id="f", result=1)
        worker.send("invocationresult", function_id="f", result=1)
        worker.send("invocationresult", invocation_id=ONE)
        await self.quiet(worker)

    async def test_a_broken_message_with_an_id_is_answered(self) -> None:
        """01 §2: ``NaN`` and wrong types let nobody hang."""
        worker, caller = await self.worker("f"), await self.worker()
        caller.socket.text(
            '{"type":"invokefunction","invocation_id":"n1","function_id":"f","data":{"a":NaN}}'
        )
        self.assertEqual((await caller.result_of("n1"))["error"]["code"], "invalid_json")
        caller.send("invokefunction", invocation_id="n2", function_id=5)
        error = (await caller.result_of("n2"))["error"]
        self.assertEqual(error["code"], "deserialization_error")
        id = caller.invoke("f")
        call = await worker.invoked("f")
        worker.socket.text(
            f'{{"type":"invocationresult","invocation_id":"{call["invocation_id"]}",'
            '"function_id":"f","result":Infinity}'
        )
        self.assertEqual((await caller.result_of(id))["error"]["code"], "invalid_json")

    @probe("01.48")
    async def test_python_before_0_24_6_gets_no_large_message(self) -> None:
        """01.48 on the wire: the call fails, the connection survives."""
        worker, caller = await self.worker("big", "small"), await self.worker()
        await caller.describe(runtime="python", version="0.8.0")
        id = caller.invoke("big")
        await worker.answer("big", result="x" * (2 * 1024 * 1024))
        error = (await caller.result_of(id))["error"]
        self.assertEqual(error["code"], "payload_too_large")
        await caller.settled()

        await worker.describe(runtime="python", version="0.24.5")
        other = await self.worker()
        error = await other.error_of("small", "y" * (1024 * 1024))
        self.assertEqual(error["code"], "payload_too_large")
        await self.quiet(worker)

    async def test_large_messages_reach_who_takes_them(self) -> None:
        """01 §16.4: newer Python, the feature, other runtimes."""
        worker = await self.worker("big")
        for said in (
            {"runtime": "python", "version": "0.24.6"},
            {"runtime": "python", "version": "0.20.0", "features": ["large-messages.v1"]},
            {"runtime": "node", "version": "0.2.1"},
        ):
            caller = await self.worker()
            await caller.describe(**said)
            id = caller.invoke("big")
            await worker.answer("big", result="x" * (2 * 1024 * 1024))
            self.assertEqual(len((await caller.result_of(id, 5))["result"]), 2 * 1024 * 1024)

    async def test_calls_of_one_connection_may_overtake_each_other(self) -> None:
        """01 §4.1: a slow call holds back nothing."""
        worker, caller = await self.worker("slow", "fast"), await self.worker()
        slow = caller.invoke("slow")
        held = await worker.invoked("slow")
        fast = caller.invoke("fast")
        await worker.answer("fast", result="f")
        self.assertEqual((await caller.result_of(fast))["result"], "f")
        worker.reply(held, result="s")
        self.assertEqual((await caller.result_of(slow))["result"], "s")

    async def test_register_then_invoke_in_one_segment(self) -> None:
        """01 §4.1: registrations are applied before the next message is read."""
        worker = await self.worker()
        for number in range(50):
            worker.send("registerfunction", id=f"f{number}")
            worker.invoke(f"f{number}")
        for number in range(50):
            await worker.invoked(f"f{number}")
        await self.quiet(worker)

    async def test_the_engine_may_call_too(self) -> None:
        """``Engine.invoke``: no caller is put in, the Deferred gets value or error."""
        worker = await self.worker("f")
        answers = [self.engine.invoke("f", {"a": 1}) for _ in range(3)]
        outcomes = ({"result": {"b": 2}}, {}, {"result": None})
        for outcome in outcomes:
            call = await worker.invoked("f")
            self.assertEqual(call["data"], {"a": 1})
            worker.reply(call, **outcome)
        values = await gatherResults(answers)
        self.assertEqual(bytes(values[0] or b""), b'{"b":2}')
        self.assertEqual(values[1:], [None, None])


class BadText(EngineCase):
    """07 B4.11: lone surrogates and odd numbers crash nothing and disturb nobody."""

    ODD = ('{"a":"\\ud800"}', '{"\\ud800":1}', '{"a":1e999}', '{"_caller_worker_id":"\\ud800"}')

    async def test_in_data(self) -> None:
        """Passed on to workers, an error from native functions."""
        worker, caller = await self.worker("f"), await self.worker()
        for odd in self.ODD:
            for target in ("f", "engine::functions::list"):
                caller.socket.text(
                    f'{{"type":"invokefunction","function_id":"{target}","data":{odd}}}'
                )
        await caller.settled()
        self.assertFalse(worker.socket.lost)

    async def test_in_an_action(self) -> None:
        """The caller stays connected."""
        caller = await self.worker()
        for odd in self.ODD:
            caller.socket.text(
                f'{{"type":"invokefunction","invocation_id":"i","function_id":"f","action":{odd}}}'
            )
            await caller.settled()

    async def test_in_an_error(self) -> None:
        """The executor stays connected and the caller gets an error."""
        worker, caller = await self.worker("f"), await self.worker()
        for odd in self.ODD:
            id = caller.invoke("f")
            call = await worker.invoked("f")
            worker.socket.text(
                f'{{"type":"invocationresult","invocation_id":"{call["invocation_id"]}",'
                f'"function_id":"f","error":{odd}}}'
            )
            self.assertIn("error", await caller.result_of(id))

    async def test_in_a_trigger(self) -> None:
        """Registered or refused, the worker stays connected."""
        worker = await self.worker("f")
        for number, odd in enumerate(self.ODD):
            for field in ("config", "metadata"):
                worker.socket.text(
                    f'{{"type":"registertrigger","id":"{field}{number}","function_id":"f",'
                    f'"trigger_type":"engine::workers-available","{field}":{odd}}}'
                )
                await worker.settled()

    async def test_in_a_functions_metadata(self) -> None:
        """Lists work on, in every dialect."""
        worker, asking = await self.worker(), await self.worker()
        for number, odd in enumerate(self.ODD):
            worker.socket.text(
                f'{{"type":"registerfunction","id":"f{number}","metadata":{odd},'
                f'"request_format":{odd}}}'
            )
        await worker.settled()
        for said in (
            {"runtime": "node", "version": "0.22.1"},
            {"runtime": "python", "version": "0.8.0"},
            {"runtime": "node", "version": "0.8.0"},
        ):
            await asking.describe(**said)
            id = asking.invoke("engine::functions::list", {})
            await asking.socket.until(lambda: bool(asking.socket.frames), "the list")
            text = asking.socket.frames.pop(0).payload.decode()
            self.assertIn(id, text)
            self.assertNotIn('"error"', text)

    async def test_deep_nesting(self) -> None:
        """01 §2: accepted or ignored, never a crash."""
        worker = await self.worker("f")
        for depth in (100, 127, 500, 900, 950, 980, 990, 1000, 5000, 100_000):
            deep = "[" * depth + "]" * depth
            worker.socket.text(
                f'{{"type":"registertrigger","id":"t{depth}","function_id":"f",'
                f'"trigger_type":"engine::workers-available","config":{{"a":{deep}}}}}'
            )
            worker.socket.text(f'{{"type":"registerfunction","id":"f{depth}","metadata":{deep}}}')
            await worker.settled()

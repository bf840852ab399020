"""Registration hooks (01 §17.5, §18.8)."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock as VirtualTime

from iii.engine.clock import Clock
from iii.wire import backlog
from iii.wire.guarded import HOOK_LIMIT_S
from tests.access.cases import LATER, AccessCase
from tests.access.test_auth_function import AUTH
from tests.support.engine_case import RawWorker
from tests.support.rawsocket import CLOSE

ON_FUNCTION, ON_TRIGGER, ON_TYPE = "hook::function", "hook::trigger", "hook::type"
CONTEXT = {"tenant": 7}


class HookCase(AccessCase):
    """All hooks are functions of ``self.guard``, on the open port."""

    rbac = {
        "auth_function_id": AUTH,
        "expose_functions": ["match('*')"],
        "on_function_registration_function_id": ON_FUNCTION,
        "on_trigger_registration_function_id": ON_TRIGGER,
        "on_trigger_type_registration_function_id": ON_TYPE,
    }

    async def setUp(self) -> None:
        await super().setUp()
        self.guard = await self.worker(AUTH, ON_FUNCTION, ON_TRIGGER, ON_TYPE)

    async def let_in(self, **result: Any) -> RawWorker:
        """A worker on the gated port."""
        socket = await self.knock()
        result = {"context": CONTEXT, "allow_trigger_type_registration": True, **result}
        await self.grants(self.guard, AUTH, **result)
        return RawWorker(socket, await socket.next_message())

    async def registered(self, worker: RawWorker, id: str, **said: Any) -> None:
        """``worker`` registers a function, and the hook says this."""
        worker.send("registerfunction", id=id)
        await self.guard.answer(ON_FUNCTION, result=said)
        await worker.settled()
        await self.guard.settled()


class Functions(HookCase):
    """``on_function_registration_function_id``."""

    async def test_what_the_hook_gets(self) -> None:
        """01 §17.5; the namespace as in 0.23."""
        worker = await self.let_in()
        worker.send("registerfunction", id="f", description="d", metadata={"m": 1})
        call = await self.guard.answer(ON_FUNCTION, result={})
        self.assertEqual(
            call["data"],
            {
                "function_id": "f",
                "description": "d",
                "metadata": {"m": 1},
                "namespace": "default",
                "context": CONTEXT,
            },
        )
        await self.guard.settled()
        self.assertIsNotNone(self.engine.functions.get("f"))

    async def test_what_the_hook_may_change(self) -> None:
        """The worker is still called by the id it chose."""
        worker = await self.let_in()
        await self.registered(
            worker, "f", function_id="t::f", description="new", metadata={"by": "hook"}
        )
        self.assertIsNone(self.engine.functions.get("f"))
        function = self.engine.functions.get("t::f")
        assert function is not None
        self.assertEqual(function.spec.description, "new")
        self.assertEqual(bytes(function.spec.metadata or b""), b'{"by":"hook"}')
        call = self.guard.invoke("t::f")
        await worker.answer("f", result=1)
        self.assertEqual((await self.guard.result_of(call))["result"], 1)
        worker.send("unregisterfunction", id="f")
        await worker.settled()
        self.assertIsNone(self.engine.functions.get("t::f"))

    async def test_the_prefix_comes_last(self) -> None:
        """A hook can't take a tenant out of its prefix by mistake."""
        worker = await self.let_in(function_registration_prefix="t1")
        await self.registered(worker, "f", function_id="g")
        self.assertIsNotNone(self.engine.functions.get("t1::g"))

    async def test_another_name_the_next_time(self) -> None:
        """The function under its former name is gone."""
        worker = await self.let_in()
        await self.registered(worker, "f", function_id="one")
        await self.registered(worker, "f", function_id="two")
        self.assertIsNone(self.engine.functions.get("one"))
        self.guard.invoke("two")
        await worker.invoked("f")

    async def test_everything_else_denies(self) -> None:
        """An error, nothing, no object, a wrong field: not registered, one line in the log."""
        worker = await self.let_in()
        for outcome in (
            {"error": {"code": "no", "message": "not you"}},
            {},
            {"result": None},
            {"result": True},
            {"result": ["f"]},
            {"result": {"function_id": 5}},
        ):
            worker.send("registerfunction", id="f")
            await self.guard.answer(ON_FUNCTION, **outcome)
            await self.guard.settled()
            self.assertIsNone(self.engine.functions.get("f"), outcome)
        self.assertEqual(self.log_text().count("refused registerfunction f"), 6)

    async def test_a_hook_can_not_make_it_a_function_that_decides(self) -> None:
        """The auth function stays where it is."""
        worker = await self.let_in()
        await self.registered(worker, "f", function_id=AUTH)
        self.assertEqual(len(self.engine.functions.get(AUTH).specs), 1)  # type: ignore[union-attr]

    async def test_a_missing_hook_denies(self) -> None:
        """It must not be opened by the guard's absence."""
        worker = await self.let_in()
        await self.gone(self.guard)
        await worker.register("f")
        self.assertIsNone(self.engine.functions.get("f"))


class Order(HookCase):
    """01 §18.8: what waits for a hook, and what does not."""

    async def test_registrations_wait_in_order(self) -> None:
        """The trigger behind the function is not even asked about."""
        worker = await self.let_in()
        worker.send("registerfunction", id="a")
        worker.send("registerfunction", id="b")
        worker.send("registertrigger", id="t", trigger_type="tick", function_id="b", config={})
        worker.send("unregisterfunction", id="a")
        await worker.settled()
        first = await self.guard.invoked(ON_FUNCTION)
        await self.quiet(self.guard)
        self.guard.reply(first, result={})
        second = await self.guard.invoked(ON_FUNCTION)
        self.assertEqual([first["data"]["function_id"], second["data"]["function_id"]], ["a", "b"])
        await self.quiet(self.guard)
        self.assertIsNotNone(self.engine.functions.get("a"))
        self.guard.reply(second, result={})
        await self.guard.answer(ON_TRIGGER, result={})
        await self.guard.settled()
        self.assertIsNone(self.engine.functions.get("a"))
        self.assertIsNotNone(self.engine.functions.get("b"))

    async def test_everything_else_goes_on(self) -> None:
        """Pings, results and calls of other functions while a hook is asked."""
        worker = await self.let_in()
        await self.registered(worker, "old")
        worker.send("registerfunction", id="new")
        pending = await self.guard.invoked(ON_FUNCTION)
        await worker.settled()
        call = self.guard.invoke("old")
        await worker.answer("old", result=1)
        self.assertEqual((await self.guard.result_of(call))["result"], 1)
        error = await worker.error_of("nobody::has")
        self.assertEqual(error["code"], "function_not_found")
        self.guard.reply(pending, result={})

    async def test_what_waits_is_bounded(self) -> None:
        """Whoever sends more than fits behind a hook is closed, with 1013."""
        self.patch(backlog, "MAX_WAITING_BYTES", 5_000)
        worker = await self.let_in()
        worker.send("registerfunction", id="a")
        for _ in range(10):
            worker.send("registerfunction", id="b", description="x" * 1_000)
        frame = await worker.socket.next_frame()
        self.assertEqual((frame.opcode, frame.close_code), (CLOSE, LATER))

    async def test_room_is_free_again_when_they_were_handled(self) -> None:
        """What waits behind the next one is counted as before, and no more than that."""
        self.patch(backlog, "MAX_WAITING_BYTES", 5_000)
        worker = await self.let_in()
        for id in "abcd":
            worker.send("registerfunction", id=id, description="x" * 1_000)
        for id in "efghijklmn":
            await self.guard.answer(ON_FUNCTION, result={})
            worker.send("registerfunction", id=id, description="x" * 1_000)
            await worker.settled()

    async def test_a_call_of_the_function_itself_waits(self) -> None:
        """Register, then invoke, on one connection always works (01 §4.1)."""
        worker = await self.let_in(function_registration_prefix="t1")
        worker.send("registerfunction", id="f")
        call = worker.invoke("t1::f")
        pending = await self.guard.invoked(ON_FUNCTION)
        await self.quiet(worker)
        self.guard.reply(pending, result={})
        await worker.answer("f", result=1)
        self.assertEqual((await worker.result_of(call))["result"], 1)

    async def test_a_hook_may_be_a_function_of_the_same_connection(self) -> None:
        """It could not answer if its registration held up the connection."""
        await self.gone(self.guard)
        self.guard = await self.worker(AUTH)
        worker = await self.let_in(allowed_functions=[ON_FUNCTION])
        await worker.register(ON_FUNCTION)  # the hook is not asked about itself
        worker.send("registerfunction", id="f")
        await worker.answer(ON_FUNCTION, result={"function_id": "g"})
        await worker.settled()
        self.assertIsNotNone(self.engine.functions.get("g"))

    async def test_who_goes_while_a_hook_is_asked_leaves_nothing(self) -> None:
        """The answer comes too late."""
        worker = await self.let_in()
        worker.send("registerfunction", id="f")
        pending = await self.guard.invoked(ON_FUNCTION)
        await self.gone(worker)
        self.guard.reply(pending, result={})
        await self.guard.settled()
        self.assertIsNone(self.engine.functions.get("f"))


class Triggers(HookCase):
    """``on_trigger_registration_function_id`` and ``on_trigger_type_registration_function_id``."""

    async def provider(self, type: str) -> RawWorker:
        provider = await self.worker()
        provider.send("registertriggertype", id=type, description="")
        await provider.settled()
        return provider

    async def test_no_trigger_is_made_past_it(self) -> None:
        """``engine::register_trigger`` asks nobody, even when it may be called."""
        worker = await self.let_in()
        wanted = {"trigger_type": "tick", "function_id": "f"}
        error = await worker.error_of("engine::register_trigger", wanted)
        self.assertEqual(error["code"], "FORBIDDEN")
        self.assertIn("id", await self.guard.call("engine::register_trigger", wanted))

    async def test_what_the_hook_gets(self) -> None:
        """01 §17.5."""
        worker = await self.let_in()
        worker.send(
            "registertrigger",
            id="t",
            trigger_type="tick",
            function_id="f",
            config={"every": 1},
            metadata={"m": 1},
        )
        call = await self.guard.answer(ON_TRIGGER, error={"code": "no", "message": "no"})
        self.assertEqual(
            call["data"],
            {
                "trigger_id": "t",
                "trigger_type": "tick",
                "function_id": "f",
                "config": {"every": 1},
                "metadata": {"m": 1},
                "namespace": "default",
                "context": CONTEXT,
            },
        )
        refusal = await worker.expect("triggerregistrationresult", id="t")
        self.assertEqual(refusal["error"]["code"], "FORBIDDEN")

    async def test_what_the_hook_may_change(self) -> None:
        """All four; the worker's own id still unregisters it."""
        provider = await self.provider("tock")
        worker = await self.let_in()
        worker.send("registertrigger", id="t", trigger_type="tick", function_id="f", config={})
        changed = {
            "trigger_id": "t7",
            "trigger_type": "tock",
            "function_id": "g",
            "config": {"every": 2},
        }
        await self.guard.answer(ON_TRIGGER, result=changed)
        told = await provider.expect("registertrigger")
        found = [told[key] for key in ("id", "trigger_type", "function_id", "config")]
        self.assertEqual(found, list(changed.values()))
        worker.send("unregistertrigger", id="t")
        await provider.expect("unregistertrigger", id="t7")

    async def test_a_refusal_has_the_workers_own_ids(self) -> None:
        """The SDK knows its trigger by no other."""
        provider = await self.provider("tick")
        worker = await self.let_in()
        worker.send("registertrigger", id="t", trigger_type="tick", function_id="f", config={})
        await self.guard.answer(ON_TRIGGER, result={"trigger_id": "t7"})
        await provider.expect("registertrigger", id="t7")
        error = {"code": "no", "message": "no"}
        provider.send("triggerregistrationresult", id="t7", error=error)
        await worker.expect("triggerregistrationresult", id="t", error=error)

    async def test_types(self) -> None:
        """The hook may rename one; its provider still hears its own name."""
        worker = await self.let_in()
        worker.send("registertriggertype", id="tick", description="d")
        call = await self.guard.answer(ON_TYPE, result={"trigger_type_id": "t1::tick"})
        self.assertEqual(
            call["data"], {"trigger_type_id": "tick", "description": "d", "context": CONTEXT}
        )
        await self.guard.settled()
        await self.guard.trigger("t1::tick", AUTH, id="t")
        told = await worker.expect("registertrigger", id="t")
        self.assertEqual(told["trigger_type"], "tick")
        worker.send("unregistertriggertype", id="tick")
        await worker.settled()
        self.assertIsNone(self.engine.triggers.find_type("t1::tick", None))

    async def test_a_refused_type(self) -> None:
        """Silent, as in the original; one line in the log."""
        worker = await self.let_in()
        worker.send("registertriggertype", id="tick", description="d")
        await self.guard.answer(ON_TYPE, error={"code": "no", "message": "no"})
        await self.guard.settled()
        self.assertIsNone(self.engine.triggers.find_type("tick", None))
        self.assertIn("refused registertriggertype tick", self.log_text())


class Hanging(HookCase):
    """A hook that does not answer."""

    def make_clock(self) -> Clock:
        """EngineCase: a clock that only the test moves."""
        self.time = VirtualTime()
        return Clock.virtual(self.time)

    async def tearDown(self) -> None:
        for socket in self._sockets:
            socket.drop()
        for socket in self._sockets:
            await socket.ended()
        self.time.advance(5)
        await super().tearDown()

    async def test_it_denies_after_its_time(self) -> None:
        """What waits behind it goes on."""
        worker = await self.let_in()
        worker.send("registerfunction", id="a")
        worker.send("registerfunction", id="b")
        await self.guard.invoked(ON_FUNCTION)
        self.time.advance(HOOK_LIMIT_S)
        await self.guard.answer(ON_FUNCTION, result={})
        await self.guard.settled()
        self.assertIsNone(self.engine.functions.get("a"))
        self.assertIsNotNone(self.engine.functions.get("b"))

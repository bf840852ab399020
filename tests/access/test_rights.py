"""What a restricted connection may do (01 §17.5)."""

from __future__ import annotations

from typing import Any

from iii.errors import Code
from tests.access.cases import AccessCase
from tests.access.test_auth_function import AUTH, AuthCase
from tests.support.engine_case import RawWorker


class Calls(AuthCase):
    """Which calls are refused, and how that looks."""

    async def test_the_refusal(self) -> None:
        """It says what to change; also when nobody waits, with an id of its own."""
        worker = await self.let_in(forbidden_functions=["api::no"])
        self.assertEqual(
            await worker.error_of("private::f"),
            {
                "code": "FORBIDDEN",
                "message": "function 'private::f' not allowed (add to rbac.expose_functions)",
            },
        )
        worker.send("invokefunction", function_id="api::no", data={})
        answer = await worker.expect("invocationresult", function_id="api::no")
        self.assertEqual(answer["error"]["code"], "FORBIDDEN")
        self.assertIn("(remove from rbac.forbidden_functions)", answer["error"]["message"])
        self.assertEqual(len(answer["invocation_id"]), 36)

    async def test_old_releases_hear_less(self) -> None:
        """01 §17.5: up to 0.11.2 the text is another one."""
        for version, text in (
            ("0.11.2", "function not allowed"),
            ("0.8.3", "function not allowed"),
            ("0.11.3", "function 'x' not allowed (add to rbac.expose_functions)"),
        ):
            worker = await self.let_in()
            await worker.describe(version=version)
            self.assertEqual((await worker.error_of("x"))["message"], text)
        worker = await self.let_in()
        await worker.describe(version="0.1.0", features=["large-messages.v1"])
        self.assertIn("add to rbac", (await worker.error_of("x"))["message"])

    async def test_every_kind_of_call_is_checked(self) -> None:
        """Waiting or not, through a queue, in a namespace, by an old spelling."""
        worker = await self.let_in()
        await self.guard.register("private::f")
        for fields in (
            {},
            {"action": {"type": "void"}},
            {"action": {"type": "enqueue", "queue": "default"}},
            {"namespace": "default"},
            {"namespace": "shop"},
        ):
            error = await worker.error_of("private::f", {}, **fields)
            self.assertEqual(error["code"], "FORBIDDEN", fields)
        self.assertEqual((await worker.error_of("engine.functions.list"))["code"], "FORBIDDEN")
        await self.quiet(self.guard)

    async def test_ids_are_bounded_and_namespaces_named(self) -> None:
        """The checks of any connection come first."""
        worker = await self.let_in()
        error = await worker.error_of("x" * 5000)
        self.assertEqual(error["code"], "INVALID_ARGUMENTS")
        error = await worker.error_of("x", namespace=" ")
        self.assertEqual(error["code"], "INVALID_NAMESPACE")

    async def test_refusals_do_not_fill_the_log(self) -> None:
        """What is tried again and again is told at debug level."""
        worker = await self.let_in()
        for _ in range(50):
            await worker.error_of("private::f")
        lines = [event for event in self.events if "refused {what}" in str(event.get("log_format"))]
        warned = [event for event in lines if event["log_level"].name == "warn"]
        self.assertEqual((len(lines), len(warned)), (50, 10))

    async def test_results_of_allowed_calls_go_through(self) -> None:
        """A restricted worker is called and answers like any other."""
        worker = await self.let_in()
        await worker.register("mine")
        call = self.guard.invoke("mine", {"a": 1})
        await worker.answer("mine", result={"b": 2})
        self.assertEqual((await self.guard.result_of(call))["result"], {"b": 2})


class Lists(AuthCase):
    """01 §17.5: ``engine::functions::list`` is filtered by the same rule; so is the rest."""

    async def setUp(self) -> None:
        await super().setUp()
        await self.guard.describe(name="guard")
        await self.guard.register("api::a", "private::p")
        self.restricted = await self.let_in(
            allowed_functions=[
                *(f"engine::functions::{each}" for each in ("list", "info")),
                *(f"engine::workers::{each}" for each in ("list", "info")),
                *(f"engine::registered-triggers::{each}" for each in ("list", "info")),
                "engine::triggers::list",
            ],
            allow_trigger_type_registration=True,
        )

    async def test_functions(self) -> None:
        """However it asks: with nothing there is no room for who asks, so that is filled in."""
        for data in ({}, None, {"_caller_worker_id": self.guard.id}, {"prefix": "p"}):
            listed = await self.restricted.call("engine::functions::list", data)
            ids = [row["function_id"] for row in listed["functions"]]
            self.assertEqual(ids, [] if data == {"prefix": "p"} else ["api::a"], data)
        everything = await self.restricted.call(
            "engine::functions::list", {"include_internal": True}
        )
        ids = [row["function_id"] for row in everything["functions"]]
        self.assertIn("engine::functions::list", ids)
        self.assertNotIn("engine::register_trigger", ids)

    async def test_one_function(self) -> None:
        """``FORBIDDEN``, whether it exists or not."""
        info = "engine::functions::info"
        for id in ("private::p", "private::none"):
            error = await self.restricted.error_of(info, {"function_id": id})
            self.assertEqual(error["code"], Code.FORBIDDEN)
        asked = {"function_ids": ["api::a", "private::p", "api::none"]}
        rows = (await self.restricted.call(info, asked))["functions"]
        self.assertEqual([row.get("error") for row in rows], [None, "forbidden", "not_found"])

    async def test_workers(self) -> None:
        """It sees who is there, but of others only what it may call."""
        await self.restricted.register("own")
        rows = (await self.restricted.call("engine::workers::list", {}))["workers"]
        seen = {row["id"]: (row["functions"], row["function_count"]) for row in rows}
        self.assertEqual(seen[self.guard.id], (["api::a"], 1))
        self.assertEqual(seen[self.restricted.id], (["own"], 1))
        told = await self.restricted.call("engine::workers::info", {"name": "guard"})
        self.assertEqual([row["function_id"] for row in told["functions"]], ["api::a"])

    async def test_triggers(self) -> None:
        """Those of functions that it may not call are not there."""
        provider = await self.worker()
        provider.send("registertriggertype", id="tick", description="")
        await provider.settled()
        hidden = await self.guard.trigger("tick", "private::p")
        shown = await self.guard.trigger("tick", "api::a")
        for function in ("engine::registered-triggers::list", "engine::triggers::list"):
            told = await self.restricted.call(function, {})
            rows = told.get("registered_triggers") or told["triggers"]
            self.assertEqual([row["id"] for row in rows], [shown], function)
        info = "engine::registered-triggers::info"
        self.assertEqual(
            (await self.restricted.error_of(info, {"id": hidden}))["code"], "NOT_FOUND"
        )
        self.assertEqual((await self.restricted.call(info, {"id": shown}))["id"], shown)

    async def test_others_see_everything(self) -> None:
        """The filter is the restricted connection's."""
        listed = await self.guard.call("engine::functions::list", {})
        ids = [row["function_id"] for row in listed["functions"]]
        self.assertEqual(ids, [AUTH, "api::a", "private::p"])


class Registrations(AuthCase):
    """What may be registered."""

    async def test_functions(self) -> None:
        """``allow_function_registration``; denied ones are silent, with a line in the log."""
        worker = await self.let_in(allow_function_registration=False)
        await worker.register("mine")
        self.assertIsNone(self.engine.functions.get("mine"))
        self.assertIn("refused registerfunction mine", self.log_text())

    async def test_trigger_types(self) -> None:
        """``allow_trigger_type_registration`` is false unless it is said."""
        for result, there in ({}, False), ({"allow_trigger_type_registration": True}, True):
            worker = await self.let_in(**result)
            worker.send("registertriggertype", id="tick", description="")
            await worker.settled()
            self.assertEqual(self.engine.triggers.find_type("tick", None) is not None, there)

    async def test_triggers(self) -> None:
        """``allowed_trigger_types``; unlike in the original, the worker hears of it."""
        worker = await self.let_in(allowed_trigger_types=["tick"])
        await worker.register("mine")
        id = await worker.trigger("tock", "mine")
        refusal = await worker.expect("triggerregistrationresult", id=id)
        self.assertEqual(refusal["error"]["code"], "FORBIDDEN")
        await worker.trigger("tick", "mine")
        await self.quiet(worker)

    async def test_a_trigger_is_a_call_in_another_shape(self) -> None:
        """OURS: only of functions that it may call, or that are its own."""
        worker = await self.let_in(allowed_functions=["engine::register_trigger", "open"])
        id = await worker.trigger("tick", "private::f")
        refusal = await worker.expect("triggerregistrationresult", id=id)
        self.assertEqual(refusal["error"]["code"], "FORBIDDEN")
        self.assertEqual(refusal["function_id"], "private::f")
        await worker.register("mine")
        for allowed in ("mine", "open", "api::x"):
            await worker.trigger("tick", allowed)
        await self.quiet(worker)
        for function in ("private::f", "mine"):
            wanted = {"trigger_type": "tick", "function_id": function}
            error = await worker.error_of("engine::register_trigger", wanted)
            self.assertEqual(error["code"], "FORBIDDEN")
        wanted = {"trigger_type": "tick", "function_id": "open"}
        self.assertIn("id", await worker.call("engine::register_trigger", wanted))

    async def test_functions_that_decide_about_access(self) -> None:
        """Whoever could register the auth function would let in whomever he likes."""
        worker = await self.let_in()
        await worker.register(AUTH)
        self.assertIn(f"refused registerfunction {AUTH}: it decides about access", self.log_text())
        socket = await self.knock()
        await self.grants(self.guard, AUTH)
        await socket.next_message()
        await self.quiet(worker)
        named = await self.let_in(allowed_functions=[AUTH])
        await named.register(AUTH)
        self.assertEqual(len(self.engine.functions.get(AUTH).specs), 2)  # type: ignore[union-attr]

    async def test_namespaces(self) -> None:
        """0.23: the keys of ``namespaces`` are the ones it may live in."""
        worker = await self.let_in(namespaces={"orders": ["svc::*"]})
        await worker.register("a", namespace="orders")
        await worker.register("b", namespace="shop")
        await worker.describe(namespace="shop")
        await worker.register("c")
        there = [(known.namespace, known.id) for known in self.engine.functions]
        self.assertIn(("orders", "a"), there)
        self.assertIn(("default", "c"), there)
        self.assertNotIn("shop", [namespace for namespace, _ in there])
        await worker.describe(namespace="orders")
        self.assertIsNotNone(self.engine.functions.get("c", "orders"))


class Prefix(AuthCase):
    """01 §17.5: ``function_registration_prefix``."""

    async def tenant(self) -> RawWorker:
        """A worker that lives below ``t1``."""
        return await self.let_in(
            function_registration_prefix="t1", allow_trigger_type_registration=True
        )

    async def test_registered_with_it_called_without(self) -> None:
        """The caller says ``t1::f`` and is answered so; the worker only knows ``f``."""
        tenant = await self.tenant()
        await tenant.register("f")
        self.assertIsNone(self.engine.functions.get("f"))
        call = self.guard.invoke("t1::f", {"a": 1})
        told = await tenant.invoked("f")
        self.assertEqual(told["data"], {"a": 1, "_caller_worker_id": self.guard.id})
        tenant.reply(told, result=5)
        answer = await self.guard.result_of(call)
        self.assertEqual((answer["function_id"], answer["result"]), ("t1::f", 5))

    async def test_unregistering(self) -> None:
        """01 §17.5, 0.11.2: by the id that was registered."""
        tenant = await self.tenant()
        await tenant.register("f", "g")
        tenant.send("unregisterfunction", id="f")
        await tenant.settled()
        self.assertIsNone(self.engine.functions.get("t1::f"))
        self.assertIsNotNone(self.engine.functions.get("t1::g"))
        await self.gone(tenant)
        self.assertIsNone(self.engine.functions.get("t1::g"))

    async def test_it_can_not_be_left(self) -> None:
        """Neither an id of others nor one that has the prefix already gets around it."""
        tenant = await self.tenant()
        await tenant.register(AUTH, "engine::x", "t1::f", "t2::f")
        ids = sorted(known.id for known in self.engine.functions if known.id.startswith("t"))
        self.assertEqual(ids, [f"t1::{AUTH}", "t1::engine::x", "t1::t1::f", "t1::t2::f"])

    async def test_triggers_bind_to_the_prefixed_id(self) -> None:
        """And a refusal has the worker's own id again."""
        provider = await self.worker()
        provider.send("registertriggertype", id="tick", description="")
        await provider.settled()
        tenant = await self.tenant()
        await tenant.register("f")
        id = await tenant.trigger("tick", "f")
        bound = await provider.expect("registertrigger", id=id)
        self.assertEqual(bound["function_id"], "t1::f")
        provider.send("invokefunction", invocation_id="i", function_id="t1::f", data={})
        await tenant.answer("f", result=1)
        error = {"code": "no", "message": "no"}
        provider.send("triggerregistrationresult", id=id, error=error)
        refusal = await tenant.expect("triggerregistrationresult", id=id)
        self.assertEqual(refusal["function_id"], "f")

    async def test_another_tenant(self) -> None:
        """The same id below another prefix is another function."""
        first, second = await self.tenant(), await self.let_in(function_registration_prefix="t2")
        await first.register("f")
        await second.register("f")
        self.guard.invoke("t2::f")
        await second.invoked("f")
        await self.quiet(first)


class WithoutAuthFunction(AccessCase):
    """``rbac`` by the configuration alone: everybody gets in, and may do little."""

    rbac = {"expose_functions": ["match('api::*')", {"metadata": {"public": True}}]}

    async def test_what_everybody_may(self) -> None:
        """Exposed functions by name or metadata; registering types is allowed then."""
        owner = await self.worker("api::a", "private::p")
        await owner.register("open", metadata={"public": True})
        guest = await self.enter()
        codes = {}
        for id in ("api::none", "open", "private::p"):
            call = guest.invoke(id, {})
            if id == "open":
                await owner.answer("open", result=1)
            codes[id] = (await guest.result_of(call)).get("error", {}).get("code")
        expected = {"api::none": "function_not_found", "open": None, "private::p": "FORBIDDEN"}
        self.assertEqual(codes, expected)
        guest.send("registertriggertype", id="tick", description="")
        await guest.settled()
        self.assertIsNotNone(self.engine.triggers.find_type("tick", None))

    async def test_a_function_of_others_can_not_be_shared(self) -> None:
        """OURS: whoever registers an id that is there would get half of its calls."""
        owner = await self.worker("billing::charge")
        guest = await self.enter()
        await guest.register("billing::charge")
        for _ in range(4):
            caller = await self.worker()
            caller.invoke("billing::charge")
            await owner.invoked("billing::charge")
        await self.quiet(guest)
        self.assertIn("it belongs to worker", self.log_text())

    async def test_who_may_do_everything_displaces_guests(self) -> None:
        """OURS: a guest that was there first gets nothing of its successor."""
        provider = await self.worker()
        provider.send("registertriggertype", id="tick", description="")
        await provider.settled()
        guest = await self.enter()
        await guest.register("billing::charge")
        await guest.trigger("tick", "billing::charge", id="t")
        await provider.expect("registertrigger", id="t")
        owner = await self.worker("billing::charge")
        await provider.expect("unregistertrigger", id="t")
        for _ in range(4):
            provider.invoke("billing::charge")
            await owner.invoked("billing::charge")
        await self.quiet(guest)
        displaced = self.engine.workers.get(guest.id)
        assert displaced is not None
        self.assertEqual(displaced.functions, {})
        guest.send("unregisterfunction", id="billing::charge")
        await guest.settled()
        self.assertIsNotNone(self.engine.functions.get("billing::charge"))

    async def test_triggers_of_what_is_its_own_no_more_go(self) -> None:
        """Else whoever registers the id next would be called by them."""
        guest = await self.enter()
        await guest.register("mine", "api::mine")
        kept = await guest.trigger("tick", "api::mine")
        await guest.trigger("tick", "mine")
        for id in ("mine", "api::mine"):
            guest.send("unregisterfunction", id=id)
        await guest.settled()
        worker = self.engine.workers.get(guest.id)
        assert worker is not None
        self.assertEqual(list(worker.triggers), [kept])

    async def test_a_move_to_a_namespace_is_a_registration(self) -> None:
        """What lives there is somebody else's."""
        owner = await self.worker()
        await owner.register("charge", namespace="billing")
        guest = await self.enter()
        await guest.register("charge", "other")
        await guest.describe(namespace="billing")
        function = self.engine.functions.get("charge", "billing")
        assert function is not None
        self.assertEqual(len(function.specs), 1)
        self.assertIsNone(self.engine.functions.get("charge"))
        self.assertIsNotNone(self.engine.functions.get("other", "billing"))

    async def test_a_guest_may_drain_only_itself(self) -> None:
        """08 §4: before it leaves."""
        other, guest = await self.worker(), await self.enter()
        error: Any = await guest.error_of("engine::workers::drain", {"worker_id": other.id})
        self.assertEqual(error["code"], "FORBIDDEN")
        drained = await guest.call("engine::workers::drain")
        self.assertEqual(drained, {"drained": True, "in_flight": 0})

    async def test_guests_share_among_themselves(self) -> None:
        """Two instances of one worker balance the load, as everywhere."""
        first, second = await self.enter(), await self.enter()
        await first.register("g")
        await second.register("g")
        self.assertEqual(len(self.engine.functions.get("g").specs), 2)  # type: ignore[union-attr]

    async def test_metadata_of_ones_own_exposes_nothing_of_others(self) -> None:
        """Registering somebody's id as public does not open it."""
        await self.worker("private::p")
        guest = await self.enter()
        await guest.register("private::p", metadata={"public": True})
        error: Any = await guest.error_of("private::p")
        self.assertEqual(error["code"], "FORBIDDEN")

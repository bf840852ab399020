"""``middleware_function_id`` (01 §17.5)."""

from __future__ import annotations

from typing import Any

from tests.access.cases import TOKEN, AccessCase
from tests.access.test_auth_function import AUTH
from tests.support.engine_case import RawWorker

MIDDLEWARE = "access::middleware"
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class MiddlewareCase(AccessCase):
    """A port with nothing but a middleware."""

    middleware = MIDDLEWARE

    async def setUp(self) -> None:
        await super().setUp()
        self.guard = await self.worker(MIDDLEWARE)
        self.client = await self.enter()


class Through(MiddlewareCase):
    """Calls go to the middleware instead of their target."""

    async def test_what_it_gets_and_what_becomes_of_its_result(self) -> None:
        """The target is not called by the engine; the answer has the caller's ids."""
        target = await self.worker("f")
        call = self.client.invoke("f", {"a": 1, "_caller_worker_id": "me"}, traceparent=TRACE)
        asked = await self.guard.invoked(MIDDLEWARE)
        self.assertEqual(
            asked["data"], {"function_id": "f", "payload": {"a": 1}, "action": None, "context": {}}
        )
        self.assertEqual(asked["traceparent"][:35], TRACE[:35])
        self.guard.reply(asked, result={"ok": True})
        answer = await self.client.result_of(call)
        self.assertEqual((answer["function_id"], answer["result"]), ("f", {"ok": True}))
        await self.quiet(target)

    async def test_errors_are_passed_on(self) -> None:
        """And a missing middleware lets nothing through."""
        call = self.client.invoke("f", {})
        error = {"code": "QUOTA", "message": "too much"}
        await self.guard.answer(MIDDLEWARE, error=error)
        self.assertEqual((await self.client.result_of(call))["error"], error)
        await self.gone(self.guard)
        await self.worker("f")
        self.assertEqual((await self.client.error_of("f", {}))["code"], "function_not_found")

    async def test_payloads_of_any_kind(self) -> None:
        """They are passed on as they came."""
        for data in (None, 5, "x", [1, 2], {}):
            self.client.invoke("f", data)
            asked = await self.guard.answer(MIDDLEWARE, result=None)
            self.assertEqual(asked["data"]["payload"], data)

    async def test_actions_and_namespaces(self) -> None:
        """It decides what becomes of them; nobody waits for a void one."""
        enqueue = {"type": "enqueue", "queue": "q"}
        call = self.client.invoke("f", {}, action=enqueue, namespace="shop")
        asked = await self.guard.answer(MIDDLEWARE, result={"messageReceiptId": "r"})
        self.assertEqual((asked["data"]["action"], asked["data"]["namespace"]), (enqueue, "shop"))
        self.assertEqual((await self.client.result_of(call))["result"]["messageReceiptId"], "r")
        self.client.invoke("f", {}, action={"type": "void"})
        self.client.send("invokefunction", function_id="f", data={})
        for _ in range(2):
            await self.guard.answer(MIDDLEWARE, result=1)
        await self.guard.settled()
        await self.quiet(self.client)

    async def test_functions_of_the_engine_do_not_go_through(self) -> None:
        """In no spelling."""
        for id in ("engine::functions::list", "engine.functions.list"):
            listed = await self.client.call(id)
            self.assertIn(MIDDLEWARE, [row["function_id"] for row in listed["functions"]])
        await self.quiet(self.guard)

    async def test_a_worker_can_run_the_middleware_on_its_own_port(self) -> None:
        """Its own calls don't come back to it."""
        await self.gone(self.guard)
        own = await self.enter()
        await own.register(MIDDLEWARE)
        target = await self.worker("f")
        call = self.client.invoke("f", {})
        asked = await own.invoked(MIDDLEWARE)
        passed_on = own.invoke(asked["data"]["function_id"], asked["data"]["payload"])
        await target.answer("f", result=3)
        own.reply(asked, result=(await own.result_of(passed_on))["result"])
        self.assertEqual((await self.client.result_of(call))["result"], 3)

    async def test_counts_of_the_caller(self) -> None:
        """What it waits for is counted, and forgotten when it is answered."""
        self.client.invoke("f", {})
        asked = await self.guard.invoked(MIDDLEWARE)
        worker = self.engine.workers.get(self.client.id)
        assert worker is not None
        self.assertEqual(worker.issued, 1)
        self.guard.reply(asked)
        await self.guard.settled()
        self.assertEqual(worker.issued, 0)

    async def test_what_can_not_be_read_is_refused(self) -> None:
        """Nobody hangs."""
        self.client.socket.text(
            '{"type":"invokefunction","invocation_id":"i","function_id":"f",'
            '"action":{"type":1e999}}'
        )
        answer = await self.client.expect("invocationresult")
        self.assertEqual(answer["error"]["code"], "invalid_json")
        await self.quiet(self.guard)


class WithRights(AccessCase):
    """Together with ``rbac``: first the rights, then the middleware."""

    middleware = MIDDLEWARE
    rbac = {"auth_function_id": AUTH, "expose_functions": ["match('api::*')"]}

    async def let_in(self, **result: Any) -> RawWorker:
        """A worker on the gated port."""
        socket = await self.knock()
        await self.grants(self.guard, AUTH, **result)
        return RawWorker(socket, await socket.next_message())

    async def test_first_the_rights(self) -> None:
        """It is told the context of the auth function."""
        self.guard = await self.worker(AUTH, MIDDLEWARE)
        client = await self.let_in(context={"user": "ada"})
        self.assertEqual((await client.error_of("private::f"))["code"], "FORBIDDEN")
        await self.quiet(self.guard)
        client.invoke("api::f", {"a": 1})
        asked = await self.guard.answer(MIDDLEWARE, result=1)
        self.assertEqual(asked["data"]["context"], {"user": "ada"})

    async def test_the_middleware_can_not_be_taken(self) -> None:
        """Who runs it is past it; so it is not registered from here."""
        self.guard = await self.worker(AUTH, MIDDLEWARE)
        client = await self.let_in(allowed_functions=["f"])
        await client.register(MIDDLEWARE)
        client.invoke("f", {})
        await self.guard.answer(MIDDLEWARE, result=1)


class WithTokens(AccessCase):
    """Tokens and a middleware, without ``rbac``."""

    auth = {"tokens": [TOKEN]}
    middleware = MIDDLEWARE

    async def test_both_hold(self) -> None:
        """The token lets in, the middleware gets the calls."""
        guard = await self.worker(MIDDLEWARE)
        self.assertEqual((await self.refused())["code"], "AUTH_ERROR")
        client = await self.enter(authorization=f"Bearer {TOKEN}")
        client.invoke("f")
        await guard.answer(MIDDLEWARE, result=1)

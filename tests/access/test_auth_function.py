"""The auth function of a listener with ``rbac`` (01 §17.5)."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock as VirtualTime

from iii.access import gate
from iii.access.gate import AUTH_LIMIT_S
from iii.engine.clock import Clock
from tests.access.cases import LATER, OTHER, REFUSED, TOKEN, AccessCase
from tests.support.engine_case import RawWorker
from tests.support.probes import probe
from tests.support.recording import Recording

AUTH = "access::auth"


class AuthCase(AccessCase):
    """Its auth function is a function of ``self.guard``, on the open port."""

    auth = {"tokens": [TOKEN]}
    rbac = {"auth_function_id": AUTH, "expose_functions": ['match("api::*")']}

    async def setUp(self) -> None:
        await super().setUp()
        self.guard = await self.worker(AUTH)

    async def let_in(self, **result: Any) -> RawWorker:
        """A worker on the gated port, with these rights."""
        socket = await self.knock()
        await self.grants(self.guard, AUTH, **result)
        return RawWorker(socket, await socket.next_message())


class Asking(AuthCase):
    """What the function is told, and what becomes of its answer."""

    async def test_what_the_function_gets(self) -> None:
        """01 §17.5: headers in lower case, the query as it came, the address."""
        socket = await self.knock("/?a=1&a=%41&b=&token=t", x_custom="Ünique", Authorization="B x")
        asked = await self.grants(self.guard, AUTH)
        self.assertEqual(asked["query_params"], {"a": ["1", "%41"], "b": [""], "token": ["t"]})
        self.assertEqual(asked["ip_address"], "127.0.0.1")
        self.assertEqual(asked["headers"]["authorization"], "B x")
        self.assertEqual(asked["headers"]["upgrade"], "websocket")
        self.assertNotIn("x-custom", asked["headers"])
        self.assertEqual(set(asked), {"headers", "query_params", "ip_address"})
        self.assertEqual((await socket.next_message())["type"], "workerregistered")

    async def test_it_replaces_the_tokens_of_the_top_level(self) -> None:
        """A port for browsers needs no token of the workers'."""
        worker = await self.let_in()
        await worker.settled()

    @probe("01.63")
    async def test_a_function_that_throws_refuses(self) -> None:
        """01.63: the error message, then close; no worker ever."""
        socket = await self.knock()
        error = {"code": "nope", "message": "who are you?"}
        await self.guard.answer(AUTH, error=error)
        self.assertEqual(
            await self.turned_away(socket),
            {"code": "AUTH_ERROR", "message": "who are you?", "closed": REFUSED},
        )
        listed = await self.guard.call("engine::workers::list", {})
        self.assertEqual([row["id"] for row in listed["workers"]], [self.guard.id])

    @probe("01.63")
    async def test_what_is_exposed_and_what_is_not(self) -> None:
        """01.63: ``FORBIDDEN``, but ``engine::workers::register`` always."""
        worker = await self.let_in()
        await self.guard.register("api::list", "private::list")
        error = await worker.error_of("private::list", {})
        self.assertEqual(error["code"], "FORBIDDEN")
        call = worker.invoke("api::list", {})
        await self.guard.answer("api::list", result=1)
        self.assertEqual((await worker.result_of(call))["result"], 1)
        await worker.describe(name="restricted")

    async def test_no_answer_and_a_wrong_one_refuse(self) -> None:
        """01 §17.5: no result is the client's fault, a wrong shape the function's."""
        for outcome, code in (
            ({}, REFUSED),
            ({"result": None}, REFUSED),
            ({"result": []}, LATER),
            ({"result": True}, LATER),
            ({"result": {"allowed_functions": "all"}}, LATER),
            ({"result": {"function_registration_prefix": ""}}, LATER),
        ):
            socket = await self.knock()
            await self.guard.answer(AUTH, **outcome)
            error = await self.turned_away(socket)
            with self.subTest(outcome):
                self.assertEqual((error["code"], error["closed"]), ("AUTH_ERROR", code))

    async def test_a_function_that_is_not_there_refuses(self) -> None:
        """Nobody gets in, nobody is to blame: 1013, and it does not count as an attempt."""
        await self.gone(self.guard)
        for _ in range(2 * self.per_minute):
            error = await self.refused(authorization="Bearer x")
            self.assertEqual((error["code"], error["closed"]), ("AUTH_ERROR", LATER))
        self.guard = await self.worker(AUTH)
        await self.let_in()

    async def test_a_function_that_goes_meanwhile_refuses(self) -> None:
        """Its connection ends while it is asked."""
        socket = await self.knock()
        await self.guard.invoked(AUTH)
        await self.guard.leave()
        self.assertEqual((await self.turned_away(socket))["closed"], LATER)

    async def test_who_guesses_has_to_wait(self) -> None:
        """The function is not even asked any more."""
        for number in range(self.per_minute):
            socket = await self.knock(authorization=f"Bearer guess-{number}")
            await self.guard.answer(AUTH, error={"code": "no", "message": "no"})
            await self.turned_away(socket)
        error = await self.refused(authorization="Bearer right")
        self.assertIn("too many failed attempts", error["message"])
        await self.quiet(self.guard)

    async def test_what_the_function_quotes_is_masked(self) -> None:
        """It may say the token it did not like; nobody else does."""
        socket = await self.knock(authorization=f"Bearer {OTHER}")
        message = f"no such token: {OTHER}"
        await self.guard.answer(AUTH, error={"code": "no", "message": message})
        error = await self.turned_away(socket)
        self.assertEqual(error["message"], "no such token: [REDACTED]")
        self.assertNotIn(OTHER, self.log_text())

    async def test_its_calls_are_in_no_trace(self) -> None:
        """Spans quote errors, and strangers could make as many as they like."""
        recording = Recording(self.engine)
        socket = await self.knock(authorization=f"Bearer {OTHER}")
        await self.guard.answer(AUTH, error={"code": "no", "message": OTHER})
        await self.turned_away(socket)
        self.assertEqual(recording.spans, [])
        call = self.guard.invoke(AUTH)
        await self.guard.answer(AUTH, result={})
        await self.guard.result_of(call)
        self.assertNotEqual(recording.spans, [])

    async def test_telemetry_is_asked_about_too(self) -> None:
        """05: the same gate for ``/otel``, refused with one message."""
        socket = await self.knock("/otel")
        await self.guard.answer(AUTH, error={"code": "no", "message": "no"})
        self.assertEqual((await self.turned_away(socket))["code"], "AUTH_ERROR")
        socket = await self.knock("/otel")
        await self.grants(self.guard, AUTH)
        await socket.until(lambda: socket.status == 101, "upgrade")

    async def test_channels_go_by_their_key(self) -> None:
        """01 §9: no function is asked."""
        worker = await self.let_in()
        reference = (await worker.call("engine::channels::create", {}))["reader"]
        id, key = reference["channel_id"], reference["access_key"]
        socket = await self.knock(f"/ws/channels/{id}?key={key}&dir=read")
        await socket.until(lambda: socket.status == 101, "upgrade")
        await self.quiet(self.guard)

    async def test_not_too_many_are_asked_about_at_once(self) -> None:
        """Strangers must not fill the function's connection."""
        self.patch(gate, "MAX_ASKING", 1)
        first = await self.knock()
        await self.guard.invoked(AUTH)
        error = await self.refused()
        self.assertEqual(error["closed"], LATER)
        self.assertIn("too many clients", error["message"])
        first.drop()
        await self.eventually(lambda: not self.gated.factory.connections)
        await self.let_in()

    async def test_who_does_not_wait_leaves_nothing(self) -> None:
        """The client goes while the function is asked."""
        socket = await self.knock()
        call = await self.guard.invoked(AUTH)
        socket.drop()
        await self.eventually(lambda: not self.gated.factory.connections)
        self.guard.reply(call, result={})
        await self.guard.settled()
        self.assertEqual(len(self.engine.workers.connections()), 1)


class Slow(AuthCase):
    """A function that does not answer."""

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

    async def test_it_is_not_waited_for_for_ever(self) -> None:
        """01 §17.5, OURS: 10 s."""
        socket = await self.knock()
        await self.guard.invoked(AUTH)
        self.time.advance(AUTH_LIMIT_S - 0.1)
        self.assertEqual(socket.head, "")
        self.time.advance(0.1)
        error = await self.turned_away(socket)
        self.assertEqual((error["code"], error["closed"]), ("AUTH_ERROR", LATER))


class TokenFirst(AccessCase):
    """A listener with tokens of its own and an auth function."""

    own_auth = {"tokens": [TOKEN]}
    rbac = {"auth_function_id": AUTH}

    async def test_both_have_to_agree(self) -> None:
        """The function is asked only about those who have a token."""
        guard = await self.worker(AUTH)
        self.assertIn("token", (await self.refused())["message"])
        await self.quiet(guard)
        socket = await self.knock(authorization=f"Bearer {TOKEN}")
        await self.grants(guard, AUTH)
        self.assertEqual((await socket.next_message())["type"], "workerregistered")

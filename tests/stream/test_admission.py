"""Who may connect to the stream port, and who may join what (04 §6.2, §7.2; decision 15)."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from iii.modules.stream.handshake import joined_by
from iii.websocket.request import headers_of, query_of
from tests.stream.sockets_case import StreamCase, TimelessStreamCase
from tests.support.rawsocket import PONG, TEXT, frame, upgrade

FAULT = {"code": "X", "message": "down"}
UNAUTHORIZED = {"type": "unauthorized"}
JOIN = frame(
    TEXT, b'{"type":"join","data":{"subscriptionId":"x","streamName":"chat","groupId":"g"}}'
)


class Joins(StreamCase):
    """04 §7.2: ``stream:join`` handlers."""

    async def test_a_refused_join(self) -> None:
        """04.38: an envelope says so; no sync, no events; the socket stays."""
        worker = await self.guard()
        client = await self.client()
        client.join()
        await worker.answer("stream:join", result={"unauthorized": True})
        envelope = await client.next()
        self.assertIsInstance(envelope.pop("timestamp"), int)
        self.assertEqual(
            envelope,
            {
                "type": "stream",
                "streamName": "chat",
                "groupId": "g",
                "id": None,
                "event": UNAUTHORIZED,
            },
        )
        self.shelf.put("1", 1)
        self.assertEqual(await client.pending(), [])
        client.join(streamName="open", item="7")
        await worker.answer("stream:join", result={"unauthorized": False})
        self.assertEqual((await client.next())["event"], {"type": "sync", "data": None})
        self.assertEqual(len(self.subscriptions), 1)

    async def test_everything_but_true_allows(self) -> None:
        """04.39: null, no object, a text instead of a boolean; nothing at all."""
        worker = await self.guard()
        client = await self.client()
        rows: tuple[dict[str, Any], ...] = (
            {"result": None},
            {"result": {}},
            {"result": False},
            {"result": [True]},
            {"result": {"unauthorized": "yes"}},
            {"result": {"unauthorized": 1}},
            {"result": {"unauthorized": None}},
            {},
        )
        for outcome in rows:
            client.join()
            await worker.answer("stream:join", **outcome)
            self.assertEqual((await client.event())["type"], "sync", outcome)

    async def test_a_failing_handler_refuses(self) -> None:
        """04.39: in the form of decision 15; the log names the function."""
        worker = await self.guard()
        client = await self.client()
        client.join()
        await worker.answer("stream:join", error=FAULT)
        self.assertEqual(await client.event(), UNAUTHORIZED)
        self.assertEqual(len(self.subscriptions), 0)
        self.assertRegex(self.problems()[0], "stream:join failed: X: down: the join is refused")

    async def test_a_handler_that_is_gone_refuses(self) -> None:
        """Decision 15: a trigger without its function."""
        worker = await self.worker()
        await worker.trigger("streams:join", "nobody::offers")
        client = await self.client()
        client.join()
        self.assertEqual(await client.event(), UNAUTHORIZED)

    async def test_what_the_handler_gets(self) -> None:
        """04.40: exactly five fields, null when there is nothing."""
        worker = await self.guard("streams:join")
        client = await self.client()
        client.join()
        call = await worker.answer("streams:join")
        self.assertEqual(
            call["data"],
            {
                "subscription_id": "x",
                "stream_name": "chat",
                "group_id": "g",
                "id": None,
                "context": None,
            },
        )
        client.join(item="")
        self.assertEqual((await worker.answer("streams:join"))["data"]["id"], "")

    async def test_every_handler_is_asked_and_any_refuses(self) -> None:
        """04 §7.2: one after the other, also after a refusal."""
        worker = await self.worker("a", "b")
        await worker.trigger("stream:join", "a")
        await worker.trigger("streams:join", "b")
        client = await self.client()
        client.join()
        call = await worker.invoked("a")
        await self.quiet(worker)
        worker.reply(call, result={"unauthorized": True})
        await worker.answer("b", result={})
        self.assertEqual(await client.event(), UNAUTHORIZED)

    async def test_a_trigger_is_for_its_stream(self) -> None:
        """04 §7.2: ``stream_name``, when it is one."""
        worker = await self.worker("mine", "all", "odd")
        await worker.trigger("stream:join", "mine", {"stream_name": "mine"})
        await worker.trigger("stream:join", "all", {"stream_name": ""})
        await worker.trigger("stream:join", "odd", [1, 2])
        client = await self.client()
        client.join(streamName="chat")
        await worker.answer("all")
        await worker.answer("odd")
        await client.event()
        client.join(streamName="mine")
        await worker.answer("mine", result={"unauthorized": True})
        await worker.answer("all")
        await worker.answer("odd")
        self.assertEqual(await client.event(), UNAUTHORIZED)

    async def test_a_condition_skips_its_handler_only_with_false(self) -> None:
        """04 §7.2: one that fails does not: the handler may be the guard."""
        worker = await self.worker("guard", "condition")
        await worker.trigger("stream:join", "guard", {"condition_function_id": "condition"})
        client = await self.client()
        client.join()
        call = await worker.answer("condition", result=False)
        self.assertEqual(call["data"]["stream_name"], "chat")
        self.assertEqual((await client.event())["type"], "sync")
        rows: tuple[dict[str, Any], ...] = ({"result": None}, {"result": 0}, {"error": FAULT})
        for outcome in rows:
            client.join()
            await worker.answer("condition", **outcome)
            await worker.answer("guard", result={"unauthorized": True})
            self.assertEqual(await client.event(), UNAUTHORIZED)

    async def test_a_removed_trigger_guards_nothing(self) -> None:
        """04 §7.2: a join without handlers is allowed."""
        worker = await self.guard()
        client = await self.client()
        await self.gone(worker)
        await client.joined()


class JoinsOpen(StreamCase):
    """Decision 15: ``auth_fail_open`` is the reference's behaviour."""

    fail_open = True

    async def test_a_failing_handler_allows(self) -> None:
        """04.39: throwing; a refusal still refuses."""
        worker = await self.guard()
        client = await self.client()
        client.join()
        await worker.answer("stream:join", error=FAULT)
        self.assertEqual((await client.event())["type"], "sync")
        client.join()
        await worker.answer("stream:join", result={"unauthorized": True})
        self.assertEqual(await client.event(), UNAUTHORIZED)


class Authentication(StreamCase):
    """04 §6.2: ``auth_function`` is asked before the upgrade is answered."""

    auth_function = "auth"

    async def test_what_it_gets_and_what_becomes_of_its_context(self) -> None:
        """04.41: headers, path, query as it came, address; the context is in joins."""
        worker = await self.guard()
        await worker.register("auth")
        socket = await self.asked(
            "/stream/chat/g?a=1&a=2&b=&c&=x&d=%41+&&e=1=2",
            X_One="1\r\nx-one: two",
            Sec_WebSocket_Protocol="Authorization, tok",
        )
        call = await worker.invoked("auth")
        self.assertEqual(socket.head, "")
        data = call["data"]
        self.assertEqual(set(data), {"headers", "path", "query_params", "addr"})
        self.assertEqual(data["path"], "/stream/chat/g")
        self.assertEqual(
            data["query_params"],
            {"a": ["1", "2"], "b": [""], "c": [""], "d": ["%41+"], "e": ["1=2"]},
        )
        self.assertEqual(data["addr"], f"127.0.0.1:{socket.transport.getHost().port}")
        self.assertEqual(data["headers"]["host"], f"127.0.0.1:{self.streams.port}")
        self.assertEqual(data["headers"]["x-one"], "two")
        self.assertEqual(data["headers"]["sec-websocket-protocol"], "Authorization, tok")

        worker.reply(call, result={"context": {"userId": "u7"}, "more": 1})
        joined = await worker.answer("stream:join")
        self.assertEqual(joined["data"]["context"], {"userId": "u7"})
        await socket.until(lambda: bool(socket.frames), "sync")
        self.assertIn("Sec-WebSocket-Protocol: Authorization", socket.head)

    async def test_an_answer_without_context(self) -> None:
        """04 §6.2: an object without it, null, nothing at all."""
        worker = await self.guard()
        await worker.register("auth")
        rows: tuple[dict[str, Any], ...] = (
            {"result": {}},
            {"result": {"context": None}},
            {"result": None},
            {},
        )
        for outcome in rows:
            socket = await self.asked("/stream/chat/g")
            await worker.answer("auth", **outcome)
            self.assertIsNone((await worker.answer("stream:join"))["data"]["context"], outcome)
            await socket.until(lambda socket=socket: bool(socket.frames), "sync")

    async def test_who_is_not_authenticated_is_closed(self) -> None:
        """04.41: decision 15: the upgrade, then 1008 with a reason; nothing is joined."""
        worker = await self.worker("auth")
        rows: tuple[dict[str, Any], ...] = (
            {"error": FAULT},
            {"result": "no"},
            {"result": False},
            {"result": []},
        )
        for outcome in rows:
            socket = await self.asked("/stream/chat/g")
            socket.raw(JOIN)
            await worker.answer("auth", **outcome)
            closed = await socket.next_frame()
            self.assertEqual(socket.status, 101)
            self.assertEqual(closed.close_code, 1008, outcome)
            self.assertEqual(closed.payload[2:], b"authentication failed")
            socket.close_frame(1008)
            await socket.ended()
        self.assertEqual(len(self.subscriptions), 0)
        self.assertEqual(len(self.problems("refused: auth failed")), len(rows))

    async def test_nobody_gets_in_without_the_function(self) -> None:
        """04.41: missing is refused, decision 15."""
        client = await self.client()
        self.assertEqual(await client.close_code(), 1008)
        self.assertRegex(self.problems()[0], "refused: auth failed: function_not_found")

    async def test_what_a_client_sends_early_waits(self) -> None:
        """04 §6.2: frames in one go with the request, and while the function thinks."""
        worker = await self.worker("auth")
        socket = await self.asked()
        call = await worker.invoked("auth")
        socket.raw(JOIN[:20])
        await worker.settled()
        socket.raw(JOIN[20:] + JOIN)
        await worker.settled()
        worker.reply(call, result={})
        for _ in range(2):
            self.assertEqual((await socket.next_message())["event"]["type"], "sync")
        other = await self.asked()
        call = await worker.invoked("auth")
        other.raw(b"\x81\x9c\0\0\0\0GET / HTTP/1.1\r\nHost: x\r\n\r\n " + JOIN)
        await worker.settled()
        worker.reply(call, result={})
        self.assertEqual((await other.next_message())["event"]["type"], "sync")

    async def test_but_not_without_end(self) -> None:
        """08 §7: 64 KiB, and the connection is dropped."""
        worker = await self.worker("auth")
        socket = await self.asked()
        call = await worker.invoked("auth")
        for _ in range(20):
            socket.raw(b"x" * 8192)
        status, _ = await socket.answer()
        self.assertEqual(status, 431)
        worker.reply(call, result={})
        await worker.settled()
        await self.eventually(lambda: not self.streams.factory.connections)

    async def test_who_goes_meanwhile_leaves_nothing(self) -> None:
        """04 §6.2: the answer finds nobody; nothing is joined and nothing left."""
        worker = await self.worker("auth", "stream:leave", "stream:join")
        for type in ("stream:leave", "stream:join"):
            await worker.trigger(type, type)
        socket = await self.asked("/stream/chat/g")
        call = await worker.invoked("auth")
        socket.drop()
        await self.eventually(lambda: not self.streams.factory.connections)
        worker.reply(call, result={})
        await self.quiet(worker)
        self.assertEqual(len(self.subscriptions), 0)
        self.assertEqual(self.problems(), [])

    async def test_a_bad_request_is_not_asked_about(self) -> None:
        """04 §6.1: refused before the function hears of it."""
        worker = await self.worker("auth")
        socket = await self.asked(sec_websocket_key=None)
        self.assertEqual((await socket.answer())[0], 400)
        await self.quiet(worker)

    async def test_the_worker_of_the_function_goes(self) -> None:
        """04 §14.16: its calls end, and that refuses."""
        worker = await self.worker("auth")
        socket = await self.asked()
        await worker.invoked("auth")
        await self.gone(worker)
        self.assertEqual((await socket.next_frame()).close_code, 1008)


class AuthenticationOpen(StreamCase):
    """Decision 15: ``auth_fail_open``."""

    auth_function = "auth"
    fail_open = True

    async def test_who_can_not_be_authenticated_gets_in(self) -> None:
        """04.41: accepted, without a context; one line says so."""
        client = await self.client()
        worker = await self.guard()
        client.join()
        self.assertIsNone((await worker.answer("stream:join"))["data"]["context"])
        self.assertEqual((await client.event())["type"], "sync")
        self.assertRegex(self.problems()[0], "function_not_found.*auth_fail_open")


class Hanging(TimelessStreamCase):
    """04 §14.12: bounded waits."""

    auth_function = "auth"

    async def test_an_auth_function_that_hangs(self) -> None:
        """04 §6.2: 30 s, longer than an upgrade request may take; then as an error."""
        worker = await self.worker("auth")
        socket = await self.asked()
        call = await worker.invoked("auth")
        await self.advance(29)
        self.assertEqual(socket.head, "")
        await self.advance(2)
        self.assertEqual((await socket.next_frame()).close_code, 1008)
        worker.reply(call, result={})
        await worker.settled()

    async def test_a_join_handler_that_hangs(self) -> None:
        """Decision 15: 30 s, then refused."""
        worker = await self.guard()
        await worker.register("auth")
        socket = await self.asked()
        await worker.answer("auth", result={})
        socket.raw(JOIN)
        call = await worker.invoked("stream:join")
        await self.advance(15)
        for peer in (socket, worker.socket):
            peer.raw(frame(PONG, b""))
        await self.advance(16)
        await socket.until(
            lambda: any(b"unauthorized" in got.payload for got in socket.frames), "refusal"
        )
        worker.reply(call, result={})
        await worker.settled()
        self.assertEqual(len(self.subscriptions), 0)


class Requests(SynchronousTestCase):
    """What is read from an upgrade request."""

    def test_headers(self) -> None:
        """04 §6.2: lower case, the last value, only ASCII."""
        request = upgrade("/", 1, x_a="1").replace(
            b"x-a: 1", b"X-A: 1\r\nX-B: \xc3\xbc\r\nx-a:  2 \r\nno colon"
        )
        headers = headers_of(request)
        self.assertEqual(headers["x-a"], "2")
        self.assertNotIn("x-b", headers)
        self.assertEqual(headers["host"], "127.0.0.1:1")

    def test_queries(self) -> None:
        """04 §6.2: not decoded."""
        self.assertEqual(query_of(""), {})
        self.assertEqual(query_of("a%20=b%20&=1&&c"), {"a%20": ["b%20"], "c": [""]})

    def test_paths(self) -> None:
        """04 §6.1: long ids are no ids."""
        self.assertIsNone(joined_by("/stream/a/" + "b" * 2000))
        joined = joined_by("/stream/a/b/c/?x=/y")
        assert joined is not None
        self.assertEqual((joined.stream_name, joined.group_id, joined.id), ("a", "b", "c"))
        self.assertEqual(len(joined.subscription_id), 36)

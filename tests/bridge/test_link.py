"""One link and a server that does what the test says."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw
from twisted.internet import reactor, task
from twisted.internet.defer import Deferred

from iii.bridge import BridgeError, Link, RemoteError, calls, parse_url
from iii.bridge.address import Remote, url_of
from iii.bridge.payload import without_caller
from iii.engine.clock import Clock
from iii.engine.core import Engine
from iii.engine.module import ModuleApi
from iii.errors import StartError
from iii.wire.codec import with_caller
from tests.bridge.cases import HELLO, BridgeCase, FakeEngine


class LinkCase(BridgeCase):
    """A link whose time stands still unless the test moves it."""

    async def setUp(self) -> None:
        await super().setUp()
        self.timers = task.Clock()
        self.links: list[Link] = []

    async def tearDown(self) -> None:
        for link in self.links:
            await self.stopped(link)
        await super().tearDown()

    async def stopped(self, link: Link) -> None:
        """Stop a link, whatever its server does."""
        stopping = link.stop()
        self.timers.advance(5)
        await stopping

    def link(self, to: str | Remote, **how: Any) -> Link:
        """One that has begun to connect."""
        engine = Engine(reactor, clock=Clock.virtual(self.timers))
        remote = to if isinstance(to, Remote) else parse_url(to)
        link = Link(ModuleApi(engine, "iii-demo"), remote, "demo", without="nothing works", **how)
        self.links.append(link)
        link.start()
        return link

    async def connected(self, **how: Any) -> tuple[Link, FakeEngine]:
        """A link and its server."""
        fake = await self.fake(**how)
        link = self.link(fake.url)
        await self.eventually(lambda: fake.got("invokefunction"))
        return link, fake

    async def again(self, fake: FakeEngine, links: int) -> None:
        """Wait for the next connection."""
        self.timers.advance(3)
        await self.eventually(lambda: len(fake.links) == links)


class Connecting(LinkCase):
    """How a connection begins, and begins anew."""

    async def test_what_is_said_first(self) -> None:
        fake = await self.fake()
        link = self.link(fake.url)
        link.service("shop", "The shop")
        link.offer("f", lambda incoming: incoming.answer(None), "does it")
        trigger = link.trigger("subscribe", "f", {"topic": "t"})
        pending = link.call("g", {"a": 1}, timeout_s=60)
        await self.eventually(lambda: len(fake.inbox) == 5)
        kinds = [message["type"] for message in fake.inbox]
        self.assertEqual(
            kinds,
            ["registerservice", "registerfunction", "registertrigger"] + 2 * ["invokefunction"],
        )
        self.assertEqual(fake.inbox[0]["name"], "The shop")
        self.assertEqual(fake.inbox[2]["config"], {"topic": "t"})
        about = fake.inbox[4]
        self.assertEqual(about["function_id"], "engine::workers::register")
        self.assertEqual(about["data"]["name"], "demo")
        with self.assertRaises(RemoteError):
            await pending

        link.end_trigger(trigger)
        link.withdraw("f")
        await self.eventually(lambda: len(fake.inbox) == 7)
        fake.inbox.clear()
        fake.links[0].transport.abortConnection()
        await self.eventually(lambda: self.said("not connected"))
        await self.again(fake, 2)
        await self.eventually(lambda: len(fake.inbox) == 3)
        self.assertEqual(
            [message["type"] for message in fake.inbox],
            ["reattach", "registerservice", "invokefunction"],
        )
        self.assertEqual(fake.inbox[0]["previous_worker_id"], HELLO)

    async def test_a_server_that_does_not_say_who_we_are_is_used_all_the_same(self) -> None:
        fake = await self.fake(hello=None)
        link = self.link(fake.url)
        await self.eventually(lambda: fake.links)
        await self.pause(0.02)
        self.assertFalse(link.connected)
        self.timers.advance(2)
        self.assertTrue(link.connected)

    async def test_a_silent_connection_is_ended(self) -> None:
        _, fake = await self.connected()
        fake.links[0].transport.pauseProducing()
        for _ in range(3):
            self.timers.advance(20)
        await self.eventually(lambda: self.said("silent for 60 s"))
        await self.again(fake, 2)

    async def test_pings_keep_it(self) -> None:
        link, fake = await self.connected()
        for at in range(5):
            self.timers.advance(20)
            await self.eventually(lambda at=at: fake.links[0].pings > at)
            await self.pause(0.02)
        self.assertTrue(link.connected)

    async def test_a_server_that_never_answers_the_upgrade(self) -> None:
        fake = await self.fake(upgrade=False)
        self.link(fake.url)
        await self.eventually(lambda: fake.requests)
        self.timers.advance(10)
        await self.eventually(lambda: self.said("no upgrade within 10 s"))

    async def test_a_refused_upgrade_is_told_once(self) -> None:
        fake = await self.fake(refuse=401)
        self.link(fake.url)
        await self.eventually(lambda: self.said("401"))
        for _ in range(3):
            before = len(fake.requests)
            await self.pause(0.01)
            self.timers.advance(3)
            await self.eventually(lambda before=before: len(fake.requests) > before)
        self.assertEqual(len(self.said("not connected")), 1)

    async def test_the_token_is_sent_as_workers_send_theirs(self) -> None:
        fake = await self.fake()
        self.link(parse_url(fake.url + "/a?b=c", token="s3cret"))
        await self.eventually(lambda: fake.requests)
        request = fake.requests[0]
        self.assertEqual(request.headers["authorization"], "Bearer s3cret")
        self.assertEqual((request.path, request.params), ("/a", {"b": ["c"]}))
        self.assertFalse(self.said("s3cret"))

    async def test_a_refusal_in_words(self) -> None:
        _, fake = await self.connected()
        fake.links[0].say({"type": "error", "error": {"code": "AUTH_ERROR", "message": "who?"}})
        await self.eventually(lambda: self.said("AUTH_ERROR: who?"))
        rejected = {"code": "WORKER_NAMESPACE_CONFLICT", "namespace": "default"}
        fake.links[0].say({"type": "registrationrejected", "owner_worker_id": "w", **rejected})
        await self.eventually(lambda: self.said("the name demo belongs to another worker"))

    async def test_a_restarting_engine_is_told_by_its_words(self) -> None:
        _, fake = await self.connected()
        fake.links[0].sendCloseFrame(1012, b"the engine is restarting")
        await self.eventually(lambda: self.said("closed with 1012: the engine is restarting"))

    async def test_a_code_that_is_younger_than_the_library(self) -> None:
        _, fake = await self.connected()
        fake.links[0].sendCloseFrame(1014, b"bad gateway")
        await self.eventually(lambda: self.said("closed with 1014: bad gateway"))


class Calling(LinkCase):
    """Calls and their ends."""

    async def ended(self, call: Deferred[Any]) -> Any:
        """The exception of a call."""
        try:
            await call
        except (BridgeError, RemoteError) as error:
            return error
        raise AssertionError("it succeeded")

    async def test_absent_and_null_are_told_apart(self) -> None:
        link, fake = await self.connected(
            answers={"absent": {}, "null": {"result": None}, "five": {"result": 5}}
        )
        self.assertIsNone(await link.call("absent", None))
        self.assertEqual(await link.call("null", None), Raw(b"null"))
        self.assertEqual(await link.call("five", None), Raw(b"5"))
        del fake

    async def test_an_error_keeps_its_code(self) -> None:
        error = {"code": "X", "message": "no", "stacktrace": "at"}
        link, _ = await self.connected(answers={"f": {"error": error}})
        failed = await self.ended(link.call("f", None))
        self.assertEqual((failed.code, failed.message, failed.stacktrace), ("X", "no", "at"))
        self.assertEqual(failed.text, "remote error (X): no")

    async def test_a_call_that_waits_too_long(self) -> None:
        link, _ = await self.connected(answers={"f": None})
        for timeout_s in (0.05, *(0.1 + n / 100 for n in range(calls.SHARED_LIMITS + 1))):
            pending = link.call("f", None, timeout_s=timeout_s)
            self.timers.advance(timeout_s)
            failed = await self.ended(pending)
            self.assertEqual(failed.code, "bridge_error")
            self.assertEqual(failed.message, "invocation timed out")
        self.assertEqual(link.under_way, 0)

    async def test_too_many_wait_for_a_connection(self) -> None:
        self.patch(calls, "MAX_WAITING_CALLS", 2)
        link = self.link(f"ws://127.0.0.1:{self.free_port()}")
        first = link.call("f", None, timeout_s=1)
        link.send("g", None)
        failed = await self.ended(link.call("f", None))
        self.assertIn("2 calls wait for a connection", failed.message)
        with self.assertRaises(BridgeError):
            link.send("g", None)
        self.timers.advance(1)
        await self.ended(first)
        link.send("g", None)  # there is room again

    async def test_too_much_waits_for_a_connection(self) -> None:
        self.patch(calls, "MAX_WAITING_BYTES", 1000)
        link = self.link(f"ws://127.0.0.1:{self.free_port()}")
        link.send("f", "x" * 800)
        with self.assertRaises(BridgeError):
            link.send("f", "x" * 800)

    async def test_a_late_answer_is_dropped(self) -> None:
        link, fake = await self.connected(answers={"f": None, "g": {"result": 1}})
        pending = link.call("f", None, timeout_s=1)
        await self.eventually(lambda: fake.got("invokefunction", function_id="f"))
        self.timers.advance(1)
        await self.ended(pending)
        [call] = fake.got("invokefunction", function_id="f")
        fake.links[0].say(
            {"type": "invocationresult", "invocation_id": call["invocation_id"], "result": 1}
        )
        self.assertEqual(await link.call("g", None), Raw(b"1"))

    async def test_an_answer_to_a_call_of_a_lost_connection_goes_nowhere(self) -> None:
        link, fake = await self.connected()
        kept: list[Any] = []
        link.offer("f", kept.append)
        fake.links[0].say({"type": "invokefunction", "invocation_id": "1", "function_id": "f"})
        await self.eventually(lambda: kept)
        fake.links[0].transport.abortConnection()
        await self.eventually(lambda: not link.connected)
        await self.again(fake, 2)
        kept[0].answer(Raw(b"1"))
        await self.pause(0.02)
        self.assertEqual(fake.got("invocationresult"), [])

    async def test_what_is_offered_runs(self) -> None:
        link, fake = await self.connected()
        link.offer("f", lambda incoming: incoming.answer(incoming.data))
        link.offer("bad", lambda incoming: 1 / 0)  # type: ignore[arg-type,return-value]
        for id, function in enumerate(("f", "bad", "unknown")):
            call = {"invocation_id": str(id), "function_id": function, "data": [1]}
            fake.links[0].say({"type": "invokefunction", **call})
        await self.eventually(lambda: len(fake.got("invocationresult")) == 3)
        good, bad, unknown = fake.got("invocationresult")
        self.assertEqual(good["result"], [1])
        self.assertEqual(bad["error"]["code"], "internal_error")
        self.assertEqual(unknown["error"]["code"], "function_not_found")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    async def test_a_refused_trigger(self) -> None:
        link, fake = await self.connected()
        refused: list[Any] = []
        first = link.trigger("cron", "f", {}, refused.append)
        second = link.trigger("cron", "f", {})
        error = {"code": "trigger_type_not_found", "message": "Trigger type not found"}
        for id in (first, second, "unknown"):
            fake.links[0].say({"type": "triggerregistrationresult", "id": id, "error": error})
        await self.eventually(lambda: self.said("refused the trigger cron of f"))
        self.assertEqual([e.code for e in refused], ["trigger_type_not_found"])


class Frames(LinkCase):
    """What a server may send."""

    async def answered(self, frames: bytes, chunk: int | None = None) -> Link:
        """A link that got ``frames`` after its first messages."""
        link, fake = await self.connected(answers={"f": None})
        self.call = link.call("f", None)
        await self.eventually(lambda: fake.got("invokefunction", function_id="f"))
        [call] = fake.got("invokefunction", function_id="f")
        data = frames.replace(b"@" * 36, call["invocation_id"].encode())
        for at in range(0, len(data), chunk or len(data)):
            fake.links[0].transport.write(data[at : at + (chunk or len(data))])
            await self.pause(0)
        return link

    async def test_whole_in_pieces_and_behind_a_ping(self) -> None:
        for chunk in (None, 1, 3, 50):
            for result in ("x", "y" * 300, "ü" * 40_000):
                if chunk in (1, 3) and len(result) > 1000:
                    continue
                answer = _answer(result)
                await self.answered(b"\x89\x01p" + _frame(0x81, answer), chunk)
                self.assertEqual(msgspec.json.decode(await self.call), result)

    async def test_fragments_and_binary(self) -> None:
        answer = _answer("x" * 200)
        await self.answered(_frame(0x01, answer[:90]) + _frame(0x80, answer[90:]))
        self.assertEqual(msgspec.json.decode(await self.call), "x" * 200)
        await self.answered(_frame(0x82, answer))
        self.assertEqual(msgspec.json.decode(await self.call), "x" * 200)

    async def test_what_is_no_message_is_ignored(self) -> None:
        noise = b"".join(_frame(0x81, text) for text in (b"", b"{", b"[]", b'{"type":"new"}'))
        await self.answered(noise + _frame(0x81, _answer("x")))
        self.assertEqual(await self.call, Raw(b'"x"'))

    async def test_what_breaks_the_protocol_ends_the_connection(self) -> None:
        for broken in (
            _frame(0x81, b'{"a":"\xff"}'),
            _frame(0x83, b"x"),
            b"\x81\x81mask" + b"x",
            _frame(0x81, b"x")[:1] + b"\x7e\x00\x01x",
        ):
            self.lines.clear()
            link = await self.answered(broken)
            await self.eventually(lambda: self.said("protocol error"))
            self.assertFalse(link.connected)
            with self.assertRaises(BridgeError):
                await self.call


class Addresses(BridgeCase):
    """What a URL means."""

    def test_urls(self) -> None:
        for url, shown, resource in (
            ("ws://h", "ws://h:80", "/"),
            ("wss://h/x?t=1", "wss://h:443", "/x?t=1"),
            ("ws://[::1]:5", "ws://[::1]:5", "/"),
            ("ws://0.0.0.0:49134", "ws://127.0.0.1:49134", "/"),
        ):
            remote = parse_url(url)
            self.assertEqual((str(remote), remote.resource), (shown, resource))

    def test_wrong_ones_are_not_repeated(self) -> None:
        for url in ("http://u:s3cret@h", "ws://", "s3cret", "ws://s3cret:port", "ws://[s3cret"):
            with self.assertRaises(StartError) as caught:
                parse_url(url)
            self.assertNotIn("s3cret", str(caught.exception))
        with self.assertRaises(StartError):
            parse_url("ws://h", token="a\r\nb")
        with self.assertRaises(StartError):
            parse_url("wss://h", ca="/nowhere").tls()
        with self.assertRaises(StartError):
            parse_url("wss://h", cert="/nowhere", key="/nowhere").tls()

    def test_a_token_in_the_url_is_not_shown(self) -> None:
        remote = parse_url("wss://u:s3cret@h")
        self.assertEqual(remote.headers, {"Authorization": "Bearer s3cret"})
        self.assertNotIn("s3cret", f"{remote} {remote!r}")

    def test_where_the_url_is_from(self) -> None:
        environ = {"III_URL": "", "III_BRIDGE_URL": "ws://b"}
        self.assertEqual(url_of("ws://a", environ), "ws://a")
        self.assertEqual(url_of(None, environ), "ws://b")
        self.assertEqual(url_of(None, {**environ, "III_URL": "ws://c"}), "ws://c")
        self.assertEqual(url_of(None, {}), "ws://localhost:49134")

    def test_the_callers_id_is_taken_off_again(self) -> None:
        for text in (
            b"{}",
            b'{"a":1}',
            b'{"a":{"_caller_worker_id":"x"}}',
            b"[1]",
            b"null",
            b"{ }",
        ):
            added = with_caller(Raw(text), b"w")
            self.assertEqual(
                msgspec.json.decode(without_caller(added, "w")), msgspec.json.decode(text)
            )
            self.assertEqual(without_caller(Raw(text), None), text)
            self.assertEqual(without_caller(added, "other"), bytes(added))


def _answer(result: str) -> bytes:
    """The answer to the call of the test, whose id is put in later."""
    message = {"type": "invocationresult", "invocation_id": "@" * 36, "result": result}
    return msgspec.json.encode(message)


def _frame(first: int, payload: bytes) -> bytes:
    length = len(payload)
    if length < 126:
        return bytes((first, length)) + payload
    if length < 65536:
        return bytes((first, 126)) + length.to_bytes(2, "big") + payload
    return bytes((first, 127)) + length.to_bytes(8, "big") + payload

"""Calls over HTTP, from a worker to a web server and back (02 B2, B4, B5)."""

from __future__ import annotations

import uuid
from typing import Any

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol
from twisted.logger import LogLevel, capturedLogs

from iii.modules.http_functions import connections
from iii.modules.http_functions.auth import sign
from iii.modules.http_functions.config import HttpFunctionsConfig
from tests.http_functions.cases import OPEN, STRICT, HttpFunctionsCase, reactor
from tests.support.probes import probe
from tests.support.recording import Recording, figures

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331-01"


class Requests(HttpFunctionsCase):
    """What the server gets."""

    @probe("02.53")
    async def test_method_headers_and_body(self) -> None:
        await self.register("a::b", method="PUT", headers={"X-A": "1"}, path="/p?q=1")
        self.assertEqual(await self.call({"hello": "w"}, "a::b"), {"ok": True})
        [seen] = self.far.seen
        self.assertEqual((seen.method, seen.uri), ("PUT", "/p?q=1"))
        self.assertEqual(
            msgspec.json.decode(seen.body), {"hello": "w", "_caller_worker_id": self.w.id}
        )
        self.assertEqual(seen.header("x-a"), "1")
        self.assertEqual(seen.header("x-iii-function-path"), "a::b")
        uuid.UUID(seen.header("x-iii-invocation-id"))
        sent = int(seen.header("x-iii-timestamp"))
        self.assertLess(abs(sent - self.engine.clock.wall()), 5)
        self.assertEqual(seen.header("content-type"), "application/json")
        self.assertEqual(seen.header("accept"), "*/*")
        self.assertEqual(seen.header("content-length"), str(len(seen.body)))
        self.assertEqual(seen.header("host"), self.url.removeprefix("http://"))
        for absent in ("user-agent", "accept-encoding", "traceparent", "authorization"):
            self.assertNotIn(absent, seen.headers)

    async def test_every_method_carries_the_payload(self) -> None:
        for method in ("GET", "post", "Put", "PATCH", "delete"):
            await self.register(method=method, headers=None, auth=None, timeout_ms=None)
            await self.call([1, "x"])
            seen = self.far.seen[-1]
            self.assertEqual((seen.method, seen.body), (method.upper(), b'[1,"x"]'))

    async def test_no_payload_is_null(self) -> None:
        await self.register()
        await self.call()
        self.assertEqual(self.far.seen[0].body, b"null")

    async def test_the_body_is_compact_whatever_was_sent(self) -> None:
        await self.register()
        self.w.socket.text(
            b'{"type": "invokefunction", "invocation_id": "x1", "function_id": "far",'
            b' "data": [ 1, 1.50, "a b" ] }'
        )
        await self.w.result_of("x1")
        self.assertEqual(self.far.seen[0].body, b'[1,1.50,"a b"]')

    async def test_a_large_payload_and_a_large_answer(self) -> None:
        text = "x" * 1_000_000
        self.far.answer = (200, msgspec.json.encode(text), {})
        self.environ["S"] = "s"
        await self.register(auth={"type": "hmac", "secret_key": "S"})
        self.assertEqual(await self.call(text), text)
        self.assertEqual(self.far.seen[0].body, msgspec.json.encode(text))

    async def test_registered_headers_replace_ours_but_not_what_we_say_of_the_call(self) -> None:
        headers = {"Content-Type": "text/x", "Authorization": "mine", "X-III-Timestamp": "1"}
        await self.register(headers=headers)
        await self.call()
        seen = self.far.seen[0]
        self.assertEqual(seen.header("content-type"), "text/x")
        self.assertEqual(seen.header("authorization"), "mine")
        self.assertGreater(int(seen.header("x-iii-timestamp")), 1)

    async def test_user_and_password_of_the_url_are_sent_as_header(self) -> None:
        await self.w.register("far", invocation={"url": self.url.replace("//", "//me:pw@")})
        await self.call()
        self.assertEqual(self.far.seen[0].header("authorization"), "Basic bWU6cHc=")

    async def test_a_connection_is_used_again(self) -> None:
        await self.register()
        await self.call()
        await self.call()
        first, second = self.far.seen
        self.assertEqual(first.connection, second.connection)

    async def test_calls_are_counted(self) -> None:
        await self.register()
        await self.call()
        self.far.answer = (500, b"", {})
        await self.error()
        counts = self.engine.invocations.counts.of("far")
        self.assertEqual((counts.started, counts.dispatched, counts.succeeded.count), (2, 0, 1))
        self.assertEqual(counts.errors, {"http_error": 1})

    async def test_an_http_trigger_or_any_module_can_call_it(self) -> None:
        await self.register()
        result = await self.engine.invoke("far", {"a": 1})
        self.assertEqual((bytes(result), self.far.seen[0].body), (b'{"ok":true}', b'{"a":1}'))


class Authentication(HttpFunctionsCase):
    """Secrets come from the engine's environment."""

    @probe("02.54")
    async def test_the_signature_is_over_the_bytes_that_are_sent(self) -> None:
        self.environ["S"] = "top-secret"
        await self.register(auth={"type": "hmac", "secret_key": "S"})
        await self.call({"event": "created"})
        seen = self.far.seen[0]
        timestamp = int(seen.header("x-iii-timestamp"))
        self.assertEqual(seen.header("x-iii-signature"), sign("top-secret", timestamp, seen.body))

    @probe("02.55")
    async def test_bearer_and_api_key(self) -> None:
        self.environ.update(T="token", K="key")
        await self.register(
            auth={"type": "bearer", "token_key": "T"}, headers={"authorization": "other"}
        )
        await self.call()
        self.assertEqual(self.far.seen[-1].header("authorization"), "Bearer token")
        await self.register(auth={"type": "api_key", "header": "X-Key", "value_key": "K"})
        await self.call()
        self.assertEqual(self.far.seen[-1].header("x-key"), "key")

    async def test_basic_and_custom(self) -> None:
        self.environ.update(U="me", P="pw", A="a", B="b")
        await self.register(auth={"type": "basic", "username_key": "U", "password_key": "P"})
        await self.call()
        self.assertEqual(self.far.seen[-1].header("authorization"), "Basic bWU6cHc=")
        await self.register(auth={"type": "custom", "headers": {"X-A": "A", "X-B": "B"}})
        await self.call()
        seen = self.far.seen[-1]
        self.assertEqual((seen.header("x-a"), seen.header("x-b")), ("a", "b"))

    @probe("02.55")
    async def test_without_the_variable_there_is_no_function(self) -> None:
        with capturedLogs() as logged:
            await self.register(auth={"type": "bearer", "token_key": "T"})
        self.assertEqual((await self.error())[0], "function_not_found")
        [event] = [one for one in logged if one["log_level"] is LogLevel.error]
        self.assertEqual((event["id"], event["error"]), ("far", "Token not found: T"))
        self.assertIn(self.w.id[:8], event["worker"])

    async def test_secrets_are_read_at_every_call(self) -> None:
        self.environ["T"] = "old"
        await self.register(auth={"type": "bearer", "token_key": "T"})
        self.environ["T"] = "new"
        await self.call()
        self.assertEqual(self.far.seen[0].header("authorization"), "Bearer new")
        del self.environ["T"]
        self.assertEqual(await self.error(), ("token_not_found", "Token not found: T"))

    async def test_a_secret_that_is_no_header_is_not_sent_and_not_told(self) -> None:
        self.environ["T"] = "sesame\r\nx-evil: 1"
        await self.register(auth={"type": "bearer", "token_key": "T"})
        code, message = await self.error()
        self.assertEqual(code, "http_request_failed")
        self.assertNotIn("sesame", message)
        self.assertEqual(self.far.seen, [])


class Responses(HttpFunctionsCase):
    """What a response means."""

    async def outcome(self, status: int, body: bytes = b"", **headers: str) -> Any:
        """The answer of the engine, as (result,) or (code, message)."""
        self.far.answer = (status, body, headers)
        await self.register()
        answer = await self.w.result_of(self.w.invoke("far"))
        if "error" in answer:
            return answer["error"]["code"], answer["error"]["message"]
        return (answer["result"],) if "result" in answer else ()

    @probe("02.56")
    async def test_each_kind_of_response(self) -> None:
        said = b'{"error":{"code":"upstream_failure","message":"gateway failed"}}'
        for status, body, expected in (
            (200, b' {"a": [1]} ', ({"a": [1]},)),
            (201, b'"text"', ("text",)),
            (204, b"", ()),
            (200, b"", ()),
            (200, b"null", ()),
            (304, b"", ()),
            (502, said, ("upstream_failure", "gateway failed")),
            (400, b"bad request", ("http_error", "HTTP 400 Bad Request")),
            (500, b'{"error":"x"}', ("http_error", "HTTP request failed")),
            (500, b'{"error":{"code":5,"message":"m"}}', ("http_error", "m")),
            (500, b'{"error":null}', ("http_error", "HTTP request failed")),
            (500, b'{"other":1}', ("http_error", "HTTP 500 Internal Server Error")),
            (500, b'["error"]', ("http_error", "HTTP 500 Internal Server Error")),
            (404, b"\xff", ("http_error", "HTTP 404 Not Found")),
            (599, b"", ("http_error", "HTTP 599")),
        ):
            self.assertEqual(await self.outcome(status, body), expected, (status, body))

    @probe("02.56")
    async def test_what_is_not_json(self) -> None:
        for body in (b"not-json", b"{", b'"\xff"', b"NaN", b"1 2"):
            code, message = await self.outcome(200, body)
            self.assertEqual(code, "invalid_response", body)
            self.assertIn("not JSON", message)

    @probe("02.56")
    async def test_a_redirect_is_a_success_and_is_not_followed(self) -> None:
        for status in (301, 302, 307, 308):
            there = f"{self.url}/elsewhere"
            self.assertEqual(await self.outcome(status, b"<html>", location=there), ())
        self.assertEqual({seen.uri for seen in self.far.seen}, {"/hook"})
        self.assertEqual(await self.outcome(302, b"[1]", location="/"), ([1],))

    async def test_texts_of_a_failure_are_cut(self) -> None:
        body = msgspec.json.encode({"error": {"code": "c" * 1_000, "message": "m" * 100_000}})
        code, message = await self.outcome(500, body)
        self.assertEqual((len(code), len(message)), (128, 4_096))


class Failures(HttpFunctionsCase):
    """No response, or not all of it."""

    settings = HttpFunctionsConfig(
        security=OPEN.security, max_request_bytes=1_000, max_response_bytes=2_000
    )

    @probe("02.57")
    async def test_a_port_where_nobody_listens(self) -> None:
        port = reactor.listenTCP(0, Factory(), interface="127.0.0.1")
        number = port.getHost().port
        await port.stopListening()
        await self.w.register("far", invocation={"url": f"http://127.0.0.1:{number}/secret"})
        code, message = await self.error()
        self.assertEqual(code, "http_request_failed")
        self.assertIn("connect", message)
        for told in (str(number), "secret", "127.0.0.1"):
            self.assertNotIn(told, message)

    @probe("02.57")
    async def test_a_server_that_is_slow(self) -> None:
        self.far.answer = None
        await self.register(timeout_ms=100)
        before = self.engine.clock.monotonic()
        code, message = await self.error()
        self.assertEqual(code, "http_request_failed")
        self.assertIn("timed out", message)
        self.assertLess(self.engine.clock.monotonic() - before, 1)
        await self.eventually(lambda: not self.far.open)

    async def test_no_time_at_all(self) -> None:
        await self.register(timeout_ms=0)
        code, message = await self.error()
        self.assertEqual((code, "timed out" in message), ("http_request_failed", True))

    async def test_a_payload_that_is_too_large(self) -> None:
        await self.register()
        self.assertEqual((await self.error("x" * 1_000))[0], "payload_too_large")
        self.assertEqual(self.far.seen, [])

    async def test_an_answer_that_is_too_large(self) -> None:
        self.far.answer = (200, msgspec.json.encode("x" * 2_000), {})
        await self.register()
        code, message = await self.error()
        self.assertEqual(code, "http_response_failed")
        self.assertIn("2000 bytes", message)
        self.assertEqual(self.module._exchanges._room.held, 0)

    async def test_calls_end_when_the_engine_stops(self) -> None:
        self.far.answer = None
        await self.register()
        call = self.w.invoke("far")
        await self.far.request()
        self.assertEqual(self.module.under_way, 1)
        await self.module.stop()
        answer = await self.w.result_of(call)
        self.assertEqual(answer["error"]["code"], "invocation_stopped")
        self.assertEqual(self.module.under_way, 0)


class Saying(Protocol):
    """Sends what it is told as soon as it is asked anything."""

    def dataReceived(self, data: bytes) -> None:
        """Protocol."""
        for part in self.factory.parts:  # type: ignore[attr-defined]
            self.transport.write(part)  # type: ignore[union-attr]
        if self.factory.closes:  # type: ignore[attr-defined]
            self.transport.loseConnection()  # type: ignore[union-attr]

    def connectionLost(self, reason: Any = None) -> None:
        """Protocol."""
        self.factory.lost += 1  # type: ignore[attr-defined]


class BadServers(HttpFunctionsCase):
    """Bytes that no good server sends."""

    async def ask(self, *parts: bytes, closes: bool = True) -> Any:
        """Call a server that answers with these bytes; the engine's answer."""
        factory: Any = Factory.forProtocol(Saying)
        factory.parts, factory.closes, factory.lost = parts, closes, 0
        port = reactor.listenTCP(0, factory, interface="127.0.0.1")
        url = f"http://127.0.0.1:{port.getHost().port}/"
        await self.w.register("bad", invocation={"url": url, "timeout_ms": 1_500})
        answer = await self.w.result_of(self.w.invoke("bad"))
        await self.eventually(lambda: factory.lost == 1)
        await port.stopListening()
        return answer.get("error", answer)

    async def test_a_head_without_end(self) -> None:
        line = b"x-a: " + b"y" * 1_000 + b"\r\n"
        error = await self.ask(b"HTTP/1.1 200 OK\r\n", *[line] * 1_000, closes=False)
        self.assertEqual(error["code"], "http_response_failed")
        self.assertIn("head is longer", error["message"])

    async def test_what_is_not_http(self) -> None:
        error = await self.ask(b"hello\r\n\r\n")
        self.assertEqual(error["code"], "http_request_failed")

    async def test_a_connection_that_is_closed_without_a_word(self) -> None:
        error = await self.ask()
        self.assertEqual(error["code"], "http_request_failed")
        self.assertIn("closed", error["message"])

    async def test_a_body_that_is_broken_off(self) -> None:
        error = await self.ask(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n[1]")
        self.assertEqual(error["code"], "http_response_failed")

    async def test_a_body_that_never_ends(self) -> None:
        error = await self.ask(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n[1]", closes=False)
        self.assertEqual(error["code"], "http_request_failed")
        self.assertIn("timed out", error["message"])

    async def test_a_body_that_ends_with_the_connection(self) -> None:
        answer = await self.ask(b"HTTP/1.0 200 OK\r\n\r\n[1]")
        self.assertEqual(answer["result"], [1])


class Limits(HttpFunctionsCase):
    """How many at once."""

    settings = HttpFunctionsConfig(
        security=OPEN.security, max_connections=8, max_connections_per_host=1
    )

    async def test_calls_wait_for_a_connection_of_their_host(self) -> None:
        self.far.answer = None
        await self.register(timeout_ms=60_000)
        first, second = self.w.invoke("far", 1), self.w.invoke("far", 2)
        await self.far.request()
        await self.w.settled()
        self.assertEqual([seen.body for seen in self.far.seen], [b"1"])
        self.assertEqual(await figures(self.engine, "iii_http_functions_in_flight"), {(): 2.0})
        arrived: Deferred[Any] = Deferred.fromCoroutine(self.far.request())
        self.far.open[0].write(b"1")
        self.far.open[0].finish()
        self.assertEqual((await self.w.result_of(first))["result"], 1)
        await arrived
        self.far.open[0].finish()
        self.assertNotIn("error", await self.w.result_of(second))

    async def test_the_wait_counts_as_time_of_the_call(self) -> None:
        self.far.answer = None
        await self.register()
        await self.register("quick", timeout_ms=50)
        first = self.w.invoke("far")
        await self.far.request()
        self.assertIn("timed out", (await self.error(id="quick"))[1])
        self.assertEqual(len(self.far.seen), 1)
        self.far.open[0].finish()
        await self.w.result_of(first)


class Security(HttpFunctionsCase):
    """02.58: without settings, only public addresses over TLS."""

    settings = STRICT

    async def refusal(self, url: str) -> str:
        """What the log says about a registration with ``url``, which makes no function."""
        with capturedLogs() as logged:
            await self.w.register("far", invocation={"url": url})
        self.assertEqual((await self.error())[0], "function_not_found")
        [event] = [one for one in logged if one["log_level"] is LogLevel.error]
        return str(event["error"])

    async def test_registrations_that_are_refused(self) -> None:
        self.assertEqual(await self.refusal(self.url), "HTTPS is required")
        for host in ("10.0.0.1", "172.16.0.1", "192.168.1.1", "127.0.0.1", "[::1]"):
            self.assertEqual(await self.refusal(f"https://{host}/"), "Private IP blocked")
        self.assertEqual(await self.refusal("https://[::ffff:127.0.0.1]"), "Private IP blocked")
        self.assertEqual(await self.refusal("nonsense"), "Invalid URL")

    @probe("02.58")
    async def test_a_name_that_does_not_exist(self) -> None:
        with capturedLogs() as logged:
            await self.w.register("far", invocation={"url": "https://nonexistent.invalid/"})
            self.assertEqual(await self.error(), ("url_validation_failed", "DNS lookup failed"))
            await self.eventually(lambda: any(one.get("reason") for one in logged))
        [reason] = {one["reason"] for one in logged if "reason" in one}
        self.assertEqual(reason, "DNS lookup failed")

    @probe("02.58")
    async def test_a_name_of_this_machine(self) -> None:
        await self.w.register("far", invocation={"url": "https://localhost:1/"})
        self.assertEqual(await self.error(), ("url_validation_failed", "Private IP blocked"))


class Allowlist(HttpFunctionsCase):
    """02.58: hosts that were not allowed."""

    async def test_a_host_outside(self) -> None:
        with capturedLogs() as logged:
            await self.w.register("far", invocation={"url": "https://example.com/"})
        errors = [one["error"] for one in logged if one["log_level"] is LogLevel.error]
        self.assertEqual(errors, ["URL not in allowlist"])


class Registrations(HttpFunctionsCase):
    """Whose functions they are."""

    async def listed(self) -> list[str]:
        """Ids of the functions of workers."""
        found = await self.w.call("engine::functions::list", {})
        return [row["function_id"] for row in found["functions"]]

    @probe("02.59")
    async def test_gone_when_it_is_unregistered(self) -> None:
        await self.register()
        self.assertEqual(await self.listed(), ["far"])
        self.w.send("unregisterfunction", id="far")
        self.assertEqual((await self.error())[0], "function_not_found")
        self.assertEqual((await self.listed(), self.far.seen), ([], []))

    @probe("02.59")
    async def test_gone_with_its_worker(self) -> None:
        other = await self.worker()
        await other.register("far", invocation={"url": self.url})
        self.assertEqual(await self.listed(), ["far"])
        await self.gone(other)
        self.assertEqual((await self.error())[0], "function_not_found")
        self.assertEqual((await self.listed(), self.far.seen), ([], []))

    async def test_nobody_else_can_unregister_it(self) -> None:
        await self.register()
        other = await self.worker()
        other.send("unregisterfunction", id="far")
        await other.settled()
        self.assertEqual(await self.call(), {"ok": True})

    async def test_a_call_that_runs_goes_on_without_the_worker_that_registered_it(self) -> None:
        self.far.answer = None
        other = await self.worker()
        await other.register("far", invocation={"url": self.url})
        call = self.w.invoke("far")
        await self.far.request()
        await self.gone(other)
        self.far.open[0].write(b"1")
        self.far.open[0].finish()
        self.assertEqual((await self.w.result_of(call))["result"], 1)

    async def test_again_from_one_worker_replaces(self) -> None:
        await self.register(path="/old")
        await self.register(path="/new")
        await self.call()
        await self.call()
        self.assertEqual([seen.uri for seen in self.far.seen], ["/new", "/new"])
        await self.w.register("far")
        call = self.w.invoke("far", 1)
        self.w.reply(await self.w.invoked("far"), result=2)
        self.assertEqual((await self.w.result_of(call))["result"], 2)
        await self.register(path="/again")
        self.assertEqual(await self.call(), {"ok": True})
        self.assertEqual(len(self.engine.functions.get("far").specs), 1)  # type: ignore[union-attr]

    async def test_a_function_of_the_engine_can_not_be_taken(self) -> None:
        await self.register("engine::functions::list")
        self.assertEqual(await self.listed(), [])
        self.assertEqual(self.far.seen, [])

    async def test_two_workers_share_the_calls(self) -> None:
        other = await self.worker()
        await self.register(path="/one")
        await other.register("far", invocation={"url": f"{self.url}/two"})
        for _ in range(4):
            await self.call()
        self.assertEqual(sorted(seen.uri for seen in self.far.seen), ["/one"] * 2 + ["/two"] * 2)

    async def test_it_follows_its_worker_to_another_namespace(self) -> None:
        await self.register()
        await self.w.describe(name="n", namespace="ns")
        self.assertEqual(await self.call(namespace="ns"), {"ok": True})
        self.w.send("unregisterfunction", id="far")
        error = await self.error(namespace="ns")
        self.assertEqual(error[0], "function_not_found")

    async def test_what_is_wrong_with_a_registration(self) -> None:
        for wrong, text in (
            ({}, "missing field `url`"),
            ({"url": 5}, "expected str"),
            ({"url": self.url, "method": "HEAD"}, "method is one of"),
            ({"url": self.url, "timeout_ms": -1}, ">= 0"),
            ({"url": self.url, "auth": {"type": "none"}}, "none"),
            ({"url": self.url, "headers": {"a b": "c"}}, "characters"),
            ({"url": self.url, "headers": {"a": "b\nc"}}, "characters"),
            ({"url": self.url, "headers": {"Host": "b"}}, "engine's own"),
            ({"url": self.url, "headers": {"Content-Length": "1"}}, "engine's own"),
            ({"url": self.url, "headers": {str(n): "" for n in range(65)}}, "at most"),
            (
                {"url": self.url, "auth": {"type": "custom", "headers": {"Host": "X"}}},
                "engine's own",
            ),
        ):
            with capturedLogs() as logged:
                await self.w.register("far", invocation=wrong)
            [error] = [one["error"] for one in logged if one["log_level"] is LogLevel.error]
            self.assertIn(text, error)
        self.assertEqual(await self.listed(), [])


class Tracing(HttpFunctionsCase):
    """The far side can go on with the trace."""

    async def test_context_passes_through_when_nothing_is_recorded(self) -> None:
        await self.register()
        await self.call(traceparent=PARENT, baggage="a=b")
        seen = self.far.seen[0]
        self.assertEqual((seen.header("traceparent"), seen.header("baggage")), (PARENT, "a=b"))

    async def test_what_is_no_context_does_not(self) -> None:
        await self.register()
        await self.call(traceparent="x\r\ny: z", baggage="a\r\nb: c")
        self.assertNotIn("traceparent", self.far.seen[0].headers)
        self.assertNotIn("baggage", self.far.seen[0].headers)

    async def test_a_request_is_a_span_below_its_call(self) -> None:
        recording = Recording(self.engine)
        await self.register()
        await self.call(traceparent=PARENT)
        self.assertEqual(recording.tree(TRACE), ["handle_invocation far", "  call far", "    POST"])
        span = recording.one("POST")
        self.assertEqual((span.kind, span.ok), ("client", True))
        self.assertEqual(self.far.seen[0].header("traceparent"), span.context)
        assert span.attributes is not None
        self.assertEqual(span.attributes["http.response.status_code"], 200)
        self.assertEqual(span.attributes["server.address"], "127.0.0.1")

    async def test_a_failure_is_told(self) -> None:
        recording = Recording(self.engine)
        self.far.answer = (503, b"", {})
        await self.register()
        await self.error(traceparent=PARENT)
        span = recording.one("POST")
        self.assertEqual(
            (span.ok, span.error),
            (False, ("http_error", "HTTP 503 Service Unavailable", None)),
        )

    async def test_a_time_out_is_told(self) -> None:
        recording = Recording(self.engine)
        self.far.answer = None
        await self.register(timeout_ms=50)
        await self.error(traceparent=PARENT)
        _, message, _ = recording.one("POST").error or ("", "", None)
        self.assertIn("timed out after 50 ms", message)


class Idle(HttpFunctionsCase):
    """Connections that wait for the next request."""

    async def test_there_is_a_bound_over_all_hosts(self) -> None:
        self.patch(connections, "MAX_IDLE", 0)
        await self.register()
        await self.call()
        await self.call()
        self.assertNotEqual(self.far.seen[0].connection, self.far.seen[1].connection)
        self.assertEqual(self.module._pool.idle, 0)

    async def test_a_host_without_any_leaves_nothing_behind(self) -> None:
        await self.register()
        await self.call()
        pool: Any = self.module._pool
        self.assertEqual(pool.idle, 1)
        self.far.answer = None
        call = self.w.invoke("far")
        await self.far.request()
        self.assertEqual(pool._connections, {})
        self.far.open[0].finish()
        await self.w.result_of(call)
        [(key, [connection])] = pool._connections.items()
        pool._timeouts[connection].cancel()
        pool._removeConnection(key, connection)
        self.assertEqual((pool._connections, pool.idle), ({}, 0))

"""From results to answers, and errors (02 A6.2, A7; decisions 3–5; probes 25–38)."""

from __future__ import annotations

from msgspec import Raw

from tests.http.support import Fast, HttpCase, Stock, fails, later, nothing


class Answers:
    """02 A6."""

    async def test_an_envelope_sets_status_and_body(self) -> None:
        """02.25: status 404 with a JSON body."""
        self.worker().route("x", {"status_code": 404, "body": {"error": "Not found"}})
        response = await self.get("/x")
        self.assertEqual((response.status, response.json), (404, {"error": "Not found"}))
        self.assertEqual(response.headers["content-length"], str(len(response.body)))

    async def test_an_envelope_without_body(self) -> None:
        """02.26: ``{"status_code": 201}`` is 201 with ``{}``."""
        self.worker().route("x", {"status_code": 201})
        response = await self.get("/x")
        self.assertEqual((response.status, response.body), (201, b"{}"))

    async def test_any_other_value_is_the_body(self) -> None:
        """02.26 as decision 3 rules: the value itself, status 200."""
        for at, value in enumerate(({"sum": 3}, [1], "x", 5, True, False, {}, 1.5, "")):
            self.worker().route(f"v{at}", value)
            response = await self.get(f"/v{at}")
            self.assertEqual((response.status, response.json), (200, value))
            self.assertEqual(response.headers["content-type"], "application/json")

    async def test_a_status_that_is_no_number_is_200(self) -> None:
        """02.27: text, floats, negatives, out of range; null bodies stay null."""
        statuses = ("404", 404.5, -1, True, 99, 600, 100, 101, None, [404], 10**30)
        for at, status in enumerate(statuses):
            self.worker().route(f"s{at}", {"status_code": status, "body": 1})
            response = await self.get(f"/s{at}")
            self.assertEqual((response.status, response.body), (200, b"1"), status)
        self.worker().route("null", {"body": None})
        self.assertEqual((await self.get("/null")).body, b"null")

    async def test_pythons_status_alias(self) -> None:
        """02.28: ``statusCode`` counts when ``status_code`` is absent."""
        self.worker().route("x", {"statusCode": 201, "body": {}})
        self.worker().route("y", {"statusCode": 201, "status_code": 202})
        self.assertEqual((await self.get("/x")).status, 201)
        self.assertEqual((await self.get("/y")).status, 202)

    async def test_a_text_type_is_sent_raw(self) -> None:
        """02.29: ``<a/>`` without quotes."""
        self.worker().route("x", {"headers": {"Content-Type": "text/xml"}, "body": "<a>é</a>"})
        response = await self.get("/x")
        self.assertEqual(response.body, "<a>é</a>".encode())
        self.assertEqual(response.all("content-type"), ["text/xml"])

    async def test_header_lines_may_repeat(self) -> None:
        """02.30: a list of lines, two cookies, junk skipped."""
        self.worker().route(
            "x", {"headers": ["Set-Cookie: a=1", "Set-Cookie: b=2", "broken", ": x", 5], "body": {}}
        )
        response = await self.get("/x")
        self.assertEqual(response.all("set-cookie"), ["a=1", "b=2"])
        self.assertEqual(response.all("content-type"), ["application/json"])

    async def test_header_values_of_other_kinds(self) -> None:
        """02 A6.2: lists repeat, numbers and booleans become text, the rest is skipped."""
        self.worker().route(
            "x",
            {
                "headers": {
                    "Set-Cookie": ["a=1", "b=2"],
                    "X-Number": 5,
                    "X-Yes": True,
                    "X-Null": None,
                    "X-Object": {},
                    "bad name": "x",
                    "X-Bad": "a\r\nInjected: yes",
                },
                "body": {},
            },
        )
        response = await self.get("/x")
        self.assertEqual(response.all("set-cookie"), ["a=1", "b=2"])
        self.assertEqual((response.headers["x-number"], response.headers["x-yes"]), ("5", "true"))
        for name in ("x-null", "x-object", "bad name", "x-bad", "injected"):
            self.assertNotIn(name, response.headers)

    async def test_framing_headers_are_the_servers(self) -> None:
        """RFC 9112: a function can't break the message's frame."""
        self.worker().route(
            "x",
            {
                "headers": {
                    "Content-Length": "1",
                    "Transfer-Encoding": "chunked",
                    "Connection": "upgrade",
                },
                "body": "long",
            },
        )
        response = await self.get("/x")
        self.assertEqual(response.body, b'"long"')
        self.assertEqual(response.all("content-length"), ["6"])
        self.assertNotIn("transfer-encoding", response.headers)

    async def test_texts_are_json_without_a_type(self) -> None:
        """02.31: ``"text"`` with quotes."""
        self.worker().route("x", {"body": "text"})
        response = await self.get("/x")
        self.assertEqual(response.body, b'"text"')
        self.assertEqual(response.headers["content-type"], "application/json")

    async def test_null_with_a_type_is_empty(self) -> None:
        """02.32: an empty body."""
        self.worker().route("x", {"headers": {"content-type": "text/plain"}, "body": None})
        response = await self.get("/x")
        self.assertEqual((response.status, response.body), (200, b""))
        self.assertEqual(response.headers["content-length"], "0")

    async def test_the_type_decides_the_encoding(self) -> None:
        """02 A6.2: the table of bodies and types."""
        for at, (content_type, value, sent) in enumerate(
            (
                ("application/json", '{"pre":"serialised"}', b'{"pre":"serialised"}'),
                ("application/JSON; x=y", [1], b"[1]"),
                ("text/plain", 5, b"5"),
                ("text/plain", True, b"true"),
                ("text/csv", ["a"], b'["a"]'),
                ("image/png", {"type": "Buffer", "data": [0, 255, 10]}, b"\x00\xff\n"),
                ("image/png", {"type": "Buffer", "data": [256]}, b'{"type":"Buffer","data":[256]}'),
                ("application/json", {"type": "Buffer", "data": [1]}, None),
            )
        ):
            self.worker().route(
                f"e{at}", {"headers": {"content-type": content_type}, "body": value}
            )
            response = await self.get(f"/e{at}")
            if sent is None:
                self.assertEqual(response.json, value)
            else:
                self.assertEqual(response.body.replace(b", ", b",").replace(b": ", b":"), sent)
            self.assertEqual(response.headers["content-type"], content_type)

    async def test_statuses_without_a_body(self) -> None:
        """02 A6.2: 204 and 304 carry none, and the connection stays in step."""
        worker = self.worker()
        worker.route("n", {"status_code": 204, "body": {"a": 1}})
        worker.route("m", {"status_code": 304, "body": {"a": 1}})
        client = await self.connect()
        for path, status in (("n", 204), ("m", 304), ("n", 204)):
            client.send(b"GET /%b HTTP/1.1\r\nHost: a\r\n\r\n" % path.encode())
            self.assertEqual((await client.response()).status, status)
        self.assertEqual(client.received, b"")

    async def test_no_server_header(self) -> None:
        """02 A1: a date, but no ``server``."""
        self.worker().route("x", {"body": 1})
        response = await self.get("/x")
        self.assertNotIn("server", response.headers)
        self.assertEqual(len(response.all("date")), 1)


class AnswersFast(Fast, Answers, HttpCase):
    """On the module's own server."""

    async def test_the_date_is_that_of_the_clock(self) -> None:
        """02 A1: an HTTP date, new every second."""
        self.worker().route("x", {"body": 1})
        self.assertEqual((await self.get("/x")).headers["date"], "Thu, 09 Oct 2025 08:53:20 GMT")
        self.time.advance(1)
        self.assertEqual((await self.get("/x")).headers["date"], "Thu, 09 Oct 2025 08:53:21 GMT")


class AnswersStock(Stock, Answers, HttpCase):
    """Under a stock twisted.web Site."""


class Errors:
    """02 A7 as decision 4 rules."""

    async def test_a_functions_error_is_500(self) -> None:
        """02.33: code and message in the one error form."""
        self.worker().route("x", fails("E", 'boom "quoted"'))
        self.assertError(await self.get("/x"), 500, "E", 'boom "quoted"')

    async def test_codes_with_a_status_of_their_own(self) -> None:
        """02 A7: too large, overloaded, timed out."""
        for code, status in (
            ("payload_too_large", 413),
            ("overloaded", 503),
            ("invocation_timeout", 504),
            ("invocation_failed", 500),
        ):
            self.worker().route(code, fails(code, "m"))
            self.assertError(await self.get(f"/{code}"), status, code)

    async def test_a_missing_function_is_500(self) -> None:
        """02.34: ``Function <id> not found``."""
        self.worker().trigger("nobody::home", "x")
        self.assertError(
            await self.get("/x"), 500, "function_not_found", "Function nobody::home not found"
        )

    async def test_a_worker_that_goes_ends_the_request(self) -> None:
        """02.35: 500 ``Invocation stopped`` at once."""
        worker = self.worker()
        worker.route("x", later)
        client = await self.send("GET", "/x")
        await self.until(lambda: worker.calls)
        worker.disconnect()
        self.assertError(await client.response(), 500, "invocation_stopped", "Invocation stopped")

    async def test_a_slow_function_is_504(self) -> None:
        """02.36: after ``default_timeout``; the late result is dropped."""
        worker = self.worker()
        worker.route("x", later)
        client = await self.send("GET", "/x")
        await self.until(lambda: worker.calls)
        self.time.advance(0.9)
        await self.pause()
        self.assertEqual(client.received, b"")
        self.time.advance(0.2)
        response = await client.response()
        self.assertError(response, 504, "invocation_timeout", "1000 ms")
        self.assertEqual(response.headers["access-control-allow-origin"], "*")
        worker.answer(worker.last, {"body": "late"})
        client.send(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n")
        await self.until(lambda: len(worker.calls) == 2)
        worker.answer(worker.last, {"body": "in time"})
        self.assertEqual((await client.response()).json, "in time")

    async def test_a_resultless_function_is_204(self) -> None:
        """02.37 as decision 5 rules: after one second without a writer."""
        worker = self.worker()
        worker.route("x", nothing)
        client = await self.send("GET", "/x")
        await self.until(lambda: worker.calls)
        self.time.advance(0.9)
        await self.pause()
        self.assertEqual(client.received, b"")
        self.time.advance(0.2)
        self.assertEqual((await client.response()).status, 204)

    async def test_null_is_no_result(self) -> None:
        """Decision 5: ``null`` is the same as nothing."""
        worker = self.worker()
        worker.route("x", Raw(b"null"))
        client = await self.send("GET", "/x")
        await self.until(lambda: worker.calls)
        self.time.advance(1.1)
        self.assertEqual((await client.response()).status, 204)

    async def test_a_late_writer_still_answers(self) -> None:
        """02.38: null first, 80 ms later status and two pieces."""
        worker = self.worker()
        worker.route("x", nothing)
        client = await self.send("GET", "/x")
        await self.until(lambda: worker.calls)
        self.time.advance(0.08)
        writer = worker.writer(worker.last)
        self.time.advance(0.5)
        writer.control(type="set_status", status_code=201)
        writer.write(b"late-1")
        writer.write(b"late-2")
        writer.close()
        response = await client.response()
        self.assertEqual((response.status, response.body), (201, b"late-1late-2"))

    async def test_an_attached_writer_is_waited_for(self) -> None:
        """Decision 5: with a writer the one-second limit is off, ``default_timeout`` is not."""
        worker = self.worker()
        worker.route("x", later)
        client = await self.send("GET", "/x")
        await self.until(lambda: worker.calls)
        worker.writer(worker.last)
        worker.nothing(worker.last)
        self.time.advance(1.01)
        self.assertEqual((await client.response()).status, 504)


class ErrorsFast(Fast, Errors, HttpCase):
    """On the module's own server."""


class ErrorsStock(Stock, Errors, HttpCase):
    """Under a stock twisted.web Site."""


class PatientErrors:
    """Decision 5 with a long time limit."""

    config = {"default_timeout": 20_000}

    async def test_a_resultless_function_waits_one_second_only(self) -> None:
        """02.37: not until the 504."""
        worker = self.worker()
        worker.route("x", nothing)
        client = await self.send("GET", "/x")
        await self.until(lambda: worker.calls)
        self.time.advance(1.01)
        self.assertEqual((await client.response()).status, 204)

    async def test_an_attached_writer_may_take_longer(self) -> None:
        """Decision 5: it is attached when the result arrives, so it is streamed."""
        worker = self.worker()
        worker.route("x", later)
        client = await self.send("GET", "/x")
        await self.until(lambda: worker.calls)
        writer = worker.writer(worker.last)
        worker.nothing(worker.last)
        self.time.advance(10)
        writer.write(b"at last")
        writer.close()
        self.assertEqual((await client.response()).body, b"at last")


class PatientErrorsFast(Fast, PatientErrors, HttpCase):
    """On the module's own server."""


class NotFoundFunction:
    """02 A1: ``not_found_function``."""

    config = {"not_found_function": "lost", "middleware": [{"function_id": "never"}]}

    def setUp(self) -> None:
        from iii.modules.http.config import MiddlewareConfig

        self.config = {**self.config, "middleware": [MiddlewareConfig("never")]}
        super().setUp()

    async def test_it_answers_what_nothing_matches(self) -> None:
        """With the actual path; 404 unless it says otherwise; without middleware."""
        worker = self.worker()
        worker.function("lost", lambda w, call: w.answer(call, {"body": {"lost": True}}))
        response = await self.get("/some/where?a=1")
        self.assertEqual((response.status, response.json), (404, {"lost": True}))
        self.assertEqual(worker.data["path"], "/some/where")
        self.assertEqual(worker.data["path_params"], {})
        self.assertEqual(worker.data["trigger"], {"type": "http"})
        self.assertEqual(worker.data["query_params"], {"a": "1"})
        worker.function("lost", lambda w, call: w.answer(call, {"status_code": 200}))
        self.assertEqual((await self.get("/x")).status, 200)

    async def test_without_an_answer_it_is_the_usual_404(self) -> None:
        """No value at all."""
        worker = self.worker()
        worker.function("lost", nothing)
        client = await self.send("GET", "/x")
        await self.until(lambda: worker.calls)
        self.time.advance(1.01)
        self.assertError(await client.response(), 404, "route_not_found")


class NotFoundFunctionFast(Fast, NotFoundFunction, HttpCase):
    """On the module's own server."""


class NotFoundFunctionStock(Stock, NotFoundFunction, HttpCase):
    """Under a stock twisted.web Site."""

"""What a function receives (02 A5, decision 30, probes 18–24)."""

from __future__ import annotations

import json
import re

from iii.engine.ids import is_uuid
from tests.http.support import Fast, HttpCase, Stock, data_of, later

JSON = ("Content-Type", "application/json")


class RequestObject:
    """02 A5."""

    async def test_the_query_is_form_decoded_and_the_last_value_wins(self) -> None:
        """02.18: ``+`` and percent codes are read, ``b`` alone is empty."""
        worker = self.worker()
        worker.route("q", {"body": 1})
        await self.get("/q?a=1&a=2&b&c=x+y%20z&&d=%ff")
        self.assertEqual(
            worker.data["query_params"], {"a": "2", "b": "", "c": "x y z", "d": "\ufffd"}
        )

    async def test_headers_are_lower_case_and_the_last_wins(self) -> None:
        """02.19: sent twice with 1 and 2 arrives as 2; odd bytes arrive as nothing."""
        worker = self.worker()
        worker.route("h", {"body": 1})
        await self.get("/h", ("X-Foo", "Bar"), ("X-Odd", "caf\xe9"), ("X-Quote", '"a\\b"\t.'))
        headers = worker.data["headers"]
        self.assertEqual(headers["x-foo"], "Bar")
        self.assertEqual(headers["x-odd"], "")
        self.assertEqual(headers["x-quote"], '"a\\b"\t.')
        self.assertEqual(headers["host"], "localhost:3111")
        await self.get("/h", ("X-Foo", "1"), ("X-Foo", "2"))
        self.assertEqual(worker.data["headers"]["x-foo"], "2")

    async def test_a_json_body_is_delivered_parsed(self) -> None:
        """02.20: any JSON value is the ``body``."""
        worker = self.worker()
        worker.route("b", {"body": 1}, "POST")
        for value in ({"k": [1, 2]}, [1, {"a": None}], "text", 5, True, None, {"é": "😀"}):
            await self.post_json("/b", value)
            self.assertEqual(worker.data["body"], value)

    async def test_what_is_not_strict_json_is_null(self) -> None:
        """02.20: malformed, empty, NaN, lone surrogates, BOM, overflow, depth 129."""
        worker = self.worker()
        worker.route("b", {"body": 1}, "POST")
        for body in (
            b"{",
            b"",
            b'{"a":NaN}',
            b'{"a":Infinity}',
            b'"\\ud800 alone"',
            b'{"\\udc00":1}',
            b"\xef\xbb\xbf{}",
            b'"\xff"',
            b"1e999",
            b"-1E+400",
            b"9" * 400,
            b"[" * 129 + b"]" * 129,
            b"[1,]",
            b"{'a':1}",
            b"01",
            b"1 2",
        ):
            response = await self.post_json("/b", body)
            self.assertEqual(response.status, 200, body[:20])
            self.assertIsNone(worker.data["body"], body[:20])

    async def test_what_only_looks_dangerous_is_delivered(self) -> None:
        """02 A5.1: the strict checks don't refuse good JSON."""
        worker = self.worker()
        worker.route("b", {"body": 1}, "POST")
        for body in (
            b"[" * 128 + b"]" * 128,
            b"[" + b",".join([b"[[]]"] * 500) + b"]",
            b'"' + b"[" * 400 + b'"',
            b'{"a\\"[":"\\\\","b":"' + b"{" * 300 + b'"}',
            b'"1e999 and 9e+400"',
            b'{"hash":"00e0001"}',
            b"1e308",
            b"1E-999",
            b'"' + b"9" * 400 + b'"',
            b'"\\ud83d\\ude00"',
        ):
            await self.post_json("/b", body)
            self.assertEqual(worker.data["body"], json.loads(body), body[:20])

    async def test_the_content_type_decides(self) -> None:
        """02.21: a charset is fine, text is streamed, other JSON types are not JSON."""
        worker = self.worker()
        worker.route("b", later, "POST")
        for content_type, body in (
            ("application/json; charset=utf-8", {"a": 1}),
            ("Application/JSON", {"a": 1}),
            ("text/plain", None),
            ("application/vnd.api+json", None),
        ):
            client = await self.send("POST", "/b", b'{"a":1}', [("Content-Type", content_type)])
            await self.until(lambda: worker.calls)
            call = worker.calls.pop()
            self.assertEqual(data_of(call)["body"], body, content_type)
            self.assertEqual(await worker.reader(call).all(), b'{"a":1}')
            worker.answer(call, {"body": 1})
            await client.response()

    async def test_json_bytes_can_be_read_raw(self) -> None:
        """02.22: exactly the sent bytes, then the end; malformed ones, too."""
        worker = self.worker()
        worker.route("b", later, "POST")
        for body in (b' { "k" :\t[1 ,2] }\r\n', b"{ not json"):
            client = await self.send("POST", "/b", body, [JSON])
            await self.until(lambda: worker.calls)
            call = worker.calls.pop()
            reader = worker.reader(call)
            self.assertEqual(await reader.all(), body)
            self.assertTrue(reader.ended)
            worker.answer(call, {"body": "read"})
            self.assertEqual((await client.response()).json, "read")

    async def test_a_large_json_body_comes_in_frames(self) -> None:
        """02 A5.1: frames of at most 64 KiB, fed as the reader takes them."""
        worker = self.worker()
        worker.route("b", later, "POST")
        body = b'"' + b"x" * (6 * 1024 * 1024) + b'"'
        await self.send("POST", "/b", body, [JSON])
        await self.until(lambda: worker.calls)
        reader = worker.reader(worker.last)
        self.assertEqual(await reader.all(), body)
        self.assertLessEqual(max(map(len, reader.frames)), 64 * 1024)

    async def test_a_binary_upload_is_identical(self) -> None:
        """02.23: 5 MiB, no frame larger than 64 KiB."""
        worker = self.worker()
        worker.route("up", later, "POST")
        body = bytes(range(256)) * (4 * 1024 * 5)
        client = await self.send("POST", "/up", body)
        await self.until(lambda: worker.calls)
        reader = worker.reader(worker.last)
        self.assertEqual(await reader.all(), body)
        self.assertLessEqual(max(map(len, reader.frames)), 64 * 1024)
        self.assertTrue(reader.ended)
        worker.answer(worker.last, {"body": len(body)})
        self.assertEqual((await client.response()).json, len(body))

    async def test_forms_arrive_unmodified(self) -> None:
        """02.23: urlencoded and multipart bodies are nobody's business but the function's."""
        worker = self.worker()
        worker.route("form", later, "POST")
        multipart = b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n--b--\r\n'
        for content_type, body in (
            ("application/x-www-form-urlencoded", b"a=1&b=%20&a=2"),
            ("multipart/form-data; boundary=b", multipart),
        ):
            client = await self.send("POST", "/form", body, [("Content-Type", content_type)])
            await self.until(lambda: worker.calls)
            call = worker.calls.pop()
            self.assertIsNone(data_of(call)["body"])
            self.assertEqual(await worker.reader(call).all(), body)
            worker.answer(call, {"body": 1})
            await client.response()

    async def test_channel_references(self) -> None:
        """02.24: directions, UUIDs, fresh ones per request, and no caller id."""
        worker = self.worker()
        worker.route("c", {"body": 1})
        await self.get("/c")
        await self.get("/c")
        seen = set()
        for call in worker.calls:
            data = data_of(call)
            self.assertNotIn("_caller_worker_id", data)
            for field, direction in (("request_body", "read"), ("response", "write")):
                ref = data[field]
                self.assertEqual(set(ref), {"channel_id", "access_key", "direction"})
                self.assertEqual(ref["direction"], direction)
                self.assertTrue(is_uuid(ref["channel_id"]) and is_uuid(ref["access_key"]))
                seen.update((ref["channel_id"], ref["access_key"]))
        self.assertEqual(len(seen), 8)

    async def test_channels_go_with_the_request(self) -> None:
        """02 A5.2: deregistered when the head is decided; nothing leaks."""
        worker = self.worker()
        worker.route("c", {"body": 1}, "POST")
        worker.route("late", later)
        await self.post_json("/c", {"a": 1})
        self.assertEqual(len(self.engine.channels), 0)
        client = await self.send("GET", "/late")
        await self.until(lambda: len(worker.calls) == 2)
        self.assertEqual(len(self.engine.channels), 2)
        self.time.advance(1.1)
        self.assertEqual((await client.response()).status, 504)
        self.assertEqual(len(self.engine.channels), 0)

    async def test_a_bodyless_request_has_an_empty_body(self) -> None:
        """02 A5.1: ``body`` null, ``request_body`` ends at once."""
        worker = self.worker()
        worker.route("g", later)
        await self.send("GET", "/g")
        await self.until(lambda: worker.calls)
        self.assertIsNone(worker.data["body"])
        self.assertEqual(await worker.reader(worker.last).all(), b"")

    async def test_trace_context_is_passed_on(self) -> None:
        """02.62: ``traceparent`` and ``baggage`` headers go with the call."""
        worker = self.worker()
        worker.route("t", {"body": 1})
        parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        await self.get("/t", ("traceparent", parent), ("baggage", "k=v"))
        self.assertEqual(worker.last.traceparent, parent)
        self.assertEqual(worker.last.baggage, "k=v")

    async def test_trigger_metadata_is_beside_the_data(self) -> None:
        """02.63: ``metadata`` of the trigger, not in ``data``."""
        from msgspec import Raw

        worker = self.worker()
        worker.route("m", {"body": 1}, metadata=Raw(b'{"k":1}'))
        worker.route("n", {"body": 1})
        await self.get("/m")
        self.assertEqual(bytes(worker.last.metadata), b'{"k":1}')
        self.assertNotIn("metadata", worker.data)
        await self.get("/n")
        self.assertIsNone(worker.last.metadata)


class RequestObjectFast(Fast, RequestObject, HttpCase):
    """On the module's own server."""

    async def test_an_unread_upload_is_held_back(self) -> None:
        """02 A5.2: 64 frames are kept, then the client waits until the answer."""
        worker = self.worker()
        worker.route("up", later, "POST")
        body = b"x" * (40 * 1024 * 1024)
        client = await self.send("POST", "/up", body)
        await self.until(lambda: worker.calls)
        connection = next(iter(self.server.connections))
        await self.until(lambda: connection._held_reads, "the connection to be held")
        received = connection.body_bytes
        self.assertLess(received, 8 * 1024 * 1024)
        await self.pause(0.05)
        self.assertEqual(connection.body_bytes, received)
        worker.answer(worker.last, {"body": "thanks"})
        self.assertEqual((await client.response()).json, "thanks")

    async def test_a_connected_reader_gets_the_rest_after_the_answer(self) -> None:
        """02 A5.2: one that is connected keeps working."""
        worker = self.worker()
        worker.route("up", later, "POST")
        client = await self.connect()
        client.send(b"POST /up HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n01234")
        await self.until(lambda: worker.calls)
        reader = worker.reader(worker.last)
        worker.answer(worker.last, {"body": 1})
        self.assertEqual((await client.response()).status, 200)
        client.send(b"56789GET /none HTTP/1.1\r\nHost: a\r\n\r\n")
        self.assertEqual(await reader.all(), b"0123456789")
        self.assertEqual((await client.response()).status, 404)

    async def test_a_slow_reader_holds_the_client_back_after_the_answer(self) -> None:
        """02 A5.2: back-pressure doesn't end with the answer."""
        worker = self.worker()
        worker.route("up", later, "POST")
        body = bytes(range(256)) * (4 * 1024 * 40)
        client = await self.send("POST", "/up", body)
        await self.until(lambda: worker.calls)
        reader = worker.reader(worker.last, hungry=False)
        worker.answer(worker.last, {"body": 1})
        self.assertEqual((await client.response()).status, 200)
        connection = next(iter(self.server.connections))
        await self.until(lambda: connection._held_reads, "the connection to be held")
        self.assertLess(connection.body_bytes, 8 * 1024 * 1024)
        reader.feed_me()
        self.assertEqual(await reader.all(), body)
        client.send(b"GET /none HTTP/1.1\r\nHost: a\r\n\r\n")
        self.assertEqual((await client.response()).status, 404)

    async def test_a_broken_upload_ends_uncleanly(self) -> None:
        """02 A5.1: the handler sees a short body when the client goes."""
        worker = self.worker()
        worker.route("up", later, "POST")
        client = await self.connect()
        client.send(b"POST /up HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n01234")
        await self.until(lambda: worker.calls)
        reader = worker.reader(worker.last)
        client.close()
        self.assertEqual(await reader.all(), b"01234")
        self.assertFalse(reader.ended)

    async def test_a_slow_reader_gets_everything(self) -> None:
        """02 A5.2: back-pressure ends when the reader takes more."""
        worker = self.worker()
        worker.route("up", later, "POST")
        body = bytes(range(256)) * (4 * 1024 * 12)
        await self.send("POST", "/up", body)
        await self.until(lambda: worker.calls)
        reader = worker.reader(worker.last, hungry=False)
        connection = next(iter(self.server.connections))
        await self.until(lambda: connection._held_reads, "the connection to be held")
        reader.feed_me()
        self.assertEqual(await reader.all(), body)


class RequestObjectStock(Stock, RequestObject, HttpCase):
    """Under a stock twisted.web Site."""


class Flattening:
    """Decision 30: the caller's own fields at the top level."""

    async def test_query_and_parameters_are_lifted(self) -> None:
        """One handler for direct calls and HTTP: ``data["name"]``."""
        worker = self.worker()
        worker.route("greet/:who", {"body": 1})
        await self.get("/greet/ada?name=Ada&x=1")
        self.assertEqual(worker.data["name"], "Ada")
        self.assertEqual(worker.data["who"], "ada")

    async def test_members_of_a_json_body_are_lifted(self) -> None:
        """With any JSON value, unparsed."""
        worker = self.worker()
        worker.route("sum", {"body": 1}, "POST")
        await self.post_json("/sum", b'{"a": 1, "b": [2 ], "c": {"d": null}}')
        self.assertEqual(worker.data["a"], 1)
        self.assertEqual(worker.data["b"], [2])
        self.assertEqual(worker.data["c"], {"d": None})

    async def test_precedence(self) -> None:
        """Request-object keys, path parameters, body, query."""
        worker = self.worker()
        worker.route("p/:x", {"body": 1}, "POST")
        await self.post_json(
            "/p/param?x=query&y=query&z=query&method=query",
            {"x": "body", "y": "body", "path": "body", "request_body": {"channel_id": "evil"}},
        )
        data = worker.data
        self.assertEqual((data["x"], data["y"], data["z"]), ("param", "body", "query"))
        self.assertEqual((data["path"], data["method"]), ("p/:x", "POST"))
        self.assertRegex(data["request_body"]["channel_id"], "^[0-9a-f-]{36}$")

    async def test_some_names_are_never_injected(self) -> None:
        """Keys that start with ``_`` and the optional request-object keys."""
        worker = self.worker()
        worker.route("p", {"body": 1}, "POST")
        await self.post_json(
            "/p?_q=1&headers_all=1", {"_caller_worker_id": "me", "query_params_all": 1}
        )
        for name in ("_q", "_caller_worker_id", "headers_all", "query_params_all"):
            self.assertNotIn(name, worker.data)
        self.assertEqual(worker.data["body"]["_caller_worker_id"], "me")

    async def test_no_key_comes_twice(self) -> None:
        """The object is valid for readers that refuse duplicate keys."""
        worker = self.worker()
        worker.route("p/:a", {"body": 1}, "POST")
        await self.post_json("/p/1?a=2&a=3&body=x", b'{"a":1,"a":2,"\\u0061":3,"body":4}')
        text = bytes(worker.last.data)
        names = []
        json.loads(text, object_pairs_hook=lambda pairs: names.append([k for k, _ in pairs]))
        self.assertEqual(len(names[-1]), len(set(names[-1])), names[-1])

    async def test_large_bodies_are_not_lifted(self) -> None:
        """Over 256 KiB only ``body`` has them."""
        worker = self.worker()
        worker.route("p", {"body": 1}, "POST")
        await self.post_json("/p", {"a": "x" * (256 * 1024)})
        self.assertNotIn("a", worker.data)
        self.assertIn("a", worker.data["body"])

    async def test_lists_and_texts_are_not_lifted(self) -> None:
        """Only objects have members."""
        worker = self.worker()
        worker.route("p", {"body": 1}, "POST")
        await self.post_json("/p", ["a"])
        self.assertEqual(worker.data["body"], ["a"])


class FlatteningFast(Fast, Flattening, HttpCase):
    """On the module's own server."""


class FlatteningStock(Stock, Flattening, HttpCase):
    """Under a stock twisted.web Site."""


class Options:
    """02 A1: settings that change the request object."""

    config = {
        "flatten_request": False,
        "expose_multi_values": True,
        "request_id_header": "X-Request-Id",
    }

    async def test_flattening_can_be_turned_off(self) -> None:
        """``flatten_request: false``."""
        worker = self.worker()
        worker.route("p/:a", {"body": 1})
        await self.get("/p/1?b=2")
        self.assertNotIn("a", worker.data)
        self.assertNotIn("b", worker.data)

    async def test_repeated_values_can_be_had(self) -> None:
        """``expose_multi_values``: lists beside the usual fields."""
        worker = self.worker()
        worker.route("p", {"body": 1})
        await self.get("/p?a=1&a=2", ("X-A", "1"), ("X-A", "2"))
        self.assertEqual(worker.data["query_params_all"], {"a": ["1", "2"]})
        self.assertEqual(worker.data["headers_all"]["x-a"], ["1", "2"])
        self.assertEqual(worker.data["query_params"], {"a": "2"})

    async def test_a_request_id_is_copied_or_made(self) -> None:
        """``request_id_header``: in the request, in the answer, in errors."""
        worker = self.worker()
        worker.route("p", {"body": 1})
        response = await self.get("/p", ("X-Request-ID", "abc"))
        self.assertEqual(worker.data["headers"]["x-request-id"], "abc")
        self.assertEqual(response.headers["x-request-id"], "abc")
        response = await self.get("/p")
        made = worker.data["headers"]["x-request-id"]
        self.assertTrue(re.fullmatch("[0-9a-f-]{36}", made))
        self.assertEqual(response.headers["x-request-id"], made)
        self.assertEqual(response.headers["content-type"], "application/json")


class OptionsFast(Fast, Options, HttpCase):
    """On the module's own server."""


class OptionsStock(Stock, Options, HttpCase):
    """Under a stock twisted.web Site."""


class BodyLimit:
    """02 A1: ``body_limit``."""

    config = {"body_limit": 1000}

    async def test_a_large_json_body_is_refused(self) -> None:
        """413 with the error body; the limit itself is fine."""
        worker = self.worker()
        worker.route("p", {"body": 1}, "POST")
        self.assertError(await self.post_json("/p", b" " * 1001), 413, "payload_too_large")
        self.assertEqual(worker.calls, [])
        self.assertEqual((await self.post_json("/p", b" " * 999 + b"1")).status, 200)

    async def test_a_large_stream_is_refused(self) -> None:
        """The same for bodies that would be streamed."""
        worker = self.worker()
        worker.route("p", {"body": 1}, "POST")
        response = await self.request("POST", "/p", b"x" * 1001)
        self.assertError(response, 413, "payload_too_large")
        self.assertEqual(worker.calls, [])
        self.assertEqual(len(self.engine.channels), 0)


class BodyLimitFast(Fast, BodyLimit, HttpCase):
    """On the module's own server."""

    async def test_a_chunked_stream_is_stopped_at_the_limit(self) -> None:
        """Nobody announced its size: the function is abandoned, the client gets 413."""
        worker = self.worker()
        worker.route("p", later, "POST")
        client = await self.connect()
        client.send(b"POST /p HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        client.send(b"1f4\r\n" + b"x" * 500 + b"\r\n")
        await self.until(lambda: worker.calls)
        reader = worker.reader(worker.last)
        client.send(b"1f5\r\n" + b"x" * 501 + b"\r\n0\r\n\r\n")
        self.assertError(await client.response(), 413, "payload_too_large")
        self.assertLessEqual(len(await reader.all()), 1000)
        self.assertFalse(reader.ended)

    async def test_a_chunked_json_body_is_stopped_at_the_limit(self) -> None:
        """The same while it is collected."""
        worker = self.worker()
        worker.route("p", later, "POST")
        client = await self.connect()
        client.send(
            b"POST /p HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n3e9\r\n" + b" " * 1001 + b"\r\n"
        )
        self.assertError(await client.response(), 413, "payload_too_large")
        self.assertEqual(worker.calls, [])


class BodyLimitStock(Stock, BodyLimit, HttpCase):
    """Under a stock twisted.web Site."""

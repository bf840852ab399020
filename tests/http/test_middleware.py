"""Conditions and middleware (02 A10, A11, probes 49–52)."""

from __future__ import annotations

from msgspec import Raw

from iii.modules.http.config import MiddlewareConfig
from tests.http.support import Fast, HttpCase, Stock, data_of, fails, later, nothing, returns

CONTINUE = {"action": "continue"}


class Conditions:
    """02 A10."""

    async def test_only_false_blocks(self) -> None:
        """02.49: 422 with ``skipped``; true, null, texts and nothing go through."""
        for key in ("condition_function_id", "_condition_path"):
            for at, (verdict, passes) in enumerate(
                (
                    (returns(False), False),
                    (returns(Raw(b" false ")), False),
                    (returns(True), True),
                    (returns(None), True),
                    (returns("false"), True),
                    (returns(0), True),
                    (returns({"a": False}), True),
                    (nothing, True),
                )
            ):
                worker = self.worker()
                worker.function(f"{key}{at}", verdict)
                worker.route(f"{key}/{at}", {"body": 1}, **{key: f"{key}{at}"})
                response = await self.get(f"/{key}/{at}")
                if passes:
                    self.assertEqual((response.status, response.json), (200, 1))
                    continue
                self.assertEqual(response.status, 422)
                self.assertTrue(response.json["skipped"])
                self.assertEqual(response.json["error"]["code"], "condition_not_met")
                self.assertEqual(response.json["error"]["message"], "Request condition not met")
                self.assertEqual(len(worker.calls), 1, "the handler must not run")

    async def test_the_condition_sees_the_request_without_channels(self) -> None:
        """02.50: body, trigger and the lifted fields, no references."""
        worker = self.worker()
        worker.function("c", returns(True))
        worker.route("p/:id", {"body": 1}, "POST", condition_function_id="c")
        await self.post_json("/p/7?q=1", {"a": 1})
        condition, handler = map(data_of, worker.calls)
        self.assertEqual(condition["body"], {"a": 1})
        self.assertEqual(condition["trigger"]["path"], "p/:id")
        self.assertEqual((condition["id"], condition["a"], condition["q"]), ("7", 1, "1"))
        self.assertNotIn("request_body", condition)
        self.assertNotIn("response", condition)
        self.assertEqual(set(handler) - set(condition), {"request_body", "response"})
        self.assertEqual(condition, {name: handler[name] for name in condition})

    async def test_a_missing_or_failing_condition_is_500(self) -> None:
        """02.50: and the handler isn't called."""
        worker = self.worker()
        worker.function("bad", fails("E", "broken"))
        worker.route("a", {"body": 1}, condition_function_id="nobody")
        worker.route("b", {"body": 1}, condition_function_id="bad")
        self.assertError(await self.get("/a"), 500, "function_not_found", "nobody")
        self.assertError(await self.get("/b"), 500, "E", "broken")
        self.assertEqual([call.function_id for call in worker.calls], ["bad"])

    async def test_a_condition_counts_against_the_time_limit(self) -> None:
        """02 A10: 504, and a late verdict changes nothing."""
        worker = self.worker()
        worker.function("c", later)
        worker.route("x", {"body": 1}, condition_function_id="c")
        client = await self.send("GET", "/x")
        await self.until(lambda: worker.calls)
        self.time.advance(1.1)
        self.assertEqual((await client.response()).status, 504)
        worker.answer(worker.last, True)
        self.assertEqual(len(worker.calls), 1)

    async def test_a_client_that_goes_is_not_served(self) -> None:
        """02 A13: after the condition nobody is asked for a client that left."""
        worker = self.worker()
        worker.function("c", later)
        worker.route("x", {"body": 1}, condition_function_id="c")
        client = await self.send("GET", "/x")
        await self.until(lambda: worker.calls)
        client.close()
        await self.until(lambda: len(self.engine.channels) == 0)
        worker.answer(worker.last, True)
        self.assertEqual(len(worker.calls), 1)

    async def test_a_streamed_body_passes_a_condition(self) -> None:
        """02 A5.1: other bodies are streamed while the condition is asked."""
        worker = self.worker()
        worker.function("c", returns(True))
        worker.route("up", later, "POST", condition_function_id="c")
        client = await self.send("POST", "/up", b"x" * 100_000)
        await self.until(lambda: len(worker.calls) == 2)
        self.assertEqual(await worker.reader(worker.last).all(), b"x" * 100_000)
        worker.answer(worker.last, {"body": 1})
        self.assertEqual((await client.response()).status, 200)


class ConditionsFast(Fast, Conditions, HttpCase):
    """On the module's own server."""


class ConditionsStock(Stock, Conditions, HttpCase):
    """Under a stock twisted.web Site."""


class Middleware:
    """02 A11, of one route."""

    async def test_middleware_may_answer(self) -> None:
        """02.51: respond; the handler isn't called."""
        worker = self.worker()
        said = {"status_code": 403, "body": {"error": "no"}, "headers": {"x-why": "because"}}
        worker.function("mw", returns({"action": "respond", "response": said}))
        worker.route("x", {"body": 1}, middleware_function_ids=["mw"])
        response = await self.get("/x")
        self.assertEqual((response.status, response.json), (403, {"error": "no"}))
        self.assertEqual(response.headers["x-why"], "because")
        self.assertEqual([call.function_id for call in worker.calls], ["mw"])

    async def test_an_answer_has_defaults(self) -> None:
        """02 A11: status 200, body null; other statuses are 200; text stays text."""
        for at, (said, status, body) in enumerate(
            (
                ({}, 200, b"null"),
                ({"status_code": 999, "body": 1}, 200, b"1"),
                ({"headers": {"content-type": "text/plain"}, "body": "plain"}, 200, b"plain"),
            )
        ):
            worker = self.worker()
            worker.function(f"mw{at}", returns({"action": "respond", "response": said}))
            worker.route(f"x{at}", {"body": 1}, middleware_function_ids=[f"mw{at}"])
            response = await self.get(f"/x{at}")
            self.assertEqual((response.status, response.body), (status, body))

    async def test_middleware_runs_in_order(self) -> None:
        """02.51: continue, continue, handler; non-texts in the list are dropped."""
        worker = self.worker()
        for name in ("one", "two"):
            worker.function(name, returns(CONTINUE))
        handler = worker.route("x", {"body": 1}, middleware_function_ids=["one", 5, "two"])
        self.assertEqual((await self.get("/x")).status, 200)
        self.assertEqual([call.function_id for call in worker.calls], ["one", "two", handler])

    async def test_middleware_sees_the_request(self) -> None:
        """02.51: exactly the object of A11, without lifted fields."""
        worker = self.worker()
        worker.function("mw", returns(CONTINUE))
        worker.route("p/:id", {"body": 1}, middleware_function_ids=["mw"])
        await self.get("/p/7?q=1", ("X-A", "b"))
        self.assertEqual(
            data_of(worker.calls[0]),
            {
                "phase": "preHandler",
                "request": {
                    "path_params": {"id": "7"},
                    "query_params": {"q": "1"},
                    "headers": {"host": "localhost:3111", "x-a": "b"},
                    "method": "GET",
                },
                "context": {},
            },
        )

    async def test_an_unknown_verdict_goes_on(self) -> None:
        """02.51: ``{}``, other actions, other types, nothing."""
        for at, verdict in enumerate(
            (returns({}), returns({"action": "x"}), returns([1]), nothing)
        ):
            worker = self.worker()
            worker.function(f"mw{at}", verdict)
            worker.route(f"x{at}", {"body": at}, middleware_function_ids=[f"mw{at}"])
            self.assertEqual((await self.get(f"/x{at}")).json, at)

    async def test_failing_middleware_is_500(self) -> None:
        """02 A11: with its code; missing ones, too."""
        worker = self.worker()
        worker.function("bad", fails("E", "broken"))
        worker.route("x", {"body": 1}, middleware_function_ids=["bad"])
        worker.route("y", {"body": 1}, middleware_function_ids=["nobody"])
        self.assertError(await self.get("/x"), 500, "E", "broken")
        self.assertError(await self.get("/y"), 500, "function_not_found")
        self.assertEqual([call.function_id for call in worker.calls], ["bad"])

    async def test_the_condition_goes_first(self) -> None:
        """02 A11: condition, the route's middleware, handler."""
        worker = self.worker()
        worker.function("mw", returns(CONTINUE))
        worker.function("c", returns(True))
        handler = worker.route(
            "x", {"body": 1}, condition_function_id="c", middleware_function_ids=["mw"]
        )
        await self.get("/x")
        self.assertEqual([call.function_id for call in worker.calls], ["c", "mw", handler])


class MiddlewareFast(Fast, Middleware, HttpCase):
    """On the module's own server."""


class MiddlewareStock(Stock, Middleware, HttpCase):
    """Under a stock twisted.web Site."""


class GlobalMiddleware:
    """02 A11, of the configuration."""

    config = {
        "middleware": [
            MiddlewareConfig("late", priority=10),
            MiddlewareConfig("early", priority=5),
            MiddlewareConfig("late-too", priority=10),
            MiddlewareConfig("never", phase="onResponse"),
        ]
    }

    async def test_order_of_everything(self) -> None:
        """02.52: ascending priority, then condition; not for unmatched paths."""
        worker = self.worker()
        for name in ("late", "early", "late-too", "mw"):
            worker.function(name, returns(CONTINUE))
        worker.function("c", returns(True))
        handler = worker.route(
            "x", {"body": 1}, condition_function_id="c", middleware_function_ids=["mw"]
        )
        self.assertEqual((await self.get("/x")).status, 200)
        self.assertEqual(
            [call.function_id for call in worker.calls],
            ["early", "late", "late-too", "c", "mw", handler],
        )
        worker.calls.clear()
        self.assertEqual((await self.get("/none")).status, 404)
        self.assertEqual((await self.request("POST", "/x")).status, 405)
        self.assertEqual(worker.calls, [])

    async def test_it_is_asked_about_routes_of_every_namespace(self) -> None:
        """Its own functions are in the default one, those of a route beside its function."""
        worker = self.worker()
        for name in ("late", "early", "late-too"):
            worker.function(name, returns(CONTINUE))
        worker.function("c", returns(True), "shop")
        worker.function("f", returns({"body": 1}), "shop")
        worker.trigger("f", "x", namespace="shop", condition_function_id="c")
        self.assertEqual((await self.get("/x")).status, 200)
        called = [call.function_id for call in worker.calls]
        self.assertEqual(called, ["early", "late", "late-too", "c", "f"])

    async def test_global_middleware_may_answer_before_the_body(self) -> None:
        """02 A13: before channels are made; the body is thrown away."""
        worker = self.worker()
        worker.function("early", returns({"action": "respond", "response": {"status_code": 401}}))
        worker.route("x", {"body": 1}, "POST")
        client = await self.send("POST", "/x", b"y" * 300_000)
        self.assertEqual((await client.response()).status, 401)
        client.send(b"GET /none HTTP/1.1\r\nHost: a\r\n\r\n")
        self.assertEqual((await client.response()).status, 404)


class GlobalMiddlewareFast(Fast, GlobalMiddleware, HttpCase):
    """On the module's own server."""


class GlobalMiddlewareStock(Stock, GlobalMiddleware, HttpCase):
    """Under a stock twisted.web Site."""

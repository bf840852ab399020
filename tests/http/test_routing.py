"""Routes: registration, matching, owners (02 A2–A4, probes 1–17)."""

from __future__ import annotations

from tests.http.support import Fast, HttpCase, Stock, later, returns


class Routing:
    """02 A2–A4."""

    async def test_without_triggers_there_is_nothing(self) -> None:
        """02.1: no built-in endpoints, not even for health."""
        for path in ("/", "/health"):
            self.assertError(await self.get(path), 404, "route_not_found", path)

    async def test_a_leading_slash_makes_no_difference(self) -> None:
        """02.2: ``test/hello`` and ``/test/hello`` are one spelling."""
        for path in ("test/hello", "/test/again", "//test/twice"):
            self.worker().route(path, {"status_code": 200, "body": {"message": "hi"}})
            response = await self.get("/" + path.lstrip("/"))
            self.assertEqual(response.status, 200)
            self.assertEqual(response.headers["content-type"], "application/json")
            self.assertEqual(response.json, {"message": "hi"})

    async def test_the_method_defaults_to_get_and_its_case_is_free(self) -> None:
        """02.3: no ``http_method`` is GET; ``post`` is POST."""
        worker = self.worker()
        worker.function("f", returns({"body": 1}))
        worker.trigger("f", "a", None)
        worker.trigger("f", "b", "post")
        worker.trigger("f", "c", method=None, http_method=7)
        self.assertEqual((await self.get("/a")).json, 1)
        self.assertEqual((await self.request("POST", "/b")).json, 1)
        self.assertEqual((await self.get("/c")).json, 1)

    async def test_parameters_arrive_with_the_pattern(self) -> None:
        """02.4: ``path`` is the pattern verbatim, the values are in ``path_params``."""
        worker = self.worker()
        worker.route("users/:id", {"body": 1})
        await self.get("/users/42")
        self.assertEqual(worker.data["path_params"], {"id": "42"})
        self.assertEqual(worker.data["path"], "users/:id")
        self.assertEqual(
            worker.data["trigger"], {"type": "http", "path": "users/:id", "method": "GET"}
        )

    async def test_parameters_are_not_decoded(self) -> None:
        """02.5: ``hello%20world`` stays as it is."""
        worker = self.worker()
        worker.route("users/:id", {"body": 1})
        await self.get("/users/hello%20world")
        self.assertEqual(worker.data["path_params"], {"id": "hello%20world"})

    async def test_a_parameter_is_one_segment_that_is_not_empty(self) -> None:
        """02.6: neither more, nor fewer, nor empty ones."""
        self.worker().route("users/:id", {"body": 1})
        self.worker().route("a/:x/b", {"body": 1})
        for path in ("/users/42/", "/users/", "/users/42/x", "/users", "/a//b"):
            self.assertEqual((await self.get(path)).status, 404, path)

    async def test_a_literal_goes_before_a_parameter(self) -> None:
        """02.7: whichever was registered first."""
        for prefix, order in (("x", ("copy", ":id")), ("y", (":id", "copy"))):
            for segment in order:
                self.worker().route(f"{prefix}/{segment}", {"body": segment})
            self.assertEqual((await self.get(f"/{prefix}/copy")).json, "copy")
            self.assertEqual((await self.get(f"/{prefix}/9")).json, ":id")

    async def test_matching_backtracks(self) -> None:
        """02 A3.5: a literal that leads nowhere doesn't hide a parameter."""
        self.worker().route(":obj/:id", {"body": "first"})
        self.worker().route("secret/:id/path", {"body": "second"})
        self.assertEqual((await self.get("/secret/9")).json, "first")
        self.assertEqual((await self.get("/secret/9/path")).json, "second")

    async def test_the_path_is_chosen_before_the_method(self) -> None:
        """02.8: another path's DELETE doesn't help ``/items/copy``."""
        self.worker().route("items/copy", {"body": 1})
        self.worker().route("items/:id", {"body": 2}, "DELETE")
        response = await self.request("DELETE", "/items/copy")
        self.assertError(response, 405, "method_not_allowed")
        self.assertEqual(set(response.headers["allow"].split(",")), {"GET", "HEAD"})

    async def test_a_wrong_method_is_told_the_right_ones(self) -> None:
        """02.9: 405 with ``allow`` and, by decision 4, the error body."""
        self.worker().route("only", {"body": 1})
        response = await self.request("POST", "/only")
        self.assertError(response, 405, "method_not_allowed", "POST")
        self.assertEqual(response.headers["allow"], "GET,HEAD")

    async def test_other_parameter_names_conflict(self) -> None:
        """02.10: refused with the reason; the first and all others go on."""
        worker = self.worker()
        worker.route("a/:x/:y", {"body": "first"})
        worker.function("second", returns({"body": "second"}))
        refused = worker.trigger("second", "a/:y/:x")
        worker.trigger("second", "other")
        self.assertEqual([id for id, _ in worker.refusals], [refused])
        error = worker.refusals[0][1]
        self.assertEqual(error.code, "trigger_registration_failed")
        self.assertEqual(
            error.message,
            "Route 'GET a/:y/:x' conflicts with already-registered route 'GET a/:x/:y': routes "
            "with identical structure but different path-parameter names are not supported",
        )
        self.assertEqual((await self.get("/a/1/2")).json, "first")
        self.assertEqual((await self.get("/other")).json, "second")

    async def test_methods_have_their_own_parameter_names(self) -> None:
        """02.11: ``GET u/:id`` beside ``DELETE u/:uid``."""
        worker = self.worker()
        worker.route("u/:id", {"body": 1})
        worker.route("u/:uid", {"body": 2}, "DELETE")
        await self.get("/u/1")
        self.assertEqual(worker.data["path_params"], {"id": "1"})
        await self.request("DELETE", "/u/2")
        self.assertEqual(worker.data["path_params"], {"uid": "2"})

    async def test_the_newest_function_serves_a_route(self) -> None:
        """02.12: the second registration of a path serves."""
        self.worker().route("x", {"body": "old"})
        self.worker().route("/x", {"body": "new"})
        self.assertEqual((await self.get("/x")).json, "new")

    async def test_an_older_owner_comes_back(self) -> None:
        """02.13: B goes, A serves again; A goes, 404."""
        a, b = self.worker("a"), self.worker("b")
        a.route("x", {"body": "a"})
        b.route("x", {"body": "b"})
        self.assertEqual((await self.get("/x")).json, "b")
        b.disconnect()
        self.assertEqual((await self.get("/x")).json, "a")
        a.disconnect()
        self.assertEqual((await self.get("/x")).status, 404)

    async def test_an_older_owner_goes_unnoticed(self) -> None:
        """02.13: A leaving first never disturbs B."""
        a, b = self.worker("a"), self.worker("b")
        a.route("x", {"body": "a"})
        b.route("x", {"body": "b"})
        a.disconnect()
        self.assertEqual((await self.get("/x")).json, "b")

    async def test_two_replicas_share_one_route(self) -> None:
        """08 §2: same route, same function: both serve, and one may go."""
        a, b = self.worker("a"), self.worker("b")
        for worker in (a, b):
            worker.function("shared", returns({"body": 1}))
            worker.trigger("shared", "x")
        for _ in range(4):
            await self.get("/x")
        self.assertEqual((len(a.calls), len(b.calls)), (2, 2))
        b.disconnect()
        self.assertEqual((await self.get("/x")).status, 200)
        self.assertEqual(len(a.calls), 3)

    async def test_api_path_is_required(self) -> None:
        """02.14: refused with the reason, the worker stays."""
        worker = self.worker()
        worker.function("f", returns({"body": 1}))
        worker.trigger("f", None)
        worker.trigger("f", None, api_path=5)
        messages = {error.message for _, error in worker.refusals}
        self.assertEqual(messages, {"api_path is required for http triggers"})
        self.assertEqual(len(worker.refusals), 2)
        worker.trigger("f", "fine")
        self.assertEqual((await self.get("/fine")).status, 200)

    async def test_nonsense_is_refused_with_a_reason(self) -> None:
        """02 A2: unsupported methods and patterns without meaning."""
        worker = self.worker()
        worker.function("f", returns({"body": 1}))
        for path, method, message in (
            ("x", "FOO", "Unsupported HTTP method: FOO"),
            ("x", "TRACE", "Unsupported HTTP method: TRACE"),
            ("a/*/b", "GET", "must be the last segment"),
            ("a/:", "GET", "a parameter needs a name"),
            ("a/{}", "GET", "braces"),
            ("a/{a}b", "GET", "braces"),
            (":*rest/x", "GET", "must be the last segment"),
            (":a/:a", "GET", "appears twice"),
            ("/".join(["x"] * 65), "GET", "at most 64 segments"),
        ):
            worker.refusals.clear()
            worker.trigger("f", path, method)
            self.assertEqual(len(worker.refusals), 1, path)
            self.assertIn(message, worker.refusals[0][1].message)

    async def test_an_unregistered_route_is_gone(self) -> None:
        """02.15: next request 404; other methods remain."""
        worker = self.worker()
        worker.function("f", returns({"body": 1}))
        get, post = worker.trigger("f", "x"), worker.trigger("f", "x", "POST")
        worker.unregister(get)
        self.assertEqual((await self.get("/x")).status, 405)
        worker.unregister(post)
        self.assertEqual((await self.get("/x")).status, 404)

    async def test_a_route_goes_with_its_worker(self) -> None:
        """02.15: disconnect is 404, a removed function alone is 500."""
        worker = self.worker()
        id = worker.route("x", {"body": 1})
        self.engine.functions.unregister(id, worker.worker)
        self.assertError(
            await self.get("/x"), 500, "function_not_found", f"Function {id} not found"
        )
        worker.disconnect()
        self.assertEqual((await self.get("/x")).status, 404)

    async def test_a_running_request_outlives_its_route(self) -> None:
        """02 A4: already running requests finish normally."""
        worker = self.worker()
        worker.function("f", later)
        id = worker.trigger("f", "x")
        client = await self.send("GET", "/x")
        await self.until(lambda: worker.calls)
        worker.unregister(id)
        worker.answer(worker.last, {"body": "done"})
        self.assertEqual((await client.response()).json, "done")

    async def test_the_old_trigger_type_name_works(self) -> None:
        """02.16: ``api`` is ``http``, and says so to the function."""
        worker = self.worker()
        worker.function("f", returns({"body": 1}))
        worker.trigger("f", "x", type="api")
        self.assertEqual((await self.get("/x")).status, 200)
        self.assertEqual(worker.data["trigger"]["type"], "http")

    async def test_wildcards_take_the_rest(self) -> None:
        """02.17: ``*``, ``{*rest}`` and ``:*rest``; never an empty rest."""
        worker = self.worker()
        for pattern, params in (
            ("f/*", {"*": "a/b.txt"}),
            ("g/{*rest}", {"rest": "a/b.txt"}),
            ("h/:*rest", {"rest": "a/b.txt", "*rest": "a/b.txt"}),
        ):
            worker.route(pattern, {"body": 1})
            self.assertEqual((await self.get(f"/{pattern[0]}/a/b.txt")).status, 200)
            self.assertEqual(worker.data["path_params"], params)
            self.assertEqual((await self.get(f"/{pattern[0]}/")).status, 404)

    async def test_brace_parameters(self) -> None:
        """02 A3: ``{id}`` is ``:id``; ``:id.json`` is named so; ``file.:ext`` is literal."""
        worker = self.worker()
        worker.route("a/{id}", {"body": 1})
        worker.route("b/:id.json", {"body": 1})
        worker.route("c/file.:ext", {"body": "literal"})
        await self.get("/a/7")
        self.assertEqual(worker.data["path_params"], {"id": "7"})
        await self.get("/b/8")
        self.assertEqual(worker.data["path_params"], {"id.json": "8"})
        self.assertEqual((await self.get("/c/file.:ext")).json, "literal")
        self.assertEqual((await self.get("/c/file.txt")).status, 404)

    async def test_a_literal_matches_its_encoded_form(self) -> None:
        """02 A3.1: ``/caf%C3%A9`` reaches the literal ``café``."""
        self.worker().route("café/x", {"body": 1})
        self.assertEqual((await self.get("/caf%C3%A9/x")).status, 200)

    async def test_head_falls_back_to_get(self) -> None:
        """Decision 7: the GET function sees HEAD; only headers are sent."""
        worker = self.worker()
        worker.route("x", {"body": "text"})
        response = await self.request("HEAD", "/x")
        self.assertEqual(response.status, 200)
        self.assertEqual(response.headers["content-length"], "6")
        self.assertEqual(worker.data["method"], "HEAD")

    async def test_a_head_trigger_wins(self) -> None:
        """02 A3.8: an own HEAD route goes before the fallback."""
        self.worker().route("x", {"body": "text"})
        self.worker().route("x", {"status_code": 202}, "HEAD")
        self.assertEqual((await self.request("HEAD", "/x")).status, 202)


class RoutingFast(Fast, Routing, HttpCase):
    """On the module's own server."""


class RoutingStock(Stock, Routing, HttpCase):
    """Under a stock twisted.web Site."""


class TrailingSlash:
    """02 A1: ``ignore_trailing_slash``."""

    config = {"ignore_trailing_slash": True}

    async def test_the_last_slash_does_not_matter(self) -> None:
        """``/a`` is ``/a/``, for patterns and requests."""
        self.worker().route("a/", {"body": "a"})
        self.worker().route("b/:id", {"body": "b"})
        self.worker().route("/", {"body": "root"})
        for path, body in (("/a", "a"), ("/a/", "a"), ("/b/1/", "b"), ("/", "root")):
            self.assertEqual((await self.get(path)).json, body, path)


class TrailingSlashFast(Fast, TrailingSlash, HttpCase):
    """On the module's own server."""


class TrailingSlashStock(Stock, TrailingSlash, HttpCase):
    """Under a stock twisted.web Site."""

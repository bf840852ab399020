"""CORS (02 A9, probes 46–48)."""

from __future__ import annotations

from iii.modules.http.config import CorsConfig
from tests.http.support import Fast, HttpCase, Response, Stock, fails

PREFLIGHT = ("Access-Control-Request-Method", "GET")


class Open:
    """Without ``cors`` settings."""

    async def test_every_options_request_is_answered(self) -> None:
        """02.46: any path, with or without Origin; 200 and empty."""
        for path, headers in (("/whatever", []), ("/x", [PREFLIGHT, ("Origin", "http://a.test")])):
            response = await self.request("OPTIONS", path, None, headers)
            self.assertEqual((response.status, response.body), (200, b""))
            self.assertEqual(response.headers["content-length"], "0")
            for name in ("origin", "methods", "headers"):
                self.assertEqual(response.headers[f"access-control-allow-{name}"], "*")
            self.assertNotIn("access-control-expose-headers", response.headers)

    async def test_every_answer_carries_the_headers(self) -> None:
        """02.46: also 404, 405 and 500."""
        worker = self.worker()
        worker.route("ok", {"body": 1})
        worker.route("bad", fails("E", "m"))
        for method, path, status in (
            ("GET", "/ok", 200),
            ("GET", "/none", 404),
            ("POST", "/ok", 405),
            ("GET", "/bad", 500),
        ):
            response = await self.request(method, path)
            self.assertEqual(response.status, status)
            self.assertEqual(response.headers["access-control-allow-origin"], "*")
            self.assertEqual(response.headers["access-control-expose-headers"], "*")
            self.assertEqual(
                response.headers["vary"],
                "origin, access-control-request-method, access-control-request-headers",
            )
            self.assertNotIn("access-control-allow-credentials", response.headers)

    async def test_a_preflight_on_a_path_lists_its_methods(self) -> None:
        """02 A9: ``allow`` as in a 405."""
        self.worker().route("x", {"body": 1})
        response = await self.request("OPTIONS", "/x", None, [PREFLIGHT])
        self.assertEqual(response.headers["allow"], "GET,HEAD")

    async def test_an_options_route_can_be_reached(self) -> None:
        """02 A9: unless the request is a preflight."""
        worker = self.worker()
        worker.route("x", {"body": "mine"}, "OPTIONS")
        self.assertEqual((await self.request("OPTIONS", "/x")).json, "mine")
        response = await self.request("OPTIONS", "/x", None, [PREFLIGHT])
        self.assertEqual((response.status, response.body), (200, b""))
        self.assertEqual(len(worker.calls), 1)

    async def test_ours_go_over_the_functions(self) -> None:
        """02 A9: same names are overwritten, ``vary`` is joined."""
        self.worker().route(
            "x",
            {
                "headers": {
                    "Access-Control-Allow-Origin": "http://evil.test",
                    "Access-Control-Max-Age": "5",
                    "Vary": "accept",
                },
                "body": 1,
            },
        )
        response = await self.get("/x")
        self.assertEqual(response.all("access-control-allow-origin"), ["*"])
        self.assertEqual(response.headers["access-control-max-age"], "5")
        self.assertEqual(len(response.all("vary")), 1)
        self.assertTrue(response.headers["vary"].startswith("accept, origin"))


class OpenFast(Fast, Open, HttpCase):
    """On the module's own server."""


class OpenStock(Stock, Open, HttpCase):
    """Under a stock twisted.web Site."""


class Listed:
    """With origins and methods."""

    config = {
        "cors": CorsConfig(
            allowed_origins=["http://a.test", "http://c.test"], allowed_methods=["GET", "POST"]
        )
    }

    async def preflight(self, origin: str) -> Response:
        return await self.request("OPTIONS", "/x", None, [PREFLIGHT, ("Origin", origin)])

    async def test_a_listed_origin_is_echoed(self) -> None:
        """02.47: with the listed methods."""
        for origin in ("http://a.test", "http://c.test"):
            response = await self.preflight(origin)
            self.assertEqual(response.headers["access-control-allow-origin"], origin)
            self.assertEqual(response.headers["access-control-allow-methods"], "GET,POST")

    async def test_another_origin_is_served_but_not_named(self) -> None:
        """02.47: preflight 200 without the header; GET is executed."""
        worker = self.worker()
        worker.route("x", {"body": 1})
        response = await self.preflight("http://b.test")
        self.assertEqual(response.status, 200)
        self.assertNotIn("access-control-allow-origin", response.headers)
        for headers in ([("Origin", "http://b.test")], []):
            response = await self.get("/x", *headers)
            self.assertEqual(response.json, 1)
            self.assertNotIn("access-control-allow-origin", response.headers)
        self.assertEqual(len(worker.calls), 2)

    async def test_answers_name_the_origin(self) -> None:
        """02 A9: results and errors; nothing is exposed."""
        self.worker().route("x", {"body": 1})
        for path in ("/x", "/none"):
            response = await self.get(path, ("Origin", "http://a.test"))
            self.assertEqual(response.headers["access-control-allow-origin"], "http://a.test")
            self.assertNotIn("access-control-expose-headers", response.headers)
            self.assertEqual(response.headers["content-type"], "application/json")


class ListedFast(Fast, Listed, HttpCase):
    """On the module's own server."""


class ListedStock(Stock, Listed, HttpCase):
    """Under a stock twisted.web Site."""


class Starred:
    """A list with ``*`` in it."""

    config = {"cors": CorsConfig(allowed_origins=["*", "http://a.test"])}

    async def test_a_star_means_everybody(self) -> None:
        """02.48: ``*`` whoever asks."""
        response = await self.get("/x", ("Origin", "http://b.test"))
        self.assertEqual(response.headers["access-control-allow-origin"], "*")


class StarredFast(Fast, Starred, HttpCase):
    """On the module's own server."""


class StarredStock(Stock, Starred, HttpCase):
    """Under a stock twisted.web Site."""

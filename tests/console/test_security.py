"""Who may use the console, and what a browser may do with its answers."""

from __future__ import annotations

import os
from typing import Any
from urllib.parse import quote

from iii.modules.console.calls import ROUTES
from iii.modules.console.config import ConsoleConfig
from iii.modules.console.entrance import SESSION_S
from iii.modules.console.visit import CONTENT_POLICY, MAX_BODY_BYTES
from tests.console.cases import HTTP, STATE, TOKEN, ConsoleCase, console
from tests.http.support import Response
from tests.observability.module_case import otel
from tests.process_case import taken_port
from tests.support.logs import Lines
from tests.support.probes import probe


class Places(ConsoleCase):
    """Where it listens, and when it doesn't."""

    @probe("06.28")
    async def test_open_to_others_it_needs_a_token(self) -> None:
        lines = Lines(self)
        await self.serve(HTTP, host="0.0.0.0")

        self.assertNotIn("console", self.engine.ready)
        (line,) = [text for text in lines.texts("warn") if "console" in text]
        self.assertIn("asks for no token", line)
        self.assertEqual((await self.send("GET", "/x", port=self.engine.ready["http"])).status, 404)
        await self.works(self.engine)

    async def test_with_a_token_it_may_be(self) -> None:
        await self.serve(host="0.0.0.0", token=TOKEN)
        self.credentials = {"authorization": f"Bearer {TOKEN}", "host": "console.example:3113"}
        self.assertEqual((await self.get("/api/config")).status, 200)

    async def test_the_token_of_the_environment(self) -> None:
        """For engines that run without a configuration file."""
        self.patch(os, "environ", {**os.environ, "III_CONSOLE_TOKEN": TOKEN})
        await self.serve(host="0.0.0.0")
        self.assertEqual((await self.get("/api/config")).status, 401)
        self.assertEqual((await self.post("/login", {"token": TOKEN})).status, 200)

    async def test_an_empty_token_is_none(self) -> None:
        """``${III_CONSOLE_TOKEN:}`` of an environment without it."""
        await self.serve(token="")
        self.assertFalse((await self.ok("/api/config"))["authRequired"])

    async def test_a_taken_port_is_told_and_the_engine_runs(self) -> None:
        lines = Lines(self)
        port = taken_port(self)
        await self.serve(port=port)

        self.assertNotIn("console", self.engine.ready)
        (line,) = [text for text in lines.texts("warn") if "console" in text]
        self.assertIn(f":{port}", line)
        await self.works(self.engine)

    @probe("06.32")
    async def test_the_http_port_has_nothing_of_it(self) -> None:
        await self.serve(HTTP)
        http = self.engine.ready["http"]
        for method in ("GET", "POST"):
            answer = await self.send(method, "/_console/invoke", b"{}", port=http)
            self.assertEqual(answer.status, 404)


class Tokens(ConsoleCase):
    """Login."""

    @probe("06.29")
    async def test_without_a_token_nothing_is_told(self) -> None:
        await self.serve(token=TOKEN)
        for path in ("/api/config", "/_console/status", "/api/engine/_console/status"):
            answer = await self.get(path)
            self.assertEqual((answer.status, answer.json), (401, {"error": "a token is needed"}))
            wrong = await self.get(path, authorization="Bearer nope")
            self.assertEqual(wrong.status, 401)
            right = await self.get(path, authorization=f"Bearer {TOKEN}")
            self.assertEqual(right.status, 200)
        self.assertEqual(await self.upgrade_status("/ws/streams"), 401)

    async def log_in(self, token: str = TOKEN, following: str = "/queues/t") -> Response:
        """Send the form."""
        body = f"token={quote(token)}&next={quote(following)}".encode()
        form = "application/x-www-form-urlencoded"
        return await self.send("POST", "/login", body, content_type=form)

    async def test_the_login_page_leads_to_the_page_that_was_wanted(self) -> None:
        """It needs no script, and the cookie is out of scripts' reach."""
        await self.serve(token=TOKEN)
        page = await self.get("/queues/t")
        self.assertEqual(page.status, 401)
        self.assertIn(b'value="/queues/t"', page.body)
        self.assertEqual((await self.get("/plain.css")).status, 200)

        answer = await self.log_in()

        self.assertEqual((answer.status, answer.headers["location"]), (303, "/queues/t"))
        cookie = answer.headers["set-cookie"]
        self.assertIn("HttpOnly; SameSite=Strict", cookie)
        self.assertNotIn(TOKEN, cookie)
        self.credentials = {"cookie": f"other=1; {cookie.partition(';')[0]}"}
        self.assertEqual((await self.get("/queues/t")).status, 200)
        self.assertTrue((await self.ok("/api/config"))["authRequired"])
        out = await self.post("/logout")
        self.assertIn("Max-Age=0", out.headers["set-cookie"])

    async def test_json_logs_in_too(self) -> None:
        await self.serve(token=TOKEN)
        self.assertEqual((await self.post("/login", {"token": "x"})).status, 401)
        answer = await self.post("/login", {"token": TOKEN})
        self.assertEqual((answer.status, answer.json), (200, {"ok": True}))
        self.assertIn("set-cookie", answer.headers)

    async def test_nobody_is_led_elsewhere(self) -> None:
        await self.serve(token=TOKEN)
        for foreign in ("https://evil.example/", "//evil.example", "/\\evil", "/a\r\nx: y", ""):
            self.assertEqual((await self.log_in(following=foreign)).headers["location"], "/")

    async def test_a_session_ends(self) -> None:
        """After a week, and when it was tampered with."""
        time = await self.serve_later(token=TOKEN)
        name, _, value = (await self.log_in()).headers["set-cookie"].split(";")[0].partition("=")
        ends, _, signature = value.partition(".")
        later = f"{int(ends) + 1}.{signature}"
        for bad in (later, f"{ends}.", ends, "", f"x.{signature}", f"{ends}.{'0' * 64}"):
            answer = await self.get("/api/config", cookie=f"{name}={bad}")
            self.assertEqual(answer.status, 401, bad)
        self.assertEqual((await self.get("/api/config", cookie=f"{name}={value}")).status, 200)
        time.advance(SESSION_S + 1)
        self.assertEqual((await self.get("/api/config", cookie=f"{name}={value}")).status, 401)

    async def test_guessing_has_an_end(self) -> None:
        """Ten wrong ones a minute, by form, header or both."""
        time = await self.serve_later(token=TOKEN)
        for number in range(5):
            self.assertEqual((await self.log_in(f"guess {number}")).status, 401)
            answer = await self.get("/api/config", authorization=f"Bearer other {number}")
            self.assertEqual(answer.status, 401)

        for answer in (
            await self.log_in(),
            await self.get("/api/config", authorization=f"Bearer {TOKEN}"),
        ):
            self.assertEqual(answer.status, 429)
            self.assertEqual(answer.headers["retry-after"], "60")
        time.advance(60)
        self.assertEqual((await self.log_in()).status, 303)

    async def test_one_wrong_token_keeps_nobody_out(self) -> None:
        await self.serve(token=TOKEN)
        for _ in range(20):
            self.assertEqual((await self.log_in("old token")).status, 401)
        self.assertEqual((await self.log_in()).status, 303)


class Pages(ConsoleCase):
    """Other pages in the same browser."""

    @probe("06.30")
    async def test_foreign_pages_and_names(self) -> None:
        await self.serve(STATE)
        path = "/_console/states/group"
        for origin in ("http://evil.example", "null", "http://localhost:1", "https://localhost:1"):
            answer = await self.post(path, {"scope": "g"}, origin=origin)
            self.assertEqual(answer.status, 403, origin)
        for host in ("evil.example", "evil.example:3113", "", "localhost.evil.example", "10.0.0.1"):
            self.assertEqual((await self.get("/_console/status", host=host)).status, 403, host)
        for host in ("localhost", "127.0.0.1:3113", "[::1]:3113", "console.localhost"):
            own = await self.post(path, {"scope": "g"}, host=host, origin=f"http://{host}")
            self.assertEqual(own.status, 200, host)
        cross = await self.post(path, {"scope": "g"}, sec_fetch_site="cross-site")
        self.assertEqual(cross.status, 403)

    async def test_upgrades_too(self) -> None:
        await self.serve()
        refused = await self.upgrade_status("/ws/streams", origin="http://evil.example")
        self.assertEqual(refused, 403)

    async def test_pages_that_are_allowed(self) -> None:
        """Their hosts are names of the console, behind a proxy."""
        await self.serve(allowed_origins=["https://ops.example.org"])
        body = {"limit": 1}
        for fields, status in (
            ({"origin": "https://ops.example.org"}, 200),
            ({"origin": "https://ops.example.org", "host": "ops.example.org"}, 200),
            ({"host": "ops.example.org"}, 200),
            ({"origin": "https://other.example.org"}, 403),
        ):
            answer = await self.post("/_console/otel/logs", body, **fields)
            self.assertEqual(answer.status, status, fields)

    @probe("06.34")
    async def test_every_answer_is_safe_to_show(self) -> None:
        """Pages, files, data, errors, health checks."""
        await self.serve(token=TOKEN)
        bearer = f"Bearer {TOKEN}"
        answers = [
            await self.get("/", authorization=bearer),
            await self.get("/"),
            await self.get("/plain.css"),
            await self.get("/x.js"),
            await self.get("/healthz"),
            await self.get("/readyz"),
            await self.get("/_console/status", authorization=bearer),
            await self.get("/_console/status"),
            await self.get("/_console/nope", authorization=bearer),
            await self.get("/", host="evil.example"),
            await self.post("/_console/invoke", {}, origin="http://evil.example"),
            await self.post("/", {}, authorization=bearer),
            await self.post("/login", {"token": "x"}),
            await self.send("HEAD", "/"),
            await self.send("BREW", "/", authorization=bearer),
        ]
        for answer in answers:
            said = answer.headers
            self.assertEqual(said["content-security-policy"], CONTENT_POLICY)
            self.assertEqual(said["x-content-type-options"], "nosniff")
            self.assertEqual(said["referrer-policy"], "no-referrer")
            self.assertEqual(said["x-frame-options"], "DENY")
            self.assertNotIn("server", said)
            self.assertNotIn("access-control-allow-origin", said)
        self.assertIn("frame-ancestors 'none'", CONTENT_POLICY)
        self.assertNotIn("unsafe", CONTENT_POLICY)

    async def test_a_body_has_a_limit(self) -> None:
        await self.serve()
        answer = await self.send("POST", "/_console/invoke", b" " * (MAX_BODY_BYTES + 1))
        self.assertEqual(answer.status, 413)
        self.assertEqual(answer.headers["connection"], "close")


class ReadOnly(ConsoleCase):
    """``read_only``."""

    @probe("06.31")
    async def test_nothing_changes(self) -> None:
        await self.serve(STATE, read_only=True)
        self.assertTrue((await self.ok("/api/config"))["readOnly"])
        for route in ROUTES:
            if route.does:
                path = "/_console/" + route.path.replace(":", "")
                answer = await self.send(route.method, path, b"{}")
                self.assertEqual(answer.status, 403, path)
        for path, body in (
            ("otel/logs", {}),
            ("otel/traces", {}),
            ("metrics/detailed", {}),
            ("rollups", {}),
            ("states/group", {"scope": "g"}),
        ):
            await self.ok(f"/_console/{path}", body)

    async def test_what_only_looks_is_known_to(self) -> None:
        """Every other ``POST``, and all of ``PUT`` and ``DELETE``, changes something."""
        looks = {route.path for route in ROUTES if route.method != "GET" and not route.does}
        self.assertEqual(
            looks,
            {
                "otel/logs",
                "otel/traces",
                "otel/traces/tree",
                "otel/traces/group_by",
                "metrics/detailed",
                "rollups",
                "states/group",
                "dlq/:topic/messages",
            },
        )
        self.assertEqual([r.path for r in ROUTES if r.method == "GET" and r.does], [])


class Accounts(ConsoleCase):
    """What is logged, and what is masked."""

    async def test_changes_are_logged_with_the_address(self) -> None:
        lines = Lines(self)
        await self.serve(STATE)
        secret = {"password": "hunter2"}
        await self.ok("/_console/states/g/item", {"key": "k", "value": secret})
        await self.refused(502, "/_console/invoke", {"function_id": "nix"})
        await self.get("/_console/status")

        said = [text for text in lines.texts("info") if text.startswith("console: ")]
        self.assertEqual(
            said,
            [
                "console: 127.0.0.1 writes state (group='g' key='k'): done",
                "console: 127.0.0.1 calls a function (function_id='nix'): refused (502)",
            ],
        )

    @probe("06.33")
    async def test_secrets_of_the_configuration_are_masked(self) -> None:
        """Values whose keys sound secret, and credentials in addresses."""
        hook = {
            "name": "slow",
            "metric": "m",
            "threshold": 1,
            "action": {"type": "webhook", "url": "http://u:hunter2@example.org/?token=hunter2"},
        }
        self.engine = await self.start(otel(alerts=[hook]), console(token="hunter2"))
        self.credentials = {"authorization": "Bearer hunter2"}

        config = await self.ok("/_console/config")

        self.assertNotIn("hunter2", str(config))
        rows = {row["name"]: row for row in config["modules"]}
        self.assertEqual(rows["iii-console"]["config"]["token"], "***")
        self.assertEqual(rows["iii-console"]["sources"]["read_only"], "default")
        url: Any = rows["iii-observability"]["config"]["alerts"][0]["action"]["url"]
        self.assertEqual(url, "http://***@example.org/?token=***")

    def test_a_token_is_not_in_the_repr_of_its_settings(self) -> None:
        self.assertNotIn(TOKEN, repr(ConsoleConfig(token=TOKEN)))

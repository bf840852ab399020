"""``http/send``: the tester of the HTTP triggers' page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred

from iii.modules.console import tester
from tests.console.cases import HTTP, ConsoleCase
from tests.support.certificates import Authority

SEND = "/_console/http/send"


class Tester(ConsoleCase):
    """Requests to the engine's own port."""

    def later(self, body: dict[str, Any]) -> Deferred[Any]:
        """Send a request; its answer comes later."""
        return Deferred.fromCoroutine(self.ok(SEND, body))

    async def test_a_request_and_its_answer(self) -> None:
        await self.serve(HTTP)
        worker = await self.here("f")
        await worker.trigger("http", "f", {"api_path": "users/:id", "http_method": "POST"})

        sending = self.later(
            {
                "method": "post",
                "path": "users/a%2Fb?q=ä b",
                "headers": {"X-Test": "1", "Content-Type": "application/json", "Host": "evil"},
                "body": {"n": 1},
            }
        )
        result = {"status_code": 201, "headers": {"x-out": "yes"}, "body": {"ok": True}}
        call = await worker.answer("f", result=result)

        data = call["data"]
        self.assertEqual((data["path_params"]["id"], data["body"]), ("a%2Fb", {"n": 1}))
        self.assertEqual(data["query_params"]["q"], "ä b")
        self.assertEqual(data["headers"]["x-test"], "1")
        self.assertNotIn("evil", str(data["headers"]))
        answer = await sending
        self.assertEqual((answer["status"], answer["body"]), (201, '{"ok":true}'))
        self.assertIn(["x-out", "yes"], answer["headers"])
        self.assertGreater(answer["duration_ms"], 0)

    async def test_redirections_are_shown(self) -> None:
        await self.serve(HTTP)
        worker = await self.here("f")
        await worker.trigger("http", "f", {"api_path": "a"})
        sending = self.later({"path": "/a"})
        location = {"location": "http://elsewhere.example/"}
        await worker.answer("f", result={"status_code": 302, "headers": location, "body": ""})
        answer = await sending
        self.assertEqual(answer["status"], 302)
        self.assertIn(["location", "http://elsewhere.example/"], answer["headers"])

    async def test_a_route_that_is_not_there(self) -> None:
        await self.serve(HTTP)
        answer = await self.ok(SEND, {"path": "/nix", "method": "DELETE"})
        self.assertEqual(answer["status"], 404)
        self.assertIn("route_not_found", answer["body"])

    async def test_it_goes_nowhere_else(self) -> None:
        """Whatever the path looks like, it is a path of the engine's port."""
        await self.serve(HTTP)
        for path in (
            "http://127.0.0.1:1/",
            "//evil.example/x",
            "@evil.example",
            "\\evil",
            "a\r\nX: y",
        ):
            answer = await self.ok(SEND, {"path": path})
            self.assertEqual(answer["status"], 404, path)

    async def test_a_large_answer_is_cut(self) -> None:
        await self.serve(HTTP)
        worker = await self.here("f")
        await worker.trigger("http", "f", {"api_path": "a"})
        self.patch(tester, "MAX_SHOWN_BYTES", 1000)
        sending = self.later({"path": "/a"})
        await worker.answer("f", result="x" * 500_000)
        answer = await sending
        self.assertEqual((len(answer["body"]), answer["truncated"]), (1000, True))

    async def test_what_is_no_request(self) -> None:
        await self.serve(HTTP)
        for body, status in (
            ({}, 500),
            ({"path": "/a", "method": "BREW"}, 400),
            ({"path": "/a", "headers": ["x"]}, 400),
            ({"path": "/a", "headers": {"x": "a\r\nb: c"}}, 400),
            ({"path": "/a", "timeout_ms": "soon"}, 400),
            ({"path": "/a", "timeout_ms": 0}, 400),
        ):
            await self.refused(status, SEND, body)

    async def test_without_a_port(self) -> None:
        await self.serve()
        self.assertIn("no HTTP port", await self.refused(404, SEND, {"path": "/a"}))

    async def test_it_does_not_wait_for_ever(self) -> None:
        time = await self.serve_later(HTTP)
        worker = await self.here("f")
        await worker.trigger("http", "f", {"api_path": "a"})
        sending = Deferred.fromCoroutine(
            self.refused(504, SEND, {"path": "/a", "timeout_ms": 2000})
        )
        await worker.invoked("f")
        time.advance(2.1)
        self.assertEqual(await sending, "Invocation timed out")

    async def test_over_tls(self) -> None:
        folder = Path(self.mktemp())
        certificate, key = authority_in(folder).issue()
        tls = {"cert": str(certificate), "key": str(key)}
        await self.serve({**HTTP, "config": {"tls": tls}})
        self.assertEqual((await self.ok(SEND, {"path": "/nix"}))["status"], 404)

    async def test_read_only(self) -> None:
        await self.serve(HTTP, read_only=True)
        await self.refused(403, SEND, {"path": "/a"})


def authority_in(folder: Path) -> Authority:
    """Signs certificates, in a folder that is made."""
    folder.mkdir()
    return Authority(folder)

"""Which pages may connect (docs/security.md, "Browsers")."""

from __future__ import annotations

from typing import Any

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from iii.browsers import Browsers, Origin
from iii.wire.listener import WorkerListener
from tests.stream.sockets_case import StreamCase
from tests.support.rawsocket import CLOSE, RawSocket, open_socket
from tests.wire.support import WireCase

EVIL = "https://evil.example"


class Pages(SynchronousTestCase):
    """The decision itself."""

    def allowed(self, origin: str | None, host: str, *allowed: str, **more: Any) -> bool:
        """Whether a page of ``origin`` may connect to ``host``."""
        secure = more.pop("secure", False)
        headers = {"host": host, **more}
        if origin is not None:
            headers["origin"] = origin
        return Browsers(allowed, secure=secure).refusal(headers) is None

    def test_programs_are_not_asked(self) -> None:
        self.assertTrue(self.allowed(None, "localhost:49134"))
        self.assertTrue(self.allowed(None, "engine.example.com"))

    def test_pages_of_this_machine(self) -> None:
        for origin in (
            "http://localhost",
            "http://localhost:5173",
            "https://LOCALHOST:8443",
            "http://app.localhost:3000",
            "http://127.0.0.1:3111",
            "http://127.1.2.3",
            "http://[::1]:3111",
            "tauri://localhost",
        ):
            for host in ("localhost:49134", "engine.example.com"):
                self.assertTrue(self.allowed(origin, host), origin)

    def test_foreign_pages(self) -> None:
        for origin in (
            EVIL,
            "http://localhost.evil.example",
            "http://evil-localhost",
            "http://127.0.0.1.evil.example",
            "http://localhost@evil.example",
            "https://evil.example:49134",
            "chrome-extension://abcdef",
            "http://10.0.0.5",
            "http://",
            "http://[::1",
            "null",
            "file://",
            "",
        ):
            for secure in (True, False):
                found = self.allowed(origin, "localhost:49134", secure=secure)
                self.assertFalse(found, origin)

    def test_pages_of_the_host_itself(self) -> None:
        """By its address, or by a name that a certificate has proved; whatever the port."""
        self.assertTrue(self.allowed("http://10.0.0.5:8080", "10.0.0.5:49134"))
        self.assertTrue(self.allowed("http://[fe80::1]:8080", "[fe80::1]:49134"))
        self.assertTrue(self.allowed("https://engine.lan", "engine.lan:49134", secure=True))
        self.assertFalse(self.allowed("https://other.lan", "engine.lan:49134", secure=True))

    def test_a_name_that_was_bent_to_this_machine(self) -> None:
        """DNS rebinding: the page and the host have one name, and it is the attacker's."""
        self.assertFalse(self.allowed("http://evil.example:49134", "evil.example:49134"))
        self.assertFalse(self.allowed("http://evil.example.", "evil.example."))

    def test_a_name_behind_a_proxy_of_this_machine(self) -> None:
        """No page can add the header."""
        proxied = {"x-forwarded-for": "203.0.113.9"}
        self.assertTrue(self.allowed("https://app.example.com", "app.example.com", **proxied))
        self.assertFalse(self.allowed(EVIL, "app.example.com", **proxied))

    def test_the_list(self) -> None:
        listed = ("https://app.example.com", "https://*.example.org", "http://a.test:8080")
        for origin in (
            "https://app.example.com",
            "https://APP.example.com:443",
            "https://x.example.org",
            "https://x.y.example.org",
            "http://a.test:8080",
        ):
            self.assertTrue(self.allowed(origin, "localhost", *listed), origin)
        for origin in (
            "http://app.example.com",
            "https://app.example.com:8443",
            "https://example.org",
            "https://example.org.evil.example",
            "https://evilexample.org",
            "http://a.test",
            "null",
        ):
            self.assertFalse(self.allowed(origin, "localhost", *listed), origin)

    def test_everything(self) -> None:
        for origin in (EVIL, "null"):
            self.assertTrue(self.allowed(origin, "localhost", "*"))

    def test_files(self) -> None:
        self.assertTrue(self.allowed("null", "localhost", "null"))
        self.assertTrue(self.allowed("file://", "localhost", "null"))

    def test_what_is_no_origin_is_refused_in_a_configuration(self) -> None:
        for text in ("localhost", "app.example.com", "https://a.test/page", "", "https://"):
            with self.assertRaises(msgspec.ValidationError, msg=text):
                msgspec.convert(text, Origin)
        for text in ("*", "null", "https://a.test", "https://*.a.test", "tauri://localhost"):
            msgspec.convert(text, Origin)


class WorkerPort(WireCase):
    """A page on the worker port."""

    async def page(self, origin: str, path: str = "/", **headers: str) -> RawSocket:
        socket = await open_socket(self.port, path, origin=origin, **headers)
        self._sockets.append(socket)
        return socket

    async def test_one_of_this_machine_is_a_worker(self) -> None:
        socket = await self.page("http://localhost:5173")
        self.assertEqual((await socket.next_message())["type"], "workerregistered")

    async def test_a_foreign_one_hears_why_and_nothing_else(self) -> None:
        """Not as an HTTP error: that is not for ``/`` (decision 31)."""
        for path in ("/", "/otel", "/ws/channels/x?key=y&dir=read"):
            socket = await self.page(EVIL, path)
            socket.text(b'{"type":"invokefunction","function_id":"engine::workers::list"}')
            closed = await socket.next_frame()
            self.assertEqual((closed.opcode, closed.close_code), (CLOSE, 1008))
            self.assertIn(b"allowed_origins", closed.payload)
            self.assertEqual(socket.frames, [])
        self.assertEqual(list(self.engine.workers), [])
        told = self.problems("refused a page of 'https://evil.example'")
        self.assertEqual(len(told), 3)

    async def test_a_rebound_name_is_foreign(self) -> None:
        socket = await self.page("http://evil.example", host="evil.example")
        self.assertEqual((await socket.next_frame()).close_code, 1008)


class ListedOrigin(WorkerPort):
    """``allowed_origins`` of the worker port."""

    def make_listener(self) -> WorkerListener:
        """EngineCase: with a list."""
        origins = ["https://app.example.com"]
        return WorkerListener(self.engine, host="127.0.0.1", port=0, allowed_origins=origins)

    async def test_a_listed_one_is_a_worker(self) -> None:
        socket = await self.page("https://app.example.com")
        self.assertEqual((await socket.next_message())["type"], "workerregistered")


class StreamPort(StreamCase):
    """A page on the stream port."""

    allowed_origins = ("https://app.example.com",)

    async def test_pages_of_this_machine_and_of_the_list(self) -> None:
        for origin in ("http://localhost:3111", "https://app.example.com"):
            client = await self.client(origin=origin)
            await client.joined()

    async def test_a_foreign_one_hears_why_and_nothing_else(self) -> None:
        self.shelf.put("secret", 1)
        client = await self.client("/stream/chat/g", origin=EVIL)
        client.join()
        closed = await client.socket.next_frame()
        self.assertEqual((closed.opcode, closed.close_code), (CLOSE, 1008))
        self.assertEqual(client.socket.frames, [])
        self.assertEqual(len(self.problems("refused a page of 'https://evil.example'")), 1)

    async def test_its_offer_of_a_subprotocol_is_taken(self) -> None:
        """Else a browser would tell its program something else."""
        client = await self.client(origin=EVIL, sec_websocket_protocol="Authorization, token")
        self.assertIn("sec-websocket-protocol: authorization", client.socket.head.lower())
        self.assertEqual(await client.close_code(), 1008)


class FailingClosed(StreamCase):
    """``auth_fail_open`` is about programs that can't be authenticated, not about pages."""

    auth_function = "nobody"
    fail_open = True

    async def test_a_foreign_page_stays_out(self) -> None:
        client = await self.client(origin=EVIL)
        self.assertEqual(await client.close_code(), 1008)

"""The client over TLS, with a token, and what it says when it is not welcome."""

from __future__ import annotations

import logging
import os
import ssl
import tempfile
from http import HTTPStatus
from pathlib import Path
from typing import Any
from unittest import TestCase
from unittest.mock import patch

from iii import III, InitOptions, InvocationError, ReconnectionConfig, UnwelcomeError
from iii.client.channels import ChannelWriter, StreamChannelRef
from iii.client.options import shown_address
from tests.client.stub import LIMIT_S, ClientCase, Stub
from tests.support.certificates import Authority

ONCE = ReconnectionConfig(max_retries=0)
VARIABLES = ("III_TOKEN", "III_CA", "III_CLIENT_CERT", "III_CLIENT_KEY")


class TlsCase(ClientCase):
    """A stub with TLS beside the plain one.

    :cvar mutual: it asks for certificates
    """

    mutual = False

    async def asyncSetUp(self) -> None:
        clean = {name: value for name, value in os.environ.items() if name not in VARIABLES}
        patched = patch.dict(os.environ, clean, clear=True)
        patched.start()
        self.addCleanup(patched.stop)
        # The stub's side of a handshake that fails on purpose.
        noise = logging.getLogger("asyncio")
        self.addCleanup(noise.setLevel, noise.level)
        noise.setLevel(logging.CRITICAL)
        await super().asyncSetUp()
        holder = tempfile.TemporaryDirectory(prefix="iii-trust-")
        self.addCleanup(holder.cleanup)
        self.authority = Authority(Path(holder.name))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self.authority.issue())
        if self.mutual:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(self.authority.path)
        self.plain, self.stub = self.stub, Stub()
        await self.stub.start(tls=context)
        self.addAsyncCleanup(self.stub.stop)

    async def refusal(self, url: str | None = None, **options: Any) -> str:
        """What a client says that is not let in."""
        client = self.client(url, reconnection_config=ONCE, **options)
        with self.assertRaises(UnwelcomeError) as caught:
            await client.connect(LIMIT_S)
        with self.assertRaises(InvocationError) as call:
            await client.invoke("f")
        self.assertEqual(call.exception.code, "AUTH_ERROR")
        return str(caught.exception)


class Trusting(TlsCase):
    """Whom the client trusts."""

    async def test_the_authority_of_the_option(self) -> None:
        _, link = await self.connected(ca=self.authority.path)
        self.assertEqual(link.path, "/")

    async def test_the_authority_of_the_variable(self) -> None:
        os.environ["III_CA"] = str(self.authority.path)
        await self.connected()

    async def test_the_system_s_authorities(self) -> None:
        """Python reads them from ``SSL_CERT_FILE``, too."""
        os.environ["SSL_CERT_FILE"] = str(self.authority.path)
        await self.connected()

    async def test_nobody_else(self) -> None:
        text = await self.refusal()
        self.assertIn("the certificate is not trusted (unable to get local issuer", text)
        self.assertIn("III_CA", text)
        other = Authority(self.authority.directory, "other")
        self.assertIn("not trusted", await self.refusal(ca=other.path))

    async def test_another_host(self) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self.authority.issue("elsewhere", host="elsewhere.test"))
        elsewhere = Stub()
        await elsewhere.start(tls=context)
        self.addAsyncCleanup(elsewhere.stop)
        text = await self.refusal(elsewhere.address, ca=self.authority.path)
        self.assertIn("the certificate is not for 127.0.0.1", text)

    async def test_channels_are_opened_the_same_way(self) -> None:
        client, _ = await self.connected(ca=self.authority.path, token="t0")
        end = client._end_of(StreamChannelRef("c", "k", "write"))
        assert isinstance(end, ChannelWriter)
        await end.write(b"hello")
        channel = await self.stub.channel()
        self.assertEqual(channel.headers["authorization"], "Bearer t0")

    async def test_files_that_are_no_good(self) -> None:
        gone = self.authority.directory / "gone.pem"
        self.assertIn(f"the authorities in {gone} can't be read", await self.refusal(ca=gone))
        text = await self.refusal(ca=self.authority.path, client_key=gone)
        self.assertIn("has no certificate", text)
        locked = self.authority.issue("locked", passphrase="x")
        text = await self.refusal(
            ca=self.authority.path, client_cert=locked[0], client_key=locked[1]
        )
        self.assertIn("has a passphrase", text)

    async def test_the_wrong_scheme(self) -> None:
        text = await self.refusal(self.stub.address.replace("wss", "ws"))
        self.assertIn("use wss://", text)


class Mutual(TlsCase):
    """An engine that asks for certificates."""

    mutual = True

    async def test_with_one(self) -> None:
        cert, key = self.authority.issue("client")
        await self.connected(ca=self.authority.path, client_cert=cert, client_key=key)

    async def test_one_of_the_variables(self) -> None:
        cert, key = self.authority.issue("client")
        os.environ["III_CLIENT_CERT"], os.environ["III_CLIENT_KEY"] = str(cert), str(key)
        await self.connected(ca=self.authority.path)


class Tokens(TlsCase):
    """``token`` and ``III_TOKEN``."""

    async def sent(self, **options: Any) -> str | None:
        """The ``Authorization`` header a client sends."""
        _, link = await self.connected(ca=self.authority.path, **options)
        header: str | None = link.headers.get("authorization")
        return header

    async def test_the_option(self) -> None:
        os.environ["III_TOKEN"] = "of the variable"
        self.assertEqual(await self.sent(token="t1"), "Bearer t1")

    async def test_the_variable(self) -> None:
        os.environ["III_TOKEN"] = "t2"
        self.assertEqual(await self.sent(), "Bearer t2")

    async def test_a_header_of_one_s_own_wins(self) -> None:
        headers = {"authorization": "Basic xyz"}
        self.assertEqual(await self.sent(token="t1", headers=headers), "Basic xyz")

    async def test_an_http_refusal(self) -> None:
        self.stub.refusals = [HTTPStatus.UNAUTHORIZED]
        text = await self.refusal(ca=self.authority.path)
        self.assertIn("HTTP 401: a token is asked for: set III_TOKEN", text)
        self.stub.refusals = [HTTPStatus.FORBIDDEN]
        text = await self.refusal(ca=self.authority.path, token="wrong")
        self.assertIn("HTTP 403: the token is refused", text)
        self.assertNotIn("wrong", text)

    async def test_the_engine_s_own_refusal(self) -> None:
        """An error message and a close frame instead of ``workerregistered``."""
        error = {"code": "AUTH_ERROR", "message": "the token is not known"}
        self.stub.greeting = {"type": "error", "error": error}
        self.stub.on_connect = lambda link: link.socket.close(1008, "the token is not known")
        client = self.client(ca=self.authority.path, token="secret", reconnection_config=ONCE)
        try:
            await client.connect(LIMIT_S)
        except UnwelcomeError:
            pass  # the refusal may be there before the introduction is written
        with self.assertRaises(InvocationError) as caught:
            await client.invoke("f")
        self.assertEqual(caught.exception.code, "AUTH_ERROR")
        text = str(caught.exception)
        self.assertIn("the engine refuses this client: the token is not known", text)
        self.assertNotIn("secret", text)


class Secrets(TestCase):
    """What is secret is not shown."""

    def test_the_options(self) -> None:
        options = InitOptions(token="secret", headers={"authorization": "Bearer secret"})
        self.assertNotIn("secret", repr(options))

    def test_the_address(self) -> None:
        for given, shown in {
            "ws://user:pass@engine.test:49134/x?token=t": "ws://engine.test:49134/x",
            "wss://engine.test": "wss://engine.test",
            "engine.test": "engine.test",
            "ws://[::1": "an address that can't be read",
        }.items():
            self.assertEqual(shown_address(given), shown)

    def test_a_wrong_one(self) -> None:
        with self.assertRaisesRegex(ValueError, r"got 'https://engine.test'.* wss://"):
            III("https://user:secret@engine.test?token=secret")

"""The HTTP port over TLS: the tests of the plain one, and what is special."""

from __future__ import annotations

import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol

from iii.modules.http import HttpConfig
from iii.tls import Tls
from tests.http import test_connection, test_lifecycle, test_streaming
from tests.http.support import Client, Fast, HttpCase
from tests.support.certificates import Authority
from tests.tls.cases import dial_tls

#: The clock of these cases stands still in 2025.
LONG_AGO = timedelta(days=-5 * 365)


class OverHttps:
    """Put before a case of the HTTP port: it runs over TLS."""

    def setUp(self: Any) -> None:
        holder = tempfile.TemporaryDirectory(prefix="iii-https-")
        self.addCleanup(holder.cleanup)
        self.authority = Authority(Path(holder.name))
        cert, key = self.authority.issue(begins=LONG_AGO)
        self.tls = Tls(str(cert), str(key))
        super().setUp()  # type: ignore[misc]

    def listen(self: Any, config: HttpConfig) -> int:
        """Fast: with TLS."""
        config.tls = self.tls
        port: int = super().listen(config)  # type: ignore[misc]
        return port

    async def _close_clients(self: Any) -> None:
        await super()._close_clients()  # type: ignore[misc]
        await self.until(lambda: not self.server.connections)

    async def connect(self: Any, kind: type[Client] = Client) -> Client:
        """HttpCase: with TLS."""
        client: Client = await dial_tls(self.port, self.authority.path, protocol=kind())
        self.clients.append(client)
        client.transport.setTcpNoDelay(True)
        client.send = lambda data: _send(client, data)
        return client


def _send(client: Client, data: bytes) -> None:
    """As soon as over a plain socket."""
    transport: Any = client.transport
    transport.write(data)
    transport._aggregator.flush()


class Heads(OverHttps, test_connection.Heads):
    """Request heads."""


class Bodies(OverHttps, test_connection.Bodies):
    """Request bodies."""

    async def test_a_large_unwanted_body_ends_the_connection_after_the_answer(self) -> None:
        """A client that hears ``close_notify`` stops sending; it has read the answer before."""
        client = await self.connect()
        client.send(b"POST /none HTTP/1.1\r\nHost: a\r\nContent-Length: 9000000\r\n\r\n")
        client.send(b"x" * 1_000_000)
        response = await client.response()
        self.assertEqual((response.status, response.headers["connection"]), (404, "close"))
        await self.until(lambda: not self.server.connections)


class Connections(OverHttps, test_connection.Connections):
    """Connections that are kept, and those that are not."""

    async def test_a_client_that_does_not_read_is_not_served_on(self) -> None:
        """Answers pile up to the buffers' size, no further; large ones always wait a moment."""
        self.echo.route("big", "x" * 1_000_000)
        client = await self.connect()
        client.transport.pauseProducing()
        client.send(b"GET /big HTTP/1.1\r\nHost: a\r\n\r\n" * 100)
        connection = next(iter(self.server.connections))
        await self.until(lambda: connection.output_full)
        await self.pause(0.3)
        self.assertTrue(connection.output_full)
        self.assertLess(len(self.echo.calls), 30)
        self.assertLess(len(connection.transport.dataBuffer), 3_000_000)
        client.transport.resumeProducing()
        for _ in range(100):
            self.assertEqual(len((await client.response()).body), 1_000_002)


class Goodbyes(OverHttps, test_connection.RawCase):
    """The end of an answer is told, so that a cut one can be known (RFC 9112, 9.8)."""

    async def test_after_the_last_answer(self) -> None:
        client = await self.send("GET", "/none", headers=[("Connection", "close")])
        await client.end()
        self.assertTrue(client.cleanly)

    async def test_although_the_client_has_said_more(self) -> None:
        client = await self.connect()
        client.send(b"GET /none HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" * 2)
        await client.end()
        self.assertTrue(client.cleanly)


class Patience(OverHttps, test_connection.Patience):
    """Slow clients."""


class Streaming(OverHttps, test_streaming.StreamingFast):
    """Streamed answers."""


class Stopping(OverHttps, test_lifecycle.Stopping):
    """The end."""


class Plain(OverHttps, Fast, HttpCase):
    """A client that speaks plain HTTP."""

    async def test_it_is_told_what_is_wrong(self) -> None:
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", self.port)
        client: Any = await connectProtocol(endpoint, Client())
        self.clients.append(client)
        client.send(b"GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n")
        answer = await client.response()
        self.assertEqual(answer.status, 400)
        self.assertEqual(answer.body, b"this port has TLS: use https://\n")


class Renewal(OverHttps, Fast, HttpCase):
    """A new certificate, while connections are open."""

    async def test_open_connections_stay_and_new_ones_get_the_new_certificate(self) -> None:
        self.worker().route("greet", "hello")
        old = await self.send("GET", "/greet")
        await old.response()
        before = old.transport.getPeerCertificate().get_serial_number()

        self.authority.issue(begins=LONG_AGO)
        self.module.renew()
        new = await self.send("GET", "/greet")
        await new.response()
        self.assertNotEqual(new.transport.getPeerCertificate().get_serial_number(), before)
        old.send(b"GET /greet HTTP/1.1\r\nHost: localhost\r\n\r\n")
        self.assertEqual((await old.response()).json, "hello")

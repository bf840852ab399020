"""Clients that begin with TLS and do not go on: none holds a socket for long."""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol

from iii.modules.http.server import HEAD_LIMIT_S, IDLE_LIMIT_S, STALL_LIMIT_S
from iii.wire.listener import WorkerListener
from tests.http.support import Fast, HttpCase
from tests.support.rawsocket import RawSocket
from tests.tls.cases import TlsCase
from tests.tls.test_http import OverHttps
from tests.tls.test_worker_port import Handshake

#: The head of a record that announces a ClientHello, and never comes.
HALF_A_RECORD = b"\x16\x03\x01\x02\x00\x01"
HANDSHAKE_S = 0.1


class WorkerPort(TlsCase):
    """The time limit of the upgrade is that of the TLS handshake, too."""

    def make_listener(self) -> WorkerListener:
        """TlsCase: with little patience."""
        listener = super().make_listener()
        listener.factory.openHandshakeTimeout = HANDSHAKE_S
        return listener

    async def test_who_says_nothing_is_dropped(self) -> None:
        await self.assert_dropped(b"")

    async def test_half_a_handshake(self) -> None:
        await self.assert_dropped(HALF_A_RECORD)

    async def test_a_handshake_and_no_upgrade(self) -> None:
        client = await _handshake(self.port)
        await self.eventually(lambda: not self.listener.factory.connections)
        client.drop()

    async def assert_dropped(self, said: bytes) -> None:
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", self.port)
        client: Any = await connectProtocol(endpoint, RawSocket())
        client.raw(said)
        await self.eventually(lambda: not self.listener.factory.connections)
        await client.ended()


class HttpPort(OverHttps, Fast, HttpCase):
    """The time limit of a request's head is that of the TLS handshake, too."""

    async def test_half_a_handshake(self) -> None:
        for said in (b"", HALF_A_RECORD):
            endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", self.port)
            client: Any = await connectProtocol(endpoint, RawSocket())
            client.raw(said)
            await self.until(lambda: self.server.connections)
            self.time.advance(max(HEAD_LIMIT_S, IDLE_LIMIT_S) + 1)
            await self.until(lambda: not self.server.connections)
            await client.ended()

    async def test_who_does_not_answer_the_goodbye(self) -> None:
        client = await _handshake(self.port)
        await self.until(lambda: self.server.connections)
        self.time.advance(max(HEAD_LIMIT_S, IDLE_LIMIT_S) + 1)
        await self.pause()
        self.time.advance(STALL_LIMIT_S + 1)
        await self.until(lambda: not self.server.connections)
        client.drop()


async def _handshake(port: int) -> Handshake:
    """A client that does the handshake and then says nothing, not even goodbye."""
    endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", port)
    client = Handshake({})
    await connectProtocol(endpoint, client)
    await client.settled
    return client

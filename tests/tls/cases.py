"""Cases with TLS: a worker port whose certificate a test's own authority signed."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, connectProtocol, wrapClientTLS
from twisted.internet.interfaces import IHandshakeListener
from twisted.internet.ssl import Certificate, PrivateCertificate, optionsForClientTLS
from zope.interface import alsoProvides

from iii.engine.clock import Clock
from iii.tls import Tls
from iii.tlsport import Certificates
from iii.wire.listener import WorkerListener
from tests.support import rawsocket
from tests.support.certificates import Authority
from tests.support.engine_case import EngineCase
from tests.support.rawsocket import RawSocket
from tests.wire import support
from tests.wire.support import WireCase

NARROW_BYTES = 64 * 1024


async def dial_tls(
    port: int, authority: Path, client: tuple[Path, Path] | None = None, protocol: Any = None
) -> Any:
    """A TLS connection to ``localhost``, once the handshake is over or has failed.

    :param client: certificate and key of the client
    :param protocol: what speaks over it; None for a ``RawSocket``
    """
    options = _options(authority, client)
    plain = HostnameEndpoint(reactor, "127.0.0.1", port)
    made = protocol or RawSocket()
    settled: Deferred[None] = Deferred()
    lost = made.connectionLost

    def ended(reason: Any) -> None:
        completed()
        lost(reason)

    def completed() -> None:
        if not settled.called:
            settled.callback(None)

    made.connectionLost, made.handshakeCompleted = ended, completed
    alsoProvides(made, IHandshakeListener)
    await connectProtocol(wrapClientTLS(options, plain), made)
    await settled
    return made


def _options(authority: Path, client: tuple[Path, Path] | None) -> Any:
    own = None
    if client is not None:
        own = PrivateCertificate.loadPEM(client[0].read_bytes() + client[1].read_bytes())
    return optionsForClientTLS("localhost", Certificate.loadPEM(authority.read_bytes()), own)


class OverTls(EngineCase):
    """Put before a case of the worker port: it runs over TLS.

    :cvar mutual: clients need a certificate, too
    """

    mutual = False

    async def setUp(self) -> None:
        holder = tempfile.TemporaryDirectory(prefix="iii-tls-")
        self.addCleanup(holder.cleanup)
        self.directory = Path(holder.name)
        self.authority = Authority(self.directory)
        cert, key = self.authority.issue()
        client_ca = str(self.authority.path) if self.mutual else None
        self.tls = Tls(str(cert), str(key), client_ca)
        # With less the kernel sends a record and waits 200 ms.
        self.patch(support, "NARROW_BYTES", NARROW_BYTES)
        self.patch(rawsocket, "dial", lambda port: dial_tls(port, self.authority.path))
        await super().setUp()

    def make_listener(self) -> WorkerListener:
        """EngineCase: with TLS."""
        self.certificates = Certificates(self.tls, Clock(reactor), "the worker port")
        return WorkerListener(self.engine, host="127.0.0.1", port=0, certificates=self.certificates)

    async def dial(self) -> RawSocket:
        """EngineCase: with TLS."""
        socket: RawSocket = await dial_tls(self.port, self.authority.path)
        return socket


class TlsCase(OverTls, WireCase):
    """A worker port with TLS."""

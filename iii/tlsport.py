"""TLS under a listening port: whose certificate, and a transport like a plain one.

``TlsFactory`` stands between a port and the factory of its connections.  Each
connection keeps the certificate it began with; ``Certificates.renew`` is about those
that follow, and files that are no good change nothing.

The transport is Twisted's with three differences.  Ciphertext goes straight to the
kernel while nothing waits there, as the connections of a plain port do themselves.  A
pull producer is asked by TCP, so it knows what the peer has taken and not only what
was encrypted.  The end of writing is told to the peer (``close_notify``) before the
socket is half closed.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from OpenSSL import SSL
from twisted.internet import tcp
from twisted.internet.interfaces import IAddress, IOpenSSLServerConnectionCreator
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from iii.engine.clock import Clock
from iii.tls import EXPIRES_SOON_DAYS, Tls, TlsError, load

log = Logger()

_HTTP_METHODS = (b"GET ", b"POST ", b"PUT ", b"HEAD ", b"OPTIONS ", b"DELETE ", b"PATCH ")
_PLAIN_HTTP = b"this port has TLS: use https://\n"


class Certificates:
    """The certificate of one listener, now and after the next ``renew``.

    :param where: which listener, for log lines
    :raises TlsError: the files are no good
    """

    def __init__(self, tls: Tls, clock: Clock, where: str) -> None:
        self.tls = tls
        self.where = where
        self._clock = clock
        self._loaded = load(tls, self._now())
        self._tell("")

    @property
    def context(self) -> Any:
        """The OpenSSL context of new connections."""
        return self._loaded.context

    def renew(self) -> bool:
        """Read the files again; False: they are no good and the old ones stay in use."""
        try:
            self._loaded = load(self.tls, self._now())
        except TlsError as error:
            log.error(
                "{where}: the certificate was not renewed, the one in use stays: {why}",
                where=self.where,
                why=error.message,
            )
            return False
        self._tell("renewed, ")
        return True

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock.wall(), UTC)

    def _tell(self, prefix: str) -> None:
        log.info("{where}: {what}", where=self.where, what=f"{prefix}{self._loaded}")
        days = self._loaded.days_left(self._now())
        if days < EXPIRES_SOON_DAYS:
            log.warn("{where}: the certificate ends in {days} day(s)", where=self.where, days=days)


def certificates(tls: Tls | None, clock: Clock, where: str) -> Certificates | None:
    """The certificate of a listener, if it is to have one.

    :raises TlsError: the files are no good
    """
    return None if tls is None else Certificates(tls, clock, where)


class TlsTransport(TLSMemoryBIOProtocol):
    """One connection with TLS, seen by its protocol as a transport."""

    factory: TlsFactory

    @property
    def _peer(self) -> str:
        transport: Any = self.transport
        return str(getattr(transport.getPeer(), "host", "somebody"))

    # In --------------------------------------------------------------------------------

    def dataReceived(self, bytes: bytes) -> None:
        """Twisted: ciphertext; a client that speaks plain HTTP is told so."""
        if not self._handshakeDone and bytes.startswith(_HTTP_METHODS):
            self._refuse_plain(bytes)
            return
        super().dataReceived(bytes)  # type: ignore[no-untyped-call]

    def _refuse_plain(self, data: bytes) -> None:
        log.info(
            "{where}: {peer} speaks plain HTTP to a port with TLS (https://, wss://)",
            where=self.factory.certificates.where,
            peer=self._peer,
        )
        transport: Any = self.transport
        if b"\r\nupgrade:" not in data.lower():
            # Some workers never come back after an HTTP answer to an upgrade.
            transport.write(
                b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\nconnection: close\r\n"
                b"content-length: %d\r\n\r\n%b" % (len(_PLAIN_HTTP), _PLAIN_HTTP)
            )
        transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Twisted: the socket is gone."""
        failed = self._reason
        if failed is not None and not self._handshakeDone and failed.check(SSL.Error):
            log.info(
                "{where}: no TLS with {peer}: {why}",
                where=self.factory.certificates.where,
                peer=self._peer,
                why=_words(failed.value),
            )
        super().connectionLost(reason)  # type: ignore[no-untyped-call]

    # Out -------------------------------------------------------------------------------

    @property
    def bufferSize(self) -> int:
        """Twisted: how much is read at once, and how much may wait before producers pause."""
        size: int = self.transport.bufferSize  # type: ignore[union-attr]
        return size

    @bufferSize.setter
    def bufferSize(self, size: int) -> None:
        self.transport.bufferSize = size  # type: ignore[union-attr]

    def _flushSendBIO(self) -> None:
        """Twisted: give the kernel what was encrypted."""
        if self._tlsConnection is None:
            # A half-closed socket ends within the call that learned of the other half.
            return
        try:
            data: bytes = self._tlsConnection.bio_read(2**15)
        except SSL.WantReadError:
            return
        transport: Any = self.transport
        if isinstance(transport, tcp.Connection) and _is_idle(transport):
            try:
                sent = transport.socket.send(data)
            except OSError:
                # Full, or broken: the transport waits or finds out itself.
                sent = 0
            if sent == len(data):
                return
            data = data[sent:]
        transport.write(data)

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Twisted: who has more to send."""
        transport: Any = self.transport
        if streaming or self._lostTLSConnection:
            super().registerProducer(producer, streaming)  # type: ignore[no-untyped-call]
        elif transport.producer is None and _holds_anything(transport):
            # TCP would ask at once; this one is asked when everything has been taken.
            transport.producer, transport.streamingProducer = producer, False
        else:
            transport.registerProducer(producer, False)

    def unregisterProducer(self) -> None:
        """Twisted: it has no more."""
        if self._producer is not None:
            super().unregisterProducer()  # type: ignore[no-untyped-call]
        else:
            transport: Any = self.transport
            transport.unregisterProducer()

    def loseWriteConnection(self) -> None:
        """Twisted: nothing more is written; what the peer sends is still read."""
        transport: Any = self.transport
        if self._tlsConnection is None or self._lostTLSConnection:
            return
        if self._appSendBuffer or not self._handshakeDone:
            self.loseConnection()  # type: ignore[no-untyped-call]
            return
        try:
            self._tlsConnection.shutdown()
        except SSL.Error:
            self.abortConnection()
            return
        self._flushSendBIO()
        transport.loseWriteConnection()

    def abortConnection(self) -> None:
        """Twisted: end it at once; what has ended already stays so."""
        if self._tlsConnection is not None:
            super().abortConnection()  # type: ignore[no-untyped-call]


class TlsFactory(TLSMemoryBIOFactory):
    """Puts TLS under the connections of another factory.

    :ivar certificates: what they are opened with
    """

    protocol = TlsTransport

    def __init__(self, certificates: Certificates, factory: Any, reactor: Any) -> None:
        creator: Any = _Creator(certificates)
        super().__init__(creator, False, factory, reactor)
        self.certificates = certificates

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """Twisted: somebody connected; None: the other factory does not want them."""
        protocol = self.wrappedFactory.buildProtocol(addr)
        return None if protocol is None else self.protocol(self, protocol)  # type: ignore[no-untyped-call]


@implementer(IOpenSSLServerConnectionCreator)
class _Creator:
    """Makes OpenSSL's side of each connection."""

    def __init__(self, certificates: Certificates) -> None:
        self._certificates = certificates

    def serverConnectionForTLS(self, tlsProtocol: Any) -> Any:
        """Twisted: a connection with the certificate of now."""
        return SSL.Connection(self._certificates.context, None)


def _is_idle(transport: Any) -> bool:
    """Whether nothing waits, and nobody waits to be asked for more when it is written."""
    return bool(
        transport.producer is None
        and not _holds_anything(transport)
        and transport.connected
        and not transport.disconnecting
    )


def _holds_anything(transport: Any) -> bool:
    return bool(transport.dataBuffer or transport._tempDataBuffer)


def _words(error: object) -> str:
    """The reasons in an OpenSSL error."""
    parts = getattr(error, "args", ())
    if parts and isinstance(parts[0], list) and parts[0]:
        return ", ".join(str(part[-1]) for part in parts[0])
    return str(error) or type(error).__name__

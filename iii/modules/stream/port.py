"""The stream port: accepts clients, and authenticates them when there is a function for it.

``auth_function`` is asked before the upgrade is answered.  Who is refused gets the upgrade
and is closed with 1008 and a reason, which a browser shows to its program; a refused
upgrade it would not.  A function that is missing, fails or takes too long refuses, unless
the configuration says ``auth_fail_open``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from autobahn.websocket.types import ConnectionRequest
from msgspec import Raw
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from iii.browsers import Browsers
from iii.engine.clock import Timer
from iii.engine.instruments import Sample
from iii.engine.module import ModuleApi
from iii.errors import IIIError
from iii.modules.stream.admission import NULL, Admission
from iii.modules.stream.handshake import auth_input, joined_by
from iii.modules.stream.sockets import Hub, Source, StreamSocket
from iii.modules.stream.subscriptions import Subscriptions
from iii.net import show_address
from iii.tlsport import Certificates
from iii.websocket.codes import CLOSE_GOING_AWAY
from iii.websocket.connection import Connection, Role
from iii.websocket.refused import Refused
from iii.websocket.server import WebSocketFactory, WebSocketListener

log = Logger()

DEFAULT_PORT = 3112
AUTH_LIMIT_S = 30.0
#: Clients whose subscriptions begin anew at a time, after events were missed.
SYNCED_AT_ONCE, SYNC_EVERY_S = 100, 0.05
LEAVE_LIMIT_S = 5.0
"""How long the end of the engine waits for ``stream:leave`` handlers."""


class _Authenticated(msgspec.Struct):
    """What ``auth_function`` returns; other fields are nobody's."""

    context: Raw = NULL


class StreamConnection(Connection):
    """A WebSocket connection on the stream port."""

    factory: StreamFactory

    def role_for(self, request: ConnectionRequest) -> Role | Deferred[Role]:
        """Connection: a client, if it may."""
        return self.factory.role_for(self)

    def subprotocol(self) -> str | None:
        """Connection: the first; browsers send ``Authorization`` and behind it the token."""
        offered: list[str] = self.websocket_protocols
        return (offered[0] or None) if offered else None


class StreamFactory(WebSocketFactory):
    """Makes connections of stream clients.

    :param role_for: decides about an upgrade
    :param browsers: which pages may connect
    """

    protocol: Any = StreamConnection

    def __init__(
        self,
        api: ModuleApi,
        role_for: Callable[[StreamConnection], Role | Deferred[Role]],
        browsers: Browsers,
    ) -> None:
        super().__init__(api.reactor, api.clock, api.turn, browsers=browsers)
        self.role_for = role_for


class StreamPort:
    """The listener of the stream module.

    :param host: an address, or None for ``III_HOST`` or loopback
    :param port: 0 takes a free one; ``port`` tells the real one after ``listen``
    :param auth_function: decides who may connect; None: everybody
    :param fail_open: who can't be authenticated may connect, without a context
    :param certificates: for TLS; None: the port is plain
    :param allowed_origins: of which other pages browsers may connect
    """

    def __init__(
        self,
        api: ModuleApi,
        streams: Source,
        subscriptions: Subscriptions,
        admission: Admission,
        *,
        host: str | None = None,
        port: int = DEFAULT_PORT,
        auth_function: str | None = None,
        fail_open: bool = False,
        certificates: Certificates | None = None,
        allowed_origins: Sequence[str] = (),
    ) -> None:
        self._api = api
        self._auth_function = auth_function
        self._fail_open = fail_open
        self._sockets: set[StreamSocket] = set()
        self._emptied: Deferred[None] | None = None
        self._hub = Hub(
            streams, subscriptions, admission, api.clock, self._sockets.add, self._ended
        )
        browsers = Browsers(allowed_origins, secure=certificates is not None)
        self.factory = StreamFactory(api, self._role_for, browsers)
        self._listener = WebSocketListener(self.factory, host, port, certificates)
        self._unbinding: Deferred[Any] | None = None
        self._syncing: Timer | None = None

    def listen(self) -> None:
        """Bind.

        :raises StartError: the address is taken
        """
        self._listener.listen("the setting 'port' of iii-stream")

    def show(self) -> None:
        """Show how many clients there are."""
        self._api.instrument(
            "iii_stream_connections",
            "gauge",
            "Clients of the stream port",
            lambda: [((), len(self._sockets))],
        )
        self._api.instrument(
            "iii_stream_subscriptions",
            "gauge",
            "What they have joined",
            self._subscriptions,
            ("recordings",),
        )

    def _subscriptions(self) -> list[Sample]:
        joined = sum(socket.joined for socket in self._sockets)
        recordings = sum(socket.recordings for socket in self._sockets)
        return [(("false",), joined - recordings), (("true",), recordings)]

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._listener.port

    @property
    def addresses(self) -> list[str]:
        """Where it listens, for people."""
        return self._listener.addresses

    def renew(self) -> None:
        """Read the certificate again."""
        self._listener.renew()

    def sync_again(self) -> None:
        """Events were missed: every subscription begins anew, not all at once."""
        self._stop_syncing()
        self._sync_some(list(self._sockets))

    def _sync_some(self, left: list[StreamSocket]) -> None:
        for socket in left[:SYNCED_AT_ONCE]:
            socket.sync_again()
        rest = left[SYNCED_AT_ONCE:]
        self._syncing = (
            self._api.clock.call_later(SYNC_EVERY_S, self._sync_some, rest) if rest else None
        )

    def _stop_syncing(self) -> None:
        if self._syncing is not None and self._syncing.active():
            self._syncing.cancel()
        self._syncing = None

    def closing(self) -> None:
        """Accept no more connections."""
        self._stop_syncing()
        if self._unbinding is None:
            self._unbinding = self._listener.stop_listening()

    async def stop(self) -> None:
        """Close every connection; their leave handlers are told, as far as time allows."""
        self.closing()
        await self._unbinding  # type: ignore[misc]
        await self._listener.close_all(CLOSE_GOING_AWAY, "the engine is stopping")
        await self._all_ended()
        if self._sockets:
            log.warn(
                "stream: {count} connection(s) whose stream:leave handlers were not all told",
                count=len(self._sockets),
            )

    # Upgrade ---------------------------------------------------------------------------

    def _role_for(self, connection: StreamConnection) -> Role | Deferred[Role]:
        uri: str = connection.http_request_uri
        if self._auth_function is None:
            return self._client(connection, uri, NULL)
        return Deferred.fromCoroutine(self._authenticated(connection, uri, self._auth_function))

    def _client(self, connection: StreamConnection, uri: str, context: Raw) -> Role:
        return StreamSocket(self._hub, connection, context, joined_by(uri))

    async def _authenticated(
        self, connection: StreamConnection, uri: str, auth_function: str
    ) -> Role:
        peer = connection.transport.getPeer()
        asked = auth_input(connection.http_request_data, uri, show_address(peer.host, peer.port))
        try:
            answer = await self._api.invoke(auth_function, asked, timeout_s=AUTH_LIMIT_S)
            context = _context_of(answer)
        except (IIIError, msgspec.MsgspecError) as error:
            reason = f"{auth_function} failed: {error}"
            if not self._fail_open:
                log.warn("{peer}: refused: {reason}", peer=connection.peer, reason=reason)
                return Refused(connection, "authentication failed")
            log.warn(
                "{peer}: {reason}: connected without a context (auth_fail_open)",
                peer=connection.peer,
                reason=reason,
            )
            context = NULL
        return self._client(connection, uri, context)

    # End -------------------------------------------------------------------------------

    def _ended(self, socket: StreamSocket) -> None:
        self._sockets.discard(socket)
        if not self._sockets:
            self._end_wait()

    async def _all_ended(self) -> None:
        """Wait until every leave handler was told, but not for ever."""
        if self._sockets:
            self._emptied = Deferred()
            timer = self._api.clock.call_later(LEAVE_LIMIT_S, self._end_wait)
            await self._emptied
            if timer.active():
                timer.cancel()

    def _end_wait(self) -> None:
        emptied, self._emptied = self._emptied, None
        if emptied is not None:
            emptied.callback(None)


def _context_of(answer: Raw | None) -> Raw:
    """What ``auth_function`` said about the client.

    :raises msgspec.MsgspecError: that is neither an object nor nothing
    """
    if answer is None or answer == NULL:
        return NULL
    # A copy: the answer is a slice of everything that came with it.
    return msgspec.json.decode(answer, type=_Authenticated).context.copy()

"""From the gate to the role of a connection.

Who is not let in gets the upgrade, one ``{"type": "error"}`` message and a close frame.  An
HTTP error would end the tries of most SDKs for good, and a close with 1000 or 1001, too:
1008 says that the credentials are no good, 1013 that trying again may help.

Channel ends are refused before the upgrade instead: a reader would take the message for
data.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from autobahn.websocket.types import ConnectionDeny
from twisted.internet.defer import Deferred

from iii.access.credentials import Credentials
from iii.access.gate import Gate, Refusal
from iii.access.grant import Grant
from iii.engine.core import Engine
from iii.engine.invocations import ErrorBody
from iii.errors import Code
from iii.websocket.codes import CLOSE_OVERLOAD, CLOSE_REFUSED
from iii.websocket.connection import Role
from iii.websocket.frames import Receive
from iii.websocket.outbox import Outbox
from iii.wire.codec import encode
from iii.wire.guarded import GuardedSession
from iii.wire.session import Session
from iii.wire.telemetry import TelemetrySocket

FORBIDDEN = 403
TOO_MANY = 429


class Wire(Protocol):
    """The connection below."""

    transport: Any
    http_request_data: bytes
    http_request_uri: str

    def receive_with(self, receive: Receive) -> Receive: ...

    def sendClose(self, code: int, reason: str) -> None: ...


class NotAdmitted:
    """The role of a connection that was not let in: it hears why, and that is it."""

    def __init__(self, wire: Wire, refusal: Refusal) -> None:
        self._wire = wire
        self._refusal = refusal

    def opened(self, outbox: Outbox) -> None:
        """Role: the upgrade is done."""
        reason = self._refusal.reason
        error = ErrorBody(Code.AUTH_ERROR, reason)
        outbox.send_text(encode({"type": "error", "error": error}))
        # 1013 discards what waits, and this is to arrive.
        outbox.flush()
        self._wire.sendClose(CLOSE_OVERLOAD if self._refusal.temporary else CLOSE_REFUSED, reason)

    def received(self, payload: bytes, is_binary: bool) -> None:
        """Role: nobody listens."""

    def closed(self, clean: bool) -> None:
        """Role: nothing to clean up."""


def address_of(wire: Wire) -> str:
    """The peer's address, without port."""
    return getattr(wire.transport.getPeer(), "host", "unknown")


def worker_role(engine: Engine, gate: Gate, wire: Wire) -> Role | Deferred[Role]:
    """The role of a connection on ``/``."""
    address = address_of(wire)

    def session(grant: Grant | None) -> Role:
        if gate.restricts:
            return GuardedSession(engine, wire, address, gate, grant)
        return Session(engine, wire, address)

    return _role(gate, wire, session)


def telemetry_role(engine: Engine, gate: Gate, wire: Wire) -> Role | Deferred[Role]:
    """The role of a connection on ``/otel``."""
    return _role(gate, wire, lambda grant: TelemetrySocket(engine))


def check_channel(gate: Gate, wire: Wire) -> Credentials:
    """Let a client try the key of a channel.

    :raises ConnectionDeny: not this one
    """
    client = _client(gate, wire)
    try:
        gate.admit_to_channel(client)
    except Refusal as refusal:
        status = TOO_MANY if refusal.temporary else FORBIDDEN
        raise ConnectionDeny(status, refusal.reason) from refusal
    return client


def _client(gate: Gate, wire: Wire) -> Credentials:
    return gate.client(wire.http_request_data, wire.http_request_uri, address_of(wire))


def _role(
    gate: Gate, wire: Wire, admitted: Callable[[Grant | None], Role]
) -> Role | Deferred[Role]:
    try:
        grant = gate.admit(_client(gate, wire))
    except Refusal as refusal:
        return NotAdmitted(wire, refusal)
    if not isinstance(grant, Deferred):
        return admitted(grant)

    def refused(failure: Any) -> Role:
        failure.trap(Refusal)
        return NotAdmitted(wire, failure.value)

    return grant.addCallbacks(admitted, refused)

"""What is special about a connection on the worker port: its roles.

What a connection is shows in its path: a worker on ``/``, a telemetry socket on
``/otel``, one end of a channel under ``/ws/channels/``.  Everything else is
``iii.websocket.connection``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from autobahn.websocket.types import ConnectionDeny, ConnectionRequest
from twisted.internet.defer import Deferred

from iii.websocket.connection import Connection, Role
from iii.wire.admission import address_of, check_channel, telemetry_role, worker_role
from iii.wire.channel import ChannelReader, ChannelWriter
from iii.wire.session import Session
from iii.wire.telemetry import TelemetrySocket

if TYPE_CHECKING:
    from iii.engine.workers import Worker
    from iii.wire.listener import WorkerFactory

CHANNEL_PREFIX = "/ws/channels/"


class WorkerConnection(Connection):
    """A WebSocket connection on the worker port."""

    factory: WorkerFactory

    def role_for(self, request: ConnectionRequest) -> Role | Deferred[Role]:
        """Connection: by the path, as far as the gate lets the client in.

        :raises ConnectionDeny: nothing is at that path
        """
        engine, gate = self.factory.engine, self.factory.gate
        path: str = request.path
        if path == "/":
            if gate is not None:
                return worker_role(engine, gate, self)
            return Session(engine, self, address_of(self))
        if path == "/otel":
            return TelemetrySocket(engine) if gate is None else telemetry_role(engine, gate, self)
        if path.startswith(CHANNEL_PREFIX):
            return self._channel_role(path[len(CHANNEL_PREFIX) :], self.http_request_uri)
        raise ConnectionDeny(404, "")

    def _channel_role(self, channel_id: str, uri: str) -> Role:
        query = parse_qs(uri.partition("?")[2], keep_blank_values=True)
        missing = [name for name in ("key", "dir") if name not in query]
        if missing:
            text = f"Failed to deserialize query string: missing field `{missing[0]}`"
            raise ConnectionDeny(400, text)
        direction = query["dir"][-1]
        if direction not in ("read", "write"):
            text = (
                f"Failed to deserialize query string: unknown variant `{direction[:32]}`, "
                "expected `read` or `write`"
            )
            raise ConnectionDeny(400, text)
        gate = self.factory.gate
        client = None if gate is None else check_channel(gate, self)
        channel = self.factory.engine.channels.find(channel_id, query["key"][-1])
        if channel is None:
            if gate is not None and client is not None:
                gate.wrong_key(client)
            raise ConnectionDeny(404, "Channel not found")
        if direction == "read":
            return ChannelReader(channel, self)
        return ChannelWriter(channel, self)

    def knows(self, path: str) -> bool:
        """Connection: whether there is a role at ``path``."""
        return path in ("/", "/otel") or path.startswith(CHANNEL_PREFIX)

    def keep_alive(self, role: Role) -> None:
        """Connection: pings, but not for channels."""
        if isinstance(role, ChannelReader | ChannelWriter):
            # Some never read, so they can't be pinged: the kernel looks after them.
            self.transport.setTcpKeepAlive(True)
        else:
            super().keep_alive(role)

    @property
    def worker(self) -> Worker | None:
        """The worker, when it is one."""
        return self._role.worker if isinstance(self._role, Session) else None

    @property
    def who(self) -> str:
        """Connection: the worker, when it is one."""
        role = self._role
        return role.worker.describe if isinstance(role, Session) else super().who

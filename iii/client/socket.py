"""The WebSocket library, and all that is special about how it is used.

Imported on the first connect only, so that ``import iii`` stays fast.

A socket is dead after 60 s without a frame, and that is counted in short ticks
rather than read from a clock: a handler that blocks the loop for minutes makes
one late tick, not a dead connection, because what the engine sent meanwhile is
read before the next tick.  For the same reason the library's own limit for pongs
is off.
"""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Literal
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidMessage, InvalidStatus
from websockets.protocol import State

from iii.client.encode import MAX_MESSAGE_BYTES, MIB
from iii.client.options import USER_AGENT

CONNECT_LIMIT_S = 10.0
CLOSE_LIMIT_S = 5.0
PING_INTERVAL_S = 20.0
TICK_S = 5.0
DEAD_AFTER_TICKS = 12

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})

#: The engine takes messages to 64 MiB but frames only to 16 MiB.
FRAGMENT_ABOVE_BYTES = 16 * MIB
FRAGMENT_BYTES = 1 * MIB

__all__ = ["ConnectionClosed", "InvalidStatus", "WorkerSocket", "dial", "dial_channel"]


class WorkerSocket(ClientConnection):
    """A worker connection that notices silence."""

    received = 0
    lost: Exception | None = None

    def connection_lost(self, exc: Exception | None) -> None:
        """Keep the reason, which the library forgets during the handshake."""
        self.lost = exc
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Count what arrives: pongs and half frames are signs of life too."""
        self.received += 1
        super().data_received(data)

    @property
    def is_open(self) -> bool:
        """Whether a frame sent now would go out."""
        return self.state is State.OPEN

    async def write(self, data: bytes) -> None:
        """Send one JSON text, in fragments if it is large."""
        if len(data) <= FRAGMENT_ABOVE_BYTES:
            await self.send(data, text=True)
            return
        view = memoryview(data)
        starts = range(0, len(data), FRAGMENT_BYTES)
        await self.send([view[start : start + FRAGMENT_BYTES] for start in starts], text=True)

    async def silence(self, sleep: Callable[[float], Awaitable[None]]) -> None:
        """Return once nothing has arrived for 60 s."""
        seen, silent_ticks = self.received, 0
        while silent_ticks < DEAD_AFTER_TICKS:
            await sleep(TICK_S)
            silent_ticks = silent_ticks + 1 if self.received == seen else 0
            seen = self.received

    def abort(self) -> None:
        """Drop the TCP connection, whatever state it is in."""
        self.transport.abort()


def _proxy(address: str) -> Literal[True] | None:
    """Use the environment's proxy, but never to reach this machine itself."""
    return None if urlsplit(address).hostname in LOOPBACK else True


async def dial(
    address: str, headers: Mapping[str, str], tls: ssl.SSLContext | None = None
) -> WorkerSocket:
    """Open a worker connection.

    :param tls: for ``wss://``
    :raises ssl.SSLError: no TLS with the engine, also when it says so after its handshake
    """
    made: list[WorkerSocket] = []

    def create(*arguments: Any, **options: Any) -> WorkerSocket:
        made.append(WorkerSocket(*arguments, **options))
        return made[-1]

    try:
        await _connect(
            address,
            headers,
            tls,
            ping_interval=PING_INTERVAL_S,
            ping_timeout=None,
            create_connection=create,
        )
    except InvalidMessage as error:
        # TLS 1.3 lets a client finish before the engine has looked at its certificate.
        if made and isinstance(made[-1].lost, ssl.SSLError):
            raise made[-1].lost from error
        raise
    return made[-1]


async def dial_channel(
    address: str, headers: Mapping[str, str], tls: ssl.SSLContext | None = None
) -> ClientConnection:
    """Open one end of a channel.  No pings: a slow reader pauses the socket."""
    return await _connect(address, headers, tls, ping_interval=None)


def _connect(
    address: str, headers: Mapping[str, str], tls: ssl.SSLContext | None, **own: Any
) -> connect:
    """What both kinds of sockets have in common."""
    if tls is not None:
        own["ssl"] = tls
    return connect(
        address,
        proxy=_proxy(address),
        additional_headers=dict(headers),
        user_agent_header=USER_AGENT,
        compression=None,
        open_timeout=CONNECT_LIMIT_S,
        close_timeout=CLOSE_LIMIT_S,
        max_size=MAX_MESSAGE_BYTES,
        **own,
    )

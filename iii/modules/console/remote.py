"""The console of an engine somewhere else, reached through its worker port.

There it is a worker like any other and seen in its lists; its looks are not recorded
in traces.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Raw

from iii.bridge import BridgeError, Link
from iii.bridge.errors import TIMED_OUT_TEXT
from iii.engine.tracecontext import UNRECORDED
from iii.modules.console.backend import ACT_S, ASK_S, NotConnected, TooLate


class RemoteEngine:
    """An engine behind a link.

    :param link: made and stopped by whoever made this
    :param host: under which this machine reaches the engine
    :param ports: name → port, where others than the engine's own lead to it
    """

    def __init__(self, link: Link, host: str, ports: Mapping[str, int] | None = None) -> None:
        self._link = link
        self._host = host
        self._ports = dict(ports or {})

    async def ask(self, function_id: str, data: Any = None, timeout_s: float = ASK_S) -> Raw | None:
        """Backend."""
        return await self._call(function_id, data, timeout_s, traceparent=UNRECORDED)

    async def act(self, function_id: str, data: Any = None, timeout_s: float = ACT_S) -> Raw | None:
        """Backend."""
        return await self._call(function_id, data, timeout_s)

    def place(self, name: str, host: str | None, port: int) -> tuple[str, int]:
        """Backend: loopback over there is not loopback here."""
        loopback = host in (None, "localhost", "0.0.0.0", "::", "127.0.0.1", "::1")
        return self._host if loopback else str(host), self._ports.get(name, port)

    async def _call(self, function_id: str, data: Any, timeout_s: float, **how: Any) -> Raw | None:
        if not self._link.connected:
            raise NotConnected("Bridge is not connected")
        try:
            return await self._link.call(
                function_id, {} if data is None else data, timeout_s=timeout_s, **how
            )
        except BridgeError as error:
            if error.message == TIMED_OUT_TEXT:
                raise TooLate(error.message) from error
            raise NotConnected(error.message) from error

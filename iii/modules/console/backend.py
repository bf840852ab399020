"""The engine as the console sees it: functions to call, and nothing else.

Everything a page shows comes from ``engine::…`` functions.  So the same console serves the
engine it runs in (``LocalEngine``) and one at the other end of a worker port
(``RemoteEngine`` in ``iii.modules.console.remote``).

A look is not a call: ``ask`` leaves no count and no trace.  What somebody does through the
console (``act``) is a call like any other, and so is everything that follows from it.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, Protocol

from msgspec import Raw

from iii.engine.module import ModuleApi

ASK_S = 10.0
ACT_S = 30.0


class NotConnected(Exception):
    """There is no way to the engine right now."""


class TooLate(Exception):
    """It did not answer in time."""


class Backend(Protocol):
    """One engine.  What it answers is JSON; None: nothing.

    Both fail with ``IIIError``, the engine's own answer, ``NotConnected`` or ``TooLate``.
    """

    def ask(
        self, function_id: str, data: Any = None, timeout_s: float = ASK_S
    ) -> Awaitable[Raw | None]:
        """Look something up."""
        ...

    def act(
        self, function_id: str, data: Any = None, timeout_s: float = ACT_S
    ) -> Awaitable[Raw | None]:
        """Do something."""
        ...

    def place(self, name: str, host: str | None, port: int) -> tuple[str, int]:
        """Where to connect to a port of the engine.

        :param name: in the ready line, e.g. ``stream``
        :param host: on which it listens; None: loopback
        """
        ...


class LocalEngine:
    """The engine that this module is part of."""

    def __init__(self, api: ModuleApi) -> None:
        self._api = api

    async def ask(self, function_id: str, data: Any = None, timeout_s: float = ASK_S) -> Raw | None:
        """Backend."""
        return await self._api.ask(function_id, {} if data is None else data, timeout_s=timeout_s)

    async def act(self, function_id: str, data: Any = None, timeout_s: float = ACT_S) -> Raw | None:
        """Backend."""
        return await self._api.invoke(
            function_id, {} if data is None else data, timeout_s=timeout_s
        )

    def place(self, name: str, host: str | None, port: int) -> tuple[str, int]:
        """Backend: what listens everywhere listens on loopback, too."""
        nearby = host in (None, "localhost", "0.0.0.0", "::")
        return "127.0.0.1" if nearby else str(host), port

"""A console in a process of its own, for an engine somewhere else (``iii console``)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from iii.bridge import Link, Remote
from iii.engine.core import Engine
from iii.engine.module import ModuleApi
from iii.errors import Code, StartError
from iii.modules.console.config import ConsoleConfig
from iii.modules.console.remote import RemoteEngine
from iii.modules.console.server import ConsoleServer

NAME = "iii-console"


class ConsoleAlone:
    """The console's port, and the link to the engine that it shows.

    :param remote: the engine's worker port
    :param ports: name → port, where others than the engine's own lead to it
    :ivar server: the port
    """

    def __init__(
        self,
        reactor: Any,
        config: ConsoleConfig,
        remote: Remote,
        ports: Mapping[str, int] | None = None,
    ) -> None:
        # An engine of its own, with nothing in it: the clock and the turns of a link.
        self._engine = Engine(reactor)
        api = ModuleApi(self._engine, NAME)
        self.link = Link(api, remote, NAME, without="the console has nothing to show")
        backend = RemoteEngine(self.link, remote.host, ports)
        self.server = ConsoleServer(reactor, self._engine.clock, backend, config)

    def start(self) -> None:
        """Listen, and connect in the background.

        :raises StartError: it can't or must not listen, or a certificate can't be used
        """
        if self.server.refusal is not None:
            raise StartError(Code.CONFIG_ERROR, self.server.refusal)
        self.server.start()
        self.link.start()

    async def stop(self) -> None:
        """End everything."""
        await self.server.stop()
        await self.link.stop()
        self._engine.stop()

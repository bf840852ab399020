"""The ``iii-console`` module: what happens in the engine, to be seen and repaired.

It is a convenience: when its port is taken, or it would be open to other machines without
a token, the engine says so and goes on without it.  It offers no function and no trigger
type, and its looks are not counted, so the console does not appear in what it shows.
"""

from __future__ import annotations

import os

from msgspec.structs import replace
from twisted.logger import Logger

from iii.engine.module import Module, ModuleApi
from iii.errors import Code, StartError
from iii.modules.console.backend import LocalEngine
from iii.modules.console.config import ConsoleConfig
from iii.modules.console.server import ConsoleServer

log = Logger()


class ConsoleModule(Module):
    """Serves the console.

    :ivar server: its port; None: it has not started
    """

    name = "iii-console"
    config = ConsoleConfig

    def __init__(self, settings: ConsoleConfig) -> None:
        super().__init__(settings)
        self.server: ConsoleServer | None = None

    def start(self, engine: ModuleApi) -> None:
        """Module: listen, if that is possible.

        :raises StartError: the host can't be listened on
        :raises TlsError: its certificate is no good
        """
        settings: ConsoleConfig = self.settings
        token = settings.token or os.environ.get("III_CONSOLE_TOKEN") or None
        settings = replace(settings, token=token)
        server = ConsoleServer(engine.reactor, engine.clock, LocalEngine(engine), settings)
        if server.refusal is not None:
            log.warn("{why}", why=server.refusal)
            return
        engine.keep_calls()
        try:
            server.start()
        except StartError as error:
            if error.code != Code.ADDRESS_IN_USE:
                raise
            log.warn("there will be no console: {why}", why=error.message)
            return
        self.server = server
        engine.announce("console", server.port)

    def renew(self) -> None:
        """Module: read the certificate again."""
        if self.server is not None:
            self.server.renew()

    def closing(self) -> None:
        """Module: no more visitors."""
        if self.server is not None:
            self.server.closing()

    async def stop(self) -> None:
        """Module: end what is left."""
        if self.server is not None:
            await self.server.stop()

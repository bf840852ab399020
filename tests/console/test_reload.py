"""The console comes, changes and goes with the configuration, while the engine runs."""

from __future__ import annotations

from twisted.internet import reactor
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.error import ConnectionRefusedError

from tests.console.cases import console
from tests.http.support import Client, Response
from tests.reload.reload_case import ReloadCase


class Reload(ReloadCase):
    """``config.yaml`` is saved."""

    async def get(self, path: str, port: int) -> Response:
        """``GET`` from the console."""
        client: Client = await connectProtocol(
            TCP4ClientEndpoint(reactor, "127.0.0.1", port), Client()
        )
        client.send(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        answer = await client.response()
        client.close()
        await client.end()
        return answer

    async def test_it_comes_changes_and_goes(self) -> None:
        """On the same port: the old one lets go of it first."""
        await self.start()
        await self.reload(console(port=0))
        port: int = self.engine.ready["console"]
        self.assertFalse((await self.get("/api/config", port)).json["readOnly"])

        await self.reload(console(port=port, read_only=True))
        self.assertEqual(self.engine.ready["console"], port)
        self.assertTrue((await self.get("/api/config", port)).json["readOnly"])

        await self.reload()
        self.assertNotIn("console", self.engine.ready)
        with self.assertRaises(ConnectionRefusedError):
            await self.get("/api/config", port)

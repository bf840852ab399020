"""Workers and browsers through nginx and Caddy."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import socket
import ssl
import urllib.request
from typing import Any

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from iii import III, InitOptions, ReconnectionConfig
from tests.process_case import LIMIT_S, Child, ProcessCase
from tests.support.certificates import Authority
from tests.support.proxies import Caddy, Nginx

SOON = ReconnectionConfig(initial_delay_ms=20, max_delay_ms=100)
CONFIG = """\
port: {worker}
modules:
  - class: modules::api::RestApiModule
    config: {{port: 0}}
  - class: modules::stream::StreamModule
    config:
      port: 0
      adapter:
        class: modules::stream::adapters::KvStore
        config: {{store_method: in_memory}}
  - class: modules::observability::OtelModule
    config: {{prometheus_port: 0}}
"""


async def echo(data: Any) -> Any:
    return {"echo": data["text"]}


async def read_stream(data: Any) -> Any:
    return (await data["from"].read_all()).decode()


class ProxyCase(ProcessCase):
    """An engine as a process, which a proxy stands in front of."""

    def setUp(self) -> None:
        super().setUp()
        # Lost connections are what these cases are about.
        log = logging.getLogger("iii.client")
        self.addCleanup(log.setLevel, log.level)
        log.setLevel(logging.CRITICAL)

    def engine(self, worker: int = 0) -> Child:
        """Start it; 0 takes a free worker port."""
        self.write("config.yaml", CONFIG.format(worker=worker))
        return self.start()

    def client(self, url: str, **options: Any) -> III:
        return III(url, InitOptions(reconnection_config=SOON, **options))


class ThroughNginx(ProxyCase):
    """Connections that a proxy cuts come back by themselves."""

    def test_reconnecting(self) -> None:
        child = self.engine()
        worker_port = child.ready["worker"]
        nginx = Nginx(self, [worker_port, child.ready["http"]])
        url = f"ws://127.0.0.1:{nginx.ports[0]}"
        asyncio.run(self._reconnecting(child, nginx, url, worker_port))

    async def _reconnecting(self, child: Child, nginx: Nginx, url: str, worker: int) -> None:
        server, caller = self.client(url), self.client(url)
        server.register_function("echo", echo)
        server.register_trigger("http", "echo", {"api_path": "echo", "http_method": "POST"})
        server.register_function("read", read_stream)
        await server.connect(LIMIT_S)
        await caller.connect(LIMIT_S)
        try:
            await self._all_works(server, caller, nginx)
            lost = asyncio.Event()
            server.on_connection_state_change(
                lambda state: lost.set() if state == "reconnecting" else None
            )

            nginx.kill()
            await asyncio.wait_for(lost.wait(), LIMIT_S)
            nginx.start()
            await server.connect(LIMIT_S)
            await caller.connect(LIMIT_S)
            await self._all_works(server, caller, nginx)

            # While the engine is away the proxy answers upgrades with 502.
            lost.clear()
            child.signal(signal.SIGTERM)
            await asyncio.to_thread(child.wait)
            await asyncio.wait_for(lost.wait(), LIMIT_S)
            again = await asyncio.to_thread(self.engine, worker)
            self.assertEqual(again.ready["worker"], worker)
            await server.connect(LIMIT_S)
            await caller.connect(LIMIT_S)
            await server.list_functions()
            self.assertEqual(await caller.invoke("echo", {"text": "x"}), {"echo": "x"})
        finally:
            await caller.disconnect()
            await server.disconnect()

    async def _all_works(self, server: III, caller: III, nginx: Nginx) -> None:
        """A call, a channel, and HTTP."""
        await server.list_functions()  # so that all it registered is there
        self.assertEqual(await caller.invoke("echo", {"text": "hi"}), {"echo": "hi"})
        channel = await caller.create_channel()
        reading = asyncio.ensure_future(caller.invoke("read", {"from": channel.reader_ref}))
        await channel.writer.write(b"x" * 500_000)
        await channel.writer.close_async()
        self.assertEqual(len(await reading), 500_000)
        answer = await asyncio.to_thread(_post, f"http://127.0.0.1:{nginx.ports[1]}/echo")
        self.assertEqual(answer, {"echo": "web"})


def _post(url: str) -> Any:
    request = urllib.request.Request(
        url, b'{"text": "web"}', {"content-type": "application/json"}, method="POST"
    )
    with urllib.request.urlopen(request, timeout=LIMIT_S) as answer:
        return json.load(answer)


class ThroughCaddy(ProxyCase):
    """TLS ends at Caddy; the engine is plain, on loopback."""

    def test_worker_and_stream_sockets(self) -> None:
        authority = Authority(self.directory)
        child = self.engine()
        ready = child.ready
        caddy = Caddy(self, [ready["worker"], ready["stream"]], authority.issue())
        self.context = ssl.create_default_context(cafile=str(authority.path))
        asyncio.run(self._sockets(caddy, str(authority.path)))
        asyncio.run(self._pages(caddy))

    async def _sockets(self, caddy: Caddy, ca: str) -> None:
        client = self.client(f"wss://localhost:{caddy.ports[0]}", ca=ca)
        client.register_function("echo", echo)
        client.register_function("read", read_stream)
        await client.connect(LIMIT_S)
        try:
            self.assertEqual(await client.invoke("echo", {"text": "hi"}), {"echo": "hi"})
            channel = await client.create_channel()
            reading = asyncio.ensure_future(client.invoke("read", {"from": channel.reader_ref}))
            await channel.writer.write(b"y" * 500_000)
            await channel.writer.close_async()
            self.assertEqual(len(await reading), 500_000)

            stream_url = f"wss://localhost:{caddy.ports[1]}"
            async with connect(stream_url, ssl=self.context, proxy=None) as follower:
                data = {"subscriptionId": "s", "streamName": "chat", "groupId": "g"}
                await follower.send(json.dumps({"type": "join", "data": data}))
                self.assertEqual(json.loads(await follower.recv())["event"]["type"], "sync")
                item = {"stream_name": "chat", "group_id": "g", "item_id": "a", "data": 1}
                await client.invoke("stream::set", item)
                event = json.loads(await follower.recv())["event"]
                self.assertEqual(event, {"type": "create", "data": 1})
        finally:
            await client.disconnect()

    async def _pages(self, caddy: Caddy) -> None:
        """The proxy's header lets pages of the host itself in, and no others."""
        for port in caddy.ports:
            self.assertIsNone(await self._refusal(port, "https://app.test"))
            self.assertIsNone(await self._refusal(port, "http://localhost:5173"))
            self.assertEqual(await self._refusal(port, "https://evil.example"), 1008)

    async def _refusal(self, port: int, origin: str) -> int | None:
        """The code with which a page of ``origin`` is closed on ``app.test``."""
        plain = socket.create_connection(("127.0.0.1", port), LIMIT_S)
        async with connect(
            f"wss://app.test:{port}",
            sock=plain,
            ssl=self.context,
            server_hostname="localhost",
            origin=origin,  # type: ignore[arg-type]
        ) as page:
            try:
                await (await page.ping())
            except ConnectionClosed:
                return page.close_code
            return None

"""``/ws/streams``: the stream port, on the console's origin."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, connectProtocol, wrapClientTLS
from twisted.internet.ssl import Certificate, optionsForClientTLS

from iii.modules.console.module import ConsoleModule
from tests.console.cases import STREAM, TOKEN, ConsoleCase
from tests.support.certificates import Authority
from tests.support.rawsocket import CLOSE, PING, PONG, RawSocket, frame, open_socket


class Tunnel(ConsoleCase):
    """Passes everything on."""

    async def open(self, query: str = "", **headers: str) -> RawSocket:
        socket = await open_socket(self.port, f"/ws/streams{query}", **headers)
        self.addCleanup(socket.drop)
        return socket

    async def follow(self, socket: RawSocket) -> None:
        """Join ``chat``/``room`` and wait until that was heard."""
        data = {"subscriptionId": "s", "streamName": "chat", "groupId": "room"}
        socket.text(json.dumps({"type": "join", "data": data}))
        self.assertEqual((await socket.next_message())["event"]["type"], "sync")

    def authority(self) -> Authority:
        """Signs certificates."""
        folder = Path(self.mktemp())
        folder.mkdir()
        return Authority(folder)

    async def test_events_come_through(self) -> None:
        await self.serve(STREAM)
        socket = await self.open(origin=f"http://127.0.0.1:{self.port}")
        await self.follow(socket)

        await self.ok("/_console/streams/chat/room/items/m", {"data": {"n": 1}}, "PUT")

        event = await socket.next_message()
        self.assertEqual((event["id"], event["event"]["data"]), ("m", {"n": 1}))

    async def test_large_values_and_control_frames(self) -> None:
        await self.serve(STREAM)
        socket = await self.open()
        await self.follow(socket)
        socket.raw(frame(PING, b"are you there"))
        pong = await socket.next_frame()
        self.assertEqual((pong.opcode, pong.payload), (PONG, b"are you there"))

        text = "x" * 3_000_000
        await self.ok("/_console/streams/chat/room/items/m", {"data": text}, "PUT")

        self.assertEqual((await socket.next_message())["event"]["data"], text)

    async def test_each_side_is_held_back_by_the_other(self) -> None:
        """What one has not taken waits at the other end, which knows what to do about it."""
        await self.serve(STREAM)
        socket = await self.open()
        await self.follow(socket)
        (module,) = [
            known.module
            for known in self.engine.service.modules
            if isinstance(known.module, ConsoleModule)
        ]
        assert module.server is not None
        (browser,) = module.server.tunnels.open
        assert browser.other is not None
        towards_browser, towards_engine = browser.transport.transport, browser.other.transport
        self.assertIs(towards_engine.producer, browser.transport)

        towards_browser.producer.pauseProducing()  # as TCP does when the browser doesn't read
        await self.ok("/_console/streams/chat/room/items/m", {"data": 1}, "PUT")
        socket.raw(frame(PING, b""))
        await self.ok("/_console/streams/list")
        self.assertEqual(socket.frames, [])
        towards_browser.producer.resumeProducing()

        self.assertEqual((await socket.next_message())["event"]["data"], 1)

    async def test_the_end_of_one_is_the_end_of_the_other(self) -> None:
        await self.serve(STREAM)
        socket = await self.open()
        await self.follow(socket)
        stopping: Any = self.engine.service.modules[1].module.stop()
        stopped = Deferred.fromCoroutine(stopping)
        closing = await socket.next_frame()
        self.assertEqual((closing.opcode, closing.close_code), (CLOSE, 1001))
        socket.close_frame(1001)
        await socket.ended()
        await stopped

    async def test_the_stream_port_sees_who_it_is_and_not_our_secrets(self) -> None:
        """``auth_function`` gets the client's own cookies and query."""
        gate = {**STREAM, "config": {"auth_function": "gate"}}
        await self.serve(gate, token=TOKEN)
        login = await self.post("/login", {"token": TOKEN})
        ours = login.headers["set-cookie"].partition(";")[0]
        worker = await self.here("gate")
        opening = Deferred.fromCoroutine(
            self.open("?room=1", cookie=f"theirs=1; {ours}", authorization=f"Bearer {TOKEN}")
        )
        asked = (await worker.answer("gate", result={"context": {}}))["data"]
        await opening

        said = json.dumps(asked)
        self.assertIn("theirs=1", said)
        self.assertIn("room", said)
        self.assertNotIn(ours, said)
        self.assertNotIn(TOKEN, said)

    async def test_without_a_stream_port(self) -> None:
        await self.serve()
        self.assertEqual(await self.upgrade_status("/ws/streams"), 503)
        self.assertEqual((await self.get("/ws/streams")).status, 426)

    async def test_the_end_of_the_engine(self) -> None:
        await self.serve(STREAM)
        socket = await self.open()
        await self.engine.stop()
        await socket.ended()

    async def test_with_tls_on_both(self) -> None:
        """On the console's port and on the stream port."""
        authority = self.authority()
        certificate, key = authority.issue()
        tls = {"cert": str(certificate), "key": str(key)}
        await self.serve({**STREAM, "config": {"tls": tls}}, tls=tls)
        trusted = optionsForClientTLS(
            "localhost", trustRoot=Certificate.loadPEM(authority.path.read_bytes())
        )
        plain = HostnameEndpoint(reactor, b"localhost", self.port)
        over = await connectProtocol(wrapClientTLS(trusted, plain), RawSocket())
        self.addCleanup(over.drop)
        origin = f"https://127.0.0.1:{self.port}"
        await self.follow(await open_socket(self.port, "/ws/streams", over, origin=origin))

"""The stream port over TLS."""

from __future__ import annotations

from twisted.internet import reactor

from iii.engine.clock import Clock
from iii.tlsport import Certificates
from tests.stream import test_sockets
from tests.stream.sockets_case import StreamCase
from tests.support.rawsocket import RawSocket
from tests.tls.cases import OverTls, dial_tls


class StreamsOverTls(OverTls):
    """Put before a case of the stream port: it and the worker port have TLS."""

    def stream_certificates(self) -> Certificates:
        """StreamCase: with TLS."""
        return Certificates(self.tls, Clock(reactor), "iii-stream")

    async def dial_streams(self) -> RawSocket:
        """StreamCase: with TLS."""
        socket: RawSocket = await dial_tls(self.streams.port, self.authority.path)
        return socket


class Following(StreamsOverTls, StreamCase):
    """A client follows a group."""

    async def test_it_gets_what_is_there_and_what_comes(self) -> None:
        self.shelf.put("a", 1)
        client = await self.client()
        envelope = await client.joined()
        self.assertEqual(envelope["event"]["data"], [1])
        self.shelf.put("b", 2)
        self.assertEqual(await client.event(), {"type": "create", "data": 2})

    async def test_a_client_that_does_not_read_does_not_hold_up_another(self) -> None:
        slow, quick = await self.client(), await self.client()
        await slow.joined()
        await quick.joined()
        slow.socket.pause()
        for number in range(300):
            self.shelf.put(f"i{number}", "x" * 10_000)
            self.assertEqual((await quick.event())["type"], "create")
        slow.socket.resume()
        for number in range(300):
            self.assertEqual((await slow.next())["id"], f"i{number}")


class Endpoint(StreamsOverTls, test_sockets.Endpoint):
    """What the port answers."""


class Order(StreamsOverTls, test_sockets.Order):
    """One after the other."""


class Ends(StreamsOverTls, test_sockets.Ends):
    """The end of a client."""


class Liveness(StreamsOverTls, test_sockets.Liveness):
    """Pings, and silence."""

"""Figures of streams (05 A10)."""

from __future__ import annotations

from tests.stream.cases import StreamCase
from tests.support.recording import figures


class Clients(StreamCase):
    """Connections, and what they have joined."""

    async def connections(self) -> int:
        """How many there are."""
        return int((await figures(self.engine, "iii_stream_connections"))[()])

    async def test_they_are_counted_while_they_are_there(self) -> None:
        self.assertEqual(await self.connections(), 0)
        one = await self.subscriber()
        await self.subscriber()
        self.assertEqual(await self.connections(), 2)
        subscriptions = await figures(self.engine, "iii_stream_subscriptions")
        self.assertEqual(subscriptions, {("false",): 2, ("true",): 0})
        one.socket.drop()
        await self.eventually(lambda: len(self.module._port._sockets) == 1)
        self.assertEqual(await self.connections(), 1)


class Deliveries(StreamCase):
    """``iii_stream_triggers_…``."""

    async def test_events_are_counted_by_their_end(self) -> None:
        hook = await self.hooked()
        await self.set("i", 1)
        await self.set("i", 2)
        await hook.answer("hook", result=None)
        await hook.answer("hook", error={"code": "oops", "message": ""})
        await hook.settled()
        delivered = await figures(self.engine, "iii_stream_triggers_delivered_total")
        self.assertEqual(delivered, {("ok",): 1, ("error",): 1})

"""The stream port: joins, syncs, events, and the end of a connection (04 §6)."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw
from twisted.internet.defer import Deferred

from iii.errors import InvocationError
from iii.modules.stream import port, sockets
from tests.stream.sockets_case import Client, StreamCase, TimelessStreamCase
from tests.support.rawsocket import PING, PONG, TEXT, frame, request


class Subscribing(StreamCase):
    """04 §6.3, §6.4: what a subscription begins with, and what it then hears."""

    async def test_a_group_begins_with_what_is_in_it(self) -> None:
        """04.31: one envelope, a list, no id."""
        self.shelf.put("1", {"id": "1"})
        client = await self.client()
        envelope = await client.joined()
        timestamp = envelope.pop("timestamp")
        self.assertIsInstance(timestamp, int)
        self.assertEqual(
            envelope,
            {
                "type": "stream",
                "streamName": "chat",
                "groupId": "g",
                "id": None,
                "event": {"type": "sync", "data": [{"id": "1"}]},
            },
        )
        self.assertEqual(await client.pending(), [])

    async def test_an_item_begins_with_its_value_or_null(self) -> None:
        """04.32: also an item that is not there; ``""`` is an item."""
        self.shelf.put("1", {"id": "1"})
        client = await self.client()
        for item, data in (("1", {"id": "1"}), ("2", None), ("", None)):
            envelope = await client.joined(item=item)
            self.assertEqual(envelope["id"], item)
            self.assertEqual(envelope["event"], {"type": "sync", "data": data})

    async def test_a_group_of_which_nothing_is_known_is_empty(self) -> None:
        """04 §6.3: ``[]``, also when a provider says nothing or null."""
        client = await self.client()
        self.assertEqual((await client.joined())["event"]["data"], [])
        self.shelf.waiting = []
        client.join()
        await self.eventually(lambda: self.shelf.waiting)
        self.shelf.waiting.pop().callback(Raw(b"null"))
        self.assertEqual((await client.event())["data"], [])

    async def test_events_of_a_group(self) -> None:
        """04.33: create, update, delete, in order; not of another group."""
        client = await self.client()
        await client.joined()
        self.shelf.put("2", 1)
        self.shelf.put("2", 2)
        self.shelf.put("2", 3, group="h")
        self.shelf.publish({"type": "delete", "data": 2}, "2", "chat", "g")
        self.shelf.put("2", 3, stream="other")
        got = await client.pending()
        self.assertEqual([envelope["id"] for envelope in got], ["2", "2", "2"])
        self.assertEqual(
            [envelope["event"] for envelope in got],
            [
                {"type": "create", "data": 1},
                {"type": "update", "data": 2},
                {"type": "delete", "data": 2},
            ],
        )

    async def test_events_of_an_item(self) -> None:
        """04.34: an item's subscriber hears of that item only."""
        group, item = await self.client(), await self.client()
        await group.joined()
        await item.joined(item="1")
        self.shelf.say("typing")
        self.shelf.say("typing", "1")
        self.shelf.put("2", 2)
        said = {"type": "event", "event": {"type": "typing", "data": None}}
        got = await group.pending()
        self.assertEqual([envelope["id"] for envelope in got], [None, "1", "2"])
        self.assertEqual([envelope["event"] for envelope in got][:2], [said, said])
        self.assertEqual([envelope["id"] for envelope in await item.pending()], ["1"])

    async def test_two_updates_are_two_frames(self) -> None:
        """04.35: in order, the second with the larger timestamp; nothing is merged."""
        client = await self.client()
        await client.joined()
        self.shelf.put("1", 1)
        self.shelf.put("1", 2)
        first, second = await client.pending()
        self.assertEqual((first["event"]["data"], second["event"]["data"]), (1, 2))
        self.assertLess(first["timestamp"], second["timestamp"])

    async def test_one_frame_per_connection(self) -> None:
        """Decision 14: however many of its subscriptions match."""
        client = await self.client()
        await client.joined(subscriptionId="a")
        await client.joined(subscriptionId="b")
        await client.joined(subscriptionId="c", item="1")
        self.shelf.put("1", 1)
        self.shelf.put("2", 2)
        self.assertEqual([envelope["id"] for envelope in await client.pending()], ["1", "2"])
        client.leave(subscriptionId="a")
        client.leave(subscriptionId="b")
        await client.pending()
        self.shelf.put("1", 3)
        self.shelf.put("2", 4)
        self.assertEqual([envelope["id"] for envelope in await client.pending()], ["1"])

    async def test_frames_that_make_no_sense(self) -> None:
        """04.36: no reply, and the socket stays."""
        client = await self.client()
        rows: tuple[str | bytes, ...] = (
            "",
            "  \n",
            "not json",
            '"join"',
            "[]",
            '{"type":"join","data":{"streamName":"chat"}}',
            '{"type":"join","data":{"subscriptionId":1,"streamName":"chat","groupId":"g"}}',
            '{"type":"join","data":{"subscriptionId":"x","streamName":"chat","groupId":7}}',
            '{"type":"join","data":{"subscriptionId":"x","streamName":"c","groupId":"g","id":7}}',
            '{"type":"join"}',
            '{"type":"leave","data":{"subscriptionId":"x"}}',
            '{"type":"ping"}',
            '{"data":{}}',
            b'{"type":"join","data":' + b"[" * 100_000,
        )
        for row in rows:
            client.socket.text(row)
        client.socket.binary(b'{"type":"join","data":"\xff"}')
        client.join(streamName="s" * 2000)
        self.assertEqual(await client.pending(), [])
        self.assertEqual(self.problems(), [])

        join = {"subscriptionId": "x", "streamName": "chat", "groupId": "g", "more": 1}
        client.socket.binary(msgspec.json.encode({"type": "join", "data": join, "more": 1}))
        self.assertEqual(await client.event(), {"type": "sync", "data": []})

    async def test_after_leaving_nothing_comes(self) -> None:
        """04.37: and nothing is left of it."""
        client = await self.client()
        await client.joined()
        client.leave()
        client.leave()
        client.leave(subscriptionId="never heard of")
        self.assertEqual(await client.pending(), [])
        self.shelf.put("1", 1)
        self.assertEqual(await client.pending(), [])
        self.assertEqual(len(self.subscriptions), 0)

    async def test_an_id_used_again_replaces_the_subscription(self) -> None:
        """04 §6.3: silently."""
        client = await self.client()
        await client.joined("g")
        await client.joined("h")
        self.shelf.put("1", 1, group="g")
        self.shelf.put("1", 1, group="h")
        self.assertEqual([envelope["groupId"] for envelope in await client.pending()], ["h"])

    async def test_a_failed_read_sends_no_sync(self) -> None:
        """04 §6.3: but the subscription stays."""
        client = await self.client()
        self.shelf.fault = InvocationError("X", "provider down")
        client.join()
        self.assertEqual(await client.pending(), [])
        self.assertRegex(self.problems()[0], "no sync of chat/g: X: provider down")
        self.shelf.put("1", 1)
        self.assertEqual([e["event"]["type"] for e in await client.pending()], ["create"])

    async def test_a_connection_has_only_so_many_subscriptions(self) -> None:
        """08 §7: one more is refused; an id it has is no more."""
        self.patch(sockets, "MAX_SUBSCRIPTIONS", 2)
        client = await self.client()
        for id in ("a", "b", "a"):
            await client.joined(subscriptionId=id)
        for _ in range(3):
            client.join(subscriptionId="c")
            self.assertEqual(await client.event(), {"type": "unauthorized"})
        self.assertEqual(len(self.problems("refused a join of chat")), 1)
        client.leave(subscriptionId="a")
        await client.joined(subscriptionId="c")


class Endpoint(StreamCase):
    """04 §6.1: any path, some of which join; sub-protocols; what is no upgrade."""

    async def test_a_path_joins_by_itself(self) -> None:
        """04.43: with or without the last slash, decoded; then as any other socket."""
        self.shelf.put("1", "one")
        self.shelf.put("ü/1", "two", "a b", "g%")
        rows: tuple[tuple[str, str, str, str | None, Any], ...] = (
            ("/stream/chat/g/", "chat", "g", None, ["one"]),
            ("/stream/chat/g", "chat", "g", None, ["one"]),
            ("/stream/chat/g?token=x", "chat", "g", None, ["one"]),
            ("/stream/chat/g/1", "chat", "g", "1", "one"),
            ("/stream/chat/g/1/", "chat", "g", "1", "one"),
            ("/stream/a%20b/g%25/%C3%BC%2F1", "a b", "g%", "ü/1", "two"),
        )
        for path, stream, group, item, data in rows:
            with self.subTest(path):
                client = await self.client(path)
                envelope = await client.next()
                self.assertEqual(envelope["streamName"], stream)
                self.assertEqual((envelope["groupId"], envelope["id"]), (group, item))
                self.assertEqual(envelope["event"], {"type": "sync", "data": data})
                await client.joined("other")

    async def test_every_other_path_just_connects(self) -> None:
        """04 §6.1: and waits for joins."""
        for path in ("/", "/x", "/stream", "/stream/chat", "/stream//g", "/stream/a/b/c/d", "//"):
            client = await self.client(path)
            self.assertEqual(await client.pending(), [], path)
            await client.joined()

    async def test_a_path_that_is_no_text_joins_nothing(self) -> None:
        """04 §6.1: ``%FF`` is no character."""
        client = await self.client("/stream/%FF/g")
        self.assertEqual(await client.pending(), [])

    async def test_the_first_subprotocol_is_echoed(self) -> None:
        """04.42: browsers need it; without an offer there is none."""
        client = await self.client(sec_websocket_protocol="Authorization, tok")
        self.assertIn("\r\nSec-WebSocket-Protocol: Authorization\r\n", client.socket.head + "\r\n")
        client = await self.client()
        self.assertNotIn("sec-websocket-protocol", client.socket.head.lower())

    async def test_what_is_no_upgrade_is_refused(self) -> None:
        """04 §6.1: 405 and 400, on any path."""
        for line, status in (("POST / HTTP/1.1", 405), ("GET /x HTTP/1.1", 400)):
            got, _, _ = await request(self.streams.port, f"{line}\r\nHost: x\r\n\r\n".encode())
            self.assertEqual(got, status)


class Order(StreamCase):
    """04 §6.3: one frame after the other, and no event before its sync."""

    async def reading(self, client: Client, **wanted: Any) -> None:
        """A join whose read is under way."""
        self.shelf.waiting = []
        client.join(**wanted)
        await self.eventually(lambda: self.shelf.waiting)

    def answer(self, value: Any) -> None:
        """The read is done."""
        assert self.shelf.waiting is not None
        answer = self.shelf.waiting.pop()
        self.shelf.waiting = None
        answer.callback(Raw(msgspec.json.encode(value)))

    async def test_events_wait_for_the_sync(self) -> None:
        """04 §14.11: none is lost, none is before it, all are younger than it."""
        client = await self.client()
        await self.reading(client)
        self.shelf.put("1", 1)
        self.shelf.put("2", 2)
        self.assertEqual(await client.pending(), [])
        self.answer([0])
        sync, *events = await client.pending()
        self.assertEqual(sync["event"], {"type": "sync", "data": [0]})
        self.assertEqual([envelope["event"]["data"] for envelope in events], [1, 2])
        self.assertTrue(all(sync["timestamp"] <= envelope["timestamp"] for envelope in events))
        self.shelf.put("1", 3)
        self.assertEqual((await client.event())["data"], 3)

    async def test_other_events_do_not_wait(self) -> None:
        """A slow provider holds up its own subscription, as long as nothing comes for it."""
        client = await self.client()
        await client.joined("h", subscriptionId="h")
        await self.reading(client, item="1")
        self.shelf.put("1", 1, group="h")
        self.shelf.put("2", 2, group="g")
        self.assertEqual([envelope["groupId"] for envelope in await client.pending()], ["h"])
        self.shelf.put("1", 3, group="g")
        self.shelf.put("1", 4, group="h")
        self.assertEqual(await client.pending(), [])
        self.answer(0)
        data = [envelope["event"]["data"] for envelope in await client.pending()]
        self.assertEqual(data, [0, 3, 4])

    async def test_a_failed_read_lets_the_events_go(self) -> None:
        """04 §6.3: no sync, but what was held back."""
        client = await self.client()
        await self.reading(client)
        self.shelf.put("1", 1)
        assert self.shelf.waiting is not None
        self.shelf.waiting[0].errback(InvocationError("X", "down"))
        self.assertEqual([e["event"]["type"] for e in await client.pending()], ["create"])

    async def test_the_next_frame_waits(self) -> None:
        """04 §6.3: also a leave behind a join, whose read ends later."""
        client = await self.client()
        await self.reading(client)
        client.leave()
        client.join("h", subscriptionId="y")
        self.shelf.put("1", 1)
        await client.pending()
        self.answer([0])
        events = [(e["groupId"], e["event"]["type"]) for e in await client.pending()]
        self.assertEqual(events, [("g", "sync"), ("g", "create"), ("h", "sync")])
        self.shelf.put("1", 2)
        self.assertEqual(await client.pending(), [])

    async def test_a_client_that_goes_meanwhile_leaves_nothing(self) -> None:
        """04 §6.5: the read ends for nobody."""
        client = await self.client()
        await self.reading(client)
        client.socket.drop()
        await self.eventually(lambda: len(self.subscriptions) == 0)
        self.shelf.put("1", 1)
        self.answer([0])
        self.assertEqual(self.problems(), [])


class Again(StreamCase):
    """04 §9: after events were missed every subscription begins anew."""

    answer = Order.answer

    async def reading(self) -> None:
        """What is read again is under way."""
        self.shelf.waiting = []
        self.streams.sync_again()
        await self.eventually(lambda: self.shelf.waiting)

    async def test_each_gets_another_sync(self) -> None:
        """As they are now, and nobody else."""
        client, idle = await self.client(), await self.client()
        await client.joined("g", subscriptionId="a")
        await client.joined("h", "1", subscriptionId="b")
        await client.joined("i", subscriptionId="c")
        client.leave("i", subscriptionId="c")
        await client.pending()
        self.shelf.groups["chat", "g"] = {"1": 1}
        self.shelf.groups["chat", "h"] = {"1": 2}
        self.streams.sync_again()
        told = [(e["groupId"], e["id"], e["event"]) for e in await client.pending()]
        sync = [{"type": "sync", "data": data} for data in ([1], 2)]
        self.assertEqual(told, [("g", None, sync[0]), ("h", "1", sync[1])])
        self.assertEqual(await idle.pending(), [])

    async def test_events_wait_for_it(self) -> None:
        """None is before it, none is lost."""
        client = await self.client()
        await client.joined()
        await self.reading()
        self.shelf.put("1", 1)
        self.assertEqual(await client.pending(), [])
        self.answer([0])
        sync, event = await client.pending()
        self.assertEqual(sync["event"], {"type": "sync", "data": [0]})
        self.assertEqual(event["event"]["data"], 1)

    async def test_what_can_t_be_read_is_no_sync(self) -> None:
        """The rest is not tried, what was held back goes."""
        client = await self.client()
        await client.joined(subscriptionId="a")
        await client.joined("h", subscriptionId="b")
        await self.reading()
        self.shelf.put("1", 1)
        assert self.shelf.waiting is not None
        [answer] = self.shelf.waiting
        answer.errback(InvocationError("X", "down"))
        self.assertEqual([e["event"]["type"] for e in await client.pending()], ["create"])
        self.assertEqual(len(self.shelf.waiting), 1)

    async def test_once_more_while_it_is_under_way(self) -> None:
        """What is asked for meanwhile comes behind, once."""
        client = await self.client()
        await client.joined()
        await self.reading()
        for _ in range(3):
            self.streams.sync_again()
        client.leave("other")
        self.answer([0])
        data = [envelope["event"]["data"] for envelope in await client.pending()]
        self.assertEqual(data, [[0], []])

    async def test_a_client_that_goes_meanwhile_leaves_nothing(self) -> None:
        """The read ends for nobody."""
        client = await self.client()
        await client.joined()
        await self.reading()
        client.socket.drop()
        await self.eventually(lambda: len(self.subscriptions) == 0)
        self.answer([0])
        self.assertEqual(self.problems(), [])

    async def test_many_clients_take_turns(self) -> None:
        """Not all of them read at once."""
        self.patch(port, "SYNCED_AT_ONCE", 2)
        clients = [await self.client() for _ in range(5)]
        for client in clients:
            await client.joined()
        self.shelf.waiting = []
        self.streams.sync_again()
        await self.eventually(lambda: self.shelf.waiting)
        self.assertEqual(len(self.shelf.waiting), 2)
        await self.eventually(lambda: len(self.shelf.waiting or ()) == 5)
        for answer in self.shelf.waiting:
            answer.callback(Raw(b"[]"))
        for client in clients:
            self.assertEqual(len(await client.pending()), 1)


class Ends(StreamCase):
    """04 §6.5: leave handlers hear of every subscription that is left, exactly once."""

    async def test_a_cut_connection_leaves_everything(self) -> None:
        """04.44: one after the other."""
        worker = await self.guard("stream:leave")
        client = await self.client()
        await client.joined(subscriptionId="a")
        await client.joined(subscriptionId="b", item="1")
        await client.joined(subscriptionId="c")
        client.leave(subscriptionId="c")
        self.assertEqual((await worker.answer("stream:leave"))["data"]["subscription_id"], "c")
        client.socket.drop()
        first = await worker.invoked("stream:leave")
        self.assertEqual(
            first["data"],
            {
                "subscription_id": "a",
                "stream_name": "chat",
                "group_id": "g",
                "id": None,
                "context": None,
            },
        )
        await self.quiet(worker)
        worker.reply(first, error={"code": "X", "message": "does not matter"})
        second = await worker.answer("stream:leave")
        self.assertEqual((second["data"]["subscription_id"], second["data"]["id"]), ("b", "1"))
        await self.quiet(worker)
        self.assertEqual(len(self.subscriptions), 0)

    async def test_a_clean_close_as_well(self) -> None:
        """04 §6.5: the same, and the goodbye is answered."""
        worker = await self.guard("streams:leave")
        client = await self.client()
        await client.joined()
        client.socket.close_frame(1000)
        self.assertEqual(await client.close_code(), 1000)
        await worker.answer("streams:leave")
        await self.quiet(worker)

    async def test_leave_of_what_nobody_knows_is_told(self) -> None:
        """04 §6.3: with what the frame said."""
        worker = await self.guard("stream:leave")
        client = await self.client()
        client.leave("h", "1", subscriptionId="nobody's", streamName="s")
        call = await worker.answer("stream:leave")
        self.assertEqual(
            call["data"],
            {
                "subscription_id": "nobody's",
                "stream_name": "s",
                "group_id": "h",
                "id": "1",
                "context": None,
            },
        )

    async def test_who_was_let_in_after_it_went_leaves_as_well(self) -> None:
        """04 §6.5: handlers count joins and leaves."""
        worker = await self.guard("stream:join")
        await worker.register("stream:leave")
        await worker.trigger("stream:leave", "stream:leave")
        client = await self.client()
        client.join()
        call = await worker.invoked("stream:join")
        client.join(subscriptionId="never handled")
        await client.pending()
        client.socket.drop()
        await self.eventually(lambda: not self.streams.factory.connections)
        await self.quiet(worker)
        worker.reply(call, result=None)
        left = await worker.answer("stream:leave")
        self.assertEqual(left["data"]["subscription_id"], "x")
        await self.quiet(worker)
        self.assertEqual(len(self.subscriptions), 0)

    async def test_a_fault_of_ours_costs_this_connection(self) -> None:
        """The client is told, the leave handlers too, nobody else notices."""
        worker = await self.guard("stream:leave")
        client, other = await self.client(), await self.client()
        await client.joined()
        await other.joined()
        self.patch(self.admission, "allows", lambda *args: 1 / 0)
        client.join("h", subscriptionId="y")
        self.assertEqual(await client.close_code(), 1011)
        await worker.answer("stream:leave")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.shelf.put("1", 1)
        self.assertEqual((await other.event())["type"], "create")

    async def test_the_end_of_the_engine(self) -> None:
        """04 §6.5: 1001, the handlers are told, nobody can connect any more."""
        worker = await self.guard("stream:leave")
        client = await self.client()
        await client.joined()
        stopped: list[None] = []
        self.streams.closing()
        Deferred.fromCoroutine(self.streams.stop()).addCallback(stopped.append)
        self.assertEqual(await client.close_code(), 1001)
        client.socket.drop()
        call = await worker.invoked("stream:leave")
        self.assertEqual(stopped, [])
        worker.reply(call)
        await self.eventually(lambda: stopped)
        self.assertEqual(self.problems(), [])


class Liveness(TimelessStreamCase):
    """04 §6.5: pings, and who answers none."""

    async def test_silent_clients_are_dropped(self) -> None:
        """Decision 40: a ping every 20 s; 60 s of silence end it, with its leaves."""
        worker = await self.guard("stream:leave")
        silent, alive = await self.client(), await self.client()
        await silent.joined()
        for _ in range(4):
            await self.advance(20)
            worker.socket.raw(frame(PONG, b""))
            alive.socket.raw(frame(PONG, b""))
        self.assertEqual({got.opcode for got in alive.socket.frames}, {PING})
        await silent.socket.ended()
        await worker.answer("stream:leave")
        alive.socket.frames.clear()
        await alive.joined()

    async def test_a_leave_handler_that_hangs_does_not_keep_the_engine(self) -> None:
        """04 §6.5: best effort, bounded."""
        worker = await self.guard("stream:leave")
        client = await self.client()
        await client.joined()
        stopped: list[None] = []
        Deferred.fromCoroutine(self.streams.stop()).addCallback(stopped.append)
        self.assertEqual(await client.close_code(), 1001)
        client.socket.drop()
        await worker.invoked("stream:leave")
        await self.eventually(lambda: not self.streams.factory.connections)
        await self.advance(4)
        self.assertEqual(stopped, [])
        await self.advance(2)
        self.assertEqual(stopped, [None])
        self.assertEqual(len(self.problems("not all told")), 1)


class Fragments(StreamCase):
    """04 §6.1: the limits of the worker port."""

    async def test_a_join_in_fragments(self) -> None:
        """It is one message all the same."""
        client = await self.client()
        join = {"subscriptionId": "x", "streamName": "chat", "groupId": "g"}
        text = msgspec.json.encode({"type": "join", "data": join})
        client.socket.raw(frame(TEXT, text[:9], final=False) + frame(0, text[9:]))
        self.assertEqual((await client.event())["type"], "sync")

"""The ``stream`` trigger type (04 §7.1)."""

from __future__ import annotations

from typing import Any

from iii.engine import fanout
from iii.modules.stream.config import StreamConfig
from tests.stream.cases import GROUP, STREAM, StreamCase
from tests.support.probes import probe

WRONG = "trigger_registration_failed"


class Filters(StreamCase):
    """04 §7.1: which events a trigger hears."""

    @probe("04.46")
    async def test_the_handler_gets_the_envelope(self) -> None:
        """Only for its group, and only when the condition lets it through."""
        hook = await self.hooked({"stream_name": "chat", "group_id": "g"})
        every = await self.hooked({"stream_name": "chat", "group_id": ""}, hook="every")
        held = await self.worker("held", "check")
        await held.trigger(
            "stream", "held", {"stream_name": "chat", "condition_function_id": "check"}
        )
        await self.set("1", {"id": "1"}, "h")
        asked = await held.answer("check", result=False)
        self.assertEqual(asked["data"]["groupId"], "h")
        self.assertEqual(await self.events(every), [("create", "h", "1")])
        await self.quiet(hook, held)
        await self.set("1", {"id": "1"})
        call = await hook.invoked("hook")
        stamp = call["data"].pop("timestamp")
        self.assertIs(type(stamp), int)
        self.assertLess(abs(stamp - self.engine.clock.wall_ms()), 5_000)
        self.assertEqual(
            call["data"],
            {
                "type": "stream",
                "streamName": "chat",
                "groupId": "g",
                "id": "1",
                "event": {"type": "create", "data": {"id": "1"}},
            },
        )
        asked = await held.answer("check", result=None)
        self.assertEqual((await held.invoked("held"))["data"], asked["data"])
        self.assertEqual(await self.events(every), [("create", "g", "1")])

    async def test_every_filter_alone_and_together(self) -> None:
        """Exact, and left out, null or empty means any; also for the stream."""
        rows: tuple[tuple[dict[str, Any], list[str]], ...] = (
            ({}, ["a1", "a2", "b1", "z1"]),
            ({"stream_name": "", "group_id": None, "x": 1}, ["a1", "a2", "b1", "z1"]),
            ({"stream_name": STREAM}, ["a1", "a2", "b1"]),
            ({"group_id": "a"}, ["a1", "a2", "z1"]),
            ({"item_id": "1"}, ["a1", "b1", "z1"]),
            ({"stream_name": STREAM, "group_id": "a"}, ["a1", "a2"]),
            ({"stream_name": STREAM, "item_id": "1"}, ["a1", "b1"]),
            ({"group_id": "a", "item_id": "1"}, ["a1", "z1"]),
            ({"stream_name": STREAM, "group_id": "a", "item_id": "2"}, ["a2"]),
            ({"stream_name": "nowhere"}, []),
        )
        hooks = [await self.hooked(config, hook=f"hook{n}") for n, (config, _) in enumerate(rows)]
        for group, item, stream, name in (
            ("a", "1", STREAM, "a1"),
            ("a", "2", STREAM, "a2"),
            ("b", "1", STREAM, "b1"),
            ("a", "1", "zoo", "z1"),
        ):
            await self.set(item, name, group, stream)
        await self.caller.settled()
        for (config, expected), hook in zip(rows, hooks, strict=True):
            await hook.settled()
            heard = [m["data"]["event"]["data"] for m in hook.inbox]
            self.assertEqual(heard, expected, config)

    async def test_custom_events_fire_too(self) -> None:
        """A filter for an item never matches one without an item."""
        group = await self.hooked({"stream_name": STREAM})
        item = await self.hooked({"item_id": "1"}, hook="item")
        await self.send("typing", data={"u": 1})
        await self.send("typing", "1")
        call = await group.invoked("hook")
        self.assertIsNone(call["data"]["id"])
        self.assertEqual(
            call["data"]["event"], {"type": "event", "event": {"type": "typing", "data": {"u": 1}}}
        )
        self.assertEqual(await self.events(group), [("event", GROUP, "1")])
        self.assertEqual(await self.events(item), [("event", GROUP, "1")])

    async def test_nothing_fires_for_what_was_not_there(self) -> None:
        """04 §7.1: unlike state."""
        hook = await self.hooked()
        await self.delete("missing")
        await self.quiet(hook)


class Delivery(StreamCase):
    """04 §3.3, §7.1."""

    async def test_nobody_waits_for_a_handler(self) -> None:
        """Neither the writer nor the next event; and order stays."""
        hook = await self.hooked()
        for number in range(20):
            await self.set("i", number)
        seen = [(await hook.invoked("hook"))["data"]["event"]["data"] for _ in range(20)]
        self.assertEqual(seen, list(range(20)))

    async def test_handlers_get_the_trigger_s_metadata(self) -> None:
        """04 §13, 0.21."""
        hook = await self.hooked({}, metadata={"team": "a"})
        await self.set("i", 1)
        self.assertEqual((await hook.invoked("hook"))["metadata"], {"team": "a"})

    async def test_a_handler_may_write(self) -> None:
        """Its write is an event like any other."""
        hook = await self.hooked({"stream_name": STREAM})
        await self.set("i", 0)
        for number in range(1, 4):
            call = await hook.invoked("hook")
            self.assertEqual(call["data"]["event"]["data"], number - 1)
            await hook.call("stream::set", self.asked(data=number))
            hook.reply(call)

    def asked(self, **more: Any) -> dict[str, Any]:
        return {"stream_name": STREAM, "group_id": GROUP, "item_id": "i", **more}


class Bindings(StreamCase):
    """Registering and leaving."""

    @probe("04.47")
    async def test_the_same_id_twice_is_one_trigger(self) -> None:
        """One call per event; another configuration replaces the former."""
        hook = await self.hooked({"stream_name": STREAM}, id="t")
        await hook.trigger("stream", "hook", {"stream_name": STREAM}, id="t")
        await self.set("i", 1)
        self.assertEqual(await self.events(hook), [("create", GROUP, "i")])
        await hook.trigger("stream", "hook", {"stream_name": STREAM, "group_id": "h"}, id="t")
        await self.set("i", 1)
        await self.set("i", 1, "h")
        self.assertEqual(await self.events(hook), [("create", "h", "i")])

    async def test_a_wrong_configuration_is_refused(self) -> None:
        """With what is wrong about it."""
        worker = await self.worker("hook")
        for config in ([], "s", 5, {"stream_name": 5}, {"group_id": []}, {"item_id": 1}):
            worker.send(
                "registertrigger", id="t", trigger_type="stream", function_id="hook", config=config
            )
            answer = await worker.expect("triggerregistrationresult", id="t")
            self.assertEqual(answer["error"]["code"], WRONG)
            self.assertIn("Failed to deserialize stream trigger: ", answer["error"]["message"])

    async def test_no_configuration_means_everything(self) -> None:
        """null is `{}`."""
        worker = await self.worker("hook")
        worker.send(
            "registertrigger", id="t", trigger_type="stream", function_id="hook", config=None
        )
        await worker.settled()
        await self.set("i", 1)
        self.assertEqual(await self.events(worker), [("create", GROUP, "i")])

    async def test_unregistering_ends_it(self) -> None:
        """And nothing is left behind."""
        hook = await self.hooked({"stream_name": STREAM}, id="t")
        hook.send("unregistertrigger", id="t", trigger_type="stream")
        await hook.settled()
        await self.set("i", 1)
        await self.quiet(hook)

    async def test_what_waits_for_a_trigger_goes_with_it(self) -> None:
        """Its function is slower than the writes when it is unregistered."""
        self.patch(fanout, "MAX_RUNNING", 1)
        hook = await self.hooked({"stream_name": STREAM}, id="t")
        for n in range(3):
            await self.set("i", n)
        self.assertEqual(self.module.under_way, 2)
        hook.send("unregistertrigger", id="t", trigger_type="stream")
        await hook.settled()
        self.assertEqual(self.module.under_way, 0)

    async def test_a_worker_that_leaves_takes_its_triggers_along(self) -> None:
        """Those of others stay."""
        gone = await self.hooked({"group_id": GROUP}, hook="gone")
        stays = await self.hooked({"group_id": GROUP}, hook="stays")
        await self.gone(gone)
        await self.set("i", 1)
        self.assertEqual(await self.events(stays), [("create", GROUP, "i")])


class Off(StreamCase):
    """04 §13: `triggers_enabled: false`."""

    settings = StreamConfig(port=0, host="127.0.0.1", triggers_enabled=False)

    async def test_nothing_fires(self) -> None:
        """Subscribers hear all the same."""
        hook = await self.hooked()
        client = await self.subscriber()
        await self.set("i", 1)
        self.assertEqual((await client.next())["event"], {"type": "create", "data": 1})
        await self.quiet(hook)

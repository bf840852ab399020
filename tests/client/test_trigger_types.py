"""Providing trigger types, and being told about functions."""

from __future__ import annotations

import asyncio
from typing import Any

from iii import TriggerConfig
from tests.client.stub import ClientCase, Link


class Recorder:
    """A trigger type's handler that writes down what it is told."""

    def __init__(self, error: Exception | None = None) -> None:
        self.told: list[tuple[str, TriggerConfig]] = []
        self.error = error

    async def register_trigger(self, config: TriggerConfig) -> None:
        await asyncio.sleep(0)
        self.told.append(("register", config))
        if self.error is not None:
            raise self.error

    async def unregister_trigger(self, config: TriggerConfig) -> None:
        self.told.append(("unregister", config))


class PlainRecorder(Recorder):
    """The same with plain methods."""

    def register_trigger(self, config: TriggerConfig) -> None:
        self.told.append(("register", config))

    def unregister_trigger(self, config: TriggerConfig) -> None:
        self.told.append(("unregister", config))


class Providing(ClientCase):
    """07 A9: this worker provides a trigger type."""

    async def provide(self, handler: Any) -> Link:
        client, link = await self.connected()
        client.register_trigger_type("timer", "fires at times", handler)
        await link.frame("registertriggertype")
        return link

    async def register(self, link: Link, trigger_type: str = "timer") -> Any:
        await link.say(
            type="registertrigger",
            id="t-1",
            trigger_type=trigger_type,
            function_id="f",
            config={"every": 5},
        )
        return await link.frame("triggerregistrationresult")

    async def test_a_trigger_is_handed_to_the_handler(self) -> None:
        """07.37: the handler sees the trigger; the answer has no error."""
        handler = Recorder()
        answer = await self.register(await self.provide(handler))
        self.assertEqual(
            answer,
            {
                "type": "triggerregistrationresult",
                "id": "t-1",
                "trigger_type": "timer",
                "function_id": "f",
            },
        )
        config = TriggerConfig(id="t-1", function_id="f", config={"every": 5})
        self.assertEqual(handler.told, [("register", config)])

    async def test_a_handler_may_refuse(self) -> None:
        """07.37: an exception becomes ``trigger_registration_failed``."""
        link = await self.provide(Recorder(ValueError("too often")))
        with self.assertLogs("iii.client", "WARNING"):
            answer = await self.register(link)
        self.assertEqual(
            answer["error"], {"code": "trigger_registration_failed", "message": "too often"}
        )

    async def test_an_unknown_type(self) -> None:
        """07.37: a type this worker does not provide: ``trigger_type_not_found``."""
        link = await self.provide(Recorder())
        answer = await self.register(link, "other")
        self.assertEqual(
            answer["error"],
            {"code": "trigger_type_not_found", "message": "Trigger type not found"},
        )

    async def test_a_withdrawn_trigger(self) -> None:
        """07.38: ``unregister_trigger`` with the id, and what is known from before."""
        for handler in (Recorder(), PlainRecorder()):
            with self.subTest(type(handler).__name__):
                client = self.client()
                client.register_trigger_type("timer", "", handler)
                await client.connect()
                link = await self.stub.link(len(self.stub.links) - 1)
                await self.register(link)
                await link.say(type="unregistertrigger", id="t-1", trigger_type="timer")
                await link.say(
                    type="registertrigger", id="t-1", trigger_type="timer", function_id="g"
                )
                await link.frame("triggerregistrationresult", 1)
                self.assertEqual(
                    handler.told[1],
                    ("unregister", TriggerConfig(id="t-1", function_id="f", config={"every": 5})),
                )
                self.assertEqual(handler.told[2][0], "register")

    async def test_what_is_said_about_one_trigger_stays_in_order(self) -> None:
        """A slow ``register_trigger`` is finished before ``unregister_trigger`` begins."""
        gate = asyncio.Event()
        handler = Recorder()

        async def slow(config: TriggerConfig) -> None:
            await gate.wait()
            handler.told.append(("register", config))

        handler.register_trigger = slow  # type: ignore[method-assign]
        link = await self.provide(handler)
        await link.say(type="registertrigger", id="t-1", trigger_type="timer", function_id="f")
        await link.say(type="unregistertrigger", id="t-1", trigger_type="timer")
        await link.say(type="ping")
        await link.frame("pong")
        self.assertEqual(handler.told, [])
        gate.set()
        await link.frame("triggerregistrationresult")
        await link.say(type="registertrigger", id="t-1", trigger_type="timer", function_id="f")
        await link.frame("triggerregistrationresult", 1)
        self.assertEqual([what for what, _ in handler.told], ["register", "unregister", "register"])

    async def test_the_reference_registers_for_its_type(self) -> None:
        """07 A9: a TriggerTypeRef registers triggers and functions, and unregisters."""
        client, link = await self.connected()
        ref = client.register_trigger_type("timer", "", Recorder(), call_request_format={"a": 1})
        ref.register_function("f", len, description="d")
        ref.register_trigger("f", {"every": 5})
        ref.unregister()
        await link.frame("unregistertriggertype")
        self.assertEqual((await link.frame("registertrigger"))["trigger_type"], "timer")
        self.assertEqual((await link.frame("registertriggertype"))["call_request_format"], {"a": 1})
        self.assertEqual(
            await link.frame("unregistertriggertype"),
            {"type": "unregistertriggertype", "id": "timer"},
        )


class Discovery(ClientCase):
    """The engine's lists, as structs."""

    async def asked(self, call: Any, link: Link, result: Any) -> Any:
        asked = asyncio.ensure_future(call)
        frame = await link.until(lambda frames: [f for f in frames if "invocation_id" in f])
        await link.say(
            type="invocationresult", invocation_id=frame[-1]["invocation_id"], result=result
        )
        return frame[-1], await asked

    async def test_lists(self) -> None:
        """07 A4: functions, workers and triggers; unknown fields are ignored."""
        client, link = await self.connected()
        _, functions = await self.asked(
            client.list_functions(), link, {"functions": [{"function_id": "f", "new": 1}]}
        )
        self.assertEqual(functions[0].function_id, "f")

    async def test_workers(self) -> None:
        """07 A4: ``list_workers``."""
        client, link = await self.connected()
        worker = {"id": "w", "name": "n", "status": "connected", "connected_at_ms": 5}
        asked, workers = await self.asked(client.list_workers(), link, {"workers": [worker]})
        self.assertEqual(asked["function_id"], "engine::workers::list")
        self.assertEqual((workers[0].id, workers[0].connected_at_ms), ("w", 5))

    async def test_triggers(self) -> None:
        """07 A4: ``list_triggers(include_internal=…)``."""
        client, link = await self.connected()
        trigger = {"id": "t", "trigger_type": "http", "function_id": "f", "config": {"a": 1}}
        asked, triggers = await self.asked(
            client.list_triggers(include_internal=True), link, {"triggers": [trigger]}
        )
        self.assertEqual(asked["data"], {"include_internal": True, "view": "classic"})
        self.assertEqual(triggers[0].config, {"a": 1})

    async def test_functions_available(self) -> None:
        """07.48: callbacks share a trigger, get the functions, and stop when told."""
        client, link = await self.connected()
        seen: list[list[str]] = []

        def keep(functions: Any) -> None:
            seen.append([function.function_id for function in functions])

        stops = [client.on_functions_available(keep), client.on_functions_available(keep)]
        trigger = await link.frame("registertrigger")
        self.assertEqual(trigger["trigger_type"], "engine::functions-available")
        self.assertEqual(trigger["config"], {})
        self.assertRegex(trigger["function_id"], r"^iii\.on_functions_available\.")
        event = {"event": "functions_changed", "functions": [{"function_id": "new"}]}
        await link.invoke(trigger["function_id"], event)
        self.assertEqual(seen, [["new"], ["new"]])
        stops[0]()
        await link.invoke(trigger["function_id"], event)
        self.assertEqual(len(seen), 3)
        stops[1]()
        self.assertEqual((await link.frame("unregistertrigger"))["id"], trigger["id"])
        self.assertEqual(link.types.count("registertrigger"), 1)

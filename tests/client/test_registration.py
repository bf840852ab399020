"""Registering functions, triggers and services: frames and their order."""

from __future__ import annotations

from typing import Any

from tests.client.stub import INTRODUCTION, ClientCase


async def handler(data: Any) -> Any:
    return data


class Types:
    """A trigger type's handler that does nothing."""

    async def register_trigger(self, config: Any) -> None: ...

    async def unregister_trigger(self, config: Any) -> None: ...


class Order(ClientCase):
    """07 A6.1: one FIFO, and a fixed order on connect."""

    async def test_everything_before_connect_comes_in_order(self) -> None:
        """07.6: types, services, functions, triggers, waiting messages, the introduction."""
        client = self.client()
        client.invoke_async("user", {"n": 1})
        client.register_trigger("http", "f", {"api_path": "f"})
        client.register_function("f", handler)
        client.register_service("s", "a service")
        client.register_trigger_type("t", "a type", Types())
        await client.connect()
        link = await self.stub.link()
        self.assertEqual(
            link.types,
            [
                "registertriggertype",
                "registerservice",
                "registerfunction",
                "registertrigger",
                "invokefunction",
                "invokefunction",
            ],
        )
        self.assertEqual(
            [frame["function_id"] for frame in link.frames[-2:]], ["user", INTRODUCTION]
        )
        self.assertEqual(link.frames[-1]["action"], {"type": "void"})
        self.assertNotIn("invocation_id", link.frames[-1])

    async def test_a_registration_comes_before_the_call_after_it(self) -> None:
        """07.7: ``register_function`` directly followed by ``invoke`` can't be reordered."""
        client, link = await self.connected()
        client.register_function("f", handler)
        client.invoke_async("f", {})
        await link.frame("invokefunction")
        self.assertEqual(link.types[-2:], ["registerfunction", "invokefunction"])

    async def test_connect_returns_once_the_registrations_are_written(self) -> None:
        """07 A2: after ``connect()`` the stub has it all without anything else being sent."""
        client = self.client()
        client.register_function("f", handler)
        await client.connect()
        link = await self.stub.link()
        self.assertEqual(link.types, ["registerfunction", "invokefunction"])

    async def test_connect_twice_is_one_connection(self) -> None:
        """07 A2: ``connect()`` is idempotent."""
        client, _ = await self.connected()
        await client.connect()
        self.assertEqual(self.stub.attempts, 1)


class Functions(ClientCase):
    """Registering functions."""

    async def test_what_is_not_a_registration(self) -> None:
        """07.31: a taken id, a blank id, something that can't be called."""
        client = self.client()
        client.register_function("a", handler)
        with self.assertRaises(ValueError) as taken:
            client.register_function("a", handler)
        self.assertEqual(str(taken.exception), "function id 'a' already registered")
        with self.assertRaises(ValueError) as blank:
            client.register_function(" ", handler)
        self.assertEqual(str(blank.exception), "id is required")
        with self.assertRaises(TypeError):
            client.register_function("b", 3)
        with self.assertRaises(TypeError):
            client.register_function(7, handler)

    async def test_positional_and_keyword_forms_are_equal(self) -> None:
        """07.32 (as decision 27): description and metadata, by place or by name."""
        client, link = await self.connected()
        client.register_function("x", handler, "d", {"m": 1}).unregister()
        client.register_function("x", handler, description="d", metadata={"m": 1})
        first = await link.frame("registerfunction", 0)
        second = await link.frame("registerfunction", 1)
        self.assertEqual(first, second)
        self.assertEqual(
            first, {"type": "registerfunction", "id": "x", "description": "d", "metadata": {"m": 1}}
        )

    async def test_unregister(self) -> None:
        """07 A9: ``unregister()`` sends one frame, and the id is free again."""
        client, link = await self.connected()
        ref = client.register_function("x", handler)
        ref.unregister()
        ref.unregister()
        client.register_function("x", handler)
        await link.frame("registerfunction", 1)
        self.assertEqual(
            link.types[-3:], ["registerfunction", "unregisterfunction", "registerfunction"]
        )

    async def test_an_old_reference_does_not_remove_its_successor(self) -> None:
        """A reference removes its own registration only, not a later one of the same id."""
        client, link = await self.connected()
        old = client.register_function("x", handler)
        old.unregister()
        client.register_function("x", handler)
        old.unregister()
        answer = await link.invoke("x", 5)
        self.assertEqual(answer["result"], 5)


class Triggers(ClientCase):
    """Registering triggers."""

    async def test_positional_and_keyword_forms_are_equal(self) -> None:
        """07.33 (as decision 27): the same frame but for the id."""
        client, link = await self.connected()
        client.register_trigger("http", "f", {"api_path": "a"})
        client.register_trigger(type="http", function_id="f", config={"api_path": "a"})
        frames = [await link.frame("registertrigger", n) for n in (0, 1)]
        ids = {frame.pop("id") for frame in frames}
        self.assertEqual(len(ids), 2)
        self.assertEqual(frames[0], frames[1])
        self.assertEqual(
            frames[0],
            {
                "type": "registertrigger",
                "trigger_type": "http",
                "function_id": "f",
                "config": {"api_path": "a"},
            },
        )

    async def test_no_configuration_is_an_empty_one(self) -> None:
        """07 A4.1: ``config`` None is sent as ``{}``."""
        client, link = await self.connected()
        client.register_trigger("cron", "f", metadata={"a": 1}, trigger_namespace="n")
        frame = await link.frame("registertrigger")
        self.assertEqual(frame["config"], {})
        self.assertEqual((frame["metadata"], frame["trigger_namespace"]), ({"a": 1}, "n"))

    async def test_unregister_once(self) -> None:
        """07 A9: ``Trigger.unregister()`` is idempotent."""
        client, link = await self.connected()
        trigger = client.register_trigger("http", "f")
        trigger.unregister()
        trigger.unregister()
        client.invoke_async("end")
        await link.frame("invokefunction")
        self.assertEqual(
            link.types[-3:], ["registertrigger", "unregistertrigger", "invokefunction"]
        )
        frame = await link.frame("unregistertrigger")
        self.assertEqual(frame["id"], trigger.id)
        self.assertEqual(frame["trigger_type"], "http")

    async def test_what_is_unregistered_is_not_replayed(self) -> None:
        """07 A6.2: the tables are the truth; taking back while offline just removes."""
        client = self.client()
        client.register_function("f", handler).unregister()
        client.register_trigger("http", "f").unregister()
        await client.connect()
        link = await self.stub.link()
        self.assertEqual(link.types, ["invokefunction"])

    async def test_a_refused_trigger_is_logged(self) -> None:
        """07 A9: ``triggerregistrationresult`` with an error: one line, with the reason."""
        _client, link = await self.connected()
        with self.assertLogs("iii.client", "ERROR") as logs:
            await link.say(
                type="triggerregistrationresult",
                id="t-1",
                trigger_type="cron",
                function_id="f",
                error={"code": "trigger_registration_failed", "message": "bad expression"},
            )
            await link.say(type="ping")
            await link.frame("pong")
        self.assertIn(
            "Trigger registration failed for 't-1' (cron): bad expression", logs.output[0]
        )

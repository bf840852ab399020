"""Ways round the rights of a connection that somebody may try (01 §17.5)."""

from __future__ import annotations

from tests.access.cases import AccessCase


class Ways(AccessCase):
    """Ways round the rights that a guest may try."""

    rbac = {
        "expose_functions": [
            "match('api::*')",
            "match('engine::register_trigger')",
            "match('engine::unregister_trigger')",
            "match('engine::functions::list')",
        ]
    }

    async def test_an_action_says_no_more_than_its_call(self) -> None:
        """Else a call that was checked in one namespace would be made in another."""
        queue, guest = await self.worker("engine::queue::enqueue"), await self.enter()
        said = {"namespace": "private", "_caller_worker_id": queue.id, "priority": 3}
        action = {"type": "enqueue", "queue": "q", **said}
        guest.invoke("api::f", {}, action=action)
        queued = (await queue.invoked("engine::queue::enqueue"))["data"]
        self.assertEqual((queued["function_id"], queued["priority"]), ("api::f", 3))
        self.assertEqual({"namespace", "_caller_worker_id"} & set(queued), set())

    async def test_what_is_malformed_is_not_queued_either(self) -> None:
        """It is not checked against the rights, so nothing may come of it."""
        queue, guest = await self.worker("engine::queue::enqueue"), await self.enter()
        action = {"type": "enqueue", "queue": "q"}
        error = await guest.error_of("private::f", {}, namespace=" ", action=action)
        self.assertEqual(error["code"], "INVALID_NAMESPACE")
        error = await guest.error_of("x" * 5000, {}, action=action)
        self.assertEqual(error["code"], "INVALID_ARGUMENTS")
        await self.quiet(queue)

    async def test_functions_of_the_engine_are_called_by_oneself(self) -> None:
        """A queue or a trigger has no caller whose rights could count."""
        queue, guest = await self.worker("engine::queue::enqueue"), await self.enter()
        action = {"type": "enqueue", "queue": "q"}
        asked = {"worker_id": queue.id, "_caller_worker_id": queue.id}
        for id in ("engine::workers::drain", "engine.workers.register", "engine::functions::list"):
            error = await guest.error_of(id, asked, action=action)
            self.assertEqual(error["code"], "FORBIDDEN", id)
            refused = await guest.trigger("tick", id)
            answer = await guest.expect("triggerregistrationresult", id=refused)
            self.assertEqual(answer["error"]["code"], "FORBIDDEN", id)
            wanted = {"trigger_type": "tick", "function_id": id}
            error = await guest.error_of("engine::register_trigger", wanted)
            self.assertEqual(error["code"], "FORBIDDEN", id)
        await self.quiet(queue)

    async def test_functions_that_a_configuration_names(self) -> None:
        """Conditions and middleware are called as well when a trigger fires."""
        guest = await self.enter()
        await guest.register("mine")
        for config in (
            {"condition_function_id": "private::f"},
            {"_condition_path": "private::f"},
            {"middleware_function_ids": ["mine", "private::f"]},
            {"condition_function_id": "engine::workers::drain"},
        ):
            id = await guest.trigger("tick", "mine", config)
            answer = await guest.expect("triggerregistrationresult", id=id)
            self.assertEqual(answer["error"]["code"], "FORBIDDEN", config)
            wanted = {"trigger_type": "tick", "function_id": "api::f", "config": config}
            error = await guest.error_of("engine::register_trigger", wanted)
            self.assertEqual(error["code"], "FORBIDDEN", config)
        allowed = {"condition_function_id": "api::ok", "middleware_function_ids": ["mine", 5]}
        kept = await guest.trigger("tick", "mine", allowed)
        worker = self.engine.workers.get(guest.id)
        assert worker is not None
        self.assertEqual(list(worker.triggers), [kept])

    async def test_conditions_that_are_its_own_no_more(self) -> None:
        """Else whoever registers the id next would be asked."""
        guest = await self.enter()
        await guest.register("mine", "check")
        await guest.trigger("tick", "mine", {"condition_function_id": "check"})
        guest.send("unregisterfunction", id="check")
        await guest.settled()
        worker = self.engine.workers.get(guest.id)
        assert worker is not None
        self.assertEqual(worker.triggers, {})

    async def test_triggers_stay_behind_a_move(self) -> None:
        """What was its own in one namespace is somebody else's when it has left."""
        guest = await self.enter()
        await guest.register("billing::charge")
        await guest.trigger("tick", "billing::charge")
        await guest.describe(namespace="elsewhere")
        worker = self.engine.workers.get(guest.id)
        assert worker is not None
        self.assertEqual(worker.triggers, {})

    async def test_old_names_of_functions(self) -> None:
        """Workers of the first releases still call them."""
        guest, old = await self.enter(), await self.worker()
        await guest.register("engine.workers.list")
        self.assertIn("workers", await old.call("engine.workers.list", {}))
        self.assertIn("it is an old name of engine::workers::list", self.log_text())

    async def test_a_trigger_type_of_others_can_not_be_taken(self) -> None:
        """Its provider is told the configurations of everybody's triggers."""
        owner, guest = await self.worker(), await self.enter()
        owner.send("registertriggertype", id="tick", description="")
        await owner.settled()
        guest.send("registertriggertype", id="tick", description="")
        guest.send("registertriggertype", id="tick", description="", namespace="shop")
        await guest.settled()
        await owner.trigger("tick", "f", {"secret": 1}, id="t")
        await owner.expect("registertrigger", id="t")
        await self.quiet(guest)
        owner.send("registertriggertype", id="tock", description="", namespace="billing")
        await owner.settled()
        guest.send("registertriggertype", id="tock", description="")
        await guest.describe(namespace="billing")
        self.assertEqual(self._provider("tock", "billing"), owner.id)

    async def test_nor_is_it_inherited(self) -> None:
        """A guest that was there first does not get them back."""
        guest = await self.enter()
        guest.send("registertriggertype", id="tick", description="")
        await guest.settled()
        owner, other = await self.worker(), await self.worker()
        owner.send("registertriggertype", id="tick", description="")
        await owner.settled()
        await other.trigger("tick", "f", id="t")
        await owner.expect("registertrigger", id="t")
        owner.send("unregistertriggertype", id="tick")
        await owner.settled()
        await self.quiet(guest)
        self.assertIsNone(self._provider("tick"))
        guest.send("unregistertriggertype", id="tick")
        await guest.settled()

    def _provider(self, id: str, namespace: str | None = None) -> str | None:
        type = self.engine.triggers.find_type(id, namespace)
        return None if type is None or type.owner is None else type.owner.id

    async def test_lists_of_functions_come_to_somebody(self) -> None:
        """``engine::functions-available`` tells what its owner may see; without one, all."""
        guest, owner = await self.enter(), await self.worker()
        wanted = {"trigger_type": "engine::functions-available", "function_id": "api::f"}
        error = await guest.error_of("engine::register_trigger", wanted)
        self.assertEqual(error["code"], "FORBIDDEN")
        self.assertIn("id", await owner.call("engine::register_trigger", wanted))

    async def test_triggers_of_others_are_not_removed(self) -> None:
        """``engine::unregister_trigger`` takes any id."""
        owner, guest = await self.worker(), await self.enter()
        made = {}
        for who, id in ((owner, "private::f"), (guest, "api::f")):
            wanted = {"trigger_type": "tick", "function_id": id}
            made[id] = await who.call("engine::register_trigger", wanted)
        removed = [
            (await guest.call("engine::unregister_trigger", made[id]))["removed"] for id in made
        ]
        self.assertEqual(removed, [False, True])
        answer = await owner.call("engine::unregister_trigger", made["private::f"])
        self.assertEqual(answer, {"removed": True})

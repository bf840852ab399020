"""State that another engine keeps: what clients see is what the embedded store shows them."""

from __future__ import annotations

from typing import Any

from iii.bridge import Link, parse_url
from iii.engine.module import ModuleApi
from iii.modules.state.adapters.bridge import BridgeStore
from iii.storage.store import Store
from tests.bridge.behind import Behind
from tests.bridge.cases import BridgeCase, FakeEngine
from tests.state import test_functions, test_triggers, test_updates
from tests.state.cases import StateCase
from tests.support.engine_case import RawWorker
from tests.support.probes import probe


class OverBridge(StateCase):
    """The state module over the store of the adapter ``bridge``."""

    async def setUp(self) -> None:
        self.behind = Behind(self.settings.max_value_bytes)
        await super().setUp()
        await self.eventually(lambda: self.link.connected)

    async def tearDown(self) -> None:
        await super().tearDown()
        await self.behind.stop()

    def make_store(self) -> Store:
        """StateCase: in the engine behind."""
        api = ModuleApi(self.engine, "iii-state")
        self.link = Link(
            api, parse_url(self.behind.url), "iii-state-bridge", without="nothing works"
        )
        self.link.start()
        return BridgeStore(self.link)


class ValuesOverBridge(OverBridge, test_functions.Values):
    """04.59: 04 §3.1, probes 1 to 6."""

    async def test_a_stored_null_is_a_result(self) -> None:
        """Before a write it looks like nothing from here, so its event is that of a new key."""
        hook = await self.hooked()
        await self.set("k", None)
        answer = await self.answer("state::get", scope="s", key="k")
        self.assertIn("result", answer)
        self.assertIsNone(answer["result"])
        await self.set("k", 1)
        self.assertEqual(await self.events(hook), 2 * [("created", "s", "k")])


class ListsOverBridge(OverBridge, test_functions.Lists):
    """04 §3.1."""


class PagesOverBridge(OverBridge, test_functions.Pages):
    """04 §13."""


class SizesOverBridge(OverBridge, test_functions.Sizes):
    """04 §14.26: what the engine behind takes counts for updates."""


class UpdatingOverBridge(OverBridge, test_updates.Updating):
    """04 §4."""


class EventsOverBridge(OverBridge, test_triggers.Events):
    """04 §3.3."""


def state_entry(url: str) -> dict[str, Any]:
    """State behind a bridge, in a configuration."""
    adapter = {"class": "modules::state::adapters::Bridge", "config": {"bridge_url": url}}
    return {"class": "modules::state::StateModule", "config": {"adapter": adapter}}


class TwoEngines(BridgeCase):
    """Both ends of the bridge."""

    async def engines(self) -> tuple[RawWorker, RawWorker]:
        """A worker of the engine with the bridge, and one of that which keeps the state."""
        owner = await self.start({"class": "modules::state::StateModule"})
        user = await self.start(state_entry(owner.url))
        await self.eventually(lambda: self.said("iii-state-bridge: connected"))
        return await self.worker(user, "hook"), await self.worker(owner, "hook")

    @probe("04.59")
    async def test_one_state_for_both(self) -> None:
        a, b = await self.engines()
        await a.trigger("state", "hook")
        await b.trigger("state", "hook")
        item = {"scope": "s", "key": "k"}
        self.assertEqual(
            await a.call("state::set", {**item, "value": 1}), {"old_value": None, "new_value": 1}
        )
        self.assertEqual(await b.call("state::get", item), 1)
        for worker in (a, b):
            event = (await worker.invoked("hook"))["data"]
            self.assertEqual((event["event_type"], event["new_value"]), ("state:created", 1))
        await b.call("state::set", {**item, "value": 2})
        await b.invoked("hook")
        self.assertEqual(await a.call("state::get", item), 2)
        await a.settled()
        self.assertEqual(a.inbox, [])

    async def test_itself(self) -> None:
        port = self.free_port()
        user = await self.start(state_entry(f"ws://127.0.0.1:{port}"), port=port)
        await self.eventually(lambda: self.said("is this engine itself: every call"))
        caller = await self.worker(user)
        error = await caller.error_of("state::get", {"scope": "s", "key": "k"})
        self.assertEqual(error["code"], "GET_ERROR")
        self.assertIn("is this engine itself", error["message"])

    async def test_engines_that_keep_it_in_each_other(self) -> None:
        ports = [self.free_port() for _ in range(3)]
        engines = []
        for at, port in enumerate(ports):
            to = f"ws://127.0.0.1:{ports[(at + 1) % 3]}"
            engines.append(await self.start(state_entry(to), port=port))
        await self.eventually(lambda: self.said("leads back to this engine"))
        for engine in engines:
            caller = await self.worker(engine)
            error = await caller.error_of("state::get", {"scope": "s", "key": "k"})
            self.assertIn("leads back to this engine", error["message"])

    async def test_a_line_of_three(self) -> None:
        last = await self.start({"class": "modules::state::StateModule"})
        middle = await self.start(state_entry(last.url))
        first = await self.start(state_entry(middle.url))
        caller, other = await self.worker(first), await self.worker(last)
        item = {"scope": "s", "key": "k"}
        await caller.call("state::set", {**item, "value": 1})
        self.assertEqual(await other.call("state::get", item), 1)
        self.assertEqual(self.said("leads back"), [])


class Originals(BridgeCase):
    """What an engine of the original, or none, answers."""

    async def user(self, **answers: Any) -> tuple[RawWorker, FakeEngine]:
        """A worker of an engine whose state is kept by ``fake``."""
        fake = await self.fake(answers={f"state::{id}": answer for id, answer in answers.items()})
        user = await self.start(state_entry(fake.url))
        await self.eventually(lambda: self.said("iii-state-bridge: connected"))
        return await self.worker(user), fake

    async def test_errors_are_put_as_the_original_puts_them(self) -> None:
        error = {"error": {"code": "X", "message": "no"}}
        operations = ("get", "set", "delete", "update", "list", "list_groups")
        caller, _ = await self.user(**dict.fromkeys(operations, error))
        asked = {"scope": "s", "key": "k", "value": 1, "ops": []}
        for operation, code, text in (
            ("set", "SET_ERROR", "Failed to set value: Failed to set value via bridge"),
            ("get", "GET_ERROR", "Failed to get value: Failed to get value via bridge"),
            ("delete", "DELETE_ERROR", "Failed to delete value: Failed to delete value via bridge"),
            ("update", "UPDATE_ERROR", "Failed to update value: Failed to update value via bridge"),
            ("list", "LIST_ERROR", "Failed to list values: Failed to list values via bridge"),
            (
                "list_groups",
                "LIST_GROUPS_ERROR",
                "Failed to list groups: Failed to list groups via bridge",
            ),
        ):
            self.assertEqual(
                await caller.error_of(f"state::{operation}", asked),
                {"code": code, "message": f"{text}: remote error (X): no"},
            )

    async def test_a_function_it_does_not_have_is_an_error(self) -> None:
        caller, _ = await self.user()
        error = await caller.error_of("state::list_keys", {"scope": "s"})
        self.assertIn("remote error (function_not_found)", error["message"])

    async def test_answers_that_are_none(self) -> None:
        caller, _ = await self.user(list_groups={"result": []}, set={}, list={"result": {}})
        error = await caller.error_of("state::list_groups", {})
        self.assertEqual(
            error["message"],
            "Failed to list groups: invalid state::list_groups response: missing 'groups' field",
        )
        error = await caller.error_of("state::set", {"scope": "s", "key": "k", "value": 1})
        self.assertIn("invalid state::set response", error["message"])
        error = await caller.error_of("state::list", {"scope": "s"})
        self.assertIn("invalid state::list response", error["message"])

    async def test_what_it_is_asked(self) -> None:
        caller, fake = await self.user(
            get={},
            set={"result": {"old_value": None, "new_value": 1}},
            list_groups={"result": {"groups": ["b", "a"]}},
        )
        self.assertEqual(await caller.call("state::list_groups"), {"groups": ["a", "b"]})
        await caller.call("state::set", {"group_id": "s", "item_id": "k", "data": 1})
        [asked] = fake.got("invokefunction", function_id="state::set")
        self.assertEqual(asked["data"], {"scope": "s", "key": "k", "value": 1})
        answer = await caller.result_of(caller.invoke("state::get", {"scope": "s", "key": "k"}))
        self.assertNotIn("result", answer)

    async def test_it_is_away(self) -> None:
        caller, fake = await self.user()
        fake.answers["state::get"] = None
        id = caller.invoke("state::get", {"scope": "s", "key": "k"})
        await self.eventually(lambda: fake.got("invokefunction", function_id="state::get"))
        await fake.stop()
        error = (await caller.result_of(id))["error"]
        self.assertEqual(
            error["message"],
            "Failed to get value: Failed to get value via bridge: iii is not connected",
        )

"""The ``state`` trigger type (04 §3.3)."""

from __future__ import annotations

from typing import Any

from iii.engine import fanout
from iii.modules.state import StateConfig
from tests.state.cases import StateCase
from tests.support.probes import probe

WRONG = "trigger_registration_failed"


class Events(StateCase):
    """04 §3.3: what a handler is told."""

    @probe("04.7")
    async def test_deleting_what_was_not_there_is_an_event(self) -> None:
        """Clients rely on it."""
        hook = await self.hooked({"scope": "s"})
        await self.delete("missing")
        call = await hook.invoked("hook")
        self.assertEqual(
            call["data"],
            {
                "type": "state",
                "event_type": "state:deleted",
                "scope": "s",
                "key": "missing",
                "old_value": None,
                "new_value": None,
            },
        )

    @probe("04.8")
    async def test_the_event_has_the_value_before_and_after(self) -> None:
        """Created, updated, deleted."""
        hook = await self.hooked()
        await self.set("k", {"v": 1})
        await self.set("k", {"v": 2})
        await self.delete("k")
        rows = (
            ("state:created", None, {"v": 1}),
            ("state:updated", {"v": 1}, {"v": 2}),
            ("state:deleted", {"v": 2}, None),
        )
        for kind, old, new in rows:
            call = await hook.invoked("hook")
            self.assertEqual(
                call["data"],
                {
                    "type": "state",
                    "event_type": kind,
                    "scope": "s",
                    "key": "k",
                    "old_value": old,
                    "new_value": new,
                },
            )

    @probe("04.9")
    async def test_filters_are_exact_and_optional(self) -> None:
        """Each alone, both, none; the empty string is a filter."""
        one = await self.hooked({"scope": "s", "key": "x"}, hook="one")
        scope = await self.hooked({"scope": "s"}, hook="scope")
        key = await self.hooked({"key": "x"}, hook="key")
        every = await self.hooked({"scope": None, "metadata": {"from": "motia"}}, hook="every")
        empty = await self.hooked({"scope": "", "key": ""}, hook="empty")
        for where, what in (("s", "x"), ("s", "y"), ("t", "x"), ("", "")):
            await self.set(what, 1, where)
        sx, sy, tx, nothing = (
            ("created", "s", "x"),
            ("created", "s", "y"),
            ("created", "t", "x"),
            ("created", "", ""),
        )
        self.assertEqual(await self.events(one), [sx])
        self.assertEqual(await self.events(scope), [sx, sy])
        self.assertEqual(await self.events(key), [sx, tx])
        self.assertEqual(await self.events(every), [sx, sy, tx, nothing])
        self.assertEqual(await self.events(empty), [nothing])

    @probe("04.10")
    async def test_only_false_and_failure_hold_the_handler_back(self) -> None:
        """The condition sees the same event."""
        worker = await self.worker("hook", "check")
        await worker.trigger("state", "hook", {"condition_function_id": "check"})
        outcomes: tuple[tuple[dict[str, Any], bool], ...] = (
            ({"result": False}, False),
            ({"result": None}, True),
            ({"result": 0}, True),
            ({"result": "false"}, True),
            ({"result": {}}, True),
            ({}, True),
            ({"error": {"code": "X", "message": "no"}}, False),
        )
        for number, (outcome, called) in enumerate(outcomes):
            await self.set("k", number)
            asked = await worker.answer("check", **outcome)
            self.assertEqual(asked["data"]["new_value"], number)
            if called:
                self.assertEqual((await worker.invoked("hook"))["data"], asked["data"])
            await self.quiet(worker)

    async def test_a_condition_nobody_offers_holds_back(self) -> None:
        """04.10: the rest of it."""
        hook = await self.hooked({"condition_function_id": "nowhere"})
        await self.set("k", 1)
        await self.quiet(hook)

    @probe("04.11")
    async def test_nobody_waits_for_a_handler(self) -> None:
        """Neither the writer nor the next event."""
        hook = await self.hooked()
        for number in range(20):
            await self.set("k", number)
        self.assertEqual(len(await self.events(hook)), 20)

    async def test_the_event_is_out_before_the_reply(self) -> None:
        """04 §3.1: one worker that writes and listens sees both in that order."""
        worker = await self.worker("hook")
        await worker.trigger("state", "hook")
        id = worker.invoke("state::set", {"scope": "s", "key": "k", "value": 1})
        await worker.socket.until(lambda: len(worker.socket.frames) >= 2, "event and reply")
        worker._collect()
        self.assertEqual([m["type"] for m in worker.inbox], ["invokefunction", "invocationresult"])
        self.assertEqual(worker.inbox[1]["invocation_id"], id)

    async def test_write_order_is_event_order(self) -> None:
        """04 §3.3.5: a burst of writes from one connection."""
        hook = await self.hooked()
        ids = [
            self.caller.invoke("state::set", {"scope": "s", "key": "k", "value": n})
            for n in range(200)
        ]
        for id in ids:
            await self.caller.result_of(id)
        seen = [(await hook.invoked("hook"))["data"]["new_value"] for _ in ids]
        self.assertEqual(seen, list(range(200)))

    async def test_a_handler_may_write(self) -> None:
        """04 §3.3: its write is an event like any other."""
        hook = await self.hooked({"scope": "s"})
        await self.set("k", 0)
        for number in range(1, 4):
            call = await hook.invoked("hook")
            self.assertEqual(call["data"]["new_value"], number - 1)
            await hook.call("state::set", {"scope": "s", "key": "k", "value": number})
            hook.reply(call)

    async def test_handlers_get_the_trigger_s_metadata(self) -> None:
        """04 §13, 0.21."""
        hook = await self.hooked({}, metadata={"team": "a"})
        await self.set("k", 1)
        self.assertEqual((await hook.invoked("hook"))["metadata"], {"team": "a"})


class Bindings(StateCase):
    """Registering and leaving."""

    async def refusal(self, config: Any) -> str:
        worker = await self.worker("hook")
        worker.send(
            "registertrigger", id="t", trigger_type="state", function_id="hook", config=config
        )
        answer = await worker.expect("triggerregistrationresult", id="t")
        self.assertEqual(answer["error"]["code"], WRONG)
        message: str = answer["error"]["message"]
        return message

    async def test_a_wrong_configuration_is_refused(self) -> None:
        """04 §3.3."""
        rows: tuple[tuple[Any, str], ...] = (
            ({"scope": 5}, "invalid type: integer `5`, expected a string"),
            ({"key": []}, "invalid type: sequence, expected a string"),
            ({"condition_function_id": True}, "invalid type: boolean `true`, expected a string"),
            ([], "invalid type: sequence, expected struct StateTrigger"),
            ("s", 'invalid type: string "s", expected struct StateTrigger'),
        )
        for config, complaint in rows:
            message = await self.refusal(config)
            self.assertIn(f"Failed to parse trigger config: {complaint}", message)

    async def test_no_configuration_means_everything(self) -> None:
        """null is `{}`."""
        worker = await self.worker("hook")
        worker.send(
            "registertrigger", id="t", trigger_type="state", function_id="hook", config=None
        )
        await worker.settled()
        await self.set("k", 1)
        self.assertEqual(await self.events(worker), [("created", "s", "k")])

    async def test_the_same_id_again_replaces(self) -> None:
        """04 §3.3."""
        hook = await self.hooked({"key": "a"}, id="t")
        await hook.trigger("state", "hook", {"key": "b"}, id="t")
        await self.set("a", 1)
        await self.set("b", 1)
        self.assertEqual(await self.events(hook), [("created", "s", "b")])

    async def test_unregistering_ends_it(self) -> None:
        """And nothing is left behind."""
        hook = await self.hooked({"scope": "s"}, id="t")
        hook.send("unregistertrigger", id="t", trigger_type="state")
        await hook.settled()
        await self.set("k", 1)
        await self.quiet(hook)

    async def test_what_waits_for_a_trigger_goes_with_it(self) -> None:
        """Its function is slower than the writes when it is unregistered."""
        self.patch(fanout, "MAX_RUNNING", 1)
        hook = await self.hooked({"scope": "s"}, id="t")
        for n in range(3):
            await self.set("k", n)
        self.assertEqual(self.module.under_way, 2)
        hook.send("unregistertrigger", id="t", trigger_type="state")
        await hook.settled()
        self.assertEqual(self.module.under_way, 0)

    async def test_a_worker_that_leaves_takes_its_triggers_along(self) -> None:
        """Those of others stay."""
        gone = await self.hooked({"scope": "s"}, hook="gone")
        stays = await self.hooked({"key": "k"}, hook="stays")
        await self.gone(gone)
        await self.set("k", 1)
        self.assertEqual(await self.events(stays), [("created", "s", "k")])
        await self.gone(stays)
        await self.set("k", 2)

    async def test_replicas_share_one_event(self) -> None:
        """08 §2: alike registrations of two workers fire once."""
        replicas = [await self.hooked({"scope": "s"}) for _ in range(2)]
        await self.set("k", 1)
        got = [await self.events(replica) for replica in replicas]
        self.assertEqual(sorted(map(len, got)), [0, 1])


class Off(StateCase):
    """04 §13: `triggers_enabled: false`."""

    settings = StateConfig(triggers_enabled=False)

    async def test_nothing_fires(self) -> None:
        """Registering is accepted all the same."""
        hook = await self.hooked()
        await self.set("k", 1)
        self.assertEqual(await self.get("k"), 1)
        await self.quiet(hook)

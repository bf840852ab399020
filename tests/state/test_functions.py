"""The ``state::*`` functions (04 §3.1, §3.2, §13)."""

from __future__ import annotations

from typing import Any

import msgspec

from iii.modules.state import StateConfig
from tests.state.cases import StateCase
from tests.support.engine_case import RawWorker
from tests.support.probes import probe


class Values(StateCase):
    """04 §3.1: set, get, delete."""

    @probe("04.1", "04.2")
    async def test_set_tells_what_was_and_what_is(self) -> None:
        """Nothing before the first, the first before the second."""
        first = await self.set("k", {"a": 1})
        self.assertEqual(first, {"old_value": None, "new_value": {"a": 1}})
        second = await self.set("k", 2)
        self.assertEqual(second, {"old_value": {"a": 1}, "new_value": 2})

    @probe("04.3")
    async def test_data_is_an_older_name_of_value(self) -> None:
        """SDKs before 0.4.1 send it; where both are there, `value` counts."""
        old = await self.caller.call("state::set", {"scope": "s", "key": "k", "data": {"a": 1}})
        self.assertEqual(old, {"old_value": None, "new_value": {"a": 1}})
        both = await self.caller.call(
            "state::set", {"scope": "s", "key": "k", "data": 1, "value": 2}
        )
        self.assertEqual(both["new_value"], 2)

    @probe("04.4")
    async def test_what_is_not_there_has_no_result(self) -> None:
        """Neither an unknown key nor an unknown scope."""
        await self.set("k", 1)
        for scope, key in (("s", "other"), ("t", "k")):
            answer = await self.answer("state::get", scope=scope, key=key)
            self.assertNotIn("result", answer)
            self.assertNotIn("error", answer)

    @probe("04.5")
    async def test_a_stored_null_is_a_result(self) -> None:
        """And overwriting it is no creation, whatever `old_value` says."""
        await self.set("k", None)
        answer = await self.answer("state::get", scope="s", key="k")
        self.assertIn("result", answer)
        self.assertIsNone(answer["result"])
        hook = await self.hooked()
        await self.set("k", 1)
        self.assertEqual(await self.events(hook), [("updated", "s", "k")])

    @probe("04.6")
    async def test_delete_gives_the_value_that_was(self) -> None:
        """As it is, and nothing the second time."""
        await self.set("k", {"a": 1})
        self.assertEqual(await self.delete("k"), {"a": 1})
        answer = await self.answer("state::delete", scope="s", key="k")
        self.assertNotIn("result", answer)
        self.assertNotIn("error", answer)
        self.assertIsNone(await self.get("k"))

    async def test_values_come_back_byte_for_byte(self) -> None:
        """04 §2.2: member order and long numbers survive."""
        text = b'{"z":1,"a":123456789012345678901234567890,"m":1.10,"u":"\xc3\xa9\\u00e9"}'
        value = msgspec.Raw(text)
        id = self.caller.invoke("state::set", {"scope": "s", "key": "k", "value": value})
        await self.caller.result_of(id)
        self.assertEqual(await self.kept("k"), text)

    async def test_empty_and_odd_names_are_names(self) -> None:
        """04 §3.1: no name is special."""
        for scope, key in (("", ""), ("a/b:c%", "k\n"), ("x" * 5_000, "é" * 5_000)):
            await self.set(key, [scope], scope)
            self.assertEqual(await self.get(key, scope), [scope])

    async def test_unknown_fields_are_nobody_s_business(self) -> None:
        """04 §3.1."""
        await self.caller.call("state::set", {"scope": "s", "key": "k", "value": 1, "x": 2})
        self.assertEqual(await self.get("k"), 1)


class Lists(StateCase):
    """04 §3.1, §13: what is there."""

    @probe("04.12")
    async def test_list_has_the_values_in_the_order_of_their_keys(self) -> None:
        """Overwriting moves nothing; an unknown scope is empty."""
        for key, value in (("a", 1), ("b", 2), ("c", 3), ("a", 9)):
            await self.set(key, value)
        self.assertEqual(await self.caller.call("state::list", {"scope": "s"}), [9, 2, 3])
        self.assertEqual(await self.caller.call("state::list", {"scope": "t"}), [])

    @probe("04.13")
    async def test_list_groups_has_the_scopes_sorted(self) -> None:
        """Each once, and none that is empty."""
        self.assertEqual(await self.caller.call("state::list_groups", {}), {"groups": []})
        for scope in ("b", "a", "b"):
            await self.set(scope, 1, scope)
        await self.set("more", 1, "b")
        self.assertEqual(await self.caller.call("state::list_groups", {}), {"groups": ["a", "b"]})
        await self.delete("a", "a")
        self.assertEqual(await self.caller.call("state::list_groups", {}), {"groups": ["b"]})

    async def test_list_groups_needs_no_payload(self) -> None:
        """04 §3.5: null and absent are `{}`."""
        self.caller.send("invokefunction", invocation_id="x", function_id="state::list_groups")
        self.assertEqual((await self.caller.result_of("x"))["result"], {"groups": []})
        self.assertEqual(await self.caller.call("state::list_groups", None), {"groups": []})

    async def test_list_keys_has_the_keys_in_order(self) -> None:
        """04 §13, §14.27."""
        for key in ("b", "a", "b"):
            await self.set(key, 1)
        keys = await self.caller.call("state::list_keys", {"scope": "s"})
        self.assertEqual(keys, {"keys": ["b", "a"]})
        keys = await self.caller.call("state::list_keys", {"scope": "t"})
        self.assertEqual(keys, {"keys": []})


class Pages(StateCase):
    """04 §13: `state::list_entries`."""

    async def page(self, **asked: Any) -> Any:
        return await self.caller.call("state::list_entries", {"scope": "s", **asked})

    async def fill(self, *values: Any) -> None:
        for number, value in enumerate(values):
            await self.set(f"k{number}", value)

    async def test_a_small_scope_is_one_page(self) -> None:
        """And an empty one is an empty page."""
        empty = {"entries": [], "next_cursor": None, "done": True, "offset": 0, "total": 0}
        self.assertEqual(await self.page(), empty)
        await self.fill({"a": 1}, None)
        self.assertEqual(
            await self.page(),
            {
                "entries": [["k0", {"a": 1}], ["k1", None]],
                "next_cursor": None,
                "done": True,
                "offset": 0,
                "total": 2,
            },
        )

    async def test_the_cursor_goes_on_where_the_page_ended(self) -> None:
        """Also when entries went away meanwhile."""
        await self.fill(*range(5))
        first = await self.page(limit=2)
        self.assertEqual(([k for k, _ in first["entries"]], first["done"]), (["k0", "k1"], False))
        await self.delete("k1")
        await self.delete("k2")
        second = await self.page(limit=2, cursor=first["next_cursor"])
        self.assertEqual([k for k, _ in second["entries"]], ["k3", "k4"])
        self.assertEqual((second["offset"], second["done"], second["total"]), (2, True, 3))

    async def test_a_page_ends_before_it_has_too_many_bytes(self) -> None:
        """`max_bytes` counts keys and values."""
        await self.fill("x" * 100, "y" * 100, "z" * 100)
        page = await self.page(max_bytes=256)
        self.assertEqual([k for k, _ in page["entries"]], ["k0", "k1"])

    async def test_an_entry_larger_than_a_page_is_refused_by_name(self) -> None:
        """Except by the largest page, or nobody could read it."""
        await self.fill("x" * 2_000_000)
        error = await self.caller.error_of("state::list_entries", {"scope": "s"})
        self.assertEqual(error["code"], "ROW_TOO_LARGE")
        self.assertIn("entry 'k0' has 2000004 bytes", error["message"])
        page = await self.page(max_bytes=8_000_000)
        self.assertEqual(len(page["entries"]), 1)
        await self.store.set(("s", ""), "k0", msgspec.Raw(b'"' + b"x" * 8_000_000 + b'"'))
        page = await self.page(max_bytes=8_000_000)
        self.assertEqual(len(page["entries"][0][1]), 8_000_000)

    async def test_a_cursor_of_one_s_own_making_is_refused(self) -> None:
        """Whatever it looks like."""
        for cursor in ("", "x", "1", "-1.0", "1.2.3", "٣.٣", "9" * 30 + ".0"):
            error = await self.caller.error_of(
                "state::list_entries", {"scope": "s", "cursor": cursor}
            )
            self.assertEqual(error["code"], "INVALID_CURSOR", cursor)

    async def test_limits_have_limits(self) -> None:
        """1 to 1000 entries, 256 to 8,000,000 bytes."""
        for wrong in ({"limit": 0}, {"limit": 1001}, {"max_bytes": 255}, {"max_bytes": 8_000_001}):
            error = await self.caller.error_of("state::list_entries", {"scope": "s", **wrong})
            self.assertEqual(error["code"], "deserialization_error", wrong)
        await self.fill(1)
        for right in ({"limit": None}, {"limit": 1}, {"limit": 1000, "max_bytes": 256}):
            self.assertEqual((await self.page(**right))["total"], 1)


class Names(StateCase):
    """04 §3.2: what older clients call it."""

    async def test_dotted_ids_and_old_fields_work(self) -> None:
        """All of them, with the oldest fields."""
        what = {"group_id": "s", "item_id": "k"}
        call = self.caller.call
        self.assertEqual((await call("state.set", {**what, "data": {}}))["new_value"], {})
        ops = [{"type": "set", "path": "n", "value": 1}]
        updated = await call("state.update", {**what, "ops": ops})
        self.assertEqual(updated["new_value"], {"n": 1})
        self.assertEqual(await call("state.get", what), {"n": 1})
        for id in ("state.getGroup", "state.list"):
            self.assertEqual(await call(id, {"group_id": "s"}), [{"n": 1}])
        for id in ("state.list_groups", "state.listGroups"):
            self.assertEqual(await call(id, {}), {"groups": ["s"]})
        self.assertEqual(await call("state.delete", what), {"n": 1})

    async def test_new_names_win_over_old_ones(self) -> None:
        """A payload with both is the newer client's."""
        await self.caller.call(
            "state::set", {"group_id": "x", "scope": "s", "item_id": "y", "key": "k", "value": 1}
        )
        self.assertEqual(await self.get("k"), 1)

    async def test_a_worker_s_own_dotted_function_comes_first(self) -> None:
        """And the old name comes back when it leaves."""
        await self.set("k", "ours")
        worker = await self.worker("state.get")
        asked = self.caller.invoke("state.get", {"scope": "s", "key": "k"})
        await worker.answer("state.get", result="theirs")
        self.assertEqual((await self.caller.result_of(asked))["result"], "theirs")
        await self.gone(worker)
        self.assertEqual(await self.caller.call("state.get", {"scope": "s", "key": "k"}), "ours")

    async def test_index_is_no_name_of_scope(self) -> None:
        """A documented mistake whose error clients expect."""
        error = await self.caller.error_of("state::get", {"index": "s", "key": "k"})
        self.assertEqual(
            error["message"], "Failed to deserialize input for state::get: missing field `scope`"
        )

    async def test_listings_show_formats_and_no_old_names(self) -> None:
        """04 §3.6."""
        listed = await self.caller.call(
            "engine::functions::list", {"include_internal": True, "view": "discovery"}
        )
        rows = {row["function_id"]: row for row in listed["functions"]}
        ours = {id for id in rows if id.startswith("state")}
        plain = {"set", "get", "delete", "update", "list", "list_groups"}
        self.assertEqual(ours, {f"state::{n}" for n in plain | {"list_keys", "list_entries"}})

    async def test_formats_are_published(self) -> None:
        """04 §3.6: what a function takes, and what the fixed ones give."""
        ids = ["state::set", "state::update", "state::list_groups", "state::get"]
        info = await self.caller.call("engine::functions::info", {"function_ids": ids})
        text = msgspec.json.encode(info).decode()
        for word in ("old_value", "new_value", "groups", "scope"):
            self.assertIn(word, text)


class Mistakes(StateCase):
    """04 §3.5: wrong input."""

    @probe("04.14")
    async def test_a_missing_field_is_named(self) -> None:
        """With the code and the words clients know."""
        error = await self.caller.error_of("state::get", {"key": "k"})
        self.assertEqual(error["code"], "deserialization_error")
        self.assertEqual(
            error["message"], "Failed to deserialize input for state::get: missing field `scope`"
        )

    async def test_every_function_names_itself_and_what_is_wrong(self) -> None:
        """A row per function: what is sent, what is complained about."""
        rows: tuple[tuple[str, Any, str], ...] = (
            ("set", {"scope": "s", "key": "k"}, "missing field `value`"),
            ("set", {"scope": 5, "key": "k", "value": 1}, "integer `5`, expected a string"),
            ("set", [], "invalid type: sequence, expected struct StateSetInput"),
            ("get", {"scope": "s"}, "missing field `key`"),
            ("get", "x", 'invalid type: string "x", expected struct StateGetInput'),
            ("delete", {"scope": "s", "key": None}, "invalid type: null, expected a string"),
            ("delete", 1.5, "floating point `1.5`, expected struct StateDeleteInput"),
            ("update", {"scope": "s", "key": "k"}, "missing field `ops`"),
            (
                "update",
                {"scope": "s", "key": "k", "ops": {}},
                "invalid type: map, expected a sequence",
            ),
            ("list", {}, "missing field `scope`"),
            ("list", True, "boolean `true`, expected struct StateGetGroupInput"),
            ("list_groups", 3, "integer `3`, expected struct StateListGroupsInput"),
            ("list_keys", {}, "missing field `scope`"),
        )
        for name, sent, complaint in rows:
            error = await self.caller.error_of(f"state::{name}", sent)
            self.assertEqual(error["code"], "deserialization_error", name)
            start = f"Failed to deserialize input for state::{name}: "
            self.assertTrue(error["message"].startswith(start), error)
            self.assertTrue(error["message"].endswith(complaint), error)
        self.assertEqual(await self.caller.call("state::list_groups", {}), {"groups": []})

    async def test_null_is_no_input(self) -> None:
        """The struct's name says what was expected."""
        error = await self.caller.error_of("state::set", None)
        self.assertIn("invalid type: null, expected struct StateSetInput", error["message"])


class Sizes(StateCase):
    """04 §13, §14.26: `max_value_bytes`."""

    settings = StateConfig(max_value_bytes=20)

    async def test_a_larger_value_is_refused_and_nothing_kept(self) -> None:
        """The size is that of compact JSON."""
        hook = await self.hooked()
        error = await self.caller.error_of(
            "state::set", {"scope": "s", "key": "k", "value": "x" * 19}
        )
        self.assertEqual(
            (error["code"], error["message"]),
            (
                "VALUE_TOO_LARGE",
                "value of 21 bytes exceeds the configured max_value_bytes limit of 20",
            ),
        )
        self.assertIsNone(await self.get("k"))
        await self.set("k", "x" * 18)
        spaced = msgspec.Raw(b"[" + b" " * 100 + b"1]")
        await self.set("k", spaced)
        self.assertEqual(await self.events(hook), [("created", "s", "k"), ("updated", "s", "k")])

    async def test_updates_are_measured_by_their_result(self) -> None:
        """And leave the old value."""
        await self.set("k", {"a": 1})
        error = await self.caller.error_of(
            "state::update",
            {
                "scope": "s",
                "key": "k",
                "ops": [{"type": "set", "path": "b", "value": "x" * 20}],
            },
        )
        self.assertEqual(error["code"], "VALUE_TOO_LARGE")
        self.assertEqual(await self.get("k"), {"a": 1})


class Ownership(StateCase):
    """Decision 2: nobody takes the engine's functions away."""

    async def test_a_worker_can_t_replace_state_set(self) -> None:
        """Nor remove it by leaving (04 §14.15)."""
        worker: RawWorker = await self.worker("state::set")
        await self.set("k", 1)
        self.assertEqual(await self.get("k"), 1)
        await self.gone(worker)
        await self.set("k", 2)
        self.assertEqual(await self.get("k"), 2)

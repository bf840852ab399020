"""``state::update`` through the engine (04 §4).  The operations: ``tests.storage``."""

from __future__ import annotations

from typing import Any

from tests.state.cases import StateCase
from tests.support.probes import probe


class Updating(StateCase):
    """04 §3.1: one read, all operations, one write, one event."""

    @probe("04.15")
    async def test_an_unknown_operation_changes_nothing(self) -> None:
        """It is refused before anything is touched."""
        await self.set("k", {"n": 1})
        hook = await self.hooked()
        ops: list[Any] = [{"type": "set", "path": "n", "value": 2}, {"type": "bogus"}]
        error = await self.caller.error_of("state::update", {"scope": "s", "key": "k", "ops": ops})
        self.assertEqual(error["code"], "deserialization_error")
        start = "Failed to deserialize input for state::update: unknown variant `bogus`"
        self.assertTrue(error["message"].startswith(start), error)
        self.assertEqual(await self.get("k"), {"n": 1})
        self.assertEqual(await self.events(hook), [])

    @probe("04.16")
    async def test_a_missing_key_starts_as_an_empty_object(self) -> None:
        """And is created."""
        hook = await self.hooked()
        result = await self.update("k", {"type": "increment", "path": "n", "by": 1})
        self.assertEqual(result, {"old_value": None, "new_value": {"n": 1}})
        self.assertEqual(await self.events(hook), [("created", "s", "k")])

    @probe("04.17")
    async def test_operations_apply_in_order(self) -> None:
        """`errors` is there only when there are any."""
        result = await self.updated(
            {"name": "A", "counter": 0},
            {"type": "set", "path": "name", "value": "Z"},
            {"type": "increment", "path": "counter", "by": 10},
            {"type": "set", "path": "status", "value": "active"},
        )
        self.assertEqual(result["new_value"], {"name": "Z", "counter": 10, "status": "active"})
        self.assertEqual(set(result), {"old_value", "new_value"})

    @probe("04.18")
    async def test_a_dot_is_part_of_a_name(self) -> None:
        """A path is one literal key."""
        result = await self.updated({}, {"type": "set", "path": "user.name", "value": 1})
        self.assertEqual(result["new_value"], {"user.name": 1})

    @probe("04.19")
    async def test_merge_at_the_root_has_three_spellings(self) -> None:
        """null, empty, absent."""
        paths: tuple[dict[str, Any], ...] = ({"path": None}, {"path": ""}, {})
        for path in paths:
            result = await self.updated({"a": 1}, {"type": "merge", "value": {"b": 2}, **path})
            self.assertEqual(result["new_value"], {"a": 1, "b": 2})

    @probe("04.20")
    async def test_merge_makes_its_way(self) -> None:
        """What is no object is replaced."""
        op = {"type": "merge", "path": ["s", "x"], "value": {"t": 1}}
        result = await self.updated({"s": "junk"}, op)
        self.assertEqual(result["new_value"], {"s": {"x": {"t": 1}}})

    @probe("04.21")
    async def test_what_can_t_be_done_is_told_and_the_rest_done(self) -> None:
        """With the number of the operation and a code."""
        result = await self.updated(
            {"bad": "v", "events": {}},
            {"type": "increment", "path": "bad", "by": 1},
            {"type": "set", "path": "__proto__", "value": 1},
            {"type": "append", "path": "events", "value": "c"},
            {"type": "set", "path": "ok", "value": True},
        )
        self.assertEqual(result["new_value"], {"bad": "v", "events": {}, "ok": True})
        told = [(error["op_index"], error["code"]) for error in result["errors"]]
        self.assertEqual(
            told,
            [
                (0, "increment.not_number"),
                (1, "set.path.proto_polluted"),
                (2, "append.type_mismatch"),
            ],
        )
        self.assertEqual(set(result["errors"][0]), {"op_index", "code", "message", "doc_url"})

    @probe("04.22")
    async def test_append_starts_with_what_the_path_suggests(self) -> None:
        """A string at one segment, a list deeper down."""
        result = await self.updated({}, {"type": "append", "path": "log", "value": "a"})
        self.assertEqual(result["new_value"], {"log": "a"})
        result = await self.updated({}, {"type": "append", "path": ["x", "log"], "value": "a"})
        self.assertEqual(result["new_value"], {"x": {"log": ["a"]}})

    @probe("04.23")
    async def test_only_numbers_are_counted_on(self) -> None:
        """Fractions too, null not."""
        op = {"type": "increment", "path": "n", "by": 2}
        result = await self.updated({"n": 1.5}, op)
        self.assertEqual(result["new_value"], {"n": 3.5})
        result = await self.updated({"n": None}, op)
        self.assertEqual(result["new_value"], {"n": None})
        self.assertEqual([e["code"] for e in result["errors"]], ["increment.not_number"])

    @probe("04.24")
    async def test_five_hundred_increments_at_once_lose_none(self) -> None:
        """From several workers, none of which waits."""
        workers = [await self.worker() for _ in range(5)]
        ops = [{"type": "increment", "path": "n", "by": 2}]
        asked = [
            (worker, worker.invoke("state::update", {"scope": "s", "key": "k", "ops": ops}))
            for _ in range(100)
            for worker in workers
        ]
        for worker, id in asked:
            await worker.result_of(id)
        self.assertEqual(await self.get("k"), {"n": 1000})

    async def test_an_update_that_changes_nothing_is_an_update(self) -> None:
        """04 §3.1: its event fires; on a missing key it creates `{}` (§2.2)."""
        hook = await self.hooked()
        wrong = {"type": "set", "path": "__proto__", "value": 1}
        self.assertEqual((await self.update("k", wrong))["new_value"], {})
        self.assertEqual((await self.update("k"))["new_value"], {})
        self.assertEqual(await self.events(hook), [("created", "s", "k"), ("updated", "s", "k")])

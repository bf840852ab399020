"""The part of the program that has to do with state and streams.

Operations and results are made of the release's own models; ``own`` is a stream the
program keeps itself, behind the release's ``create_stream``.
"""

from __future__ import annotations

from typing import Any

from generations import Sdk, find

VARIANTS: dict[str, tuple[tuple[str, dict[str, Any]], ...]] = {
    "basic": (
        ("UpdateSet", {"path": "name", "value": "Z"}),
        ("UpdateIncrement", {"path": "counter", "by": 10}),
        ("UpdateDecrement", {"path": "left", "by": 1}),
        ("UpdateRemove", {"path": "old"}),
        ("UpdateMerge", {"path": "", "value": {"status": "active"}}),
    ),
    "append": (
        ("UpdateAppend", {"path": "log", "value": "a"}),
        ("UpdateAppend", {"path": "log", "value": "b"}),
        ("UpdateMerge", {"path": ["deep", "er"], "value": {"n": 1}}),
        ("UpdateIncrement", {"path": "name", "by": 1}),
    ),
    "nested": (("UpdateAppend", {"path": ["x", "log"], "value": "a"}),),
}


def model(name: str) -> Any:
    """A model of this release; None when it has none of that name."""
    return find((f"iii.stream:{name}", f"iii_helpers.stream:{name}"))


def own_stream(calls: list[str]) -> Any:
    """A stream kept in a list; ``calls`` notes what was asked of it."""
    base = model("IStream")
    rows: list[tuple[str, str, Any]] = []

    def index(wanted: Any) -> int | None:
        places = [(group, item) for group, item, _ in rows]
        place = (wanted.group_id, wanted.item_id)
        return places.index(place) if place in places else None

    class Own(base):  # type: ignore[misc, valid-type]
        async def get(self, input: Any) -> Any:
            calls.append("get")
            if input.item_id == "broken":
                raise ValueError("broken on purpose")
            found = index(input)
            return None if found is None else rows[found][2]

        async def set(self, input: Any) -> Any:
            calls.append("set")
            return self.write(input, input.data)

        def write(self, place: Any, data: Any) -> Any:
            found = index(place)
            row = (place.group_id, place.item_id, data)
            if found is None:
                rows.append(row)
                return model("StreamSetResult")(old_value=None, new_value=data)
            old, rows[found] = rows[found][2], row
            return model("StreamSetResult")(old_value=old, new_value=data)

        async def delete(self, input: Any) -> Any:
            calls.append("delete")
            found = index(input)
            old = None if found is None else rows.pop(found)[2]
            result = model("StreamDeleteResult")
            return None if result is None else result(old_value=old)

        async def list(self, input: Any) -> Any:
            calls.append("list")
            return [data for group, _, data in rows if group == input.group_id]

        async def list_groups(self, input: Any) -> Any:
            calls.append("list_groups")
            return sorted({group for group, _, _ in rows})

        async def update(self, input: Any) -> Any:
            """Asked by engines only for programs before 0.9; knows ``set``."""
            calls.append("update")
            found = index(input)
            value = {} if found is None else dict(rows[found][2])
            for op in input.ops:
                value[op.path] = op.value
            return self.write(input, value)

    return Own()


class Stored:
    """The functions and triggers, and what they saw."""

    def __init__(self, sdk: Sdk, prefix: str) -> None:
        self.sdk = sdk
        self.prefix = prefix
        self.seen: dict[str, list[Any]] = {
            kind: [] for kind in ("state", "stream", "join", "leave", "own")
        }

    def register(self) -> None:
        board = f"{self.prefix}-board"
        for name in ("operate", "witnessed"):
            self.sdk.function(f"{self.prefix}::{name}", getattr(self, name))
        self.trigger("state", "on-state", self.on_state, {"scope": self.prefix})
        group = {"stream_name": board, "group_id": "g"}
        self.trigger("stream", "on-stream", self.on_stream, group)
        self.trigger("stream:join", "on-join", self.on_join, {"stream_name": board})
        self.trigger("stream:leave", "on-leave", self.on_leave, {"stream_name": board})
        self.sdk.create_stream(f"{self.prefix}-own", own_stream(self.seen["own"]))

    def trigger(self, kind: str, name: str, handler: Any, config: Any) -> None:
        self.sdk.function(f"{self.prefix}::{name}", handler)
        self.sdk.trigger(kind, f"{self.prefix}::{name}", config)

    async def on_state(self, event: Any) -> Any:
        self.seen["state"].append(event)

    async def on_stream(self, event: Any) -> Any:
        self.seen["stream"].append(event)

    async def on_join(self, event: Any) -> Any:
        self.seen["join"].append(event)
        refused = event["group_id"] == "secret"
        return model("StreamJoinResult")(unauthorized=refused).model_dump()

    async def on_leave(self, event: Any) -> Any:
        self.seen["leave"].append(event)

    async def witnessed(self, data: Any) -> Any:
        return self.seen

    async def operate(self, data: Any) -> Any:
        ops = [model(name)(**fields).model_dump() for name, fields in VARIANTS[data["variant"]]]
        return await self.sdk.call(data["function_id"], {**data["target"], "ops": ops})

"""Random updates of random values, compared with a plain model of 04 §4.1."""

from __future__ import annotations

import copy
import json
from typing import Any
from unittest import TestCase

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw

from iii.storage.updates import apply, read_ops
from tests.storage.test_updates import LONG, MISSING, nested

_SINKS = ("__proto__", "constructor", "prototype")


class ModelError(Exception):
    """An operation that can't be done."""


class Model:
    """04 §4.1 read literally, on decoded JSON: one method per operation."""

    def __init__(self, old: Any) -> None:
        self.virgin = old is MISSING
        self.value: Any = {} if old is MISSING else copy.deepcopy(old)

    def run(self, ops: list[dict[str, Any]]) -> list[tuple[int, str]]:
        """Do all; number and code of those that can't be done."""
        errors = []
        for index, op in enumerate(ops):
            before = copy.deepcopy(self.value)
            try:
                getattr(self, op["type"])(**{k: v for k, v in op.items() if k != "type"})
                self.virgin = False
            except ModelError as error:
                self.value = before
                errors.append((index, f"{op['type']}.{error}"))
        return errors

    def valid(self, path: str | list[str] | None) -> list[str]:
        segments = [] if path in ("", None) else [path] if isinstance(path, str) else path
        if len(segments) > 32:
            raise ModelError("path.too_deep")
        for segment in segments:
            if segment == "":
                raise ModelError("path.empty_segment")
            if len(segment.encode()) > 256:
                raise ModelError("path.segment_too_long")
            if segment in _SINKS:
                raise ModelError("path.proto_polluted")
        return segments

    def object(self) -> Any:
        if not isinstance(self.value, dict):
            raise ModelError("target_not_object")
        return self.value

    def set(self, path: str, value: Any = None) -> None:
        if self.valid(path):
            self.object()[path] = value
        else:
            self.value = value

    def remove(self, path: str) -> None:
        if self.valid(path):
            self.object().pop(path, None)
        else:
            self.value = None

    def increment(self, path: str, by: Any) -> None:
        if not self.valid(path):
            self.value = by if self.virgin else self.number(self.value) + by
        elif path in self.object():
            self.value[path] = self.number(self.value[path]) + by
        else:
            self.value[path] = by

    def decrement(self, path: str, by: Any) -> None:
        self.increment(path, -by)

    def number(self, value: Any) -> Any:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ModelError("not_number")
        return value

    def merge(self, value: Any, path: Any = None) -> None:
        segments = self.valid(path)
        if not isinstance(value, dict):
            raise ModelError("value.not_an_object")
        if any(key in _SINKS for key in value):
            raise ModelError("value.proto_polluted")
        if depth_of(value) > 16:
            raise ModelError("value.too_deep")
        if not segments and not isinstance(self.value, dict):
            return
        if not isinstance(self.value, dict):
            self.value = {}
        self.reach(segments).update(value)

    def reach(self, segments: list[str]) -> Any:
        at = self.value
        for segment in segments:
            if not isinstance(at.get(segment), dict):
                at[segment] = {}
            at = at[segment]
        return at

    def append(self, value: Any, path: Any = None) -> None:
        segments = self.valid(path)
        if not segments:
            self.value = self.grown(None if self.virgin else self.value, value)
            return
        self.object()
        at, leaf = self.reach(segments[:-1]), segments[-1]
        if leaf not in at and len(segments) > 1:
            at[leaf] = [value]
        else:
            at[leaf] = self.grown(at.get(leaf), value)

    def grown(self, old: Any, value: Any) -> Any:
        if old is None:
            return value if isinstance(value, str) else [value]
        if isinstance(old, list):
            return [*old, value]
        if isinstance(old, str) and isinstance(value, str):
            return old + value
        raise ModelError("type_mismatch")


def depth_of(value: Any) -> int:
    """04 §4.1: a scalar has 0, a container one more than its deepest part."""
    if isinstance(value, dict):
        value = list(value.values())
    if not isinstance(value, list):
        return 0
    return 1 + max(map(depth_of, value), default=0)


# Few of them, so that operations meet what is there.
USUAL = st.sampled_from("ab")
KEYS = USUAL | st.sampled_from(
    ["a", "b", "é😀", "user.name", '"\\\n', "", "__proto__", LONG, LONG[1:]]
)
NUMBERS = st.integers(-(2**80), 2**80) | st.floats(-1e100, 1e100)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(USUAL | KEYS | TEXTS, inner, max_size=4)
    ),
    max_leaves=12,
) | st.builds(nested, st.integers(14, 18))
OBJECTS = st.dictionaries(USUAL, st.dictionaries(USUAL, VALUES) | VALUES, max_size=3)
PATHS = (
    st.none()
    | KEYS
    | st.lists(USUAL, min_size=1, max_size=3)
    | st.lists(KEYS, max_size=4)
    | st.just(["a"] * 33)
)
OPS = st.one_of(
    st.fixed_dictionaries({"type": st.just("set"), "path": KEYS}, optional={"value": VALUES}),
    st.fixed_dictionaries(
        {"type": st.just("merge"), "value": OBJECTS | VALUES}, optional={"path": PATHS}
    ),
    st.fixed_dictionaries(
        {"type": st.just("append"), "value": TEXTS | VALUES}, optional={"path": PATHS}
    ),
    st.fixed_dictionaries(
        {"type": st.sampled_from(["increment", "decrement"]), "path": KEYS, "by": NUMBERS}
    ),
    st.fixed_dictionaries({"type": st.just("remove"), "path": KEYS}),
)


class Random(TestCase):
    """The same as a model that walks decoded values."""

    @settings(max_examples=300, deadline=None)
    @given(st.just(MISSING) | OBJECTS | VALUES, st.lists(OPS, max_size=6), st.booleans())
    def test_any_update_of_any_value(self, old: Any, ops: list[Any], escaped: bool) -> None:
        """Same value, same order of members, same errors."""

        def encoded(value: Any) -> Raw:
            return Raw(json.dumps(value, ensure_ascii=escaped).encode())

        start = None if old is MISSING else encoded(old)
        outcome = apply(start, read_ops(encoded(ops)))
        model = Model(old)
        errors = model.run(copy.deepcopy(ops))
        self.assertEqual(json.dumps(json.loads(bytes(outcome.new))), json.dumps(model.value))
        self.assertEqual([(e.op_index, e.code) for e in outcome.errors], errors)
        msgspec.json.decode(outcome.new)

"""What update operations make of a value (04 §4), without a store.

The probes of 04 §4 go through the engine, in ``tests.state.test_updates``; here every
row of §4.1 has its example.  ``tests.storage.test_update_model`` tries random ones.
"""

from __future__ import annotations

import json
import time
from typing import Any
from unittest import TestCase

import msgspec
from msgspec import Raw

from iii.engine.inputs import InputError
from iii.storage.updates import DOC_URL, apply, read_ops

MISSING: Any = object()
LONG = "é" * 129


def to_raw(value: Any) -> Raw:
    """JSON."""
    return Raw(json.dumps(value).encode())


def updated(old: Any, *ops: Any) -> tuple[Any, list[tuple[int, str]]]:
    """The new value, and number and code of what could not be done."""
    outcome = apply(None if old is MISSING else to_raw(old), read_ops(to_raw(list(ops))))
    return json.loads(bytes(outcome.new)), [(e.op_index, e.code) for e in outcome.errors]


def text_of(old: str | None, ops: str) -> str:
    """The new value as JSON."""
    outcome = apply(None if old is None else Raw(old.encode()), read_ops(Raw(ops.encode())))
    return bytes(outcome.new).decode()


def nested(depth: int) -> Any:
    """An object ``depth`` objects deep."""
    value: Any = 1
    for _ in range(depth):
        value = {"a": value}
    return value


def op_set(path: Any, *value: Any) -> dict[str, Any]:
    """``set``, without a value when none is given."""
    return {"type": "set", "path": path, **({"value": value[0]} if value else {})}


def merge(path: Any, value: Any) -> dict[str, Any]:
    """``merge``; ``MISSING``: without path."""
    return {"type": "merge", "value": value, **({} if path is MISSING else {"path": path})}


def append(path: Any, value: Any) -> dict[str, Any]:
    """``append``; ``MISSING``: without path."""
    return {**merge(path, value), "type": "append"}


def inc(path: str, by: Any = 2) -> dict[str, Any]:
    """``increment``."""
    return {"type": "increment", "path": path, "by": by}


def dec(path: str, by: Any = 2) -> dict[str, Any]:
    """``decrement``."""
    return {"type": "decrement", "path": path, "by": by}


def remove(path: str) -> dict[str, Any]:
    """``remove``."""
    return {"type": "remove", "path": path}


# Old value, operation, new value, code of the error (without the operation's name).
Row = tuple[Any, dict[str, Any], Any, str]

SETTING: list[Row] = [
    ({"a": 1}, op_set("", [1]), [1], ""),
    ({"a": 1}, op_set(""), None, ""),
    ({"a": 1}, op_set("", None), None, ""),
    (MISSING, op_set("", 5), 5, ""),
    ({"a": 1}, op_set("a", {"b": 2}), {"a": {"b": 2}}, ""),
    ({}, op_set("a"), {"a": None}, ""),
    ({}, op_set("user.name", 1), {"user.name": 1}, ""),
    (MISSING, op_set("a", 1), {"a": 1}, ""),
    ([1], op_set("a", 1), [1], "target_not_object"),
    (None, op_set("a", 1), None, "target_not_object"),
]
MERGING: list[Row] = [
    *(({"a": 1}, merge(p, {"b": 2}), {"a": 1, "b": 2}, "") for p in (MISSING, None, "", [])),
    ({"a": {"x": 1}}, merge("", {"a": {"y": 1}}), {"a": {"y": 1}}, ""),
    (MISSING, merge("", {"a": 1}), {"a": 1}, ""),
    ([1], merge("", {"a": 1}), [1], ""),
    (None, merge("", {"a": 1}), None, ""),
    ([1], merge("", 5), [1], "value.not_an_object"),
    ({}, merge("a", [1]), {}, "value.not_an_object"),
    ({"s": "junk"}, merge(["s", "x"], {"t": 1}), {"s": {"x": {"t": 1}}}, ""),
    ({"s": {"x": {"u": 1}, "y": 0}}, merge(["s", "x"], {"t": 1}),
     {"s": {"x": {"u": 1, "t": 1}, "y": 0}}, ""),
    ([1], merge(["s", "x"], {"t": 1}), {"s": {"x": {"t": 1}}}, ""),
    (None, merge("s", {}), {"s": {}}, ""),
    ({"s": None}, merge("s", {"a": 1}), {"s": {"a": 1}}, ""),
    ({"s": [1]}, merge("s", {"a": 1}), {"s": {"a": 1}}, ""),
]  # fmt: skip
COUNTING: list[Row] = [
    (MISSING, inc(""), 2, ""),
    (MISSING, dec(""), -2, ""),
    (5, inc(""), 7, ""),
    (5, dec(""), 3, ""),
    ({}, inc(""), {}, "not_number"),
    ("5", inc(""), "5", "not_number"),
    ({}, inc("n"), {"n": 2}, ""),
    ({}, dec("n"), {"n": -2}, ""),
    ({"n": 1}, inc("n"), {"n": 3}, ""),
    ({"n": 1}, dec("n"), {"n": -1}, ""),
    ({"n": 1.5}, inc("n"), {"n": 3.5}, ""),
    ({"n": 1}, inc("n", 0.5), {"n": 1.5}, ""),
    ({"n": 2**63 - 1}, inc("n", 1), {"n": 2**63}, ""),
    ({"n": -(2**70)}, dec("n", 2**80), {"n": -(2**70) - 2**80}, ""),
    *(({"n": v}, inc("n"), {"n": v}, "not_number") for v in (None, "1", True, [1], {}, {"a": 1})),
    *(({"n": v}, dec("n"), {"n": v}, "not_number") for v in (None, "1", True, [1], {}, {"a": 1})),
    ([1], inc("n"), [1], "target_not_object"),
    (None, dec("n"), None, "target_not_object"),
]
REMOVING: list[Row] = [
    ({"a": 1}, remove(""), None, ""),
    ({"a": 1, "b": 2}, remove("a"), {"b": 2}, ""),
    ({"a": 1}, remove("b"), {"a": 1}, ""),
    (MISSING, remove("b"), {}, ""),
    ("text", remove("b"), "text", "target_not_object"),
]
APPENDING: list[Row] = [
    *((MISSING, append(p, "a"), "a", "") for p in (MISSING, None, "", [])),
    (MISSING, append("", 1), [1], ""),
    (None, append("", "a"), "a", ""),
    (None, append("", {"a": 1}), [{"a": 1}], ""),
    ([], append("", 1), [1], ""),
    ([1], append("", [2, 3]), [1, [2, 3]], ""),
    ("ab", append("", "cd"), "abcd", ""),
    ("ab", append("", 1), "ab", "type_mismatch"),
    *((v, append("", "a"), v, "type_mismatch") for v in (1, 1.5, True, {}, {"a": 1})),
    ([1], append("log", "a"), [1], "target_not_object"),
    (None, append(["x", "log"], "a"), None, "target_not_object"),
    ({}, append("log", "a"), {"log": "a"}, ""),
    ({}, append(["log"], "a"), {"log": "a"}, ""),
    ({}, append("log", 1), {"log": [1]}, ""),
    ({"log": None}, append("log", 1), {"log": [1]}, ""),
    ({"log": "a"}, append("log", "b"), {"log": "ab"}, ""),
    ({"log": [1]}, append("log", "b"), {"log": [1, "b"]}, ""),
    ({"log": "a"}, append("log", None), {"log": "a"}, "type_mismatch"),
    ({"log": {}}, append("log", 1), {"log": {}}, "type_mismatch"),
    ({}, append(["x", "log"], "a"), {"x": {"log": ["a"]}}, ""),
    ({"x": 5}, append(["x", "y", "log"], "a"), {"x": {"y": {"log": ["a"]}}}, ""),
    ({"x": {"log": None}}, append(["x", "log"], "a"), {"x": {"log": "a"}}, ""),
    ({"x": {"log": None}}, append(["x", "log"], 1), {"x": {"log": [1]}}, ""),
    ({"x": {"log": "a"}}, append(["x", "log"], "b"), {"x": {"log": "ab"}}, ""),
    ({"x": {"log": [1]}}, append(["x", "log"], [2]), {"x": {"log": [1, [2]]}}, ""),
    ({"x": {"log": 5}}, append(["x", "log"], 1), {"x": {"log": 5}}, "type_mismatch"),
]
BAD_PATHS: list[Row] = [
    *(({"a": 1}, op, {"a": 1}, "path.proto_polluted") for key in
      ("__proto__", "constructor", "prototype") for op in
      (op_set(key, 1), merge(["s", key], {}), inc(key), dec(key), append(key, 1), remove(key))),
    *(("text", op, "text", "path.segment_too_long") for op in
      (op_set(LONG, 1), merge(LONG, {}), inc(LONG), dec(LONG), append(["a", LONG], 1),
       remove(LONG))),
    ({}, op_set(LONG[1:], 1), {LONG[1:]: 1}, ""),
    ({}, merge([""], {}), {}, "path.empty_segment"),
    ({}, append(["a", ""], 1), {}, "path.empty_segment"),
    ({}, merge(["a"] * 33, {}), {}, "path.too_deep"),
    ({}, append(["a"] * 33, 1), {}, "path.too_deep"),
    ({}, merge(["a"] * 32, {"a": 1}), nested(33), ""),
    (5, merge(["a", "__proto__"], 5), 5, "path.proto_polluted"),
]  # fmt: skip
BAD_MERGES: list[Row] = [
    ({}, merge("", {str(n): n for n in range(1024)}), {str(n): n for n in range(1024)}, ""),
    ({}, merge("", {str(n): n for n in range(1025)}), {}, "value.too_many_keys"),
    ({}, merge("", {"a": 1, "constructor": 1}), {}, "value.proto_polluted"),
    ({}, merge("", {"a": {"constructor": 1}}), {"a": {"constructor": 1}}, ""),
    ({}, merge("", nested(16)), nested(16), ""),
    ({}, merge("", nested(17)), {}, "value.too_deep"),
    ({}, merge("", {"a": '[{"\\' * 20}), {"a": '[{"\\' * 20}, ""),
    ({}, merge("", {"a": [{}] * 20}), {"a": [{}] * 20}, ""),
    (5, merge("a", {"a": json.loads("[" * 16 + "]" * 16)}), 5, "value.too_deep"),
]


class Table(TestCase):
    """04 §4.1, row by row."""

    def check(self, rows: list[Row]) -> None:
        """Every row's operation makes of the old value what the row says."""
        for old, op, new, reason in rows:
            errors = [(0, f"{op['type']}.{reason}")] if reason else []
            with self.subTest(old="missing" if old is MISSING else old, op=op):
                self.assertEqual(updated(old, op), (new, errors))

    def test_set(self) -> None:
        """The root, a member, no object."""
        self.check(SETTING)

    def test_merge(self) -> None:
        """At the root, and at a path that is made."""
        self.check(MERGING)

    def test_increment_and_decrement(self) -> None:
        """Numbers only."""
        self.check(COUNTING)

    def test_remove(self) -> None:
        """What is not there may be removed."""
        self.check(REMOVING)

    def test_append(self) -> None:
        """Arrays and strings grow."""
        self.check(APPENDING)

    def test_paths_that_are_refused(self) -> None:
        """Before anything is touched."""
        self.check(BAD_PATHS)

    def test_values_that_are_not_merged(self) -> None:
        """Too many, too deep, poisonous."""
        self.check(BAD_MERGES)

    def test_a_value_is_virgin_until_an_operation_succeeds(self) -> None:
        """04 §4.1: only then may the root become a number or a string."""
        self.assertEqual(updated(MISSING, op_set("__proto__", 1), inc("", 1))[0], 1)
        new, errors = updated(MISSING, merge("", {}), inc("", 1))
        self.assertEqual((new, errors), ({}, [(1, "increment.not_number")]))
        self.assertEqual(updated(MISSING, inc(""), inc(""))[0], 4)
        self.assertEqual(updated({}, append("", 1))[1], [(0, "append.type_mismatch")])

    def test_operations_build_on_each_other(self) -> None:
        """Parts that were changed are changed again."""
        new, errors = updated(
            {"name": "A", "n": 0},
            op_set("o", {"x": 1}),
            merge(["o", "y"], {"z": 1}),
            inc("o"),
            append(["o", "y"], 1),
            append(["o", "y", "l"], 1),
            append(["o", "y", "l"], 2),
            inc("n", 10),
            remove("name"),
        )
        self.assertEqual(new, {"n": 10, "o": {"x": 1, "y": {"z": 1, "l": [1, 2]}}})
        self.assertEqual(errors, [(2, "increment.not_number"), (3, "append.type_mismatch")])

    def test_many_appends_to_a_large_value_copy_it_once(self) -> None:
        """A call with thousands of them must not keep everybody waiting."""
        for large, added in (("x" * 1_000_000, "y"), (["x" * 1_000_000], 1)):
            began = time.process_time()
            new, errors = updated({"l": large}, *([append("l", added)] * 20_000), inc("l"))
            self.assertLess(time.process_time() - began, 2)
            self.assertEqual(len(new["l"]), len(large) + 20_000)
            self.assertEqual(errors, [(20_000, "increment.not_number")])

    def test_what_grows_may_be_replaced(self) -> None:
        grown = [append("l", 2), append("l", 3)]
        old = {"l": [1]}
        self.assertEqual(updated(old, *grown, op_set("l", 5))[0], {"l": 5})
        self.assertEqual(updated(old, *grown, remove("l"))[0], {})
        self.assertEqual(updated(old, *grown, merge("l", {"a": 1}))[0], {"l": {"a": 1}})
        self.assertEqual(updated(old, *grown, merge("", {"a": 1}))[0], {"l": [1, 2, 3], "a": 1})
        self.assertEqual(updated([1], append("", 2), append("", 3)), ([1, 2, 3], []))
        self.assertEqual(updated([], append("", "a"), append("", "b")), (["a", "b"], []))
        self.assertEqual(updated("a", append("", "b"), append("", "c")), ("abc", []))
        self.assertEqual(
            updated([1], append("", 2), op_set("a", 1)), ([1, 2], [(1, "set.target_not_object")])
        )

    def test_without_operations_the_value_stays(self) -> None:
        """A missing one becomes an empty object."""
        self.assertEqual(updated(MISSING), ({}, []))
        self.assertEqual(text_of('{ "a": 1e400 }', "[]"), '{ "a": 1e400 }')


class Messages(TestCase):
    """04 §4.1, "Messages"."""

    def test_each_error_has_its_sentence(self) -> None:
        """To the letter."""
        rows: list[tuple[Any, dict[str, Any], str]] = [
            (1, op_set("a", 1), "Cannot set at path 'a': target is number, expected object."),
            (None, inc("a"), "Cannot increment at path 'a': target is null, expected object."),
            ("", dec("a"), "Cannot decrement at path 'a': target is string, expected object."),
            ([], remove("a"), "Cannot remove at path 'a': target is array, expected object."),
            (True, append("a", 1), "Cannot append at path '[a]': target is boolean,"
             " expected object."),
            (1, append(["a", "b"], 1), "Cannot append at path '[a, b]': target is number,"
             " expected object."),
            ({}, inc(""), "Expected number at path 'root', got object."),
            ({"a": None}, inc("a"), "Expected number at path 'a', got null."),
            ({"a": "x"}, append("a", 1), "Expected string append value at path 'a', got number."),
            ("x", append("", None), "Expected string append value at path 'root', got null."),
            ({"a": {}}, append("a", 1), "Cannot append at path 'a': target is object,"
             " expected array, string, null, or missing field."),
            ({}, merge(["a"] * 40, {}), "Path depth 40 exceeds maximum of 32"),
            ({}, merge(["a", ""], {}), "Path contains an empty segment"),
            ({}, op_set(LONG, 1), "Path segment of 258 bytes exceeds maximum of 256"),
            ({}, op_set("prototype", 1), "Path segment 'prototype' is not allowed"
             " (prototype pollution)."),
            ({}, merge("a", 1), "Merge value must be a JSON object"),
            ({}, merge("", {str(n): n for n in range(2000)}),
             "Merge value has 2000 top-level keys, exceeds maximum of 1024"),
            ({}, merge("", {"__proto__": 1}),
             'Merge value top-level key "__proto__" is a prototype-pollution sink'),
            ({}, merge("", nested(20)), "Merge value JSON nesting depth 20 exceeds maximum of 16"),
        ]  # fmt: skip
        for old, op, message in rows:
            with self.subTest(op=op):
                (error,) = apply(to_raw(old), read_ops(to_raw([op]))).errors
                self.assertEqual((error.message, error.doc_url), (message, DOC_URL))

    def test_on_the_wire_an_error_has_four_members(self) -> None:
        """The page it leads to is one of them."""
        outcome = apply(Raw(b"1"), read_ops(to_raw([op_set("a", 1)])))
        said = msgspec.to_builtins(outcome.errors)
        self.assertEqual(list(said[0]), ["op_index", "code", "message", "doc_url"])


class Losslessness(TestCase):
    """What an operation doesn't touch comes out as it went in."""

    def test_numbers_keep_their_digits(self) -> None:
        """Also those that fit into nothing."""
        big, odd = "9" * 6000, "1.000000000000000000000000001"
        old = f'{{"n":1,"big":{big},"inf":1e400,"odd":{odd},"o":{{"x":-0.0}}}}'
        ops = '[{"type":"increment","path":"n","by":1},{"type":"merge","path":"o","value":{}}]'
        self.assertEqual(text_of(old, ops), old.replace('"n":1', '"n":2'))

    def test_integers_have_no_end(self) -> None:
        """Up to what Python reads; beyond it nothing is counted."""
        self.assertEqual(
            text_of('{"n":123456789012345678901234567890}', json.dumps([inc("n", 10**30)])),
            '{"n":1123456789012345678901234567890}',
        )
        for old in ("9" * 5000, "9" * 4300, "1e400", "-1e400"):
            outcome = apply(Raw(old.encode()), read_ops(to_raw([inc("")])))
            self.assertEqual(bytes(outcome.new).decode(), old)
            self.assertEqual([e.code for e in outcome.errors], ["increment.not_number"])

    def test_a_sum_that_is_no_number_is_refused(self) -> None:
        """JSON has no infinity."""
        for old, by in ((1.7e308, 1.7e308), (10**308 * 17 // 10, 1.7e308), (10**400, 0.5)):
            new, errors = updated({"n": old}, inc("n", by))
            self.assertEqual((new, errors), ({"n": old}, [(0, "increment.not_number")]))

    def test_text_keeps_its_escapes(self) -> None:
        """A string grows as it was written."""
        old = '{"é":"a\\u00e9\\ud83d\\ude00","l":["\\u0041" ]}'
        ops = '[{"type":"append","path":"é","value":"\\n"},{"type":"append","path":"l","value":1}]'
        new = '{"é":"a\\u00e9\\ud83d\\ude00\\n","l":["\\u0041" ,1]}'
        self.assertEqual(text_of(old, ops), new)

    def test_members_keep_their_order(self) -> None:
        """New ones come last."""
        ops = [op_set("z", 0), op_set("b", 1), merge("", {"a": 2, "y": 1})]
        self.assertEqual(
            text_of('{"b":0,"a":0}', json.dumps(ops)), '{"b":1,"a":2,"z":0,"y":1}'
        )  # fmt: skip

    def test_of_members_with_one_name_the_last_counts(self) -> None:
        """As everywhere."""
        self.assertEqual(
            text_of('{"a":1,"a":5}', '[{"type":"increment","path":"a","by":1}]'), '{"a":6}'
        )

    def test_white_space_around_a_value_does_no_harm(self) -> None:
        """Such as a file may have."""
        self.assertEqual(text_of(' [ ]\n', json.dumps([append("", 1)])), "[1]")  # fmt: skip
        self.assertEqual(text_of(' "a" ', json.dumps([append("", "b")])), '"ab"')
        self.assertEqual(text_of(" 5 ", json.dumps([inc("")])), "7")

    def test_what_can_t_be_read_is_told(self) -> None:
        """Not raised: too deep, lone surrogates, no JSON at all."""
        deep = b'{"a":' * 3000 + b"1" + b"}" * 3000
        ops = read_ops(to_raw([inc("n"), merge("x", {"a": 1}), append("n", 1), op_set("n", 1)]))
        for old, reason in (
            (deep, "too_deep"),
            (b'{"\\ud800": 1, "b": 2}', "not_json"),
            (b'{"a"', "not_json"),
            (b"{", "not_json"),
            (b"", "not_json"),
        ):
            outcome = apply(Raw(old), ops)
            self.assertEqual(bytes(outcome.new), old)
            self.assertEqual(
                [e.code for e in outcome.errors],
                [f"{op.name}.value.{reason}" for op in ops],
            )


class Reading(TestCase):
    """04 §3.5: what is told of operations that are none."""

    def test_what_is_wrong_is_told_in_the_words_clients_know(self) -> None:
        """The first mistake only."""
        names = "`set`, `merge`, `increment`, `decrement`, `append`, `remove`"
        by, path = {"by": 1}, {"path": "n"}
        no_path = "data did not match any variant of untagged enum MergePath"
        rows: list[tuple[Any, str]] = [
            ({}, "invalid type: map, expected a sequence"),
            (None, "invalid type: null, expected a sequence"),
            ("x", 'invalid type: string "x", expected a sequence'),
            ([5], "invalid type: integer `5`, expected internally tagged enum UpdateOp"),
            ([{}], "missing field `type`"),
            ([{"path": "a", "value": 1}], "missing field `type`"),
            ([{"type": "foo"}], f"unknown variant `foo`, expected one of {names}"),
            ([{"type": None}], "invalid type: null, expected variant identifier"),
            ([{"type": "set"}], "missing field `path`"),
            ([{"type": "set", "path": None}], "invalid type: null, expected a string"),
            ([{"type": "set", "path": ["a"]}], "invalid type: sequence, expected a string"),
            ([{"type": "merge"}], "missing field `value`"),
            ([merge({}, 1)], no_path),
            ([merge([1], 1)], no_path),
            ([append(5, 1)], no_path),
            ([{"type": "increment", **by}], "missing field `path`"),
            ([{"type": "increment", **path}], "missing field `by`"),
            ([{"type": "increment"}], "missing field `path`"),
            ([inc("n", "x")], 'invalid type: string "x", expected i64'),
            ([inc("n", True)], "invalid type: boolean `true`, expected i64"),
            ([inc("n", None)], "invalid type: null, expected i64"),
            ([{**inc("n", []), "path": 5}], "invalid type: sequence, expected i64"),
            ([inc("n"), {"type": "remove", "path": 1.5}],
             "invalid type: floating point `1.5`, expected a string"),
            ([{"increment": 5}],
             "invalid type: integer `5`, expected struct with `field` and `by`"),
            ([{"increment": {"by": 5}}], "missing field `field`"),
            ([{"append": 5}], "missing field `type`"),
            ([{"set": 1, "merge": {}}], "missing field `type`"),
        ]  # fmt: skip
        for ops, message in rows:
            with self.subTest(ops=ops):
                with self.assertRaises(InputError) as caught:
                    read_ops(to_raw(ops))
                self.assertEqual(str(caught.exception), message)

    def test_what_is_no_json_is_refused_as_well(self) -> None:
        """Too deep, out of range, lone surrogates."""
        count = '[{"type":"increment","path":"n","by":%s}]'
        rows = (
            ("[" * 5000, "recursion limit exceeded"),
            ('[{"type":"set","path":"a","value":' + "[" * 5000, "recursion limit exceeded"),
            (count % "1e400", "number out of range"),
            (count % ("9" * 5000), "number out of range"),
            ('[{"type":"remove","path":"\\ud800 and more"}]', "JSON is malformed"),
            ('[{"type":"remove"', "truncated"),
        )
        for ops, message in rows:
            with self.subTest(ops=ops[:60]), self.assertRaisesRegex(InputError, message):
                read_ops(Raw(ops.encode()))

    def test_operations_may_be_any_size(self) -> None:
        """Integers beyond 64 bits, and fractions."""
        self.assertEqual(updated({"n": 1}, inc("n", 2**90))[0], {"n": 1 + 2**90})
        self.assertEqual(updated({"n": 1}, dec("n", 0.25))[0], {"n": 0.75})

    def test_what_an_operation_does_not_know_is_ignored(self) -> None:
        """As everywhere."""
        self.assertEqual(updated({}, {**op_set("a", 1), "by": "x", "more": []})[0], {"a": 1})

    def test_the_shape_of_the_old_documentation(self) -> None:
        """Decision 16."""
        new, errors = updated(
            MISSING,
            {"set": {"n": 1, "m": 1, "old": 0}},
            {"merge": {"b": 2}},
            {"increment": {"field": "n", "by": 4}},
            {"decrement": {"field": "m", "by": 4}},
            {"remove": "old"},
            inc("n", 1),
        )
        self.assertEqual((new, errors), ({"n": 6, "m": -3, "b": 2}, []))

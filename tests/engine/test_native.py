"""Functions inside the engine (``iii.engine.native``)."""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec
from hypothesis import given, settings
from msgspec import Raw
from twisted.internet.defer import Deferred, fail, succeed

from iii.engine.inputs import Input, InputError
from iii.engine.module import ModuleApi
from iii.errors import Code, IIIError, InvocationError
from tests.engine.cases import CoreCase, value
from tests.engine.test_inputs import anything


class Order(msgspec.Struct):
    """An input."""

    item: str
    count: int = 1


class Options(msgspec.Struct):
    """An input that needs nothing."""

    depth: int = 3


class Renamed(Input):
    """An input with older names."""

    aliases: ClassVar[dict[str, tuple[str, ...]]] = {"item": ("thing",), "count": ("number",)}

    item: str
    count: int = 1


class Native(CoreCase):
    """What a handler takes, gives and throws."""

    def offer_native(self, handler: Any, takes: type[msgspec.Struct] = Order) -> None:
        """Register ``n``."""
        ModuleApi(self.engine, "iii-demo").function("n", handler, takes=takes)

    def result(self, data: Any = None) -> Any:
        """Call ``n``."""
        return value(self.successResultOf(self.engine.invoke("n", data)))

    def error(self, data: Any = None) -> InvocationError:
        """Call ``n``, which fails."""
        error = self.failureResultOf(self.engine.invoke("n", data), InvocationError).value
        assert isinstance(error, InvocationError)
        return error

    def test_values_of_every_kind(self) -> None:
        """Plain, struct, raw, Deferred, coroutine, none."""

        async def later(order: Order) -> int:
            return order.count

        rows: list[tuple[Any, Any]] = [
            (lambda order: {"a": order.item}, {"a": "x"}),
            (lambda order: order, {"item": "x", "count": 1}),
            (lambda _: Raw(b"[1]"), [1]),
            (lambda _: succeed("d"), "d"),
            (later, 1),
            (lambda _: None, None),
            (lambda _: False, False),
        ]
        for handler, expected in rows:
            self.offer_native(handler)
            self.assertEqual(self.result({"item": "x"}), expected)

    def test_a_wrong_input_names_the_field(self) -> None:
        """Before the handler runs."""
        self.offer_native(lambda _: self.fail("the handler ran"))
        rows = (
            ({}, "missing field `item`"),
            (None, "missing field `item`"),
            ({"item": 5}, "invalid type: integer `5`, expected a string at `item`"),
            (
                {"item": "x", "count": "y"},
                'invalid type: string "y", expected i64 at `count`',
            ),
            ([1], "invalid type: sequence, expected struct Order"),
            (Raw(b"{"), "invalid JSON: Input data was truncated"),
        )
        for data, text in rows:
            error = self.error(data)
            self.assertEqual(error.code, Code.DESERIALIZATION_ERROR)
            self.assertEqual(error.message, f"Failed to deserialize input for n: {text}")

    def test_null_is_an_empty_input(self) -> None:
        """Of a function that needs nothing."""
        self.offer_native(lambda options: options.depth, takes=Options)
        for sent in (None, {}, Raw(b" null"), {"_caller_worker_id": "w"}):
            self.assertEqual(self.result(sent), 3)

    def test_older_names_reach_the_handler(self) -> None:
        """Also of a field that needn't be there."""
        self.offer_native(lambda order: [order.item, order.count], takes=Renamed)
        self.assertEqual(self.result({"item": "x", "count": 2}), ["x", 2])
        self.assertEqual(self.result({"thing": "x", "number": 2}), ["x", 2])
        self.assertEqual(self.result({"item": "x", "number": 2}), ["x", 2])

    def test_a_handler_may_refuse_its_input(self) -> None:
        """It reads a part itself; in whatever way it answers, the refusal is the same."""

        def refuses(_: Order) -> None:
            raise InputError("missing field `type`")

        async def refuses_later(_: Order) -> None:
            raise InputError("missing field `type`")

        handlers: tuple[Any, ...] = (
            refuses,
            refuses_later,
            lambda _: fail(InputError("missing field `type`")),
        )
        for handler in handlers:
            self.offer_native(handler)
            error = self.error({"item": "x"})
            self.assertEqual(error.code, Code.DESERIALIZATION_ERROR)
            self.assertEqual(
                error.message, "Failed to deserialize input for n: missing field `type`"
            )
        self.assertEqual(self.flushLoggedErrors(), [])

    @settings(max_examples=150, deadline=None)
    @given(anything)
    def test_any_input_is_taken_or_refused(self, sent: Any) -> None:
        """Nothing else comes of JSON, whatever it says."""
        self.offer_native(lambda _: "taken")
        outcome = self.engine.invoke("n", Raw(msgspec.json.encode(sent)))
        results: list[Any] = []
        outcome.addBoth(results.append)
        if isinstance(results[0], Raw):
            self.assertEqual(value(results[0]), "taken")
        else:
            self.assertEqual(results[0].value.code, Code.DESERIALIZATION_ERROR)

    def test_errors_of_every_kind(self) -> None:
        """A code of its own goes through; the unexpected is ``internal_error`` and logged."""
        rows: list[tuple[Any, str, str]] = [
            (InvocationError("E", "m", stacktrace="s"), "E", "m"),
            (IIIError("C", "m"), "C", "m"),
        ]
        for exception, code, message in rows:

            def throws(_: Order, exception: Exception = exception) -> None:
                raise exception

            for handler in (throws, lambda _, exception=exception: fail(exception)):
                self.offer_native(handler)
                error = self.error({"item": "x"})
                self.assertEqual((error.code, error.message), (code, message))
        self.offer_native(lambda _: 1 / 0)
        error = self.error({"item": "x"})
        self.assertEqual(error.code, Code.INTERNAL_ERROR)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_a_value_that_is_no_json(self) -> None:
        """``serialization_error``."""
        self.offer_native(lambda _: object())
        self.assertEqual(self.error({"item": "x"}).code, Code.SERIALIZATION_ERROR)

    def test_calls_under_way_are_counted(self) -> None:
        """Until the Deferred fires."""
        answer: Deferred[int] = Deferred()
        self.offer_native(lambda _: answer)
        outcome = self.engine.invoke("n", {"item": "x"})
        (owner,) = self.serving("n")
        assert owner is not None
        self.assertEqual(len(owner.executing), 1)
        answer.callback(3)
        self.assertEqual(value(self.successResultOf(outcome)), 3)
        self.assertEqual(len(owner.executing), 0)

    def test_the_input_has_a_schema(self) -> None:
        """01 §17.1: engine functions have JSON Schemas."""
        self.offer_native(lambda _: None)
        function = self.engine.functions.get("n")
        assert function is not None
        schema = value(function.spec.request_format)
        self.assertEqual(schema["$defs"]["Order"]["required"], ["item"])

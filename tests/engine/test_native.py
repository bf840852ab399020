"""Functions inside the engine (``iii.engine.native``)."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw
from twisted.internet.defer import Deferred, fail, succeed

from iii.engine.module import ModuleApi
from iii.errors import Code, IIIError, InvocationError
from tests.engine.cases import CoreCase, value


class Order(msgspec.Struct):
    """An input."""

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
            ({"item": 5}, "invalid type: int, expected str at `item`"),
            ({"item": "x", "count": "y"}, "invalid type: str, expected int at `count`"),
            ([1], "invalid type: array, expected object"),
            (Raw(b"{"), "truncated"),
        )
        for data, text in rows:
            error = self.error(data)
            self.assertEqual(error.code, Code.DESERIALIZATION_ERROR)
            self.assertTrue(error.message.startswith("Failed to deserialize input for n: "))
            self.assertIn(text, error.message)

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

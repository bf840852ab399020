"""Functions that run inside the engine.

A handler takes one input and returns a value, a coroutine or a Deferred; no
value means "no result".  What it takes is a msgspec struct, so a wrong field is
refused before the handler runs, with the field's name in the message.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Raw
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from iii.engine.invocations import Call, ErrorBody, Invocations
from iii.errors import Code, IIIError, InvocationError

log = Logger()

Handler = Callable[[Any], Any]

_MISSING_FIELD = re.compile(r"Object missing required field `([^`]*)`")
_WRONG_TYPE = re.compile(r"Expected `([^`]*)`, got `([^`]*)`(?: - at `\$\.?([^`]*)`)?")


class Empty(msgspec.Struct):
    """The input of a function that needs none."""


def explain(error: Exception) -> str:
    """msgspec's complaint in the words clients know."""
    text = str(error)
    if missing := _MISSING_FIELD.search(text):
        return f"missing field `{missing[1]}`"
    if wrong := _WRONG_TYPE.search(text):
        where = f" at `{wrong[3]}`" if wrong[3] else ""
        return f"invalid type: {wrong[2]}, expected {wrong[1]}{where}"
    return text


class NativeFunction:
    """An in-process owner of one function.

    :param module: the worker name that listings show
    """

    native = True

    def __init__(
        self,
        id: str,
        handler: Handler,
        takes: type[msgspec.Struct],
        module: str,
        invocations: Invocations,
    ) -> None:
        self.id = id
        self.module = module
        self.executing: dict[str, Call] = {}
        self._handler = handler
        self._decoder = msgspec.json.Decoder(takes)
        self._invocations = invocations

    @property
    def describe(self) -> str:
        """For log lines."""
        return f"module {self.module}"

    @property
    def identity(self) -> tuple[object, ...]:
        """Every native function is its own owner."""
        return (self.module, self.id)

    def start(self, call: Call) -> None:
        """Owner: run the handler."""
        data = bytes(call.data)
        try:
            taken = self._decoder.decode(b"{}" if data == b"null" else data)
        except (msgspec.MsgspecError, RecursionError) as error:
            message = f"Failed to deserialize input for {self.id}: {explain(error)}"
            self._fail(call, ErrorBody(Code.DESERIALIZATION_ERROR, message))
            return
        try:
            outcome = self._handler(taken)
        except Exception:
            self._failed(Failure(), call)
            return
        if inspect.iscoroutine(outcome):
            outcome = Deferred.fromCoroutine(outcome)
        if isinstance(outcome, Deferred):
            outcome.addCallbacks(
                self._succeeded, self._failed, callbackArgs=(call,), errbackArgs=(call,)
            )
        else:
            self._succeeded(outcome, call)

    def _succeeded(self, value: Any, call: Call) -> None:
        if value is None:
            result = None
        elif isinstance(value, Raw):
            result = value
        else:
            try:
                result = Raw(msgspec.json.encode(value))
            except (TypeError, ValueError, msgspec.MsgspecError) as error:
                message = f"Failed to serialize result for {self.id}: {error}"
                self._fail(call, ErrorBody(Code.SERIALIZATION_ERROR, message))
                return
        self._invocations.finish(self, call.id, result, None)

    def _failed(self, failure: Failure, call: Call) -> None:
        error = failure.value
        if isinstance(error, InvocationError):
            body = ErrorBody(error.code, error.message, error.stacktrace)
        elif isinstance(error, IIIError):
            body = ErrorBody(error.code, error.message)
        else:
            log.failure("function {id} of {module} failed", failure, id=self.id, module=self.module)
            body = ErrorBody(Code.INTERNAL_ERROR, f"{self.id} failed: {error}")
        self._fail(call, body)

    def _fail(self, call: Call, error: ErrorBody) -> None:
        self._invocations.finish(self, call.id, None, error)

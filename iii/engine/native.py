"""Functions that run inside the engine.

A handler takes one input and returns a value, a coroutine or a Deferred; no
value means "no result".  What it takes is a msgspec struct, so a wrong input is
refused before the handler runs (``iii.engine.inputs``).
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Raw
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from iii.engine.inputs import REFUSED, InputError, Reader
from iii.engine.invocations import Call, ErrorBody, Invocations
from iii.errors import Code, IIIError, InvocationError

log = Logger()

Handler = Callable[..., Any]


class Empty(msgspec.Struct):
    """The input of a function that needs none."""


class InProcess(ABC):
    """An owner of one function that runs its calls in this process.

    :param module: which module does
    """

    native = True
    draining = False

    def __init__(self, id: str, module: str, invocations: Invocations) -> None:
        self.id = id
        self.module = module
        self.executing: dict[str, Call] = {}
        self._invocations = invocations

    @property
    def describe(self) -> str:
        """For log lines."""
        return f"module {self.module}"

    @property
    @abstractmethod
    def identity(self) -> tuple[object, ...]:
        """Equal for two owners that are one."""

    @abstractmethod
    def start(self, call: Call) -> None:
        """Owner: run ``call``."""

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
        elif isinstance(error, InputError):
            body = self._refused(error)
        else:
            log.failure("function {id} of {module} failed", failure, id=self.id, module=self.module)
            body = ErrorBody(Code.INTERNAL_ERROR, f"{self.id} failed: {error}")
        self._fail(call, body)

    def _refused(self, error: InputError) -> ErrorBody:
        message = f"Failed to deserialize input for {self.id}: {error.text}"
        return ErrorBody(Code.DESERIALIZATION_ERROR, message)

    def _fail(self, call: Call, error: ErrorBody) -> None:
        self._invocations.finish(self, call.id, None, error)


class NativeFunction(InProcess):
    """A function of a module.

    :param module: the worker name that listings show
    :param wants_call: the handler gets the ``Call`` as its second argument
    """

    def __init__(
        self,
        id: str,
        handler: Handler,
        takes: type[msgspec.Struct],
        module: str,
        invocations: Invocations,
        *,
        wants_call: bool = False,
    ) -> None:
        super().__init__(id, module, invocations)
        self._handler = handler
        self._wants_call = wants_call
        self._reader = Reader(takes)
        self._decode, self._null = self._reader.decode, self._reader.null

    @property
    def identity(self) -> tuple[object, ...]:
        """Every native function is its own owner."""
        return (self.module, self.id)

    def start(self, call: Call) -> None:
        """Owner: run the handler."""
        data = bytes(call.data)
        try:
            try:
                taken = self._decode(self._null if data == b"null" else data)
            except REFUSED:
                taken = self._reader.read_closely(data)
            outcome = self._handler(taken, call) if self._wants_call else self._handler(taken)
        except InputError as error:
            self._fail(call, self._refused(error))
            return
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

"""What an engine has another one do for it: functions it offers there, and triggers.

All of it is said again on every connection.  A call that comes in belongs to the
connection it came on: when that is gone, its answer goes nowhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol

import msgspec
from msgspec import Raw
from twisted.logger import Logger

from iii.engine.invocations import NULL, ErrorBody
from iii.errors import Code
from iii.wire import messages as m
from iii.wire.codec import encode, result_message

log = Logger()


class Way(Protocol):
    """One connection."""

    @property
    def there(self) -> bool:
        """Whether it still is."""
        ...

    def send(self, payload: bytes) -> None:
        """Send a message; nowhere, when it is gone."""
        ...


class Incoming:
    """One call of the other engine.

    :ivar data: the input
    :ivar traceparent: the context it came with, with ``baggage``
    """

    __slots__ = ("_way", "baggage", "data", "function_id", "id", "metadata", "traceparent")

    def __init__(self, message: m.InvokeFunction, way: Way) -> None:
        self.id = message.invocation_id
        self.function_id = message.function_id
        self.data = message.data
        traceparent, baggage = message.traceparent, message.baggage
        self.traceparent: str | None = traceparent if isinstance(traceparent, str) else None
        self.baggage: str | None = baggage if baggage and isinstance(baggage, str) else None
        self.metadata = m.given(message.metadata)
        self._way = way

    @property
    def wanted(self) -> bool:
        """Whether the connection it came on is still there: otherwise nobody hears the answer."""
        return self._way.there

    def answer(self, result: Raw | None, error: ErrorBody | None = None) -> None:
        """How it ended; no result is null there."""
        if self.id is not None:
            value = None if error is not None else NULL if result is None else result
            self._way.send(result_message(self.id, self.function_id, value, error))


Run = Callable[[Incoming], None]
"""Runs one call and sees to its ``answer``."""


class OfferedTrigger(msgspec.Struct, eq=False):
    """A trigger of ours over there.

    :ivar refused: told when the other engine does not want it
    """

    id: str
    type: str
    function_id: str
    config: Any
    refused: Callable[[ErrorBody], None] | None = None


class Offers:
    """The registrations of one link.

    :param describe: the other engine, for messages
    :ivar send: takes a message, while there is a connection
    """

    def __init__(self, describe: str) -> None:
        self._describe = describe
        self._services: dict[str, str] = {}
        self._functions: dict[str, tuple[Run, str | None]] = {}
        self._triggers: dict[str, OfferedTrigger] = {}
        self.send: Callable[[bytes], None] | None = None

    # Ours ------------------------------------------------------------------------------

    def service(self, id: str, name: str) -> None:
        """A label for what is offered; releases before 0.13 know it."""
        self._services[id] = name
        self._say(_service(id, name))

    def function(self, id: str, run: Run, description: str | None = None) -> None:
        """Run calls of ``id`` that the other engine makes; again: in another way."""
        self._functions[id] = (run, description)
        self._say(m.RegisterFunction(id, description))

    def withdraw(self, id: str) -> None:
        """Offer ``id`` no more."""
        if self._functions.pop(id, None) is not None:
            self._say(m.UnregisterFunction(id))

    def trigger(self, trigger: OfferedTrigger) -> None:
        """Have one of these functions called when something happens there."""
        self._triggers[trigger.id] = trigger
        self._say(_trigger(trigger))

    def end_trigger(self, id: str) -> None:
        """Not any more."""
        known = self._triggers.pop(id, None)
        if known is not None:
            self._say(m.UnregisterTrigger(id, known.type))

    def messages(self) -> Iterator[m.Message]:
        """Everything, in the order in which a new connection has to say it."""
        for id, name in self._services.items():
            yield _service(id, name)
        for id, (_, description) in self._functions.items():
            yield m.RegisterFunction(id, description)
        for trigger in self._triggers.values():
            yield _trigger(trigger)

    # The other engine's ----------------------------------------------------------------

    def invoked(self, message: m.InvokeFunction, way: Way) -> None:
        """It calls one of our functions.

        :param way: the connection that the call came on
        """
        incoming = Incoming(message, way)
        offered = self._functions.get(message.function_id)
        if offered is None:
            text = f"Function {message.function_id} not found"
            incoming.answer(None, ErrorBody(Code.FUNCTION_NOT_FOUND, text))
            return
        try:
            offered[0](incoming)
        except Exception as error:
            log.failure(
                "{remote}: running {function} failed",
                remote=self._describe,
                function=message.function_id,
            )
            incoming.answer(None, ErrorBody(Code.INTERNAL_ERROR, str(error)))

    def trigger_refused(self, id: str, error: ErrorBody) -> None:
        """It does not want one of our triggers."""
        trigger = self._triggers.get(id)
        if trigger is None:
            return
        if trigger.refused is not None:
            trigger.refused(error)
            return
        log.warn(
            "{remote} refused the trigger {kind} of {function}: {code}: {error}",
            remote=self._describe,
            kind=trigger.type,
            function=trigger.function_id,
            code=error.code,
            error=error.message,
        )

    def _say(self, message: m.Message) -> None:
        if self.send is not None:
            self.send(encode(message))


def _service(id: str, name: str) -> m.RegisterService:
    return m.RegisterService(id, name)


def _trigger(trigger: OfferedTrigger) -> m.RegisterTrigger:
    config = Raw(encode(trigger.config))
    return m.RegisterTrigger(trigger.id, trigger.type, trigger.function_id, config)

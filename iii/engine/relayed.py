"""Functions of a module whose calls are passed on as they are.

``NativeFunction`` reads its input and waits for a value.  A module that only hands a call
on to somebody else, another engine for example, has no use for either: it gets the
``Call`` with its input as bytes, and tells the outcome whenever it comes.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Raw
from twisted.python.failure import Failure

from iii.engine.invocations import Call, ErrorBody, Invocations
from iii.engine.native import InProcess

Ended = Callable[[Call, Raw | None, ErrorBody | None], None]
"""``ended(call, result, error)``: exactly once; what comes later is dropped."""

Relay = Callable[[Call, Ended], None]
"""Runs one call.  What it raises is the call's error."""


class RelayedFunction(InProcess):
    """An owner of one function that hands its calls on."""

    def __init__(self, id: str, relay: Relay, module: str, invocations: Invocations) -> None:
        super().__init__(id, module, invocations)
        self._relay = relay

    @property
    def identity(self) -> tuple[object, ...]:
        """Every such function is its own owner."""
        return (self.module, self.id)

    def start(self, call: Call) -> None:
        """Owner: hand it on."""
        try:
            self._relay(call, self._finish)
        except Exception:
            self._failed(Failure(), call)

    def _finish(self, call: Call, result: Raw | None, error: ErrorBody | None) -> None:
        self._invocations.finish(self, call.id, result, error)

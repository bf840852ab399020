"""Calls that wait while a module starts anew.

A module that is exchanged for another one of its kind leaves nobody to answer its
functions for a moment.  ``Held`` stands in for one of them: calls come in as to any
owner, stay in its ``executing`` table, and go to whoever serves the function afterwards.
So a reload costs a caller time and never a ``function_not_found``.
"""

from __future__ import annotations

from iii.engine.functions import Functions, FunctionSpec
from iii.engine.invocations import Call, ErrorBody, Invocations
from iii.engine.native import InProcess
from iii.errors import Code

#: Calls of one function that may wait; what comes after them is refused.
MAX_HELD_CALLS = 10_000
#: Of the input of all calls that wait for one module.
MAX_HELD_BYTES = 256 * 1024 * 1024


class Held(InProcess):
    """Stands in for one function of a module that starts anew.

    :param holding: what is held for that module
    """

    def __init__(self, id: str, module: str, invocations: Invocations, holding: Holding) -> None:
        super().__init__(id, module, invocations)
        self._holding = holding

    @property
    def identity(self) -> tuple[object, ...]:
        """Every one is its own."""
        return (self.module, self.id, "held")

    def start(self, call: Call) -> None:
        """Owner: keep ``call``."""
        size = len(call.data)
        if len(self.executing) <= MAX_HELD_CALLS and self._holding.has_room(size):
            self._holding.bytes += size
        else:
            message = f"{self.id} starts anew and too many calls wait for it"
            self._fail(call, ErrorBody(Code.OVERLOADED, message))


class Holding:
    """The functions that are held for one module.

    :param module: which
    :ivar bytes: how large the input of the calls that wait is
    """

    def __init__(self, functions: Functions, invocations: Invocations, module: str) -> None:
        self._functions = functions
        self._invocations = invocations
        self._module = module
        self._held: list[Held] = []
        self.bytes = 0

    def has_room(self, size: int) -> bool:
        """Whether a call with ``size`` bytes of input may wait as well."""
        return self.bytes + size <= MAX_HELD_BYTES

    def hold(self, id: str) -> None:
        """Take the calls of ``id`` from now on.  Before its owner unregisters it."""
        function = self._functions.get(id)
        if function is None:
            return
        said = function.spec
        held = Held(id, self._module, self._invocations, self)
        self._held.append(held)
        self._functions.register(
            id,
            FunctionSpec(
                held, said.description, said.request_format, said.response_format, said.metadata
            ),
        )

    def release(self, *, closing: bool = False) -> None:
        """The module is back, or never will be: who serves its functions now gets the calls.

        :param closing: the engine stops; calls that nobody gets may be made again elsewhere
        """
        stops = ErrorBody(Code.SHUTTING_DOWN, "the engine stops") if closing else None
        held, self._held = self._held, []
        self.bytes = 0
        for owner in held:
            self._functions.unregister(owner.id, owner)
            self._invocations.pass_on(owner, stops)

"""Functions that workers register and a module runs, somewhere else.

Such a function belongs to the connection that registered it: it is replaced, listed and
removed like any other of that worker.  Its calls run in this process, as those of a
module's own functions do, so they are counted and traced alike and go on when the worker
leaves.  Where they go is the module's business.

The module may start anew, with other rules.  Until it has read the registration again the
calls wait; what its new rules refuse fails from then on, and is accepted again by rules
that allow it.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Raw
from twisted.internet.defer import Deferred, fail
from twisted.logger import Logger

from iii.engine.functions import FunctionOwner, Functions
from iii.engine.holding import MAX_HELD_CALLS
from iii.engine.invocations import Call, ErrorBody, Invocations
from iii.engine.native import InProcess
from iii.errors import Code, RegistrationError

log = Logger()

Run = Callable[[Call], "Deferred[Raw | None]"]
"""Runs one call; fails with an ``IIIError``."""

Accept = Callable[[str, str, Raw], Run]
"""``accept(worker, function_id, invocation)`` takes a registration over.

``worker`` describes who registers, for log lines; raises ``RegistrationError``.
"""

NOT_LOADED = "HTTP functions module not loaded"


class ExternalFunction(InProcess):
    """An owner of one function that runs elsewhere.

    :param registrant: whose function it is
    :param invocation: what its registration says about how it is run
    """

    def __init__(
        self,
        id: str,
        run: Run,
        module: str,
        registrant: FunctionOwner,
        invocation: Raw,
        invocations: Invocations,
    ) -> None:
        super().__init__(id, module, invocations)
        self._run: Run | None = run
        self._held: list[Call] = []
        self._registrant = registrant
        self._invocation = invocation

    @property
    def identity(self) -> tuple[object, ...]:
        """That of its worker: when it reconnected, its newer registration counts."""
        return self._registrant.identity

    def start(self, call: Call) -> None:
        """Owner: run it."""
        if self._run is None:
            self._hold(call)
            return
        self._run(call).addCallbacks(
            self._succeeded, self._failed, callbackArgs=(call,), errbackArgs=(call,)
        )

    def suspend(self) -> None:
        """The module goes: calls wait for the next one."""
        self._run = None

    def resume(self, accept: Accept | None) -> None:
        """Run what waited.

        :param accept: of the module that is there now; None: there is none
        """
        try:
            if accept is None:
                raise RegistrationError(Code.NOT_SUPPORTED, NOT_LOADED)
            self._run = accept(self._registrant.describe, self.id, self._invocation)
        except RegistrationError as error:
            log.warn(
                "{worker}: {id} is refused by the new settings, its calls fail: {error}",
                worker=self._registrant.describe,
                id=self.id,
                error=error.message,
            )
            self._run = _refusing(error)
        held, self._held = self._held, []
        for call in held:
            if self.executing.get(call.id) is call:
                self.start(call)

    def _hold(self, call: Call) -> None:
        if len(self._held) >= MAX_HELD_CALLS:
            message = f"{self.id} starts anew and too many calls wait for it"
            self._fail(call, ErrorBody(Code.OVERLOADED, message))
        else:
            self._held.append(call)


def external_functions(functions: Functions) -> list[ExternalFunction]:
    """All that are registered."""
    return [
        spec.owner
        for function in functions
        for spec in function.specs
        if isinstance(spec.owner, ExternalFunction)
    ]


def _refusing(error: RegistrationError) -> Run:
    def run(call: Call) -> Deferred[Raw | None]:
        return fail(RegistrationError(error.code, error.message))

    return run

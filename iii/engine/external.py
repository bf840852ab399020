"""Functions that workers register and a module runs, somewhere else.

Such a function belongs to the connection that registered it: it is replaced, listed and
removed like any other of that worker.  Its calls run in this process, as those of a
module's own functions do, so they are counted and traced alike and go on when the worker
leaves.  Where they go is the module's business.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Raw
from twisted.internet.defer import Deferred

from iii.engine.functions import FunctionOwner
from iii.engine.invocations import Call, Invocations
from iii.engine.native import InProcess

Run = Callable[[Call], "Deferred[Raw | None]"]
"""Runs one call; fails with an ``IIIError``."""

Accept = Callable[[str, str, Raw], Run]
"""``accept(worker, function_id, invocation)`` takes a registration over.

``worker`` describes who registers, for log lines; raises ``RegistrationError``.
"""


class ExternalFunction(InProcess):
    """An owner of one function that runs elsewhere.

    :param registrant: whose function it is
    """

    def __init__(
        self,
        id: str,
        run: Run,
        module: str,
        registrant: FunctionOwner,
        invocations: Invocations,
    ) -> None:
        super().__init__(id, module, invocations)
        self._run = run
        self._registrant = registrant

    @property
    def identity(self) -> tuple[object, ...]:
        """That of its worker: when it reconnected, its newer registration counts."""
        return self._registrant.identity

    def start(self, call: Call) -> None:
        """Owner: run it."""
        self._run(call).addCallbacks(
            self._succeeded, self._failed, callbackArgs=(call,), errbackArgs=(call,)
        )

"""What a restricted worker calls things, and what the engine calls them.

A prefix, or a registration hook, may give the functions, triggers and trigger types of a
connection other ids than the worker chose.  The worker never sees these: whatever goes to
it has its own ids, because an SDK finds its handlers by them.
"""

from __future__ import annotations

from copy import copy

from iii.engine.invocations import Call
from iii.wire import messages as m
from iii.wire.link import WorkerLink


class Renamed:
    """Ids of one kind, both ways; only those that differ are kept."""

    def __init__(self) -> None:
        self._registered: dict[str, str] = {}
        self._own: dict[str, str] = {}

    def add(self, own: str, registered: str) -> None:
        """The worker's ``own`` is known as ``registered`` from now on."""
        self.discard(own)
        if own != registered:
            self._registered[own] = registered
            self._own[registered] = own

    def discard(self, own: str) -> None:
        """``own`` is no more."""
        registered = self._registered.pop(own, None)
        if registered is not None and self._own.get(registered) == own:
            del self._own[registered]

    def registered(self, own: str) -> str | None:
        """What ``own`` is known as; None: it was not given another id."""
        return self._registered.get(own)

    def own(self, registered: str) -> str:
        """What the worker calls ``registered``."""
        return self._own.get(registered, registered)


class Names:
    """All ids of one connection.

    :param prefix: in front of its functions, ``::`` included; empty: nothing is
    """

    def __init__(self, prefix: str = "") -> None:
        self.prefix = prefix
        self.functions = Renamed()
        self.triggers = Renamed()
        self.types = Renamed()

    def function(self, own: str) -> str:
        """What the worker's function ``own`` is, or would be, known as."""
        return self.functions.registered(own) or f"{self.prefix}{own}"

    def trigger(self, own: str) -> str:
        """What its trigger ``own`` is known as."""
        return self.triggers.registered(own) or own

    def type(self, own: str) -> str:
        """What its trigger type ``own`` is known as."""
        return self.types.registered(own) or own


class RenamingLink(WorkerLink):
    """A ``WorkerLink`` to a worker that has names of its own."""

    names: Names

    def invoke(self, call: Call) -> None:
        """Send a call, with the id the worker knows the function by."""
        own = self.names.functions.own(call.function_id)
        if own == call.function_id:
            super().invoke(call)
            return
        # The call itself keeps its id: its caller is answered with it.
        told = copy(call)
        told.function_id = own
        super().invoke(told)
        call.data = told.data

    def send(self, message: m.Message) -> None:
        """Send any other message, with the worker's own ids."""
        names = self.names
        if isinstance(message, m.RegisterTrigger | m.UnregisterTrigger):
            if message.trigger_type is not None:
                message.trigger_type = names.types.own(message.trigger_type)
        elif isinstance(message, m.TriggerRegistrationResult):
            message.id = names.triggers.own(message.id)
            if message.function_id is not None:
                message.function_id = names.functions.own(message.function_id)
        super().send(message)

"""What a trigger is: its type, its registrations, its binding.

A *registration* is what one connection asked for, under its own id.  A
*binding* is what a provider is told; alike registrations of different
connections share one.  ``triggers`` says who shares what, and when.
"""

from __future__ import annotations

from typing import Protocol

import msgspec
from msgspec import Raw
from twisted.internet.defer import Deferred

from iii.engine.functions import DEFAULT_NAMESPACE
from iii.engine.workers import Worker
from iii.errors import Code, RegistrationError


class Provider(Protocol):
    """Makes triggers of one type fire.

    One that cares which binding is the newest may have ``renewed(binding)``: another
    connection registered an active binding's trigger as well.
    """

    def add(self, binding: Binding) -> Deferred[None] | None:
        """Activate ``binding``.

        :raises RegistrationError: the binding is refused (or through the Deferred)
        """
        ...

    def remove(self, binding: Binding) -> Deferred[None] | None:
        """Deactivate ``binding``."""
        ...


class TriggerType:
    """A kind of event source and who provides it.

    :param owner: the providing worker, or None for a module
    :param shared: whether alike registrations of different connections are one binding
    :param module: the worker name that listings show for an in-process type
    """

    __slots__ = (
        "bindings",
        "call_request_format",
        "description",
        "id",
        "module",
        "namespace",
        "owner",
        "provider",
        "shared",
        "trigger_request_format",
    )

    def __init__(
        self,
        id: str,
        provider: Provider,
        *,
        description: str = "",
        owner: Worker | None = None,
        module: str | None = None,
        shared: bool = True,
        namespace: str = DEFAULT_NAMESPACE,
        trigger_request_format: Raw | None = None,
        call_request_format: Raw | None = None,
    ) -> None:
        self.id = id
        self.provider = provider
        self.description = description
        self.owner = owner
        self.module = module
        self.shared = shared
        self.namespace = namespace
        self.trigger_request_format = trigger_request_format
        self.call_request_format = call_request_format
        self.bindings: dict[object, dict[Binding, None]] = {}


class Registration:
    """One trigger as one connection registered it.  ``owner`` None: nobody's.

    :raises RegistrationError: config or metadata can't be read
    """

    __slots__ = (
        "binding",
        "config",
        "function_id",
        "id",
        "likeness",
        "metadata",
        "namespace",
        "owner",
        "trigger_namespace",
        "trigger_type",
    )

    def __init__(
        self,
        id: str,
        trigger_type: str,
        function_id: str,
        config: Raw,
        *,
        owner: Worker | None,
        metadata: Raw | None = None,
        namespace: str = DEFAULT_NAMESPACE,
        trigger_namespace: str | None = None,
    ) -> None:
        self.id = id
        self.trigger_type = trigger_type
        self.function_id = function_id
        self.config = config
        self.owner = owner
        self.metadata = metadata
        self.namespace = namespace
        self.trigger_namespace = trigger_namespace
        self.binding: Binding | None = None
        #: equal for registrations that may share a binding
        self.likeness = (
            trigger_type,
            trigger_namespace,
            namespace,
            function_id,
            canonical("config", config),
            None if metadata is None else canonical("metadata", metadata),
        )


class Binding:
    """What a provider activates: fires ``function_id`` with ``metadata``."""

    __slots__ = ("active", "likeness", "newest", "registrations", "type", "waiting")

    def __init__(self, type: TriggerType, first: Registration, likeness: object) -> None:
        self.type = type
        self.likeness = likeness  # under which ``type.bindings`` has it
        self.registrations = [first]
        #: the registration whose values count
        self.newest = first
        self.active = False
        self.waiting: list[Deferred[None]] = []

    def join(self, registration: Registration) -> None:
        """One more connection wants the same."""
        self.registrations.append(registration)
        self.newest = registration

    def leave(self, registration: Registration) -> None:
        """One of several doesn't any more."""
        self.registrations.remove(registration)
        self.newest = self.registrations[-1]

    @property
    def id(self) -> str:
        """The id under which the provider knows the binding."""
        return self.registrations[0].id

    @property
    def function_id(self) -> str:
        """What to call."""
        return self.newest.function_id

    @property
    def namespace(self) -> str:
        """Where the function is looked up."""
        return self.newest.namespace

    @property
    def config(self) -> Raw:
        """The trigger's configuration as JSON."""
        return self.newest.config

    @property
    def metadata(self) -> Raw | None:
        """Attached to every invocation the trigger causes."""
        return self.newest.metadata


def canonical(what: str, value: Raw) -> bytes:
    """JSON with sorted keys, so that spelling doesn't make a difference.

    :raises RegistrationError: it is well-formed but can't be read (a number out of
        range, nested too deep)
    """
    try:
        return msgspec.json.encode(msgspec.json.decode(value), order="sorted")
    except (msgspec.MsgspecError, RecursionError) as error:
        raise _unreadable(what, error) from error


def _unreadable(what: str, error: Exception) -> RegistrationError:
    text = f"{what} can't be read: {error}"
    return RegistrationError(Code.TRIGGER_REGISTRATION_FAILED, text)


def functions_in(config: Raw) -> list[str]:
    """The functions that a trigger's configuration names: its condition, its middleware.

    They are called when it fires, like its own function.  Which keys there are is up to
    modules; all of them end alike.

    :raises RegistrationError: it can't be read
    """
    try:
        said = msgspec.json.decode(config)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise _unreadable("config", error) from error
    found: list[str] = []
    for key, value in said.items() if isinstance(said, dict) else ():
        if key.endswith(("function_id", "function_ids", "_condition_path")):
            names = value if isinstance(value, list) else [value]
            found += [name for name in names if isinstance(name, str) and name]
    return found

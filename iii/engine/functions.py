"""Who answers a call.

A function id has *owners*: the live connections that registered it, or one
in-process handler.  A call goes to the owner with the fewest calls in flight;
ties go round.  An owner leaves the set when its connection ends or when it
unregisters the id, and only then: cleanup compares connections, never names,
so a late goodbye of an old connection can't remove what its successor
registered.

Among owners that are one worker process seen twice (equal name, pid and
address: it reconnected before the engine saw the old connection close) only
the newest gets calls.

Nothing in here does I/O.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal, Protocol

from msgspec import Raw

from iii.engine.invocations import ErrorBody, Owner
from iii.errors import Code, RegistrationError

DEFAULT_NAMESPACE = "default"
ENGINE_PREFIX = "engine::"

Routing = Literal["balance", "newest"]
External = Callable[["FunctionOwner", str, Raw], "FunctionOwner"]
"""``external(registrant, function_id, invocation)``: an owner that runs it elsewhere."""
Displaced = Callable[["FunctionOwner", str, str], None]
Key = str | tuple[str, str]


def key_of(id: str, namespace: str | None) -> Key:
    """The registry key: plain ids are the ``default`` namespace."""
    if namespace is None or namespace == DEFAULT_NAMESPACE:
        return id
    return (namespace, id)


class FunctionOwner(Owner, Protocol):
    """An owner as the registry sees it."""

    @property
    def identity(self) -> tuple[object, ...]:
        """Equal for two connections of one worker process."""
        ...

    @property
    def draining(self) -> bool:
        """It is about to leave and gets no new calls."""
        ...


class FunctionSpec:
    """What was said about a function at its registration; all of it is passed on verbatim.

    :ivar owner: who runs its calls
    :ivar registrant: whose it is; the owner, unless a module runs it for a worker
    """

    __slots__ = (
        "description",
        "metadata",
        "owner",
        "registrant",
        "request_format",
        "response_format",
    )

    def __init__(
        self,
        owner: FunctionOwner,
        description: str | None = None,
        request_format: Raw | None = None,
        response_format: Raw | None = None,
        metadata: Raw | None = None,
        registrant: FunctionOwner | None = None,
    ) -> None:
        self.owner = owner
        self.registrant = registrant or owner
        self.description = description
        self.request_format = request_format
        self.response_format = response_format
        self.metadata = metadata


class Function:
    """One function id with its live owners, oldest first."""

    __slots__ = ("_turn", "id", "namespace", "serving", "sole", "specs")

    def __init__(self, id: str, namespace: str) -> None:
        self.id = id
        self.namespace = namespace
        self.specs: list[FunctionSpec] = []
        self.serving: list[FunctionOwner] = []
        #: the owner that gets all calls, when there is but one
        self.sole: FunctionOwner | None = None
        self._turn = 0

    @property
    def spec(self) -> FunctionSpec:
        """The newest registration: what listings show."""
        return self.specs[-1]

    def pick(self) -> FunctionOwner | None:
        """The owner with the fewest calls in flight; ties go round.  None: all are leaving."""
        if self.sole is not None:
            return self.sole
        serving = self.serving
        if not serving:
            return None
        self._turn += 1
        start = self._turn % len(serving)
        order = serving[start:] + serving[:start]
        return min(order, key=lambda owner: len(owner.executing))

    def choose_serving(self, routing: Routing) -> None:
        """Work out anew which owners get calls."""
        staying = [spec.owner for spec in self.specs if not spec.owner.draining]
        if routing == "newest" or self.specs[-1].registrant.native:
            self.serving = staying[-1:]
        else:
            self.serving = list({owner.identity: owner for owner in staying}.values())
        self.sole = self.serving[0] if len(self.serving) == 1 else None


class Functions:
    """All functions.

    ``changed`` and then the ``listeners`` are called after the set of ids changed;
    ``aliases`` are old spellings that are answered but never listed; ``external`` runs
    functions with an ``invocation``, when a module offers that.
    """

    def __init__(self, routing: Routing = "balance") -> None:
        self._routing: Routing = routing
        self._functions: dict[Key, Function] = {}
        self._in_namespaces: dict[tuple[str, str], None] = {}
        self.changed: Callable[[], None] = lambda: None
        self.listeners: list[Callable[[], None]] = []
        #: (start of an id, ``watch(id, appeared)``)
        self.watchers: list[tuple[str, Callable[[str, bool], None]]] = []
        #: told of a restricted worker that loses a function to an unrestricted one
        self.displaced: Displaced = lambda registrant, id, namespace: None
        self.aliases: dict[str, str] = {}
        self.external: External | None = None
        self.registered_total = 0

    def __len__(self) -> int:
        return len(self._functions)

    def __iter__(self) -> Iterator[Function]:
        return iter(self._functions.values())

    def get(self, id: str, namespace: str | None = None) -> Function | None:
        """The function, when it has a live owner."""
        return self._functions.get(key_of(id, namespace))

    def owner_of(self, function_id: str, namespace: str | None) -> FunctionOwner | None:
        """Who runs the next call of ``function_id``."""
        function = self._functions.get(
            function_id if namespace is None else key_of(function_id, namespace)
        )
        if function is not None:
            return function.pick()
        alias = self.aliases.get(function_id)
        return None if alias is None else self.owner_of(alias, namespace)

    def not_found(self, function_id: str, namespace: str | None) -> ErrorBody:
        """The error for a call of a function nobody owns."""
        wanted = namespace or DEFAULT_NAMESPACE
        # A miss must not cost a look at everything while nobody uses namespaces.
        named = (key for key in self._in_namespaces if key[1] == function_id)
        elsewhere = sorted(namespace for namespace, _ in named if namespace != wanted)
        if wanted != DEFAULT_NAMESPACE and function_id in self._functions:
            elsewhere.append(DEFAULT_NAMESPACE)
        message = f"Function {function_id} not found"
        if wanted != DEFAULT_NAMESPACE or elsewhere:
            message += f" in namespace {wanted}."
        if elsewhere:
            message += f" It is registered in namespace(s): {', '.join(elsewhere)}."
        return ErrorBody(Code.FUNCTION_NOT_FOUND, message)

    def register(self, id: str, spec: FunctionSpec, namespace: str = DEFAULT_NAMESPACE) -> None:
        """Add ``spec.owner`` to the owners of ``id``; again by one registrant means replace.

        :raises RegistrationError: a worker wants an id of the engine, or one that looks so
        """
        if namespace != DEFAULT_NAMESPACE and id.startswith(ENGINE_PREFIX):
            text = f"{id}: ids of the engine are in the {DEFAULT_NAMESPACE} namespace only"
            raise RegistrationError(Code.INVALID_NAMESPACE, text)
        key = key_of(id, namespace)
        function = self._functions.get(key)
        if function is None:
            function = self._functions[key] = Function(id, namespace)
            if isinstance(key, tuple):
                self._in_namespaces[key] = None
        elif not spec.registrant.native and function.spec.registrant.native:
            holder = function.spec.registrant.describe
            raise RegistrationError(
                Code.FUNCTION_NAMESPACE_CONFLICT,
                f"function {id} belongs to {holder} and can't be replaced",
            )
        is_new, served = not function.specs, bool(function.serving)
        registrants = [known.registrant for known in function.specs]
        if spec.registrant in registrants:
            function.specs[registrants.index(spec.registrant)] = spec
        else:
            self.registered_total += 1
            if spec.registrant.native:
                # A module's function takes over what workers offered meanwhile.
                function.specs = [known for known in function.specs if known.registrant.native]
            elif not _is_restricted(spec.registrant):
                self._displace_restricted(function)
            function.specs.append(spec)
        function.choose_serving(self._routing)
        if is_new:
            self._tell_watchers(id, True)
        if not served:
            self.tell()

    def _displace_restricted(self, function: Function) -> None:
        """A worker that may do everything shares no function with one that may not."""
        for spec in [spec for spec in function.specs if _is_restricted(spec.registrant)]:
            function.specs.remove(spec)
            self.displaced(spec.registrant, function.id, function.namespace)

    def unregister(
        self, id: str, registrant: FunctionOwner, namespace: str = DEFAULT_NAMESPACE
    ) -> bool:
        """Forget what ``registrant`` registered as ``id``.  False when that was nothing."""
        key = key_of(id, namespace)
        function = self._functions.get(key)
        if function is None:
            return False
        left = [spec for spec in function.specs if spec.registrant is not registrant]
        if len(left) == len(function.specs):
            return False
        function.specs = left
        if left:
            function.choose_serving(self._routing)
        else:
            del self._functions[key]
            if isinstance(key, tuple):
                del self._in_namespaces[key]
            self._tell_watchers(id, False)
            self.tell()
        return True

    def _tell_watchers(self, id: str, appeared: bool) -> None:
        for start, watch in self.watchers:
            if id.startswith(start):
                watch(id, appeared)

    def tell(self) -> None:
        """Who can be called has changed."""
        self.changed()
        for listener in self.listeners:
            listener()

    def move(self, id: str, registrant: FunctionOwner, old: str, new: str) -> None:
        """``registrant`` says late that its ``id`` belongs in namespace ``new``."""
        function = self._functions.get(key_of(id, old))
        spec = (
            next((known for known in function.specs if known.registrant is registrant), None)
            if function
            else None
        )
        if spec is not None:
            self.unregister(id, registrant, old)
            self.register(id, spec, new)

    def choose_routing(self, routing: Routing) -> None:
        """Spread calls in another way from now on."""
        self._routing = routing
        for function in self._functions.values():
            function.choose_serving(routing)

    def owner_changed(self, id: str, namespace: str) -> None:
        """The identity of an owner of ``id`` changed, or it is about to leave."""
        function = self._functions.get(key_of(id, namespace))
        if function is not None:
            function.choose_serving(self._routing)


def _is_restricted(registrant: FunctionOwner) -> bool:
    """Whether it is a worker that may not do everything (``Worker.access``)."""
    return getattr(registrant, "access", None) is not None

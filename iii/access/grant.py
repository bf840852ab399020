"""What one connection may do.

Everything is allowed on a listener without ``rbac``; there is no ``Grant`` then.  A
``Grant`` comes from what the auth function said, or, without one, from the configuration
alone.  It answers questions; ``iii.wire.guarded`` asks them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from typing import Annotated

import msgspec
from msgspec import Raw

from iii.access.rules import Rule, parse_rule
from iii.engine.functions import DEFAULT_NAMESPACE, ENGINE_PREFIX, FunctionOwner, Functions

EMPTY = Raw(b"{}")
NULL = Raw(b"null")
#: What every SDK needs to work at all (01 §17.5), and how our client leaves; only
#: ``forbidden_functions`` takes it away.
INFRASTRUCTURE = frozenset(
    (
        "engine::channels::create",
        "engine::workers::register",
        "engine::workers::drain",
        *(f"engine::log::{level}" for level in ("info", "warn", "error", "debug", "trace")),
        *(f"engine::baggage::{verb}" for verb in ("get", "set", "get_all")),
    )
)
#: Of an id that is quoted in a refusal.
QUOTED_CHARS = 200

NonEmpty = Annotated[str, msgspec.Meta(min_length=1)]


class AuthResult(msgspec.Struct):
    """What an auth function returns; a ``null`` is the same as nothing."""

    allowed_functions: list[str] | None = None
    forbidden_functions: list[str] | None = None
    allowed_trigger_types: list[str] | None = None
    allow_trigger_type_registration: bool | None = None
    allow_function_registration: bool | None = None
    context: Raw = EMPTY
    function_registration_prefix: NonEmpty | None = None
    namespaces: dict[str, list[str]] | None = None


class Grant:
    """The rights of one connection.

    :param functions: the engine's
    :param exposed: the listener's rules
    :param said: what the auth function returned; None: there is none
    :param deciding: functions that decide about access, of all listeners
    :param realm: equal for connections that are restricted by the same listener
    :param hooked: a hook is asked about its triggers, so none is made past it
    :ivar context: passed to hooks and middleware, JSON
    :ivar prefix: what the ids of its functions get in front, ``::`` included
    :ivar may_register_functions: whether it may offer functions
    :ivar may_register_types: whether it may offer trigger types
    :raises msgspec.MsgspecError, ValueError: ``said`` has the wrong shape
    """

    __slots__ = (
        "_allowed",
        "_deciding",
        "_exposed",
        "_forbidden",
        "_functions",
        "_namespaces",
        "_types",
        "context",
        "hooked",
        "may_register_functions",
        "may_register_types",
        "prefix",
        "realm",
    )

    def __init__(
        self,
        functions: Functions,
        exposed: Sequence[Rule],
        said: Raw | None,
        deciding: Set[str] = frozenset(),
        realm: object = None,
        *,
        hooked: bool = False,
    ) -> None:
        self.realm = realm
        self.hooked = hooked
        result = AuthResult() if said is None else msgspec.json.decode(said, type=AuthResult)
        self._functions = functions
        self._deciding = deciding
        self._exposed = (*exposed, *_rules_of(result.namespaces or {}))
        self._namespaces = frozenset(result.namespaces or ())
        self._allowed = frozenset(map(self._canonical, result.allowed_functions or ()))
        self._forbidden = frozenset(map(self._canonical, result.forbidden_functions or ()))
        types = result.allowed_trigger_types
        self._types = None if types is None else frozenset(types)
        asked_for = result.allow_trigger_type_registration
        self.may_register_types = said is None if asked_for is None else asked_for
        self.may_register_functions = result.allow_function_registration is not False
        # A copy: the answer is a slice of everything that came with it.
        self.context = EMPTY if result.context == NULL else result.context.copy()
        prefix = result.function_registration_prefix
        self.prefix = "" if prefix is None else f"{prefix}::"

    def refusal(self, id: str, namespace: str | None = None) -> str | None:
        """Why ``id`` may not be called; None: it may."""
        known = self._canonical(id)
        if known in self._forbidden:
            return f"function '{id[:QUOTED_CHARS]}' not allowed (remove from {_FORBIDDEN})"
        where = namespace or DEFAULT_NAMESPACE
        if where == DEFAULT_NAMESPACE and (known in self._allowed or known in INFRASTRUCTURE):
            return None
        function = self._functions.get(known, where)
        if any(rule.exposes(known, where, function) for rule in self._exposed):
            return None
        return f"function '{id[:QUOTED_CHARS]}' not allowed (add to rbac.expose_functions)"

    def may_call(self, id: str, namespace: str | None = None) -> bool:
        """Whether ``id`` may be called; in lists it is only shown when it may."""
        return self.refusal(id, namespace) is None

    def may_fire(self, id: str, namespace: str | None = None) -> bool:
        """Whether a trigger, or a queue, may call ``id``: below the prefix, or allowed.

        Functions of the engine go by the rights of their caller, and there it is nobody.
        """
        if self._canonical(id).startswith(ENGINE_PREFIX):
            return False
        return bool(self.prefix and id.startswith(self.prefix)) or self.may_call(id, namespace)

    def may_bind(self, trigger_type: str) -> bool:
        """Whether triggers of this type may be registered."""
        return self._types is None or trigger_type in self._types

    def may_declare(self, namespace: str) -> bool:
        """Whether the connection may say that it lives in ``namespace``."""
        return not self._namespaces or namespace in (*self._namespaces, DEFAULT_NAMESPACE)

    def offer_refusal(self, id: str, namespace: str) -> str | None:
        """Why the connection may not offer ``id``; None: it may.

        Whoever runs an auth function, a hook or a middleware has its rights, and whoever
        runs a function that others run, too, gets a share of its calls.  Neither is
        offered from here, unless ``allowed_functions`` names it.
        """
        if id in self._allowed:
            return None
        if id in self._deciding:
            return "it decides about access, and allowed_functions does not name it"
        if id.startswith(ENGINE_PREFIX):
            return "it would look like a function of the engine"
        if id in self._functions.aliases:
            return f"it is an old name of {self._canonical(id)}"
        function = self._functions.get(id, namespace)
        others = () if function is None else (spec.registrant for spec in function.specs)
        return next(filter(None, map(self.share_refusal, others)), None)

    def share_refusal(self, other: FunctionOwner) -> str | None:
        """Why the connection may not offer what ``other`` offers already; None: it may."""
        access = getattr(other, "access", None)
        if isinstance(access, Grant) and access.realm is self.realm:
            return None
        return f"it belongs to {other.describe}"

    def is_decider(self, id: str) -> bool:
        """Whether ``id`` decides about access, and may be offered."""
        return id in self._deciding and id in self._allowed

    def _canonical(self, id: str) -> str:
        return self._functions.aliases.get(id, id)


_FORBIDDEN = "rbac.forbidden_functions"


def _rules_of(namespaces: Mapping[str, Sequence[str]]) -> list[Rule]:
    """The rules for ``{"orders": ["svc::*"]}``; a pattern may be written bare."""
    rules = []
    for namespace, patterns in namespaces.items():
        for pattern in patterns:
            written = pattern if pattern.startswith("match(") else f'match("{pattern}")'
            rule = parse_rule(written)
            rules.append(Rule(rule.id, namespace))
    return rules

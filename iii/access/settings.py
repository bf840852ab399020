"""What a configuration says about access: ``auth:`` and ``rbac:``.

Both are strict where other settings are lenient: a key that nobody knows is an error,
because a misspelt one would open what was to be closed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

import msgspec

NonEmpty = Annotated[str, msgspec.Meta(min_length=1)]

#: A token with fewer characters is warned about.
SHORT_TOKEN_CHARS = 16


class NamedToken(msgspec.Struct, frozen=True):
    """A token and whose it is; only the name is ever shown."""

    strict_keys: ClassVar[bool] = True

    name: NonEmpty
    token: NonEmpty

    def __repr__(self) -> str:
        return f"NamedToken({self.name!r}, …)"


class Auth(msgspec.Struct, frozen=True):
    """``auth:``, static worker tokens (decision 26)."""

    strict_keys: ClassVar[bool] = True

    tokens: Annotated[list[NonEmpty | NamedToken], msgspec.Meta(min_length=1)]

    def __repr__(self) -> str:
        return f"Auth({len(self.tokens)} tokens)"

    @property
    def named(self) -> list[tuple[str | None, str]]:
        """Each token with its name, None for one that has none."""
        return [
            (None, each) if isinstance(each, str) else (each.name, each.token)
            for each in self.tokens
        ]

    def faults(self) -> list[tuple[int, str]]:
        """Tokens that no client could send: their index, and why."""
        return [
            (index, "a token has printable ASCII characters only, and no spaces")
            for index, (_, token) in enumerate(self.named)
            if not (token.isascii() and token.isprintable() and " " not in token)
        ]

    def short(self) -> list[int]:
        """Tokens that can be guessed: their indices."""
        named = enumerate(self.named)
        return [index for index, (_, token) in named if len(token) < SHORT_TOKEN_CHARS]


class Rbac(msgspec.Struct, frozen=True):
    """``rbac:`` of an ``iii-worker-manager`` entry (01 §17.5).

    :ivar expose_functions: rules as written, see ``iii.access.rules``
    """

    strict_keys: ClassVar[bool] = True

    auth_function_id: NonEmpty | None = None
    expose_functions: list[Any] = []
    on_function_registration_function_id: NonEmpty | None = None
    on_trigger_registration_function_id: NonEmpty | None = None
    on_trigger_type_registration_function_id: NonEmpty | None = None


def deciding_functions(rbac: Rbac | None, middleware: str | None) -> Sequence[str]:
    """The functions that decide about access to a listener."""
    named = [middleware]
    if rbac is not None:
        named += [
            rbac.auth_function_id,
            rbac.on_function_registration_function_id,
            rbac.on_trigger_registration_function_id,
            rbac.on_trigger_type_registration_function_id,
        ]
    return [each for each in named if each]

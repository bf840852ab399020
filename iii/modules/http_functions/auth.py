"""Who the engine says it is: ``auth`` of a registration.

A registration names environment variables of the engine's process, never secrets.  They
are read at every call, so a new value counts at once; a registration whose variables are
not there is refused.
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Iterable, Mapping

from msgspec import Struct, field

from iii.errors import Code
from iii.modules.http_functions.codes import Refused
from iii.modules.http_functions.rules import glob

SIGNATURE = "x-iii-signature"


class Variables:
    """The environment, as far as registrations may see it.

    :param allowed: patterns of names; None: all of it
    """

    def __init__(self, environ: Mapping[str, str], allowed: Iterable[str] | None) -> None:
        self._environ = environ
        self._allowed = None if allowed is None else [glob(text) for text in allowed]

    def read(self, name: str, code: Code, what: str) -> str:
        """The value of a variable.

        :raises Refused: it isn't there, is not for them, or is no UTF-8
        """
        value = self._environ.get(name)
        if value is None or not self._is_allowed(name) or not _is_text(value):
            raise Refused(code, f"{what} not found: {name}")
        return value

    def _is_allowed(self, name: str) -> bool:
        return self._allowed is None or any(matches(name) for matches in self._allowed)


class Auth(Struct, tag_field="type", frozen=True):
    """Base of all ways to authenticate."""

    def headers(self, variables: Variables, timestamp: int, body: bytes) -> dict[str, str]:
        """The headers of one request, names in lower case.

        :raises Refused: a variable is missing
        """
        raise NotImplementedError


class Hmac(Auth, tag="hmac", frozen=True):
    """The body is signed with a secret both sides know."""

    secret_key: str

    def headers(self, variables: Variables, timestamp: int, body: bytes) -> dict[str, str]:
        """Auth."""
        secret = variables.read(self.secret_key, Code.SECRET_NOT_FOUND, "Secret")
        return {SIGNATURE: sign(secret, timestamp, body)}


class Bearer(Auth, tag="bearer", frozen=True):
    """A token in ``authorization``."""

    token_key: str

    def headers(self, variables: Variables, timestamp: int, body: bytes) -> dict[str, str]:
        """Auth."""
        token = variables.read(self.token_key, Code.TOKEN_NOT_FOUND, "Token")
        return {"authorization": f"Bearer {token}"}


class ApiKey(Auth, tag="api_key", frozen=True):
    """A key in a header of its own."""

    header: str
    value_key: str

    def headers(self, variables: Variables, timestamp: int, body: bytes) -> dict[str, str]:
        """Auth."""
        key = variables.read(self.value_key, Code.API_KEY_NOT_FOUND, "API key")
        return {self.header.lower(): key}


class Basic(Auth, tag="basic", frozen=True):
    """User name and password in ``authorization``."""

    username_key: str
    password_key: str

    def headers(self, variables: Variables, timestamp: int, body: bytes) -> dict[str, str]:
        """Auth."""
        user = variables.read(self.username_key, *_VARIABLE)
        password = variables.read(self.password_key, *_VARIABLE)
        pair = base64.b64encode(f"{user}:{password}".encode()).decode()
        return {"authorization": f"Basic {pair}"}


class Custom(Auth, tag="custom", frozen=True):
    """Any headers: name → variable."""

    variables: dict[str, str] = field(name="headers")

    def headers(self, variables: Variables, timestamp: int, body: bytes) -> dict[str, str]:
        """Auth."""
        return {
            name.lower(): variables.read(variable, *_VARIABLE)
            for name, variable in self.variables.items()
        }


_VARIABLE = (Code.MISSING_ENV_VAR, "Environment variable")

AnyAuth = Hmac | Bearer | ApiKey | Basic | Custom


def sign(secret: str, timestamp: int, body: bytes) -> str:
    """What ``x-iii-signature`` says of a body that is sent at ``timestamp``."""
    message = b"%d:%s" % (timestamp, base64.b64encode(body))
    return "sha256=" + hmac.new(secret.encode(), message, "sha256").hexdigest()


def _is_text(value: str) -> bool:
    """Whether it was UTF-8: Python keeps other bytes of the environment as surrogates."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True

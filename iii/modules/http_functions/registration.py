"""What a worker says about a function that is run over HTTP: ``invocation``."""

from __future__ import annotations

import re
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Raw, Struct

from iii.engine.inputs import explain
from iii.errors import Code, RegistrationError
from iii.modules.http_functions.auth import AnyAuth, ApiKey, Auth, Custom, Variables
from iii.modules.http_functions.rules import Rules
from iii.modules.http_functions.target import Target

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
MAX_HEADERS = 64
MAX_HEADER_BYTES = 16 * 1024
#: Longer than any call may take (docs/limits.md).
MAX_TIMEOUT_MS = 24 * 3600 * 1000

#: The client's own: they say where a request ends and whom it is for.
RESERVED = frozenset(
    (
        "connection",
        "content-length",
        "expect",
        "host",
        "keep-alive",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    )
)

_is_name = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+").fullmatch
_is_value = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f]*").fullmatch


class Invocation(Struct):
    """The ``invocation`` of ``registerfunction``."""

    url: str
    method: str = "POST"
    timeout_ms: Annotated[int, Meta(ge=0)] | None = None
    headers: dict[str, str] | None = None
    auth: AnyAuth | None = None


class Remote(Struct, frozen=True):
    """A function that is run over HTTP, checked.

    :ivar headers: what the registration adds to every request, names in lower case
    """

    id: str
    target: Target
    method: str
    timeout_s: float
    headers: dict[str, str]
    auth: Auth | None


_decode = msgspec.json.Decoder(Invocation).decode


def read(
    id: str, invocation: Raw, rules: Rules, variables: Variables, default_timeout_ms: int
) -> Remote:
    """Check a registration.

    :raises RegistrationError: something in it is wrong, forbidden or missing
    """
    try:
        said = _decode(invocation)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise _wrong(f"invocation: {explain(error)}") from error
    target = rules.target(said.url)
    method = said.method.upper()
    if method not in METHODS:
        raise _wrong(f"invocation: method is one of {', '.join(METHODS)}")
    headers = said.headers or {}
    _check_headers(headers)
    if isinstance(said.auth, ApiKey):
        _check_headers({said.auth.header: ""})
    elif isinstance(said.auth, Custom):
        _check_headers(said.auth.variables)
    if said.auth is not None:
        said.auth.headers(variables, 0, b"")
    timeout_ms = default_timeout_ms if said.timeout_ms is None else said.timeout_ms
    return Remote(
        id,
        target,
        method,
        min(timeout_ms, MAX_TIMEOUT_MS) / 1000,
        {name.lower(): value for name, value in headers.items()},
        said.auth,
    )


def is_header_value(value: str) -> bool:
    """Whether it can't end the header it stands in."""
    return _is_value(value) is not None


def _check_headers(headers: dict[str, str]) -> None:
    if len(headers) > MAX_HEADERS or _bytes_of(headers) > MAX_HEADER_BYTES:
        raise _wrong(
            f"invocation: headers are at most {MAX_HEADERS} with {MAX_HEADER_BYTES} bytes together"
        )
    for name, value in headers.items():
        if _is_name(name) is None or not is_header_value(value):
            raise _wrong("invocation: a header has characters that no header can have")
        if name.lower() in RESERVED:
            raise _wrong(f"invocation: the header {name.lower()} is the engine's own")


def _bytes_of(headers: dict[str, Any]) -> int:
    return sum(len(name.encode()) + len(value.encode()) for name, value in headers.items())


def _wrong(text: str) -> RegistrationError:
    return RegistrationError(Code.INVALID_ARGUMENTS, text)

"""What a response means (docs/external-functions.md, "The response")."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import msgspec
from msgspec import UNSET, Raw, UnsetType
from twisted.internet import error as net
from twisted.internet._sslverify import VerificationError  # type: ignore[attr-defined]
from twisted.internet.ssl import SSL  # type: ignore[attr-defined]
from twisted.web.client import RequestGenerationFailed, RequestTransmissionFailed, ResponseFailed

from iii.errors import Code, InvocationError

MAX_CODE_CHARS = 128
MAX_MESSAGE_CHARS = 4_096
NULL = Raw(b"null")
TlsError = SSL.Error
_MAX_DEPTH = 4

#: What went wrong → how that is put; the first that fits.
_CAUSES: tuple[tuple[type[BaseException] | tuple[type[BaseException], ...], str], ...] = (
    (net.ConnectionRefusedError, "tcp connect error: connection refused"),
    ((net.TimeoutError, net.TCPTimedOutError), "tcp connect error: timed out"),
    (net.NoRouteError, "tcp connect error: no route to the host"),
    (net.ConnectError, "tcp connect error"),
    (net.DNSLookupError, "DNS lookup failed"),
    (VerificationError, "TLS: the certificate is for another host"),
    (TlsError, "TLS: {}"),
    ((net.ConnectionDone, net.ConnectionLost, net.ConnectionAborted), "the connection was closed"),
)


class ErrorDocument(msgspec.Struct):
    """The body of a failure, when it says something for us."""

    error: Raw | UnsetType = UNSET


class ErrorSaid(msgspec.Struct):
    """The ``error`` in it."""

    code: Any = None
    message: Any = None


_error_document = msgspec.json.Decoder(ErrorDocument).decode
_error_said = msgspec.json.Decoder(ErrorSaid).decode
_skim = msgspec.json.Decoder(Raw).decode
_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


def result_of(status: int, body: bytes) -> Raw | None:
    """The result that a response is.

    :raises InvocationError: it is a failure
    """
    if status >= 400:
        raise _failure(status, body)
    if not body:
        return None
    try:
        body.decode()
        result = _skim(body)
    except _UNREADABLE as error:
        if status >= 300:
            return None
        message = f"the response is not JSON: {error}"
        raise InvocationError(Code.INVALID_RESPONSE, message) from error
    return None if result == NULL else Raw(bytes(result))


def cause_of(error: BaseException | None) -> str:
    """Why no response came, without addresses."""
    for _ in range(_MAX_DEPTH):
        if not isinstance(
            error, RequestGenerationFailed | RequestTransmissionFailed | ResponseFailed
        ):
            break
        # Behind the general "connection lost" stands what made us close it.
        reasons = [failure.value for failure in error.reasons]
        error = next((one for one in reasons if isinstance(one, TlsError)), reasons[0])
    for kind, text in _CAUSES:
        if isinstance(error, kind):
            return text.format(_reasons(error)) if kind is TlsError else text
    return type(error).__name__


def _reasons(error: BaseException) -> str:
    """``certificate verify failed``: OpenSSL tells (library, function, reason), several times."""
    reported = error.args[0] if error.args else None
    told = [str(entry[-1]) for entry in reported] if isinstance(reported, list) else []
    return ", ".join(told) or "failed"


def _failure(status: int, body: bytes) -> InvocationError:
    code, message = str(Code.HTTP_ERROR), None
    try:
        body.decode()
        said = _error_document(body).error
    except _UNREADABLE:
        said = UNSET
    if said is UNSET:
        return InvocationError(code, _status_line(status))
    try:
        error = _error_said(said)
    except _UNREADABLE:
        error = ErrorSaid()
    if isinstance(error.code, str):
        code = error.code[:MAX_CODE_CHARS]
    if isinstance(error.message, str):
        message = error.message[:MAX_MESSAGE_CHARS]
    return InvocationError(code, "HTTP request failed" if message is None else message)


def _status_line(status: int) -> str:
    try:
        return f"HTTP {status} {HTTPStatus(status).phrase}"
    except ValueError:
        return f"HTTP {status}"

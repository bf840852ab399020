"""Why a connection could not be opened, in words that say what to do.

``explained`` tells an engine that is not there, which may come, from one that is there
and does not take this client.
"""

from __future__ import annotations

import ssl
from urllib.parse import urlsplit

from iii.client.errors import UnwelcomeError

_UNAUTHORIZED = (401, 403)
_NOT_TLS = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG")


def explained(address: str, error: Exception, *, has_token: bool) -> Exception:
    """``error``, or an ``UnwelcomeError`` that says more.

    :param address: where the client wanted to go
    :param has_token: it showed a token
    """
    if isinstance(error, ssl.SSLCertVerificationError):
        return UnwelcomeError(_not_trusted(address, error))
    if isinstance(error, ssl.SSLError):
        return UnwelcomeError(_no_tls(error))
    if isinstance(error, ValueError):
        return UnwelcomeError(str(error))
    from websockets.exceptions import InvalidMessage, InvalidStatus

    if isinstance(error, InvalidStatus):
        return _answered(error.response.status_code, error, has_token=has_token)
    if isinstance(error, InvalidMessage) and urlsplit(address).scheme == "ws":
        return UnwelcomeError("no WebSocket answers there; if the port has TLS, use wss://")
    if isinstance(error, InvalidMessage):
        text = "it ended the connection instead; it may ask for a certificate of yours"
        return ConnectionError(f"{error}: {text} (client_cert)")
    if isinstance(error, ConnectionResetError) and urlsplit(address).scheme == "wss":
        return ConnectionError("the connection was reset; if the port has no TLS, use ws://")
    return error


def _not_trusted(address: str, error: ssl.SSLCertVerificationError) -> str:
    why = error.verify_message or str(error)
    if "mismatch" in why or "not match" in why:
        host = urlsplit(address).hostname
        return f"the certificate is not for {host} ({why}): use a name it is for"
    return (
        f"the certificate is not trusted ({why}): name the file of its authority with "
        "III_CA or the option ca"
    )


def _no_tls(error: ssl.SSLError) -> str:
    if error.reason in _NOT_TLS:
        return "no TLS is spoken there: use ws://, or the port that has TLS"
    reason = error.reason or ""
    if "CERTIFICATE_REQUIRED" in reason or "ALERT_HANDSHAKE_FAILURE" in reason:
        return (
            "the engine asks for a certificate of yours: name it and its key with "
            "III_CLIENT_CERT and III_CLIENT_KEY, or the options client_cert and client_key"
        )
    if "ALERT" in reason and ("CERTIFICATE" in reason or "UNKNOWN_CA" in reason):
        return f"the engine does not accept your certificate: {reason.lower().replace('_', ' ')}"
    return f"no TLS with the engine: {error}"


def _answered(status: int, error: Exception, *, has_token: bool) -> Exception:
    if status in _UNAUTHORIZED and has_token:
        return UnwelcomeError(f"HTTP {status}: the token is refused")
    if status in _UNAUTHORIZED:
        text = f"HTTP {status}: a token is asked for: set III_TOKEN, or the option token"
        return UnwelcomeError(text)
    return error

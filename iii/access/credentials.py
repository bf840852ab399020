"""What a client shows to be let in.

A token stands in ``Authorization: Bearer …``, or, for browsers, which can't set headers,
in the query: ``?token=…``.  An auth function gets all headers and the whole query.  None of
it is ever written to a log: ``Credentials.mask`` is for texts that others make of it.
"""

from __future__ import annotations

from urllib.parse import unquote

from iii.websocket.request import headers_of, query_of

#: Headers that may hold a secret.
SECRET_HEADERS = ("authorization", "proxy-authorization", "cookie", "x-api-key", "api-key")
MASK = "[REDACTED]"
_SHORTEST = 6


class Credentials:
    """One upgrade request, as far as access is concerned.

    :param request: the head of the request
    :param uri: from its first line
    :ivar headers: lower-case name → value
    :ivar query: name → values, not percent-decoded
    :ivar address: of the peer, without port
    """

    __slots__ = ("address", "headers", "query")

    def __init__(self, request: bytes, uri: str, address: str) -> None:
        self.headers = headers_of(request)
        self.query = query_of(uri.partition("?")[2])
        self.address = address

    @property
    def token(self) -> str | None:
        """The bearer token, else the one in the query; None: there is neither."""
        scheme, _, token = self.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and token.strip():
            return token.strip()
        in_query = self.query.get("token")
        return unquote(in_query[-1]) or None if in_query else None

    @property
    def shown(self) -> str | None:
        """Everything a guesser would vary, as one text; None: nothing was shown."""
        parts = [self.headers[name] for name in SECRET_HEADERS if name in self.headers]
        parts += [f"{name}={value}" for name, values in self.query.items() for value in values]
        return "\n".join(parts) or None

    def mask(self, text: str) -> str:
        """``text`` without what the client showed."""
        for secret in sorted(self._secrets(), key=len, reverse=True):
            text = text.replace(secret, MASK)
        return text

    def _secrets(self) -> set[str]:
        found: set[str] = set()
        for name in SECRET_HEADERS:
            value = self.headers.get(name, "")
            found |= {value, *value.replace(";", " ").replace("=", " ").split()}
        for values in self.query.values():
            for value in values:
                found |= {value, unquote(value)}
        return {secret for secret in found if len(secret) >= _SHORTEST and secret != "Bearer"}

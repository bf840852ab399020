"""Where a Redis is, read from a URL.

``redis://[user][:password]@host[:port][/database]``, ``rediss://`` for TLS,
``redis+unix:///path?db=1`` for a socket file.  User and password are percent-decoded.
``?ca=FILE`` names the authority a ``rediss://`` server's certificate must be signed by;
without it the system's are trusted.

Nothing in here puts a password into a text: an address is shown without it, and a URL
that can't be read is not repeated.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from msgspec import Struct
from twisted.internet.endpoints import UNIXClientEndpoint
from twisted.internet.ssl import Certificate, optionsForClientTLS

from iii.dialling import authority_in, endpoint_of
from iii.errors import Code, StartError
from iii.net import show_address

DEFAULT_PORT = 6379
TCP, TLS, UNIX = "redis", "rediss", "redis+unix"
_SCHEMES = {TCP: TCP, TLS: TLS, UNIX: UNIX, "unix": UNIX}


class Address(Struct, frozen=True):
    """Where and as whom to connect.

    :ivar path: the socket file, for ``redis+unix``
    :ivar ca: file of the trusted authority, for ``rediss``
    """

    scheme: str
    host: str = "localhost"
    port: int = DEFAULT_PORT
    path: str = ""
    username: str | None = None
    password: str | None = None
    database: int = 0
    ca: str | None = None

    def __str__(self) -> str:
        """The URL without user and password."""
        where = self.path if self.scheme == UNIX else show_address(self.host, self.port)
        database = f"/{self.database}" if self.database and self.scheme != UNIX else ""
        return f"{self.scheme}://{where}{database}"

    def __repr__(self) -> str:
        return f"<Address {self}>"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("url", str(self))]

    def endpoint(self, reactor: Any, limit_s: float) -> Any:
        """What connects there (an ``IStreamClientEndpoint``).

        :raises StartError: the file of the authority can't be used
        """
        if self.scheme == UNIX:
            return UNIXClientEndpoint(reactor, self.path, timeout=limit_s)
        tls = None
        if self.scheme == TLS:
            tls = optionsForClientTLS(self.host, trustRoot=self.authority())
        return endpoint_of(reactor, self.host, self.port, limit_s, tls)

    def authority(self) -> Certificate | None:
        """Whom to trust; None: those whom the system trusts.

        :raises StartError: the file can't be used
        """
        return authority_in(self.ca, _wrong)


def parse_url(url: str) -> Address:
    """The address that ``url`` means.

    :raises StartError: it can't be read
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise _wrong("it is no URL") from error
    scheme = _SCHEMES.get(parts.scheme)
    if scheme is None:
        raise _wrong("it must start with redis://, rediss:// or redis+unix://")
    query = parse_qs(parts.query)
    written = query["db"][0] if "db" in query else parts.path.strip("/")
    path = ""
    if scheme == UNIX:
        path, written = unquote(parts.path), query.get("db", [""])[0]
        if not path:
            raise _wrong("the path of the socket is missing")
    if written and not written.isdecimal():
        raise _wrong("the database must be a number")
    return Address(
        scheme,
        host=parts.hostname or "localhost",
        port=port or DEFAULT_PORT,
        path=path,
        username=_credential(parts, "username"),
        password=_credential(parts, "password"),
        database=int(written or 0),
        ca=query["ca"][0] if "ca" in query else None,
    )


def _credential(parts: SplitResult, name: str) -> str | None:
    written: str | None = getattr(parts, name)
    return unquote(written) if written else None


def _wrong(why: str) -> StartError:
    return StartError(Code.CONFIG_ERROR, f"redis_url can't be used: {why}")

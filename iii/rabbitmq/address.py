"""Where a RabbitMQ is, read from a URL.

``amqp://[user[:password]@]host[:port][/vhost]``, ``amqps://`` for TLS.  User, password
and virtual host are percent-decoded; no virtual host is ``/``.  ``?ca=FILE`` names the
authority that an ``amqps://`` server's certificate must be signed by; without it the
system's are trusted.

Nothing in here puts a password into a text: an address is shown without it, and a URL
that can't be read is not repeated.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

from msgspec import Struct
from twisted.internet.ssl import Certificate, optionsForClientTLS

from iii.dialling import authority_in, endpoint_of
from iii.errors import Code, StartError
from iii.net import show_address

TCP, TLS = "amqp", "amqps"
DEFAULT_PORTS = {TCP: 5672, TLS: 5671}
DEFAULT_VHOST = "/"


class Address(Struct, frozen=True):
    """Where and as whom to connect.

    :ivar ca: file of the trusted authority, for ``amqps``
    """

    scheme: str
    host: str
    port: int
    vhost: str = DEFAULT_VHOST
    username: str = "guest"
    password: str = "guest"
    ca: str | None = None

    def __str__(self) -> str:
        """The URL without user and password."""
        vhost = "" if self.vhost == DEFAULT_VHOST else f"/{quote(self.vhost, safe='')}"
        return f"{self.scheme}://{show_address(self.host, self.port)}{vhost}"

    def __repr__(self) -> str:
        return f"<Address {self}>"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("url", str(self))]

    def endpoint(self, reactor: Any, limit_s: float) -> Any:
        """What connects there (an ``IStreamClientEndpoint``).

        :raises StartError: the file of the authority can't be used
        """
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
    if parts.scheme not in DEFAULT_PORTS:
        raise _wrong("it must start with amqp:// or amqps://")
    path = parts.path[1:]
    if "/" in path:
        raise _wrong("a / in the name of the virtual host is written %2F")
    query = parse_qs(parts.query)
    return Address(
        parts.scheme,
        host=parts.hostname or "localhost",
        port=port or DEFAULT_PORTS[parts.scheme],
        vhost=unquote(path) or DEFAULT_VHOST,
        username=unquote(parts.username or "guest"),
        password=unquote(parts.password if parts.password is not None else "guest"),
        ca=query["ca"][0] if "ca" in query else None,
    )


def _wrong(why: str) -> StartError:
    return StartError(Code.CONFIG_ERROR, f"amqp_url can't be used: {why}")

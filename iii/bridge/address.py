"""Where another engine's worker port is, read from a URL.

``ws://host[:port][/path][?query]``, ``wss://`` for TLS.  A token goes into the
``Authorization`` header, as workers send theirs.

Nothing in here puts a secret into a text: an address is shown without user, password and
query, and a URL that can't be read is not repeated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

from msgspec import Struct
from twisted.internet.ssl import Certificate, PrivateCertificate, optionsForClientTLS

from iii.checking import Fault
from iii.dialling import endpoint_of
from iii.errors import Code, StartError
from iii.net import show_address

T = TypeVar("T")

DEFAULT_URL = "ws://localhost:49134"

_PORTS = {"ws": 80, "wss": 443}
#: Where the address is looked for when the configuration has none, first one first.
VARIABLES = ("III_URL", "III_BRIDGE_URL")


class AddressError(StartError):
    """A setting about the other engine makes no sense.

    :ivar setting: which one
    """

    def __init__(self, setting: str, message: str) -> None:
        super().__init__(Code.CONFIG_ERROR, message)
        self.setting = setting


class Remote(Struct, frozen=True):
    """Where and as whom to connect.

    :ivar resource: path and query of the URL
    :ivar token: for the ``Authorization`` header
    :ivar ca: file of the authority that signed the certificate; None: the system's
    :ivar cert: file of a certificate of our own, for a port that asks for one
    :ivar key: file of its key
    """

    secure: bool
    host: str
    port: int
    resource: str = "/"
    token: str | None = None
    ca: str | None = None
    cert: str | None = None
    key: str | None = None

    def __str__(self) -> str:
        """The URL without what may be secret in it."""
        return f"{'wss' if self.secure else 'ws'}://{show_address(self.host, self.port)}"

    def __repr__(self) -> str:
        return f"<Remote {self}>"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("url", str(self))]

    @property
    def headers(self) -> dict[str, str]:
        """What the upgrade request says besides the usual."""
        return {} if self.token is None else {"Authorization": f"Bearer {self.token}"}

    def endpoint(self, reactor: Any, limit_s: float) -> Any:
        """What connects there (an ``IStreamClientEndpoint``).

        :raises AddressError: a file can't be used
        """
        tls = self.tls() if self.secure else None
        return endpoint_of(reactor, self.host, self.port, limit_s, tls)

    def tls(self) -> Any:
        """Whom to trust, and who we are.

        :raises AddressError: a file can't be used
        """
        trusted = None if self.ca is None else _loaded("ca", Certificate.loadPEM, self.ca)
        own = None
        if self.cert is not None:
            files = (self.cert,) if self.key is None else (self.cert, self.key)
            own = _loaded("cert", PrivateCertificate.loadPEM, *files)
        return optionsForClientTLS(self.host, trustRoot=trusted, clientCertificate=own)


def _loaded(setting: str, load: Callable[[bytes], T], *files: str) -> T:
    try:
        return load(b"\n".join(Path(file).read_bytes() for file in files))
    except Exception as error:  # OpenSSL's own error class has no public name
        text = f"{setting}: {', '.join(files)} can't be used: {error}"
        raise AddressError(setting, text) from error


def parse_url(
    url: str,
    *,
    setting: str = "url",
    token: str | None = None,
    ca: str | None = None,
    cert: str | None = None,
    key: str | None = None,
) -> Remote:
    """The engine that ``url`` means.

    :param setting: the setting that has the URL, for the error
    :param token: what it is shown, besides what the URL says
    :param ca: see ``Remote``, as for ``cert`` and ``key``
    :raises AddressError: it can't be read
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise _wrong(setting, "it is no URL") from error
    default_port = _PORTS.get(parts.scheme)
    if default_port is None or not parts.hostname:
        raise _wrong(setting, "it must look like ws://host:port or wss://host:port")
    if token is None and parts.password:
        token = unquote(parts.password)
    if token is not None and any(ord(letter) < 33 or ord(letter) > 126 for letter in token):
        raise _wrong("token", "it has characters that no header may have")
    resource = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    # 0.0.0.0 is where an engine listens; the one on this machine is meant.
    host = "127.0.0.1" if parts.hostname == "0.0.0.0" else parts.hostname
    return Remote(
        secure=parts.scheme == "wss",
        host=host,
        port=default_port if port is None else port,
        resource=resource,
        token=token or None,
        ca=ca,
        cert=cert,
        key=key,
    )


def url_of(written: str | None, environ: Mapping[str, str]) -> str:
    """The URL of the configuration, else that of the environment, else this machine's."""
    found = (environ.get(name, "").strip() for name in VARIABLES)
    return written or next(filter(None, found), DEFAULT_URL)


def faults(remote: Callable[[], Remote]) -> Iterator[Fault]:
    """What is wrong with the settings that ``remote`` makes an address of."""
    try:
        found = remote()
        if found.secure:
            found.tls()
    except AddressError as error:
        yield Fault(error.message, (error.setting,))


def _wrong(setting: str, why: str) -> AddressError:
    return AddressError(setting, f"{setting} can't be used: {why}")

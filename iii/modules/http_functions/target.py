"""A URL, taken apart by the rules of browsers (WHATWG), as far as ``http`` goes.

What is checked is what is requested: host, port and path come from here into the rules, the
resolver and the request line alike, so no second reader of the URL can see another host.
``http://2130706433/``, ``http://0x7f.1/`` and ``http://１２７.0.0.1/`` all are 127.0.0.1.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from urllib.parse import quote, unquote, unquote_to_bytes

import idna

from iii.modules.http_functions.addresses import Address

MAX_URL_CHARS = 8_192
#: As it is written: with percent-encoding it is longer than the 253 characters of a name.
MAX_HOST_CHARS = 1_024
DEFAULT_PORTS = {"http": 80, "https": 443}

_CONTROLS = "".join(map(chr, range(0x21)))
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*):", re.IGNORECASE)
_PARTS = re.compile(r"//([^/?#]*)([^?#]*)(\?[^#]*)?")
_HOST = re.compile(r"(?=.{1,253}\Z)[a-z0-9_-]+(\.[a-z0-9_-]+)*\.?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_PATH_SAFE = "%/:@!$&'()*+,;=~[]|"
_QUERY_SAFE = "%/:@!$&()*+,;=~[]|?^`{}\\"


class NotAUrl(ValueError):
    """The text is no URL of a web server."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a request goes.

    :ivar host: lower case, ASCII; an IPv6 address without brackets
    :ivar path: begins with ``/``, percent-encoded, without dot segments
    :ivar query: empty, or with its ``?``
    :ivar address: the host, when it is an address
    :ivar login: the ``authorization`` that user and password of the URL make
    """

    scheme: str
    host: str
    port: int
    path: str
    query: str
    address: Address | None
    login: str | None = field(default=None, repr=False)

    @property
    def authority(self) -> str:
        """Host and, unless it is the scheme's own, port."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def url(self) -> bytes:
        """The URL, without user and password."""
        return f"{self.scheme}://{self.authority}{self.path}{self.query}".encode()


def scheme_of(text: str) -> str | None:
    """The scheme of an absolute URL."""
    found = _SCHEME.match(_cleaned(text))
    return None if found is None else found[1].lower()


def parse(text: str) -> Target:
    """Take an ``http`` or ``https`` URL apart.

    :raises NotAUrl: it isn't one
    """
    if len(text) > MAX_URL_CHARS:
        raise NotAUrl(f"longer than {MAX_URL_CHARS} characters")
    scheme, _, rest = _cleaned(text).partition(":")
    scheme = scheme.lower()
    if scheme not in DEFAULT_PORTS:
        raise NotAUrl("neither http nor https")
    head, sign, query = rest.partition("?")
    found = _PARTS.match(head.replace("\\", "/") + sign + query)
    if found is None:
        raise NotAUrl("no host")
    login, at, place = found[1].rpartition("@")
    host, port = _split_port(place)
    name, address = _read_host(host)
    return Target(
        scheme,
        name,
        DEFAULT_PORTS[scheme] if port is None else port,
        _read_path(found[2]),
        quote(found[3] or "", safe=_QUERY_SAFE).removesuffix("?"),
        address,
        _authorization(login) if at else None,
    )


def _cleaned(text: str) -> str:
    return re.sub(r"[\t\r\n]", "", text.strip(_CONTROLS))


def _split_port(place: str) -> tuple[str, int | None]:
    found = re.fullmatch(r"(\[[^\]]*\]|[^:]*)(?::([0-9]{0,5}))?", place)
    if found is None:
        raise NotAUrl("the port is not a number")
    port = int(found[2]) if found[2] else None
    if port is not None and not 0 < port < 65_536:
        raise NotAUrl("there is no such port")
    return found[1], port


def _read_host(text: str) -> tuple[str, Address | None]:
    if len(text) > MAX_HOST_CHARS:
        raise NotAUrl("the host is too long")
    try:
        if text.startswith("["):
            if "%" in text:
                raise NotAUrl("an address with an interface")
            six = IPv6Address(text[1:-1])
            return str(six), six
        name = unquote(text, errors="strict")
        name = name.lower() if name.isascii() else idna.encode(name, uts46=True).decode()
    except ValueError as error:
        raise NotAUrl("the host can't be read") from error
    if _HOST.fullmatch(name) is None:
        raise NotAUrl("the host can't be read")
    labels = name.removesuffix(".").split(".")
    if _NUMBER.fullmatch(labels[-1]) is None:
        return name, None
    four = _read_ipv4(labels)
    return str(four), four


def _read_ipv4(parts: list[str]) -> IPv4Address:
    """An IPv4 address in any of its spellings: one to four numbers of base 8, 10 or 16."""
    if len(parts) > 4 or any(_NUMBER.fullmatch(part) is None for part in parts):
        raise NotAUrl("the host is no address")
    try:
        *first, last = map(_read_number, parts)
    except ValueError as error:
        raise NotAUrl("the host is no address") from error
    if any(number > 255 for number in first) or last >= 256 ** (4 - len(first)):
        raise NotAUrl("the host is no address")
    return IPv4Address(last + sum(n << 8 * (3 - at) for at, n in enumerate(first)))


def _read_number(text: str) -> int:
    if text.startswith("0x"):
        return int(text[2:] or "0", 16)
    return int(text, 8 if text.startswith("0") else 10)


def _read_path(text: str) -> str:
    kept: list[str] = []
    segments = text.split("/")[1:] or [""]
    for at, segment in enumerate(segments):
        plain = segment.lower().replace("%2e", ".")
        if plain == ".." and kept:
            kept.pop()
        if plain not in (".", ".."):
            kept.append(segment)
        elif at == len(segments) - 1:
            kept.append("")
    return quote("/" + "/".join(kept), safe=_PATH_SAFE)


def _authorization(login: str) -> str:
    user, _, password = login.partition(":")
    pair = unquote_to_bytes(user) + b":" + unquote_to_bytes(password)
    return "Basic " + base64.b64encode(pair).decode()

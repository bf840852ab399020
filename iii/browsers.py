"""Which browser pages may connect.

Any page can make its visitor's browser open a WebSocket to ``localhost``, and by
changing its own DNS record (rebinding) even one that looks as if it went home.  A
browser always says whose page it is (``Origin``); programs say nothing and are not
asked.  So: pages of this machine, pages of the very host that was called, and those
the configuration names.

A *name* alone proves nothing, because rebinding makes any name mean 127.0.0.1, or a
container's port that is forwarded from there.  "The very host" is an address, or a name
that the listener's certificate has proved to the browser, or one that came through a
proxy, which adds a header that no page can set.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from ipaddress import ip_address
from typing import Annotated
from urllib.parse import urlsplit

import msgspec

ANY = "*"
#: ``*``, ``null`` (files, sandboxed frames) or ``scheme://host[:port]``; ``*.`` before a host
#: is every host below it.
Origin = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^(\*|null|[A-Za-z][A-Za-z0-9+.\-]*://[^\s/?#@]+)$",
        description="an origin such as https://app.example.com",
    ),
]
_PROXIED = ("x-forwarded-for", "forwarded", "via")


class Browsers:
    """Decides about the ``Origin`` of an upgrade.

    :param allowed: origins besides those of this machine and of the host itself
    :param secure: the listener has TLS
    """

    __slots__ = ("_any", "_below", "_exact", "_secure")

    def __init__(self, allowed: Iterable[str] = (), *, secure: bool = False) -> None:
        normal = [normalised(origin) for origin in allowed]
        self._any = ANY in normal
        self._exact = frozenset(normal)
        self._below = tuple(
            re.compile(re.escape(origin).replace(r"://\*\.", r"://[^/:]+\.", 1))
            for origin in normal
            if "://*." in origin
        )
        self._secure = secure

    def refusal(self, headers: Mapping[str, str]) -> str | None:
        """Why the page that asks may not connect; None: it may, or it is no page.

        :param headers: of the upgrade, lower-case names
        """
        origin = headers.get("origin")
        if origin is None or self._any:
            return None
        origin = normalised(origin)
        if origin in self._exact or any(each.fullmatch(origin) for each in self._below):
            return None
        page = _host_of(origin)
        if is_local_name(page):
            return None
        called = _host_of(f"//{headers.get('host', '')}")
        if page and page == called and self._is_home(page, headers):
            return None
        return "pages of this origin may not connect (allowed_origins)"

    def _is_home(self, host: str, headers: Mapping[str, str]) -> bool:
        """Whether a page of the host that was called is really ours."""
        return self._secure or _is_address(host) or any(name in headers for name in _PROXIED)


def normalised(origin: str) -> str:
    """An origin as browsers write it: lower case, no default port, no final slash."""
    text = origin.strip().lower()
    if text.startswith("file:"):
        return "null"  # what other browsers say of files
    text = text.rstrip("/")
    for scheme, port in (("http", ":80"), ("https", ":443")):
        if text.startswith(f"{scheme}://"):
            return text.removesuffix(port)
    return text


def is_local_name(host: str) -> bool:
    """Whether ``host`` can only mean the machine of whoever says it."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _host_of(url: str) -> str:
    """The host in an origin or behind ``//``; empty when there is none."""
    try:
        return (urlsplit(url).hostname or "").rstrip(".")
    except ValueError:
        return ""

"""Who may use the console: which hosts it answers to, which pages, with which token.

On loopback everybody of this machine may, and so might every page that one of its browsers
shows.  So the ``Host`` has to be one that only means this machine, or a page could
rebind its own name; and a page that sends or connects has to be the console's own.

With a token a visitor shows it, as ``Authorization: Bearer`` or, after the login page, in a
cookie.  The cookie is not the token: it says how long it is good and is signed with it, so
another token ends all sessions and nothing has to be kept.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple
from urllib.parse import urlsplit

from iii.access.failures import FailedAttempts
from iii.access.tokens import Tokens
from iii.browsers import ANY, is_local_name, normalised
from iii.engine.clock import Clock

SESSION_S = 7 * 24 * 3600
FAILURES_PER_MINUTE = 10
_BEARER = "bearer "
#: Longer credentials are none.
MAX_CREDENTIAL_CHARS = 4096

Headers = Mapping[str, str]
"""Lower-case name → value."""


class Refusal(NamedTuple):
    """Why somebody may not: a status, and a sentence.

    :ivar wait_s: not before then, after too many failures
    """

    status: int
    text: str
    wait_s: float = 0.0


class Entrance:
    """Decides about requests.

    :param token: None: nobody has to show one
    :param loopback: only this machine reaches the port
    :param allowed: origins of further pages
    :param secure: the port has TLS
    """

    def __init__(
        self,
        clock: Clock,
        *,
        token: str | None,
        loopback: bool,
        allowed: Iterable[str] = (),
        secure: bool = False,
        path: str = "/",
    ) -> None:
        self._clock = clock
        self._token = token
        self._tokens = None if token is None else Tokens([(None, token)])
        self._loopback = loopback
        self._origins = frozenset(normalised(origin) for origin in allowed)
        self._hosts = frozenset(filter(None, map(_hostname, self._origins)))
        self._secure = secure
        self._path = path
        self._failures = FailedAttempts(clock, FAILURES_PER_MINUTE)
        #: cookies are shared by all ports of a host
        self.cookie = "iii_console"

    @property
    def asks(self) -> bool:
        """Whether a token is needed."""
        return self._tokens is not None

    # Pages -----------------------------------------------------------------------------

    def check_host(self, headers: Headers) -> Refusal | None:
        """Whether this name means us."""
        if not self._loopback or ANY in self._origins:
            return None
        host = _hostname(f"//{headers.get('host', '')}")
        if host and (is_local_name(host) or host in self._hosts):
            return None
        return Refusal(403, "this host is not served here (allowed_origins)")

    def check_page(self, headers: Headers) -> Refusal | None:
        """Whether the page that sends this, if it is a page, is the console's own."""
        origin = headers.get("origin")
        if origin is None:
            # Browsers say it of whatever could change something; this is for old ones.
            foreign = headers.get("sec-fetch-site") in ("cross-site", "same-site")
            return _FOREIGN if foreign and ANY not in self._origins else None
        origin = normalised(origin)
        if ANY in self._origins or origin in self._origins:
            return None
        return None if _is_home(origin, headers.get("host", "")) else _FOREIGN

    # Tokens ----------------------------------------------------------------------------

    def check_token(self, headers: Headers, client: str) -> Refusal | None:
        """Whether a token was shown, or is not needed.

        :param client: the address of whoever asks
        """
        if self._tokens is None:
            return None
        if self._is_session(self._cookie_of(headers)):
            return None
        shown = headers.get("authorization", "")
        if shown[: len(_BEARER)].lower() != _BEARER:
            return Refusal(401, "a token is needed")
        return self.check_credential(shown[len(_BEARER) :].strip(), client)

    def check_credential(self, shown: str, client: str) -> Refusal | None:
        """Whether ``shown`` is the token; who guesses has to wait."""
        if self._tokens is None:
            return None
        wait_s = self._failures.wait_s(client)
        if wait_s > 0:
            return Refusal(429, "too many wrong tokens, try again later", wait_s)
        if len(shown) <= MAX_CREDENTIAL_CHARS and self._tokens.holder(shown) is not None:
            return None
        self._failures.failed(client, shown[:MAX_CREDENTIAL_CHARS])
        return Refusal(401, "the token is wrong")

    def session(self) -> str:
        """A ``Set-Cookie`` for whoever has shown the token."""
        ends = str(int(self._clock.wall()) + SESSION_S)
        return self._set_cookie(f"{ends}.{self._signature(ends)}", SESSION_S)

    def no_session(self) -> str:
        """A ``Set-Cookie`` that ends a session."""
        return self._set_cookie("", 0)

    def without_ours(self, cookies: str) -> str:
        """A ``Cookie`` header without our cookie, for somebody else."""
        parts = [part.strip() for part in cookies.split(";")]
        return "; ".join(p for p in parts if p and not p.startswith(f"{self.cookie}="))

    # Inside ----------------------------------------------------------------------------

    def _cookie_of(self, headers: Headers) -> str:
        for part in headers.get("cookie", "").split(";"):
            name, _, value = part.strip().partition("=")
            if name == self.cookie:
                return value
        return ""

    def _is_session(self, cookie: str) -> bool:
        ends, dot, signature = cookie.partition(".")
        if not dot or not ends.isascii() or not ends.isdigit() or len(ends) > 15:
            return False
        right = hmac.compare_digest(signature.encode(), self._signature(ends).encode())
        return right and self._clock.wall() < int(ends)

    def _signature(self, text: str) -> str:
        key = hashlib.sha256((self._token or "").encode(errors="surrogateescape")).digest()
        return hmac.new(key, f"iii-console {text}".encode(), hashlib.sha256).hexdigest()

    def _set_cookie(self, value: str, age_s: int) -> str:
        secure = "; Secure" if self._secure else ""
        return (
            f"{self.cookie}={value}; Path={self._path}; Max-Age={age_s}; HttpOnly; "
            f"SameSite=Strict{secure}"
        )


_FOREIGN = Refusal(403, "pages of this origin may not use the console (allowed_origins)")

Check = Callable[[Headers], Refusal | None]


def _is_home(origin: str, host: str) -> bool:
    """Whether a page is of the very host and port that was called."""
    scheme, _, page = origin.partition("://")
    return bool(page) and page == normalised(f"{scheme}://{host}").partition("://")[2]


def _hostname(url: str) -> str:
    try:
        return (urlsplit(url).hostname or "").rstrip(".").lower()
    except ValueError:
        return ""

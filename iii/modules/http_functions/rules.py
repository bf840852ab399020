"""Which URLs may be called: ``security`` of the module's settings.

A URL is checked when its function is registered, the addresses of its host whenever a
connection is made (``endpoints``), and only addresses that were checked are connected to.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from iii.modules.http_functions.addresses import Address, is_private
from iii.modules.http_functions.codes import invalid_url
from iii.modules.http_functions.target import DEFAULT_PORTS, NotAUrl, Target, parse, scheme_of

Matches = Callable[[Target], bool]

_IPV6_HOST = re.compile(r"\[?[0-9a-f:]*:[0-9a-f:.]*\]?", re.IGNORECASE)
_IPV6_AUTHORITY = re.compile(r"\[[0-9a-f:]*:[0-9a-f:.]*\](:[0-9]+)?")


class Rules:
    """What an operator allows.

    :param allowlist: patterns of ``pattern``; empty: any host
    :raises ValueError: one of them is no pattern
    """

    def __init__(
        self, allowlist: Iterable[str], *, block_private: bool, require_https: bool
    ) -> None:
        self._patterns = [pattern(text) for text in allowlist]
        self._block_private = block_private
        self._require_https = require_https

    def target(self, url: str) -> Target:
        """Check everything about ``url`` but the addresses of a host name.

        :raises Refused: it may not be called
        """
        scheme = scheme_of(url)
        if scheme is not None and scheme not in DEFAULT_PORTS and self._require_https:
            raise invalid_url("HTTPS is required")
        try:
            target = parse(url)
        except NotAUrl as error:
            raise invalid_url("Invalid URL") from error
        if self._require_https and target.scheme != "https":
            raise invalid_url("HTTPS is required")
        if self._patterns and not any(matches(target) for matches in self._patterns):
            raise invalid_url("URL not in allowlist")
        if target.address is not None:
            self.check([target.address])
        return target

    def check(self, addresses: Iterable[Address]) -> None:
        """Check where a host name leads.

        :raises Refused: one of the addresses may not be connected to
        """
        if self._block_private and any(map(is_private, addresses)):
            raise invalid_url("Private IP blocked")


def pattern(text: str) -> Matches:
    """An allowlist entry: ``*`` any characters, ``?`` one, ``[a-z]`` and ``[!a-z]`` one of these.

    With ``/`` it is a URL: scheme, host and path are compared each for itself, so that a ``*``
    in the host can't reach into the path.  Otherwise it is a host.

    :raises ValueError: it is no pattern
    """
    if "/" not in text:
        host = glob((text.strip("[]") if _IPV6_HOST.fullmatch(text) else text).lower())
        return lambda target: host(target.host)
    scheme_text, sign, rest = text.partition("://")
    if not sign:
        scheme_text, rest = "*", text
    authority_text, slash, path_text = rest.partition("/")
    scheme_text, authority_text = scheme_text.lower(), authority_text.lower()
    if scheme_text in DEFAULT_PORTS:
        authority_text = authority_text.removesuffix(f":{DEFAULT_PORTS[scheme_text]}")
    scheme, authority = glob(scheme_text), glob(authority_text)
    path = glob("/" + path_text if slash else "*")
    return lambda target: (
        scheme(target.scheme) and authority(target.authority) and path(target.path)
    )


def glob(text: str) -> Callable[[str], bool]:
    """Whether a text looks like the pattern.

    :raises ValueError: it is no pattern
    """
    if _IPV6_AUTHORITY.fullmatch(text):
        return text.__eq__  # its brackets are no choice of characters
    parts: list[str] = []
    at = 0
    while at < len(text):
        sign = text[at]
        if sign == "[":
            end = text.find("]", at + 2)
            if end < 0:
                raise ValueError(f'"{text}" has a [ without its ]')
            parts.append(_one_of(text[at + 1 : end], text))
            at = end
        elif sign == "*":
            parts += [] if parts[-1:] == [".*"] else [".*"]
        else:
            parts.append("." if sign == "?" else re.escape(sign))
        at += 1
    compiled = re.compile("".join(parts), re.DOTALL)
    return lambda value: compiled.fullmatch(value) is not None


def _one_of(choice: str, text: str) -> str:
    negated, choice = choice.startswith("!"), choice.removeprefix("!")
    inside = "".join(sign if sign == "-" else re.escape(sign) for sign in choice)
    form = f"[{'^' if negated else ''}{inside}]"
    try:
        re.compile(form)
    except re.error as error:
        raise ValueError(f'"{text}" has a range that is none') from error
    return form

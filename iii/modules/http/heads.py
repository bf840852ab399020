"""Request heads: what RFC 9112 allows, and nothing else.

The header lines go through llhttp (``httptools``), which is strict about line
ends, folding, white space and ``Content-Length``/``Transfer-Encoding`` pairs.
What it lets pass is checked here: missing or repeated ``Host``, codings other
than ``chunked``, ``Transfer-Encoding`` in HTTP/1.0, other protocol versions,
double spaces, fragments.  A head that two servers could read differently is
refused, and its connection is closed.

A client's header lines seldom change from one request of a connection to the
next (only the request line does), so a ``HeaderBlock`` is kept per connection
and used again when the bytes are the same.
"""

from __future__ import annotations

import re

import httptools
import msgspec

from iii.errors import Code
from iii.modules.http.fields import Pair

MAX_REQUEST_LINE_BYTES = 16 * 1024
MAX_HEAD_BYTES = 32 * 1024
MAX_FIELDS = 128

match_request_line = re.compile(
    rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]{1,32}) ([!-~]+) HTTP/1\.([01])\r\n"
).match
_other_version = re.compile(rb"[!-~]+ [!-~]+ HTTP/(?!1\.[01])[0-9]\.[0-9]\r\n").match
find_bare_lf = re.compile(rb"(?<!\r)\n").search
_authority = re.compile(rb"[!$&'()*+,;=\-._~%:\[\]@0-9A-Za-z]*").fullmatch
_absolute_form = re.compile(r"https?://[^/?]*", re.IGNORECASE).match
_deliverable = re.compile(r"[\t\x20-\x7e]*").fullmatch


class BadHead(Exception):
    """A request that can't be served; the connection is closed after the answer."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message


def _bad(message: str) -> BadHead:
    return BadHead(400, Code.BAD_REQUEST, message)


class RequestHeaders:
    """The header fields of a request as functions see them: lower-case names, last value."""

    __slots__ = ("_json", "baggage", "is_json", "origin", "pairs", "traceparent", "values")

    def __init__(self, pairs: list[Pair]) -> None:
        self.pairs = [
            (name.lower().decode("latin-1"), value.strip(b" \t").decode("latin-1"))
            for name, value in pairs
        ]
        #: What can't be shown as ASCII text is delivered as an empty string.
        self.values = {name: value if _deliverable(value) else "" for name, value in self.pairs}
        self.is_json = "application/json" in self.values.get("content-type", "").lower()
        self.traceparent = self.values.get("traceparent")
        self.baggage = self.values.get("baggage") or None
        self.origin = self.values.get("origin")
        self._json: bytes | None = None

    @property
    def json(self) -> bytes:
        """``values`` as a JSON object."""
        if self._json is None:
            self._json = msgspec.json.encode(self.values)
        return self._json

    def all_values(self) -> dict[str, list[str]]:
        """Every value of every name, in order."""
        collected: dict[str, list[str]] = {}
        for name, value in self.pairs:
            collected.setdefault(name, []).append(value if _deliverable(value) else "")
        return collected


class HeaderBlock:
    """The header lines of a request and what they say about the message's frame.

    :ivar length: bytes of body announced, 0 without one
    """

    __slots__ = (
        "chunked",
        "close",
        "expects_continue",
        "has_host",
        "headers",
        "keep_alive",
        "length",
        "raw",
    )

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        pairs = _parse(raw)
        lowered = [(name.lower(), value.strip(b" \t")) for name, value in pairs]
        hosts = [value for name, value in lowered if name == b"host"]
        if len(hosts) > 1 or (hosts and not _authority(hosts[0])):
            raise _bad("the Host header must appear once, with a host in it")
        self.has_host = bool(hosts)
        self.length = 0
        self.chunked = False
        tokens: set[bytes] = set()
        self.expects_continue = False
        for name, value in lowered:
            if name == b"content-length":
                self.length = int(value)
            elif name == b"transfer-encoding":
                if value.lower() != b"chunked":
                    raise BadHead(501, "not_implemented", "only the chunked coding is understood")
                self.chunked = True
            elif name == b"connection":
                tokens.update(token.strip().lower() for token in value.split(b","))
            elif name == b"expect":
                if value.lower() != b"100-continue":
                    raise BadHead(417, "expectation_failed", "only 100-continue is understood")
                self.expects_continue = True
        self.close = b"close" in tokens
        self.keep_alive = b"keep-alive" in tokens
        self.headers = RequestHeaders(pairs)


class _Collector:
    """Told of each header line by the parser."""

    def __init__(self) -> None:
        self.pairs: list[Pair] = []

    def on_header(self, name: bytes, value: bytes) -> None:
        self.pairs.append((name, value))


def _parse(raw: bytes) -> list[Pair]:
    collector = _Collector()
    parser = httptools.HttpRequestParser(collector)
    try:
        parser.feed_data(b"POST / HTTP/1.1\r\n" + raw + b"\r\n")
    except httptools.HttpParserUpgrade:
        # Some other protocol is offered; we stay with HTTP/1.1 (RFC 9110 §7.8).
        return collector.pairs
    except httptools.HttpParserError as error:
        raise _bad(f"malformed header: {error}") from error
    if len(collector.pairs) > MAX_FIELDS:
        raise BadHead(431, "header_too_large", f"more than {MAX_FIELDS} header fields")
    return collector.pairs


def bad_request_line(data: bytes) -> BadHead:
    """What is wrong with a request line that ``match_request_line`` refused."""
    if _other_version(data):
        return BadHead(505, "version_not_supported", "only HTTP/1.0 and HTTP/1.1 are spoken here")
    return _bad("malformed request line")


def split_target(target: str) -> tuple[str, str]:
    """Path and query of a request target.

    :raises BadHead: it is none of the forms of RFC 9112 §3.2
    """
    if target[0] != "/":
        absolute = _absolute_form(target)
        if absolute is not None:
            target = target[absolute.end() :]
            if not target.startswith("/"):
                target = "/" + target
        elif target != "*":
            raise _bad("malformed request target")
    if "#" in target:
        raise _bad("a request target has no fragment")
    path, _, query = target.partition("?")
    return path, query


def check_frame(block: HeaderBlock, http_1_1: bool) -> None:
    """Refuse header lines that don't fit the protocol version.

    :raises BadHead: they don't
    """
    if http_1_1:
        if not block.has_host:
            raise _bad("HTTP/1.1 requests need a Host header")
    elif block.chunked:
        raise _bad("HTTP/1.0 has no Transfer-Encoding")

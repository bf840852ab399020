"""From a function's result to an answer (docs/http.md, "Answers").

An object with ``status_code``/``statusCode``, ``headers`` or ``body`` is an
envelope; any other value is itself the body.  The result is decoded once, its
headers and body stay the JSON they are.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType
from twisted.logger import Logger

from iii.modules.http.fields import CONTENT_TYPE, JSON_TYPE, Pair, pair_of


class Envelope(Struct):
    """What a function may say about its answer."""

    status_code: Any = UNSET
    statusCode: Any = UNSET
    headers: Raw | UnsetType = UNSET
    body: Raw | UnsetType = UNSET


class NodeBuffer(Struct):
    """What a Node ``Buffer`` becomes in JSON."""

    type: str
    data: list[int]


class Answer(NamedTuple):
    """A whole answer.

    :ivar headers: set by the function; None: none were, so the body is JSON
    :ivar complaint: what was wrong with the envelope
    """

    status: int
    headers: list[Pair] | None
    body: bytes
    complaint: str | None = None


log = Logger()

_envelope = msgspec.json.Decoder(Envelope)
_buffer = msgspec.json.Decoder(NodeBuffer)
_any = msgspec.json.Decoder()


def answer_of(text: bytes, default_status: int = 200) -> Answer:
    """What to send for a function's result (JSON, not null)."""
    if text[:1].isspace():
        text = text.strip()
    if text[:1] != b"{":
        return Answer(default_status, None, text)
    envelope = _envelope.decode(text)
    said = envelope.status_code
    if said is UNSET:
        said = envelope.statusCode
        if said is UNSET and envelope.headers is UNSET and envelope.body is UNSET:
            return Answer(default_status, None, text)
    complaint = None
    if said is UNSET or said is None:
        status = default_status
    elif type(said) is int and 200 <= said <= 599:
        status = said
    else:
        status = 200
        complaint = f"status_code {str(said)[:40]!r} is no status between 200 and 599"
    body = b"{}" if envelope.body is UNSET else bytes(envelope.body)
    headers = None if envelope.headers is UNSET else header_pairs(_any.decode(envelope.headers))
    if not headers:
        return Answer(status, None, body, complaint)
    content_type = next((value for name, value in headers if name == CONTENT_TYPE), None)
    if content_type is None:
        headers.insert(0, JSON_TYPE)
    else:
        body = _encode(body, b"application/json" in content_type.lower())
    return Answer(status, headers, body, complaint)


def _encode(body: bytes, is_json: bool) -> bytes:
    """The bytes of ``body`` (JSON) for a function that chose its content type."""
    first = body[:1]
    if first == b'"':
        return bytes(_any.decode(body).encode())
    if body == b"null":
        return b""
    if not is_json and first == b"{" and b'"Buffer"' in body:
        try:
            buffer = _buffer.decode(body)
            if buffer.type == "Buffer":
                return bytes(buffer.data)
        except (msgspec.ValidationError, ValueError):
            # An object of the user's that only looks like a Buffer.
            return body
    return body


def header_pairs(headers: Any) -> list[Pair]:
    """Header fields of an envelope: an object, or a list of ``"Name: value"``.

    What can't be a header field is left out; ``content-length`` is ours to say.
    """
    pairs: list[Pair | None] = []
    if isinstance(headers, dict):
        for name, value in headers.items():
            for single in value if isinstance(value, list) else (value,):
                text = _text(single, alone=not isinstance(value, list))
                if text is not None:
                    pairs.append(pair_of(name, text))
    elif isinstance(headers, list):
        for line in headers:
            if isinstance(line, str):
                name, colon, text = line.partition(":")
                if colon:
                    pairs.append(pair_of(name, text))
    return [pair for pair in pairs if pair is not None and pair[0] != b"content-length"]


def _text(value: Any, *, alone: bool) -> str | None:
    if isinstance(value, str):
        return value
    if alone and isinstance(value, bool):
        return "true" if value else "false"
    if alone and isinstance(value, int | float):
        return str(value)
    return None


class StreamHead:
    """The head of a streamed answer, as the function's text frames tell it."""

    __slots__ = ("_headers", "status")

    def __init__(self) -> None:
        self.status: int | None = None
        self._headers: dict[str, Pair] = {}

    def told(self, frame: bytes) -> None:
        """Take a text frame; what is no control message is ignored."""
        try:
            said = _any.decode(frame)
        except (msgspec.DecodeError, UnicodeDecodeError):
            log.debug("a text frame that is no control message was ignored")
            return
        if not isinstance(said, dict):
            return
        match said.get("type"):
            case "set_status":
                status = said.get("status_code")
                # 1xx is no final status; 101 would even change the protocol.
                if type(status) is int and 200 <= status <= 599:
                    self.status = status
            case "set_headers":
                self._set(said.get("headers"))

    def _set(self, headers: Any) -> None:
        if not isinstance(headers, dict):
            return
        for name, value in headers.items():
            pair = pair_of(name, value) if isinstance(value, str) else None
            if pair is not None:
                self._headers[name.lower()] = pair

    @property
    def length(self) -> int | None:
        """The announced ``content-length``."""
        _, value = self._headers.get("content-length", (b"", b""))
        return int(value) if value.isdigit() and len(value) < 19 else None

    @property
    def headers(self) -> list[Pair]:
        """All others."""
        return [pair for pair in self._headers.values() if pair[0] != b"content-length"]

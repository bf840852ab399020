"""Publishing, as bytes: the frames of one ``Basic.Publish``.

pika writes them, too, but builds objects for every frame.  A publish is the hottest thing
an adapter does, and its frames are simple: the method (the same bytes for every message
to one place), the header with the properties, the body in pieces.

Numbers in headers are written as unsigned 32 bit when they fit, which is what the
original's engines read; pika would write signed ones.
"""

from __future__ import annotations

from struct import Struct

import msgspec

Header = str | int
Headers = dict[str, Header]

_FRAME = Struct(">BHI")
_LONG = Struct(">I")
_LONGLONG = Struct(">q")
_END = b"\xce"
_METHOD, _HEADER, _BODY = 1, 2, 3
_BASIC, _PUBLISH = 60, b"\x00\x3c\x00\x28\x00\x00"
_MANDATORY = b"\x01"
#: Bytes of a frame around its payload.
FRAME_OVERHEAD = 8
LONGEST_SHORT = 255

_CONTENT_TYPE, _HEADERS, _DELIVERY_MODE, _PRIORITY = 1 << 15, 1 << 13, 1 << 12, 1 << 11
_EXPIRATION, _MESSAGE_ID = 1 << 8, 1 << 7
_PERSISTENT = b"\x02"
_JSON = b"\x10application/json"


class Properties(msgspec.Struct, frozen=True):
    """What goes with a body; it is always durable JSON.

    :ivar headers: texts and whole numbers
    :ivar expiration_ms: the broker drops or dead-letters it after so long
    """

    message_id: str | None = None
    headers: Headers = {}
    priority: int | None = None
    expiration_ms: int | None = None

    def encoded(self) -> bytes:
        """Flags and values, as they stand in a header frame.

        :raises ValueError: a name or the id has more than 255 bytes
        """
        flags = _CONTENT_TYPE | _DELIVERY_MODE
        parts = [_JSON]
        if self.headers:
            flags |= _HEADERS
            parts.append(_table(self.headers))
        parts.append(_PERSISTENT)
        if self.priority is not None:
            flags |= _PRIORITY
            parts.append(bytes((self.priority,)))
        if self.expiration_ms is not None:
            flags |= _EXPIRATION
            parts.append(short(str(self.expiration_ms)))
        if self.message_id is not None:
            flags |= _MESSAGE_ID
            parts.append(short(self.message_id))
        return flags.to_bytes(2, "big") + b"".join(parts)


def publish_method(channel: int, exchange: str, routing_key: str) -> bytes:
    """The method frame: where a message goes; it comes back when that is nowhere.

    :raises ValueError: a name has more than 255 bytes
    """
    payload = _PUBLISH + short(exchange) + short(routing_key) + _MANDATORY
    return _FRAME.pack(_METHOD, channel, len(payload)) + payload + _END


def content(channel: int, properties: bytes, body: bytes, frame_max: int) -> bytes:
    """The frames behind it: properties (as ``Properties.encoded`` has them) and body."""
    size = len(body)
    header = (
        _FRAME.pack(_HEADER, channel, len(properties) + 12),
        _BASIC.to_bytes(2, "big"),
        b"\x00\x00",
        size.to_bytes(8, "big"),
        properties,
        _END,
    )
    room = frame_max - FRAME_OVERHEAD
    if size <= room:
        if not size:
            return b"".join(header)
        return b"".join((*header, _FRAME.pack(_BODY, channel, size), body, _END))
    parts = list(header)
    for start in range(0, size, room):
        piece = body[start : start + room]
        parts += (_FRAME.pack(_BODY, channel, len(piece)), piece, _END)
    return b"".join(parts)


def short(text: str) -> bytes:
    """A short string.

    :raises ValueError: it has more than 255 bytes
    """
    data = text.encode()
    if len(data) > LONGEST_SHORT:
        raise ValueError(f"'{text[:40]}…' has {len(data)} bytes, RabbitMQ takes {LONGEST_SHORT}")
    return bytes((len(data),)) + data


def _table(headers: Headers) -> bytes:
    parts = []
    for name, value in headers.items():
        parts.append(short(name))
        if isinstance(value, str):
            data = value.encode()
            parts += (b"S", _LONG.pack(len(data)), data)
        elif 0 <= value < 2**32:
            parts += (b"i", _LONG.pack(value))
        else:
            parts += (b"l", _LONGLONG.pack(value))
    table = b"".join(parts)
    return _LONG.pack(len(table)) + table

"""What the upgrade request of a stream client says: to ``auth_function``, and to us.

The query is passed on as it came, not decoded.  A path ``/stream/<stream>/<group>`` or
``/stream/<stream>/<group>/<item>`` is a ``join`` by itself, every other one means nothing.
"""

from __future__ import annotations

import re
from urllib.parse import unquote

import msgspec

from iii.engine.ids import uuid4_text
from iii.modules.stream.frames import MAX_ID_CHARS, Subscription
from iii.websocket.request import headers_of, query_of

_JOIN = re.compile(r"/stream/([^/]+)/([^/]+)(?:/([^/]+))?/?")


class AuthInput(msgspec.Struct):
    """What ``auth_function`` gets."""

    headers: dict[str, str]
    path: str
    query_params: dict[str, list[str]]
    addr: str


def auth_input(request: bytes, uri: str, address: str) -> AuthInput:
    """What there is to know about a client.

    :param request: the head of its request
    :param uri: from its first line
    :param address: ``ip:port``
    """
    path, _, query = uri.partition("?")
    return AuthInput(headers_of(request), path, query_of(query), address)


def joined_by(uri: str) -> Subscription | None:
    """What the path of ``uri`` joins."""
    match = _JOIN.fullmatch(uri.partition("?")[0])
    if match is None:
        return None
    try:
        # The request came in as Latin-1, whatever it was.
        stream, group, item = (
            None if part is None else unquote(part.encode("latin-1"), errors="strict")
            for part in match.groups()
        )
    except UnicodeDecodeError:
        return None
    assert stream is not None and group is not None
    if max(len(stream), len(group), len(item or "")) > MAX_ID_CHARS:
        return None
    return Subscription(uuid4_text(), stream, group, item)

"""What a stream client may say: ``join`` and ``leave``.

Everything else is ignored, as clients know it: there is no reply that would not look
like an event to them.
"""

from __future__ import annotations

import msgspec

MAX_ID_CHARS = 1024


class Join(msgspec.Struct, rename="camel", tag="join", tag_field="type", frozen=True):
    """client -> engine.  Subscribe to a group, or to one item of it."""

    data: Subscription


class Leave(msgspec.Struct, rename="camel", tag="leave", tag_field="type", frozen=True):
    """client -> engine.  End a subscription."""

    data: Subscription


class Subscription(msgspec.Struct, rename="camel", frozen=True):
    """What is subscribed to, under an id of the client's own.

    Without ``id`` it is the whole group; ``""`` is an item's id like any other.
    """

    subscription_id: str
    stream_name: str
    group_id: str
    id: str | None = None


_decoder = msgspec.json.Decoder(Join | Leave)


def frame_of(payload: bytes) -> Join | Leave | None:
    """A frame of the client, or None when it makes no sense."""
    try:
        frame: Join | Leave = _decoder.decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    said = frame.data
    ids = (said.subscription_id, said.stream_name, said.group_id, said.id or "")
    return None if max(map(len, ids)) > MAX_ID_CHARS else frame

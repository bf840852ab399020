"""Which group a message belongs to."""

from __future__ import annotations

import msgspec

NO_KEY = "null"
"""The key of data that has no such member."""


def key_in(data: bytes, field: str) -> str:
    """The group of a message: the JSON of a member of its data."""
    try:
        members = msgspec.json.decode(data, type=dict[str, msgspec.Raw])
        value = members.get(field)
        if value is None:
            return NO_KEY
        return msgspec.json.encode(msgspec.json.decode(value), order="sorted").decode()
    except msgspec.MsgspecError:
        return NO_KEY

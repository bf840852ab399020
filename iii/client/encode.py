"""Python values to JSON and back.

msgspec writes most kinds itself: dataclasses, structs, dates, UUIDs, decimals
(as strings), enums, sets; ``NaN`` and infinities become ``null``.  ``_hook``
adds what people return besides: subclasses of the plain types, mappings, paths,
pydantic models, channel ends.  Anything else is a ``TypeError`` that names the
type.

Reading is the other way round and forgiving: what msgspec refuses (a lone surrogate
from an old client, a number beyond the range of a float) gets a second chance with the
standard library.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

import msgspec

from iii.client.messages import Inbound

MIB = 1024 * 1024

#: The protocol's limit for one message, both ways.
MAX_MESSAGE_BYTES = 64 * MIB


def _hook(value: Any) -> Any:
    """Give msgspec something it knows for a value it does not know."""
    for plain in (str, int, float):
        if isinstance(value, plain):
            return plain(value)
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    ref = getattr(value, "channel_ref", None)
    if ref is not None:
        return ref
    dump = getattr(value, "model_dump", None)
    if callable(dump):
        return dump(mode="json")
    raise TypeError(f"can't write a value of type {type(value).__qualname__} as JSON")


_encoder = msgspec.json.Encoder(enc_hook=_hook)
_decoder: msgspec.json.Decoder[Inbound] = msgspec.json.Decoder(Inbound)


def encode(value: Any) -> bytes:
    """One JSON text.

    :raises ValueError: when the value contains itself or a lone surrogate
    :raises TypeError: when a part is of a type that has no JSON form
    """
    try:
        return _encoder.encode(value)
    except RecursionError:
        raise ValueError("can't write a value that contains itself or is nested too deep") from None


def decode(frame: bytes) -> Inbound:
    """The message in one frame.

    :raises ValueError: when it is not a message this client knows
    """
    try:
        return _decoder.decode(frame)
    except (msgspec.MsgspecError, RecursionError) as refused:
        try:
            message: Inbound = msgspec.convert(json.loads(frame), Inbound, dec_hook=_raw)
        except (ValueError, RecursionError):
            raise ValueError(str(refused)) from None
        return message


def _raw(type: type, value: Any) -> Any:
    """A result that the standard library has read, as JSON again."""
    return msgspec.Raw(json.dumps(value).encode())


def result(raw: msgspec.Raw) -> Any:
    """The result of a call.

    :raises ValueError: it can't be read
    """
    try:
        return msgspec.json.decode(raw)
    except (msgspec.MsgspecError, RecursionError) as refused:
        try:
            return json.loads(bytes(raw))
        except (ValueError, RecursionError):
            raise ValueError(str(refused)) from None

"""A message on the channel of a topic, as the original sends and expects it."""

from __future__ import annotations

import msgspec
from msgspec import Raw

from iii.modules.queue.adapter import New

_skim = msgspec.json.Decoder(Raw).decode


class Trace(msgspec.Struct):
    """Where a message comes from."""

    traceparent: str | None = None
    baggage: str | None = None


class Envelope(msgspec.Struct):
    """What the original sends: it is one if it has both an object ``__trace`` and ``data``.

    :ivar engine: our mark: the ``key_prefix`` of engines that have it in a queue already
    """

    trace: Trace = msgspec.field(name="__trace")
    data: Raw
    engine: str | None = msgspec.field(name="__iii", default=None)


_decode = msgspec.json.Decoder(Envelope).decode


def sealed(new: New, engine: str | None = None) -> bytes:
    """What to publish."""
    envelope = Envelope(Trace(new.traceparent, new.baggage), new.data, engine)
    return msgspec.json.encode(envelope)


def opened(body: bytes) -> Envelope:
    """What was published; somebody who knows no envelope sends a bare value.

    :raises ValueError: it is no JSON
    """
    try:
        body.decode()
        data = _skim(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"it is no JSON ({error})") from error
    try:
        return _decode(body)
    except msgspec.ValidationError:
        return Envelope(Trace(), data)

"""From a frame to what is in it.

A frame of usual size is decoded in one go.  When that fails, or when it is large, it is
walked through and every item decoded by itself; when that fails too the item is repaired,
and when that fails it alone is lost.  Both ways are generators: who drives them may pause
after every item.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

import msgspec

from iii.modules.observability.ingest.losses import Losses
from iii.modules.observability.ingest.metrics import Unsupported
from iii.modules.observability.ingest.repair import repaired
from iii.modules.observability.ingest.values import UNKNOWN_SERVICE, Attributes, Origin, within
from iii.modules.observability.ingest.walk import Broken, Place, Walk
from iii.modules.observability.ingest.wire import Keys, Resource, Scope, frame_of

M = TypeVar("M")

#: Decoded, or repaired, in one go.
WHOLE_BYTES = 512 * 1024
#: A larger item is not kept.
MAX_ITEM_BYTES = 1024 * 1024
#: So many items of a frame may be none; then it is no frame.
MAX_BAD_ITEMS = 10_000

_HEADERS: dict[Any, Any] = {
    type_: msgspec.json.Decoder(type_ | None) for type_ in (Resource, Scope)
}
_BAD = (ValueError, msgspec.MsgspecError, RecursionError, OverflowError)

Make = Callable[[Any, Origin], M | None]
"""Turns an item of the wire into the engine's form; None: there is nothing in it."""


class Reader(Generic[M]):
    """Reads the frames of one kind.

    :param what: the items, for counts: ``spans``
    :param item: the struct of an item
    :param repair: an item out of decoded JSON; None: by its struct
    """

    def __init__(
        self,
        keys: Keys,
        what: str,
        item: type[msgspec.Struct],
        make: Make[M],
        attributes: Attributes,
        losses: Losses,
        repair: Callable[[Any, Origin], Any] | None = None,
    ) -> None:
        self._keys = keys
        self._what = what
        self._make = make
        self._attributes = attributes
        self._losses = losses
        self._repair = repair or (lambda found, origin: msgspec.convert(found, item))
        self._frame = msgspec.json.Decoder(frame_of(keys, item))
        self._item: Any = msgspec.json.Decoder(item)

    def read(self, payload: bytes) -> Iterator[M | None]:
        """What is in a frame, one after the other; None: a pause."""
        frame = self._whole(payload) if len(payload) <= WHOLE_BYTES else None
        return self._pieces(payload) if frame is None else self._all(frame)

    # As a whole ------------------------------------------------------------------------

    def _whole(self, payload: bytes) -> Any:
        """The frame; None: something in it is wrong, which shows when it is walked through."""
        try:
            return self._frame.decode(payload)
        except _BAD:
            return None

    def _all(self, frame: Any) -> Iterator[M | None]:
        for group in frame.resources:
            sender = self._sender(group.resource)
            for part in group.scopes or ():
                origin = within(sender, part.scope)
                for item in part.items or ():
                    yield self._made(item, origin)

    def _made(self, item: Any, origin: Origin) -> M | None:
        try:
            return self._make(item, origin)
        except Unsupported as error:
            self._lost("unsupported", origin, error)
        except _BAD as error:
            self._lost("unreadable", origin, error)
        return None

    def _sender(self, resource: Resource | None) -> Origin:
        try:
            return self._attributes.origin(resource)
        except _BAD as error:
            self._losses.lost("resources.unreadable", UNKNOWN_SERVICE, error)
            return self._attributes.origin(None)

    # Piece by piece --------------------------------------------------------------------

    def _pieces(self, payload: bytes) -> Iterator[M | None]:
        nobody = sender = origin = self._sender(None)
        bad = 0
        try:
            for place in Walk(payload, self._keys).places():
                if place is None:
                    yield None
                elif place.what == "item":
                    item = self._piece(payload, place, origin)
                    yield item
                    bad += item is None
                elif place.what == "resource":
                    sender = self._sender(self._header(payload, place, Resource, nobody))
                elif place.what == "misplaced":
                    self._lost("misplaced", origin, f"{place.end - place.start} bytes of no use")
                    bad += 1
                else:
                    origin = within(sender, self._header(payload, place, Scope, sender))
                if bad > MAX_BAD_ITEMS:
                    raise Broken(f"more than {MAX_BAD_ITEMS} items of it are none")
        except Broken as error:
            self._losses.lost("frames.unreadable", origin.service_name, error)

    def _piece(self, payload: bytes, place: Place, origin: Origin) -> M | None:
        data = payload[place.start : place.end]
        try:
            item = self._decoded(data, self._item, lambda found: self._repair(found, origin))
        except _BAD as error:
            self._lost("unreadable", origin, error)
            return None
        return self._made(item, origin)

    def _header(self, payload: bytes, place: Place, type_: Any, sender: Origin) -> Any:
        """A resource or scope; None: there is none that can be read."""
        if place.start == place.end:
            return None
        data = payload[place.start : place.end]
        try:
            return self._decoded(
                data, _HEADERS[type_], lambda found: msgspec.convert(found, type_ | None)
            )
        except _BAD as error:
            self._losses.lost(f"{place.what}s.unreadable", sender.service_name, error)
            return None

    def _decoded(self, data: bytes, decoder: Any, repair: Callable[[Any], Any]) -> Any:
        if len(data) > MAX_ITEM_BYTES:
            raise ValueError(f"it has {len(data)} bytes, more than {MAX_ITEM_BYTES}")
        try:
            return decoder.decode(data)
        except _BAD:
            if len(data) > WHOLE_BYTES:
                raise
            return repair(repaired(data))

    def _lost(self, why: str, origin: Origin, reason: object) -> None:
        self._losses.lost(f"{self._what}.{why}", origin.service_name, reason)

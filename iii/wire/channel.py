"""The roles of a connection under ``/ws/channels/``: one end of a channel.

Back-pressure is TCP's: a full channel stops the engine reading from the writer,
and a reader that doesn't drain stops the channel.
"""

from __future__ import annotations

from typing import Any, Protocol

from iii.engine.channels import Channel
from iii.websocket.codes import CLOSE_INTERNAL_ERROR, CLOSE_NORMAL
from iii.websocket.outbox import Outbox

HIGH_WATER_BYTES = 256 * 1024


class Wire(Protocol):
    """The connection below a channel end."""

    transport: Any
    peer: str | None

    def sendClose(self, code: int, reason: str | None = None) -> None: ...

    def drop(self) -> None: ...


class ChannelWriter:
    """``dir=write``: frames of the peer go into the channel."""

    def __init__(self, channel: Channel, wire: Wire) -> None:
        self._channel = channel
        self._wire = wire
        #: who it is, for lists
        self.peer: str | None = getattr(wire, "peer", None)
        self._attached = False

    def opened(self, outbox: Outbox) -> None:
        """Take the end, or close at once when it is taken."""
        self._attached = self._channel.attach_writer(self)
        if not self._attached:
            self._wire.sendClose(CLOSE_NORMAL, "this end of the channel is taken")

    def received(self, payload: bytes, is_binary: bool) -> None:
        """One frame."""
        if self._attached:
            self._channel.put(payload, not is_binary)

    def closed(self, clean: bool) -> None:
        """The peer closed (``clean``) or broke off."""
        if self._attached:
            self._channel.finish(clean)

    def pause(self) -> None:
        """Channel: full."""
        self._wire.transport.pauseProducing()

    def resume(self) -> None:
        """Channel: room again."""
        self._wire.transport.resumeProducing()

    def reader_gone(self) -> None:
        """Channel: nobody reads any more."""
        self._attached = False
        # A paused socket would never see the answer to a close frame.
        self._wire.drop()


class ChannelReader:
    """``dir=read``: frames of the channel go to the peer."""

    def __init__(self, channel: Channel, wire: Wire) -> None:
        self._channel = channel
        self._wire = wire
        #: who it is, for lists
        self.peer: str | None = getattr(wire, "peer", None)
        self._outbox: Outbox | None = None
        self._attached = False

    def opened(self, outbox: Outbox) -> None:
        """Take the end, or close at once when it is taken."""
        self._outbox = outbox
        outbox.on_drained(self._drained)
        self._attached = True
        if not self._channel.attach_reader(self):
            self._attached = False
            self._wire.sendClose(CLOSE_NORMAL, "this end of the channel is taken")

    def received(self, payload: bytes, is_binary: bool) -> None:
        """A reader has nothing to say."""

    def closed(self, clean: bool) -> None:
        """The peer is gone."""
        if self._attached:
            self._attached = False
            self._channel.reader_gone()

    def deliver(self, payload: bytes, text: bool) -> bool:
        """Channel: one frame."""
        assert self._outbox is not None
        self._outbox.send_message(payload, binary=not text)
        return self._outbox.queued < HIGH_WATER_BYTES

    def end(self, clean: bool) -> None:
        """Channel: no frame follows."""
        if self._attached:
            self._attached = False
            if clean:
                self._wire.sendClose(CLOSE_NORMAL)
            else:
                self._wire.sendClose(CLOSE_INTERNAL_ERROR, "the writer broke off")

    def _drained(self) -> None:
        if self._attached:
            self._channel.drain()

"""A request's body on its way into the channel a function reads it from.

JSON bodies are here as a whole and go out in frames as the channel takes them;
other bodies flow from the client, which is held back when the channel is full.
When nobody reads (any more) the rest of the body is thrown away.
"""

from __future__ import annotations

from collections.abc import Callable

from iii.engine.channels import Channel
from iii.modules.http.exchange import FRAME_BYTES, Exchange


class Upload:
    """Writes one body into ``channel``.

    :param limit: most bytes of a streamed body, None for any number
    :param too_large: told when there are more
    """

    __slots__ = (
        "_channel",
        "_exchange",
        "_left",
        "_paused",
        "_sent",
        "_source",
        "_streaming",
        "_too_large",
    )

    def __init__(
        self,
        exchange: Exchange,
        channel: Channel,
        limit: int | None,
        too_large: Callable[[], None],
    ) -> None:
        self._exchange = exchange
        self._channel: Channel | None = channel
        self._left = limit
        self._too_large = too_large
        self._source = b""
        self._sent = 0
        self._paused = False
        self._streaming = False
        channel.attach_writer(self)

    def send(self, source: bytes) -> None:
        """The whole body."""
        self._source = source
        self._feed()

    def stream(self) -> None:
        """The body as the client sends it."""
        self._streaming = True
        self._exchange.stream(self)

    def break_off(self) -> None:
        """The client is gone: whoever reads learns that the body is not complete."""
        self._source = b""
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.finish(clean=False)

    def _feed(self) -> None:
        channel, source = self._channel, self._source
        while channel is not None and not self._paused and self._sent < len(source):
            frame = source[self._sent : self._sent + FRAME_BYTES]
            self._sent += len(frame)
            channel.put(frame)
        if channel is not None and self._sent >= len(source):
            self._channel = None
            self._source = b""
            channel.finish()

    # BodySink --------------------------------------------------------------------------

    def body_data(self, data: bytes) -> None:
        """BodySink: the next bytes."""
        if self._left is not None:
            self._left -= len(data)
            if self._left < 0:
                self._streaming = False
                self._exchange.discard_body()
                self.break_off()
                self._too_large()
                return
        if self._channel is not None:
            self._channel.put(data)

    def body_end(self, clean: bool) -> None:
        """BodySink: no more."""
        self._streaming = False
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.finish(clean)

    # Writer ----------------------------------------------------------------------------

    def pause(self) -> None:
        """Writer: the channel is full."""
        self._paused = True
        if self._streaming:
            self._exchange.pause_body()

    def resume(self) -> None:
        """Writer: there is room."""
        self._paused = False
        if self._streaming:
            self._exchange.resume_body()
        elif self._source:
            self._feed()

    def reader_gone(self) -> None:
        """Writer: nobody reads the body."""
        self._channel = None
        self._source = b""
        if self._streaming:
            self._streaming = False
            self._exchange.discard_body()

"""One request and the means to answer it, whatever server it came through.

The routes know requests only as an ``Exchange``: the fast connection layer
(``connection.py``) and an adapter over stock twisted.web requests
(``site.py``) both provide it.  An exchange ends with ``respond``, ``finish`` or
``abort``; after ``client_gone`` every call on it does nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from iii.modules.http.fields import Fields
from iii.modules.http.heads import RequestHeaders

FRAME_BYTES = 64 * 1024


class Client(Protocol):
    """Whoever serves an exchange."""

    def client_gone(self) -> None:
        """The client closed its connection before it had the whole answer."""
        ...

    def shut_down(self) -> None:
        """The server stops: answer now, or break off."""
        ...


class BodySink(Protocol):
    """Where a streamed request body goes."""

    def body_data(self, data: bytes) -> None:
        """The next bytes."""
        ...

    def body_end(self, clean: bool) -> None:
        """No more.  ``clean``: the body is complete."""
        ...


class Exchange(Protocol):
    """A request with its answer.

    :ivar path: the raw path, percent-encoding and all
    :ivar query: what follows ``?``, raw
    :ivar body: the whole body when it arrived together with the head, else None
    :ivar length: bytes of body announced; None when the client didn't say
    :ivar client: told when the client goes
    """

    method: str
    path: str
    query: str
    headers: RequestHeaders
    body: bytes | None
    length: int | None
    client: Client | None

    def collect(self, limit: int, done: Callable[[bytes | None], None]) -> None:
        """Give the whole body to ``done``, or None when it exceeds ``limit`` bytes."""
        ...

    def stream(self, sink: BodySink) -> None:
        """Give the body to ``sink`` as it arrives."""
        ...

    def pause_body(self) -> None:
        """The sink can't take more now."""
        ...

    def resume_body(self) -> None:
        """The sink can take more."""
        ...

    def discard_body(self) -> None:
        """Nobody wants the rest of the body."""
        ...

    def respond(self, status: int, fields: Fields, body: bytes) -> None:
        """Send the whole answer."""
        ...

    def start(
        self, status: int, fields: Fields, length: int | None, drained: Callable[[], None]
    ) -> None:
        """Begin a streamed answer.

        :param length: bytes that will follow, when known
        :param drained: called when there is room again after ``write`` said False
        """
        ...

    def write(self, data: bytes) -> bool:
        """Send a piece of a streamed answer.  False: hold on until ``drained``."""
        ...

    def finish(self) -> None:
        """A streamed answer is complete."""
        ...

    def abort(self) -> None:
        """A streamed answer breaks off; the client must notice."""
        ...

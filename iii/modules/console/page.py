"""One open page: what it watches, and how it hears of it (``/ws/console``).

A page is a session of the engine's (``engine::watch::…``), reached by calls alone, so the
engine may be elsewhere.  What is new is asked for when the page has taken all before: a page
that does not read costs what waits for it in the engine, which is bounded.

When the engine was away, a new session is made and every subscription goes on at the number
it heard last.

Client ->  ``{"op": "subscribe", "id", "topic", "filter"?, "since"?}``, ``{"op":
"unsubscribe", "id"}``, ``{"op": "ping"}``
<- Server  ``{"id", "seq", "event": "snapshot" | "add" | "update" | "remove", "items"}``,
``{"id", "event": "gap", "dropped"}``, ``{"id", "event": "error", "error"}``, ``{"event":
"pong"}``, ``{"event": "engine", "connected"}``
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal, Protocol

import msgspec
from msgspec import Meta, Raw, Struct
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from iii.engine.clock import Clock
from iii.errors import Code, IIIError
from iii.modules.console.backend import Backend, NotConnected, TooLate
from iii.websocket.codes import CLOSE_OVERLOAD
from iii.websocket.outbox import Outbox

log = Logger()

WAIT_MS = 20_000
ANSWER_S = WAIT_MS / 1000 + 5
MAX_REQUEST_BYTES = 64 * 1024
MAX_WISHES = 64
#: Who asks for more although so much waits to be read is cut off; several answers fit in.
MAX_UNREAD_BYTES = 8 * 1024 * 1024
#: Between looks whether an engine that is away is back: its link tries again by itself, less
#: and less often.
AGAIN_S = 1.0

Id = Annotated[str, Meta(min_length=1, max_length=200)]


class Subscribe(Struct, tag_field="op", tag="subscribe"):
    """Watch a topic; again with the same id: instead of what it was."""

    id: Id
    topic: str
    filter: dict[str, Any] | None = None
    since: int | None = None


class Unsubscribe(Struct, tag_field="op", tag="unsubscribe"):
    """Not any more."""

    id: Id


class Ping(Struct, tag_field="op", tag="ping"):
    """Are you there?"""


class _Head(Struct):
    id: str
    event: Literal["snapshot", "add", "update", "remove", "gap", "error"]
    seq: int | None = None


class _Messages(Struct):
    messages: list[Raw]


_request = msgspec.json.Decoder(Subscribe | Unsubscribe | Ping)
_messages = msgspec.json.Decoder(_Messages)
_head = msgspec.json.Decoder(_Head)

Lost = (IIIError, NotConnected, TooLate)


class Socket(Protocol):
    """The connection below."""

    def sendClose(self, code: int | None = None, reason: str | None = None) -> None: ...


class Page:
    """A page; the role of its connection.

    :param over: told when it is gone
    """

    def __init__(
        self, engine: Backend, clock: Clock, socket: Socket, over: Callable[[Page], None]
    ) -> None:
        self._engine = engine
        self._clock = clock
        self._socket = socket
        self._over = over
        self._outbox: Outbox
        self._open = False
        self._session: str | None = None
        self._wishes: dict[str, Subscribe] = {}
        self._drained: Deferred[None] | None = None
        self._running: Deferred[None] | None = None
        self._away = False

    # Role ----------------------------------------------------------------------------------

    def opened(self, outbox: Outbox) -> None:
        """Role: begin."""
        self._outbox = outbox
        self._open = True
        outbox.on_drained(self._has_drained)
        running = self._running = Deferred.fromCoroutine(self._run())
        running.addErrback(self._failed)

    def received(self, payload: bytes, is_binary: bool) -> None:
        """Role: the page wants something."""
        if not self._open:
            return
        if self._outbox.queued > MAX_UNREAD_BYTES:
            self._socket.sendClose(CLOSE_OVERLOAD, "this page asks and does not read")
            return
        if len(payload) > MAX_REQUEST_BYTES:
            self._socket.sendClose(1009, f"a request has at most {MAX_REQUEST_BYTES} bytes")
            return
        try:
            wanted = _request.decode(payload)
        except (msgspec.MsgspecError, RecursionError) as error:
            self._tell_error(None, Code.INVALID_ARGUMENTS, str(error))
            return
        if isinstance(wanted, Ping):
            self._send(b'{"event":"pong"}')
        elif isinstance(wanted, Unsubscribe):
            if self._wishes.pop(wanted.id, None) is not None:
                self._later(self._unsubscribe(wanted.id))
        elif wanted.id not in self._wishes and len(self._wishes) >= MAX_WISHES:
            text = f"a page watches at most {MAX_WISHES} topics"
            self._tell_error(wanted.id, Code.LIMIT_EXCEEDED, text)
        else:
            self._wishes[wanted.id] = wanted
            if self._session is not None:
                self._later(self._subscribe(self._session, wanted))

    def closed(self, clean: bool) -> None:
        """Role: the page is gone, and everything it watched with it."""
        if not self._open:
            return
        self._open = False
        self._wishes.clear()
        if self._running is not None:
            self._running.cancel()
        session, self._session = self._session, None
        if session is not None:
            self._later(self._ask("close", session=session))
        self._over(self)

    # Asking --------------------------------------------------------------------------------

    async def _run(self) -> None:
        while self._open:
            try:
                session = self._session or await self._begin()
                await self._listen(session)
            except Lost:
                self._session = None
                self._tell_engine(connected=False)
                await self._clock.pause(AGAIN_S)

    async def _begin(self) -> str:
        """A session, with everything that the page wants to watch."""
        opened = await self._ask("open")
        session: str = msgspec.json.decode(opened)["session"]
        self._session = session
        self._tell_engine(connected=True)
        for wish in list(self._wishes.values()):
            await self._subscribe(session, wish)
        return session

    async def _listen(self, session: str) -> None:
        """Hand on what is new, once the page has taken everything before."""
        if self._outbox.queued:
            self._drained = Deferred()
            await self._drained
        answer = await self._ask("next", session=session, wait_ms=WAIT_MS)
        for message in _messages.decode(answer).messages:
            head = _head.decode(message)
            wish = self._wishes.get(head.id)
            if wish is None:
                continue
            if head.event == "error":
                del self._wishes[head.id]
            elif head.seq is not None:
                wish.since = head.seq
            self._send(bytes(message))

    async def _subscribe(self, session: str, wish: Subscribe) -> None:
        fields: dict[str, Any] = {"session": session, "id": wish.id, "topic": wish.topic}
        if wish.filter is not None:
            fields["filter"] = wish.filter
        if wish.since is not None:
            fields["since"] = wish.since
        try:
            await self._ask("subscribe", **fields)
        except IIIError as refused:
            if self._wishes.get(wish.id) is wish:
                del self._wishes[wish.id]
                self._tell_error(wish.id, refused.code, refused.message)

    async def _unsubscribe(self, id: str) -> None:
        if self._session is not None:
            await self._ask("unsubscribe", session=self._session, id=id)

    async def _ask(self, name: str, **fields: Any) -> Raw:
        answer = await self._engine.ask(f"engine::watch::{name}", fields, ANSWER_S)
        return Raw(b"null") if answer is None else answer

    def _later(self, asking: Any) -> None:
        """What it fails with shows in ``_run``, which asks all the time."""
        doing = Deferred.fromCoroutine(asking)
        doing.addErrback(lambda failure: failure.trap(*Lost) and None)
        doing.addErrback(self._failed)

    # Out -----------------------------------------------------------------------------------

    def _send(self, message: bytes) -> None:
        if self._open:
            self._outbox.send_text(message)

    def _tell_error(self, id: str | None, code: str, text: str) -> None:
        error = {"event": "error", "error": {"code": code, "message": text}}
        self._send(msgspec.json.encode(error if id is None else {"id": id, **error}))

    def _tell_engine(self, *, connected: bool) -> None:
        """Say that the engine went away or came back; not that it is there at first."""
        if self._away == connected:
            self._away = not connected
            told = b"true" if connected else b"false"
            self._send(b'{"event":"engine","connected":%b}' % told)

    def _has_drained(self) -> None:
        drained, self._drained = self._drained, None
        if drained is not None:
            drained.callback(None)

    def _failed(self, failure: Failure) -> None:
        if failure.check(CancelledError) is None:
            log.failure("a page's connection failed", failure)
            if self._open:
                self._socket.sendClose(1011, "internal error")

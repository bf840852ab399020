"""``engine::watch::…``: the topics of an engine, for consoles here and elsewhere.

``open`` a session, ``subscribe`` to topics, and ask for what is ``next`` again and again:
the answer comes when there is something.  A worker that may not do everything may not watch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from msgspec import Meta, Raw, Struct
from twisted.internet.defer import Deferred

from iii.engine.invocations import Call
from iii.engine.native import Empty
from iii.engine.watching.filtering import compiled
from iii.engine.watching.sessions import Session, Sessions
from iii.engine.workers import Worker
from iii.errors import Code, InvocationError

if TYPE_CHECKING:
    from iii.engine.core import Engine
    from iii.engine.module import ModuleApi

MAX_TOPIC_CHARS = 1_024
MAX_WAIT_MS = 25_000

Name = Annotated[str, Meta(min_length=1, max_length=200)]


class SessionInput(Struct):
    """A session by its id."""

    session: str


class SubscribeInput(Struct):
    """``engine::watch::subscribe``.

    :ivar id: the caller's own name for the subscription
    :ivar filter: ``iii.engine.watching.filtering``
    :ivar since: the ``seq`` of what was heard last, after a reconnect
    """

    session: str
    id: Name
    topic: Annotated[str, Meta(min_length=1, max_length=MAX_TOPIC_CHARS)]
    filter: dict[str, Any] | None = None
    since: int | None = None


class UnsubscribeInput(Struct):
    """``engine::watch::unsubscribe``."""

    session: str
    id: Name


class NextInput(Struct):
    """``engine::watch::next``; ``wait_ms``: how long to wait for something."""

    session: str
    wait_ms: Annotated[int, Meta(ge=0, le=MAX_WAIT_MS)] = 20_000


class Opened(Struct):
    """The answer of ``open``: the session, and what can be watched."""

    session: str
    topics: list[str]


class Done(Struct):
    """Whether there was something to do."""

    done: bool


class WatchFunctions:
    """The functions.

    :param sessions: which they are about
    """

    def __init__(self, engine: Engine, sessions: Sessions) -> None:
        self._engine = engine
        self._sessions = sessions
        engine.workers.listen(self._worker_changed)
        engine.on_stop(sessions.stop)

    def install(self, api: ModuleApi) -> None:
        """Offer them."""
        for name, handler, takes, gives, about in (
            ("open", self.open, Empty, Opened, "Begin to watch the engine"),
            ("subscribe", self.subscribe, SubscribeInput, Done, "Watch a topic"),
            ("unsubscribe", self.unsubscribe, UnsubscribeInput, Done, "Watch a topic no more"),
            ("next", self.next, NextInput, None, "What happened, as soon as something did"),
            ("close", self.close, SessionInput, Done, "Watch no more"),
        ):
            handle: Any = handler
            api.function(
                f"engine::watch::{name}",
                handle,
                takes=takes,
                gives=gives,
                description=about,
                wants_call=True,
            )

    def open(self, asked: Empty, call: Call) -> Opened:
        """``engine::watch::open``."""
        self._engine.check_unrestricted(call.caller)
        session = self._sessions.open(call.caller)
        return Opened(session.id, self._engine.feeds.names())

    def subscribe(self, asked: SubscribeInput, call: Call) -> Done:
        """``engine::watch::subscribe``.

        :raises IIIError: no such topic, or the filter makes no sense
        """
        session = self._session(asked.session, call.caller)
        feed, _ = self._engine.feeds.find(asked.topic)
        matches = compiled(asked.filter, feed.fields)
        self._sessions.subscribe(session, asked.id, asked.topic, matches, feed, asked.since)
        return Done(True)

    def unsubscribe(self, asked: UnsubscribeInput, call: Call) -> Done:
        """``engine::watch::unsubscribe``."""
        return Done(self._session(asked.session, call.caller).drop(asked.id))

    def next(self, asked: NextInput, call: Call) -> Deferred[Raw]:
        """``engine::watch::next``: a list of messages, empty when nothing happened."""
        session = self._session(asked.session, call.caller)
        return session.next(asked.wait_ms / 1000).addCallback(_joined)

    def close(self, asked: SessionInput, call: Call) -> Done:
        """``engine::watch::close``."""
        self._sessions.close(self._session(asked.session, call.caller))
        return Done(True)

    def _session(self, id: str, caller: str | None) -> Session:
        """
        :raises InvocationError: there is none, or it is somebody else's
        """
        self._engine.check_unrestricted(caller)
        session = self._sessions.find(id)
        if session.owner != caller:
            raise InvocationError(Code.FORBIDDEN, "this is the session of another worker")
        return session

    def _worker_changed(self, event: str, worker: Worker) -> None:
        if event == "worker_disconnected" and len(self._sessions):
            self._sessions.close_all_of(worker.id)


def _joined(messages: list[bytes]) -> Raw:
    return Raw(b'{"messages":[%b]}' % b",".join(messages))

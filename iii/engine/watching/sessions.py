"""Subscribers and what they wait for.

A *session* is one watcher, such as a page of a console, with any number of subscriptions.
It asks for what is new (``next``) and the answer comes when there is something: so nothing
is polled, a watcher in another process needs no way in but calls, and one that does not ask
gets nothing, while what waits for it is bounded.

A session ends when it is closed, when its worker is gone, or when nobody asked for
``LEASE_S``.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred

from iii.engine.clock import Clock, Deadlines, Timer
from iii.engine.ids import uuid4_text
from iii.engine.watching.feeds import Feed, Feeds
from iii.engine.watching.filtering import Matches
from iii.engine.watching.subscription import Subscription
from iii.engine.watching.topic import Topic
from iii.errors import Code, InvocationError

MAX_SESSIONS = 64
MAX_SUBSCRIPTIONS = 64
MAX_SESSION_BYTES = 4 * 1024 * 1024
MAX_ANSWER_BYTES = 2 * 1024 * 1024
LEASE_S = 30.0
#: What happens within this time of the first event goes out with it.
GATHER_S = 0.02


class Session:
    """One watcher.

    :param owner: id of the worker it belongs to; None: the engine's own console
    :param asks: told whether somebody waits in ``next``
    """

    def __init__(
        self, clock: Clock, owner: str | None, asks: Callable[[Session, bool], None]
    ) -> None:
        self.id = uuid4_text()
        self.owner = owner
        self.subscriptions: dict[str, Subscription] = {}
        self._clock = clock
        self._asks = asks
        self._bytes = 0
        self._waiter: Deferred[list[bytes]] | None = None
        self._limit: Timer | None = None
        self._timer: Timer | None = None
        self._timer_due = 0.0
        self.closed = False

    @property
    def waiting_bytes(self) -> int:
        """What waits to be taken, in bytes."""
        return self._bytes

    def add(self, id: str, matches: Matches) -> Subscription:
        """A new subscription, instead of one of the same name.

        :raises InvocationError: there are too many
        """
        self.drop(id)
        if len(self.subscriptions) >= MAX_SUBSCRIPTIONS:
            text = f"a session has at most {MAX_SUBSCRIPTIONS} subscriptions"
            raise InvocationError(Code.LIMIT_EXCEEDED, text)
        subscription = self.subscriptions[id] = Subscription(id, matches, self)
        return subscription

    def drop(self, id: str) -> bool:
        """End a subscription; False: there was none."""
        subscription = self.subscriptions.pop(id, None)
        if subscription is None:
            return False
        subscription.end()
        return True

    def next(self, wait_s: float) -> Deferred[list[bytes]]:
        """The messages that are due, as soon as there are any; none after ``wait_s``."""
        self._answer([])
        answer: Deferred[list[bytes]] = Deferred(self._not_wanted)
        self._waiter = answer
        self._asks(self, True)
        self._limit = self._clock.call_later(wait_s, self._answer, [])
        if self.closed:
            self._answer([])
        else:
            self._go_on()
        return answer

    def close(self) -> None:
        """End it and all its subscriptions."""
        self.closed = True
        for id in list(self.subscriptions):
            self.drop(id)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._answer([])

    # Holder --------------------------------------------------------------------------------

    def weigh(self, size: int) -> bool:
        """Holder: all subscriptions together have a limit."""
        if size > 0 and self._bytes + size > MAX_SESSION_BYTES:
            return False
        self._bytes += size
        return True

    def wake(self, subscription: Subscription) -> None:
        """Holder: answer who waits, when the message is due."""
        if self._waiter is None:
            return
        due = max(self._clock.monotonic() + GATHER_S, subscription.due)
        if self._timer is None or due < self._timer_due:
            self._at(due)

    # Inside --------------------------------------------------------------------------------

    def _at(self, due: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_due = due
        self._timer = self._clock.call_later(due - self._clock.monotonic(), self._due)

    def _due(self) -> None:
        self._timer = None
        self._go_on()

    def _go_on(self) -> None:
        """Answer with what is due, or wait for what comes next."""
        if self._waiter is None:
            return
        # A timer may fire a hair early.
        now = self._clock.monotonic()
        ready = [known for known in self.subscriptions.values() if known.ready]
        messages: list[bytes] = []
        size = 0
        for subscription in ready:
            if subscription.due <= now + 0.001 and size < MAX_ANSWER_BYTES:
                message = subscription.take(now)
                messages.append(message)
                size += len(message)
                if subscription.over:
                    self.drop(subscription.id)
        if messages:
            self._answer(messages)
        elif ready:
            self._at(min(subscription.due for subscription in ready))

    def _answer(self, messages: list[bytes]) -> None:
        waiter, self._waiter = self._waiter, None
        if self._limit is not None:
            if self._limit.active():
                self._limit.cancel()
            self._limit = None
        if waiter is not None:
            self._asks(self, False)
            waiter.callback(messages)

    def _not_wanted(self, _: Deferred[list[bytes]]) -> None:
        self._waiter = None
        self._answer([])
        self._asks(self, False)


class Sessions:
    """All sessions and the topics they watch."""

    def __init__(self, clock: Clock, feeds: Feeds) -> None:
        self._clock = clock
        self._feeds = feeds
        self._sessions: dict[str, Session] = {}
        self._topics: dict[str, Topic] = {}
        self._leases: Deadlines[Session] = Deadlines(clock, LEASE_S, self.close)
        self._closing = False
        feeds.withdrawn = self._withdrawn

    def __len__(self) -> int:
        return len(self._sessions)

    @property
    def sessions(self) -> list[Session]:
        """All of them."""
        return list(self._sessions.values())

    @property
    def topics(self) -> list[str]:
        """What is watched."""
        return sorted(self._topics)

    def open(self, owner: str | None) -> Session:
        """A new session.

        :raises InvocationError: there are too many, or the engine stops
        """
        if self._closing:
            raise InvocationError(Code.SHUTTING_DOWN, "the engine is stopping")
        if len(self._sessions) >= MAX_SESSIONS:
            text = f"at most {MAX_SESSIONS} can watch at a time"
            raise InvocationError(Code.LIMIT_EXCEEDED, text)
        session = Session(self._clock, owner, self._asked)
        self._sessions[session.id] = session
        self._leases.add(session)
        return session

    def find(self, id: str) -> Session:
        """The session with this id.

        :raises InvocationError: there is none
        """
        session = self._sessions.get(id)
        if session is None:
            raise InvocationError(Code.NOT_FOUND, "there is no such session any more")
        return session

    def subscribe(
        self, session: Session, id: str, name: str, matches: Matches, feed: Feed, since: int | None
    ) -> None:
        """Watch a topic.

        :param name: of the topic
        :param feed: that of ``name``
        :raises IIIError: the topic can't be opened, or the session has too many
        """
        subscription = session.add(id, matches)
        topic = self._topics.get(name)
        if topic is None:
            try:
                topic = Topic(name, feed, name.partition(":")[2], self._clock, self._ended)
            except Exception:
                session.drop(id)
                raise
            self._topics[name] = topic
        subscription.left = lambda: topic.leave(subscription)
        topic.join(subscription, since)

    def close(self, session: Session) -> None:
        """End a session."""
        self._sessions.pop(session.id, None)
        self._leases.discard(session)
        session.close()

    def close_all_of(self, owner: str) -> None:
        """A worker is gone."""
        for session in [known for known in self._sessions.values() if known.owner == owner]:
            self.close(session)

    def stop(self) -> None:
        """End all of them, and open no more."""
        self._closing = True
        for session in list(self._sessions.values()):
            self.close(session)
        for topic in list(self._topics.values()):
            topic.close()
        self._leases.stop()

    # Inside --------------------------------------------------------------------------------

    def _asked(self, session: Session, waits: bool) -> None:
        if waits or session.closed:
            self._leases.discard(session)
        else:
            self._leases.add(session)

    def _ended(self, topic: Topic) -> None:
        if self._topics.get(topic.name) is topic:
            del self._topics[topic.name]

    def _withdrawn(self, feed: Feed) -> None:
        for topic in [known for known in self._topics.values() if known.feed is feed]:
            topic.close()

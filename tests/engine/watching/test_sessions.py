"""Sessions, subscriptions and topics, without an engine: what is told, when, how much of it."""

from __future__ import annotations

from typing import Any

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock as FakeTime
from twisted.trial.unittest import SynchronousTestCase

from iii.engine.clock import Clock
from iii.engine.watching import sessions as limits
from iii.engine.watching.feeds import Feed, Feeds, Items, Outlet, Source
from iii.engine.watching.filtering import compiled, everything
from iii.engine.watching.sessions import Session, Sessions
from iii.engine.watching.subscription import MAX_WAITING_BYTES, MAX_WAITING_ITEMS
from iii.errors import Code, InvocationError

FIELDS = frozenset(("n", "text", "tags"))


class News:
    """A feed that a test holds in its hand."""

    def __init__(self, rows: Items | Deferred[Items] | None = None) -> None:
        self.outlet: Outlet
        self.open_now = 0
        self._rows = rows

    def open(self, argument: str, outlet: Outlet) -> Source:
        self.outlet = outlet
        self.open_now += 1
        return self

    def rows(self) -> Items | Deferred[Items] | None:
        return self._rows

    def close(self) -> None:
        self.open_now -= 1

    def add(self, *numbers: int, event: Any = "add") -> None:
        self.outlet.tell(event, [{"n": number} for number in numbers])


class WatchingCase(SynchronousTestCase):
    """Sessions on a clock that a test moves."""

    def setUp(self) -> None:
        self.time = FakeTime()
        self.feeds = Feeds()
        self.sessions = Sessions(Clock.virtual(self.time), self.feeds)
        self.news = News()
        self.bring("news", self.news)

    def bring(self, name: str, news: News, argument: str = "") -> Feed:
        feed = Feed(news.open, FIELDS, argument)
        self.feeds.add(name, feed)
        return feed

    def watch(
        self, session: Session, topic: str = "news", id: str = "s", since: int | None = None
    ) -> None:
        feed, _ = self.feeds.find(topic)
        self.sessions.subscribe(session, id, topic, everything, feed, since)

    def heard(self, session: Session, wait_s: float = 1.0) -> list[dict[str, Any]]:
        """What ``next`` answers within ``wait_s``."""
        answer = session.next(wait_s)
        self.time.pump([0.01] * int(wait_s * 100 + 1))
        return [msgspec.json.decode(message) for message in self.successResultOf(answer)]


class Telling(WatchingCase):
    """Messages."""

    def test_nothing_happens(self) -> None:
        session = self.sessions.open(None)
        self.watch(session)
        answer = session.next(5.0)
        self.time.advance(4.9)
        self.assertNoResult(answer)
        self.time.advance(0.2)
        self.assertEqual(self.successResultOf(answer), [])

    def test_what_happens_at_once_is_told_together(self) -> None:
        session = self.sessions.open(None)
        self.watch(session)
        answer = session.next(5.0)
        self.news.add(1)
        self.news.add(2, 3)
        self.assertNoResult(answer)
        self.time.advance(0.03)
        (message,) = [msgspec.json.decode(each) for each in self.successResultOf(answer)]
        self.assertEqual((message["id"], message["event"]), ("s", "add"))
        self.assertEqual([item["n"] for item in message["items"]], [1, 2, 3])

    def test_a_message_every_quarter_of_a_second(self) -> None:
        session = self.sessions.open(None)
        self.watch(session)
        self.news.add(1)
        self.heard(session, 0.1)
        self.news.add(2)
        answer = session.next(5.0)
        self.time.advance(0.1)
        self.assertNoResult(answer)
        self.time.advance(0.06)
        self.assertEqual(len(self.successResultOf(answer)), 1)

    def test_one_kind_of_event_after_the_other(self) -> None:
        session = self.sessions.open(None)
        self.watch(session)
        self.news.add(1)
        self.news.add(1, event="remove")
        self.news.add(2)
        told = [self.heard(session, 0.3)[0] for _ in range(3)]
        self.assertEqual([message["event"] for message in told], ["add", "remove", "add"])
        seqs = [message["seq"] for message in told]
        self.assertEqual(seqs, sorted(seqs))

    def test_a_list_begins_with_how_it_is(self) -> None:
        session = self.sessions.open(None)
        self.bring("list", News([{"n": 1}, {"n": 2}]))
        self.watch(session, "list")
        (message,) = self.heard(session)
        self.assertEqual((message["event"], len(message["items"])), ("snapshot", 2))

    def test_a_list_that_is_read_first(self) -> None:
        reading: Deferred[Items] = Deferred()
        news = News(reading)
        session = self.sessions.open(None)
        self.bring("list", news)
        self.watch(session, "list")
        news.add(1)  # it is in the list that is being read
        self.assertEqual(self.heard(session), [])
        reading.callback([{"n": 1}])
        self.assertEqual([m["event"] for m in self.heard(session)], ["snapshot"])
        news.add(2)
        self.assertEqual([m["items"] for m in self.heard(session)], [[{"n": 2}]])

    def test_a_list_that_cannot_be_read(self) -> None:
        reading: Deferred[Items] = Deferred()
        session = self.sessions.open(None)
        self.bring("list", News(reading))
        self.watch(session, "list")
        reading.errback(RuntimeError("disk"))
        (message,) = self.heard(session)
        self.assertEqual(message["error"]["code"], Code.INTERNAL_ERROR)
        self.assertEqual(session.subscriptions, {})
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_items_are_filtered(self) -> None:
        session = self.sessions.open(None)
        feed, _ = self.feeds.find("news")
        matches = compiled({"n": {"min": 2}}, FIELDS)
        self.sessions.subscribe(session, "s", "news", matches, feed, None)
        self.news.add(1, 2, 3)
        self.assertEqual(self.heard(session)[0]["items"], [{"n": 2}, {"n": 3}])


class Losing(WatchingCase):
    """Whoever is slow, or was away."""

    def test_who_asks_for_nothing_loses_it_and_is_told(self) -> None:
        session = self.sessions.open(None)
        self.watch(session)
        count = MAX_WAITING_ITEMS + 10
        self.news.add(*range(count))
        told = self.heard(session)[0]
        self.assertEqual((told["event"], told["dropped"]), ("gap", MAX_WAITING_ITEMS + 1))
        rest = self.heard(session)[0]
        self.assertEqual([item["n"] for item in rest["items"]], list(range(count - 9, count)))

    def test_bytes_are_bounded(self) -> None:
        session = self.sessions.open(None)
        self.watch(session)
        for _ in range(100):
            self.news.outlet.tell("add", [{"text": "x" * 50_000}])
            self.assertLessEqual(session.waiting_bytes, MAX_WAITING_BYTES)

    def test_those_of_a_session_together(self) -> None:
        session = self.sessions.open(None)
        for number in range(10):
            self.watch(session, id=str(number))
        for _ in range(30):
            self.news.outlet.tell("add", [{"text": "x" * 50_000}])
            self.assertLessEqual(session.waiting_bytes, limits.MAX_SESSION_BYTES)
        for number in range(10):
            session.drop(str(number))
        self.assertEqual(session.waiting_bytes, 0)

    def test_what_cannot_be_told(self) -> None:
        session = self.sessions.open(None)
        self.watch(session)
        self.news.outlet.lost(7)
        self.assertEqual(self.heard(session)[0]["dropped"], 7)

    def test_going_on_where_it_was(self) -> None:
        first = self.sessions.open(None)
        self.watch(first)
        self.news.add(1)
        seq = self.heard(first)[0]["seq"]
        self.sessions.close(first)
        self.news.add(2)

        second = self.sessions.open(None)
        self.watch(second, since=seq)
        self.assertEqual(self.heard(second)[0]["items"], [{"n": 2}])

    def test_too_late(self) -> None:
        session = self.sessions.open(None)
        self.watch(session)
        self.news.add(1)
        seq = self.heard(session)[0]["seq"]
        self.news.add(*range(2_000))
        other = self.sessions.open(None)
        self.watch(other, since=seq)
        self.assertEqual(self.heard(other)[0]["event"], "gap")


class Ending(WatchingCase):
    """What is let go of."""

    def test_a_topic_ends_soon_after_the_last_has_gone(self) -> None:
        one, other = self.sessions.open(None), self.sessions.open(None)
        self.watch(one)
        self.watch(other)
        self.assertEqual(self.news.open_now, 1)
        self.sessions.close(one)
        self.time.advance(10)
        self.assertEqual(self.news.open_now, 1)
        self.sessions.close(other)
        self.time.advance(5)
        self.assertEqual(self.news.open_now, 0)
        self.assertEqual(self.sessions.topics, [])

    def test_a_session_that_nobody_asks_for(self) -> None:
        self.sessions.open(None)
        self.time.advance(limits.LEASE_S + 1)
        self.assertEqual(len(self.sessions), 0)

    def test_one_that_somebody_waits_for_lives_on(self) -> None:
        session = self.sessions.open(None)
        session.next(25.0)
        self.time.pump([1.0] * 40)
        self.assertEqual(len(self.sessions), 1)
        self.time.pump([1.0] * 20)
        self.assertEqual(len(self.sessions), 0)

    def test_who_waits_is_answered(self) -> None:
        session = self.sessions.open(None)
        answer = session.next(25.0)
        self.sessions.stop()
        self.assertEqual(self.successResultOf(answer), [])
        self.assertEqual(self.time.getDelayedCalls(), [])
        with self.assertRaises(InvocationError):
            self.sessions.open(None)

    def test_a_second_question_answers_the_first(self) -> None:
        session = self.sessions.open(None)
        first = session.next(25.0)
        session.next(25.0)
        self.assertEqual(self.successResultOf(first), [])
        session.close()

    def test_who_waits_may_go_away(self) -> None:
        session = self.sessions.open(None)
        self.watch(session)
        answer = session.next(25.0)
        answer.cancel()
        self.failureResultOf(answer)
        self.news.add(1)
        self.assertEqual(len(self.heard(session)), 1)

    def test_a_feed_is_taken_back(self) -> None:
        session = self.sessions.open(None)
        feed = self.bring("late", News())
        self.watch(session, "late")
        self.feeds.remove("late", feed)
        self.assertEqual(self.heard(session)[0]["event"], "error")
        with self.assertRaises(InvocationError):
            self.feeds.find("late")

    def test_so_many_and_no_more(self) -> None:
        for _ in range(limits.MAX_SESSIONS):
            session = self.sessions.open(None)
        with self.assertRaises(InvocationError) as caught:
            self.sessions.open(None)
        self.assertEqual(caught.exception.code, Code.LIMIT_EXCEEDED)
        for number in range(limits.MAX_SUBSCRIPTIONS):
            self.watch(session, id=str(number))
        with self.assertRaises(InvocationError):
            self.watch(session, id="one more")
        self.watch(session, id="0")  # instead of what it was

    def test_a_topic_that_was_taken_back_is_closed_once(self) -> None:
        session = self.sessions.open(None)
        late = News()
        feed = self.bring("late", late)
        self.watch(session, "late")
        self.feeds.remove("late", feed)
        self.heard(session)
        self.time.advance(10)
        self.assertEqual(late.open_now, 0)

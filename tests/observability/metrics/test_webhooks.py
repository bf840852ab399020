"""Webhooks of alerts, with a web server of their own (05 A12)."""

from __future__ import annotations

from typing import Any

import msgspec
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IListeningPort
from twisted.internet.task import Clock as Timers
from twisted.logger import capturedLogs
from twisted.trial.unittest import TestCase
from twisted.web.http import Request
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site

from iii.engine.clock import Clock
from iii.engine.core import Engine
from iii.modules.observability.config import AlertAction
from iii.modules.observability.metrics import webhook
from iii.modules.observability.metrics.actions import Actions, Event
from tests.observability.metrics.cases import EPOCH_S, hub_on

EVENT = Event("busy", "m", 7.0, 5.0, "GreaterThan", 1_760_000_000_000)


class _Hook(Resource):
    """Answers with one code after the other; 0: not at all.

    :ivar posts: method, content type and body of each request
    """

    isLeaf = True

    def __init__(self, codes: list[int]) -> None:
        super().__init__()
        self._codes = codes
        #: what an answer begins with that doesn't end
        self.endless = b""
        self.posts: list[tuple[bytes, str | None, Any]] = []
        self.waiting: list[Request] = []

    def render(self, request: Request) -> Any:
        """Resource."""
        content = request.content
        assert content is not None
        body = msgspec.json.decode(content.read())
        self.posts.append((request.method, request.getHeader("content-type"), body))
        code = self._codes.pop(0)
        if not code:
            self.waiting.append(request)
            return NOT_DONE_YET
        request.setResponseCode(code)
        if code == 302:
            request.setHeader("location", "/hook")
        if self.endless:
            request.write(self.endless)
            return NOT_DONE_YET
        return b"thanks"


class Webhooks(TestCase):
    """The waits are of a clock the test turns; the posts are real."""

    timeout = 20

    def setUp(self) -> None:
        self.timers = Timers()
        self.engine = Engine(reactor, clock=Clock.virtual(self.timers, epoch=EPOCH_S))
        self.hub = hub_on(self.engine)
        self.actions = Actions(self.hub)
        self.port: IListeningPort | None = None

    async def tearDown(self) -> None:
        self.actions.stop()
        await self.until(lambda: not self._channels())
        await self.no_more_server()

    def _channels(self) -> list[object]:
        """What of a connection is still in the reactor."""
        kinds = ("Server", "Client")
        readers = reactor.getReaders()  # type: ignore[attr-defined]
        return [reader for reader in readers if type(reader).__name__ in kinds]

    def listen(self, hook: _Hook) -> str:
        """Start a server; the hook's address."""
        port = self.port = reactor.listenTCP(0, Site(hook), interface="127.0.0.1")  # type: ignore[attr-defined]
        return f"http://127.0.0.1:{port.getHost().port}/hook"

    def run_hook(self, *codes: int, event: Event = EVENT) -> _Hook:
        """Trigger an alert whose webhook answers so."""
        hook = _Hook(list(codes))
        self.trigger(self.listen(hook), event)
        return hook

    def trigger(self, url: str, event: Event = EVENT) -> None:
        """Run an alert's webhook."""
        self.actions.run(AlertAction(type="webhook", url=url), event)

    async def no_more_server(self) -> None:
        """Nobody listens any more."""
        port, self.port = self.port, None
        stopped = None if port is None else port.stopListening()
        if stopped is not None:
            await stopped

    async def until(self, there: Any) -> None:
        """Let the reactor run until ``there()``."""
        for _ in range(4_000):
            if there():
                return
            turn: Deferred[None] = Deferred()
            reactor.callLater(0.001, turn.callback, None)  # type: ignore[attr-defined]
            await turn
        self.fail("it did not happen")

    async def waits(self) -> list[float]:
        """Wait until the answer is in; how long until the next attempt, if there is one."""
        await self.until(lambda: max(self._timers(), default=0.0) <= 2.0)
        return self._timers()

    def _timers(self) -> list[float]:
        now = self.timers.seconds()
        return [call.getTime() - now for call in self.timers.getDelayedCalls()]

    async def test_it_is_tried_three_times(self) -> None:
        """05.38: after 500 and 500 a second and two later; the third answer is right."""
        hook = self.run_hook(500, 500, 200)
        for expected in (1.0, 2.0):
            self.assertEqual(await self.waits(), [expected])
            self.timers.advance(expected)
        self.assertEqual(await self.waits(), [])
        body = {
            "alert": "busy",
            "metric": "m",
            "value": 7.0,
            "threshold": 5.0,
            "operator": "GreaterThan",
            "timestamp": 1_760_000_000_000,
        }
        self.assertEqual(hook.posts, [(b"POST", "application/json", body)] * 3)

    async def test_then_it_is_given_up(self) -> None:
        """With an error in the log."""
        with capturedLogs() as logged:
            hook = self.run_hook(500, 404, 302, 200)
            for wait in (1.0, 2.0):
                self.assertEqual(await self.waits(), [wait])
                self.timers.advance(wait)
            self.assertEqual(await self.waits(), [])
        self.assertEqual(len(hook.posts), 3)
        ours = [event for event in logged if "alert" in event]
        self.assertEqual([event["log_level"].name for event in ours], ["warn", "warn", "error"])
        self.assertEqual(
            [event["why"] for event in ours],
            ["it answered 500", "it answered 404", "it answered 302"],
        )

    async def test_any_success_will_do(self) -> None:
        """Once; an end says that it is one."""
        hook = self.run_hook(204, event=EVENT._replace(resolved=True))
        self.assertEqual(await self.waits(), [])
        (post,) = hook.posts
        self.assertIs(post[2]["resolved"], True)

    async def test_who_does_not_answer_is_left_after_thirty_seconds(self) -> None:
        """And asked again."""
        with capturedLogs() as logged:
            hook = self.run_hook(0, 200)
            await self.until(lambda: hook.waiting)
            self.timers.advance(29.9)
            self.assertEqual(len(self._timers()), 1)
            self.timers.advance(0.2)
            self.assertEqual(await self.waits(), [1.0])
            self.timers.advance(1.0)
            self.assertEqual(await self.waits(), [])
        self.assertEqual(len(hook.posts), 2)
        self.assertIn("no answer within 30 s", [event.get("why") for event in logged])

    async def test_who_is_not_there_is_asked_again(self) -> None:
        """Like who answers with an error."""
        url = self.listen(_Hook([]))
        await self.no_more_server()
        self.trigger(url)
        self.assertEqual(await self.waits(), [1.0])

    async def test_an_endless_answer_is_cut_off(self) -> None:
        """Its code is known, that is enough."""
        hook = _Hook([200])
        hook.endless = b"x" * (webhook.MAX_ANSWER_BYTES + 1)
        self.trigger(self.listen(hook))
        await self.until(lambda: hook.posts)
        self.assertEqual(await self.waits(), [])

    async def test_an_answer_that_does_not_go_on_is_not_waited_for(self) -> None:
        """The event was taken; it is not sent again."""
        hook = _Hook([200])
        hook.endless = b"x"
        bodies: list[object] = []
        self.patch(webhook._Rest, "connectionMade", lambda rest: bodies.append(rest))
        self.trigger(self.listen(hook))
        await self.until(lambda: bodies)
        self.timers.advance(30)
        self.assertEqual(await self.waits(), [])
        self.assertEqual(len(hook.posts), 1)

    async def test_a_stop_leaves_webhooks(self) -> None:
        """Those that wait for an answer, and those that wait for their next attempt."""
        hook = _Hook([0, 500])
        url = self.listen(hook)
        self.trigger(url)
        await self.until(lambda: hook.waiting)
        self.trigger(url)
        await self.until(lambda: 1.0 in self._timers())
        with capturedLogs() as logged:
            self.actions.stop()
        self.assertEqual(self._timers(), [])
        self.assertEqual([event for event in logged if "alert" in event], [])
        self.assertEqual(len(hook.posts), 2)

"""What the modules of the engine do when their settings change under load."""

from __future__ import annotations

from typing import Any

import msgspec
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.web.client import Agent, HTTPConnectionPool, readBody
from twisted.web.http_headers import Headers
from twisted.web.resource import Resource
from twisted.web.server import Site

from tests.reload.reload_case import ReloadCase
from tests.support.engine_case import RawWorker

QUIET = {"name": "iii-observability", "config": {"prometheus_port": 0}}


class Answer:
    """What came back."""

    def __init__(self, status: int, headers: Headers, body: bytes) -> None:
        self.status = status
        self.body = body
        self._headers = headers

    def header(self, name: str) -> str | None:
        """The value of a header field."""
        values = self._headers.getRawHeaders(name)
        return values[0] if values else None


class HttpCase(ReloadCase):
    """With a client that keeps its connection."""

    def setUp(self) -> None:
        super().setUp()
        pool = HTTPConnectionPool(reactor)  # type: ignore[no-untyped-call]
        pool.retryAutomatically = False
        self.agent = Agent(reactor, pool=pool)  # type: ignore[no-untyped-call]
        self.addCleanup(pool.closeCachedConnections)

    def http(self, **config: Any) -> dict[str, Any]:
        return {"name": "iii-http", "config": {"port": 0, **config}}

    async def get(self, path: str, port: int | None = None, **headers: str) -> Answer:
        url = f"http://127.0.0.1:{port or self.engine.engine.ready['http']}{path}"
        fields = Headers({name: [value] for name, value in headers.items()})
        response = await self.agent.request(b"GET", url.encode(), fields)
        return Answer(response.code, response.headers, await readBody(response))  # type: ignore[no-untyped-call]

    async def route(self, worker: RawWorker, path: str, function_id: str) -> None:
        await worker.trigger("http", function_id, {"api_path": path, "http_method": "GET"})


class Http(HttpCase):
    """Everything but the address changes without closing anything."""

    async def test_cors_and_time_limit(self) -> None:
        await self.start(self.http(cors={"allowed_origins": ["http://one"]}))
        worker = await self.worker("t::f")
        await self.route(worker, "/f", "t::f")
        port = self.engine.ready["http"]
        slow = Deferred.fromCoroutine(self.get("/f", Origin="http://two"))
        call = await worker.invoked("t::f")
        await self.reload(self.http(cors={"allowed_origins": ["http://two"]}, default_timeout=300))
        self.assertEqual(self.engine.engine.ready["http"], port)
        self.assertIn("configuration reloaded: changed iii-http", self.log)
        self.assertFalse([line for line in self.log if "UNREGISTERED" in line])
        worker.reply(call, result=1)
        answer = await slow
        self.assertEqual((answer.status, answer.body), (200, b"1"))
        self.assertEqual(answer.header("access-control-allow-origin"), "http://two")
        # The new limit holds, and has not been lost on the way.
        answer = await self.get("/f")
        self.assertEqual(answer.status, 504)
        self.assertIn(b"no answer within 300 ms", answer.body)

    async def test_a_request_that_waits_gets_the_new_limit(self) -> None:
        await self.start(self.http())
        worker = await self.worker("t::f")
        await self.route(worker, "/f", "t::f")
        waiting = Deferred.fromCoroutine(self.get("/f"))
        await worker.invoked("t::f")
        await self.reload(self.http(default_timeout=100))
        self.assertEqual((await waiting).status, 504)

    async def test_trailing_slashes(self) -> None:
        await self.start(self.http())
        worker = await self.worker("t::f", "t::g")
        await self.route(worker, "/f", "t::f")
        self.assertEqual((await self.get("/f/")).status, 404)
        await self.reload(self.http(ignore_trailing_slash=True))
        fetched = Deferred.fromCoroutine(self.get("/f/"))
        await worker.answer("t::f", result=1)
        self.assertEqual((await fetched).status, 200)
        await self.reload(self.http())
        self.assertEqual((await self.get("/f/")).status, 404)
        fetched = Deferred.fromCoroutine(self.get("/f"))
        await worker.answer("t::f", result=1)
        self.assertEqual((await fetched).status, 200)
        await self.gone(worker)
        self.assertEqual((await self.get("/f")).status, 404)

    async def gone(self, worker: RawWorker) -> None:
        await worker.leave()
        await self.eventually(lambda: self.engine.engine.workers.get(worker.id) is None)

    async def test_another_port(self) -> None:
        """Requests that are under way are answered, routes are there again."""
        await self.start(self.http(host="127.0.0.1"))
        worker = await self.worker("t::f")
        await self.route(worker, "/f", "t::f")
        old = self.engine.ready["http"]
        slow = Deferred.fromCoroutine(self.get("/f"))
        call = await worker.invoked("t::f")
        self.write(self.http(host="localhost"))
        reloaded = self.engine.service.reload()
        await worker.settled()
        worker.reply(call, result="old")
        answer = await slow
        self.assertEqual((answer.status, answer.body), (200, b'"old"'))
        await reloaded
        new = self.engine.engine.ready["http"]
        self.assertNotEqual(new, old)
        fetched = Deferred.fromCoroutine(self.get("/f", new))
        await worker.answer("t::f", result="new")
        self.assertEqual((await fetched).body, b'"new"')


class Observability(ReloadCase):
    """Level, sampling and alerts change; what was recorded stays."""

    def entry(self, **config: Any) -> dict[str, Any]:
        return {"name": "iii-observability", "config": {"prometheus_port": 0, **config}}

    def stored(self, health: dict[str, Any]) -> int:
        """How many spans are kept."""
        count: int = health["components"]["spans"]["details"]["stored_spans"]
        return count

    async def call(self, worker: RawWorker) -> None:
        call = worker.invoke("t::f")
        await worker.answer("t::f", result=1)
        await worker.result_of(call)

    async def test_sampling_keeps_what_is_there(self) -> None:
        await self.start(self.entry(sampling_ratio=1.0))
        worker = await self.worker("t::f")
        await self.call(worker)
        await self.reload(self.entry(sampling_ratio=0.0))
        rules = await worker.call("engine::sampling::rules")
        self.assertEqual(rules["traces"]["default_ratio"], 0.0)
        kept = self.stored(await worker.call("engine::health::check"))
        self.assertGreater(kept, 0)
        await self.call(worker)
        self.assertEqual(self.stored(await worker.call("engine::health::check")), kept)
        await self.reload(self.entry())
        await self.call(worker)
        self.assertGreater(self.stored(await worker.call("engine::health::check")), kept)

    async def test_alerts_that_stay_stand_as_they_are(self) -> None:
        rule = {"name": "calls", "metric": "iii.invocations.total", "threshold": 0}
        other = {**rule, "name": "many", "threshold": 1e9}
        await self.start(self.entry(alerts=[rule]))
        worker = await self.worker("t::f")
        await self.call(worker)
        self.assertEqual((await worker.call("engine::alerts::evaluate"))["evaluated"], True)
        before = await worker.call("engine::alerts::list")
        self.assertEqual(before["firing_count"], 1)
        await self.reload(self.entry(alerts=[other, rule]))
        after = await worker.call("engine::alerts::list")
        self.assertEqual([row["name"] for row in after["rules"]], ["many", "calls"])
        self.assertEqual(after["firing_count"], 1)
        kept = next(row for row in after["alerts"] if row["name"] == "calls")
        self.assertEqual(kept["last_triggered"], before["alerts"][0]["last_triggered"])
        await self.reload(self.entry())
        self.assertEqual((await worker.call("engine::alerts::list"))["alerts"], [])

    async def test_others_start_it_anew(self) -> None:
        await self.start(self.entry(logs_max_count=10))
        worker = await self.worker("t::f")
        await self.reload(self.entry(logs_max_count=20))
        await self.call(worker)
        self.assertGreater(self.stored(await worker.call("engine::health::check")), 0)


class Web(Resource):
    """A server that external functions call."""

    isLeaf = True

    def render_POST(self, request: Any) -> bytes:
        """Answer everything alike."""
        request.setHeader("content-type", "application/json")
        return b'{"ok":true}'


class External(ReloadCase):
    """02 B: rules for external functions change for those that are registered, too."""

    def entry(self, allowed: bool) -> dict[str, Any]:
        security = {
            "block_private_ips": not allowed,
            "require_https": not allowed,
            "url_allowlist": ["127.0.0.1"],
        }
        return {"name": "iii-http-functions", "config": {"security": security}}

    async def test_rules(self) -> None:
        site = Site(Web())  # type: ignore[no-untyped-call]
        server = reactor.listenTCP(0, site, interface="127.0.0.1")  # type: ignore[attr-defined]
        self.addCleanup(server.stopListening)
        await self.start(QUIET, self.entry(True))
        worker = await self.worker()
        url = f"http://127.0.0.1:{server.getHost().port}/"
        await worker.register("t::far", invocation={"url": url, "method": "POST"})
        self.assertEqual(await worker.call("t::far"), {"ok": True})
        await self.reload(QUIET, self.entry(False))
        error = await worker.error_of("t::far")
        self.assertEqual(error["code"], "url_validation_failed")
        await self.reload(QUIET, self.entry(True))
        self.assertEqual(await worker.call("t::far"), {"ok": True})


class Queues(ReloadCase):
    """Messages that are under way when the module starts anew are handled once."""

    def entry(self, **queue: Any) -> dict[str, Any]:
        adapter = {
            "name": "builtin",
            "config": {
                "store_method": "file_based",
                "file_path": str(self.path.parent / "queue"),
            },
        }
        config = {"queue_configs": {"work": {"type": "standard", **queue}}, "adapter": adapter}
        return {"name": "iii-queue", "config": config}

    async def enqueue(self, worker: RawWorker, number: int) -> None:
        call = worker.invoke("t::f", number, action={"type": "enqueue", "queue": "work"})
        self.assertNotIn("error", await worker.result_of(call))

    async def test_nothing_is_lost_and_nothing_is_done_twice(self) -> None:
        await self.start(QUIET, self.entry(concurrency=2))
        worker = await self.worker("t::f")
        for number in range(5):
            await self.enqueue(worker, number)
        first, second = await worker.invoked("t::f"), await worker.invoked("t::f")
        self.write(QUIET, self.entry(concurrency=4))
        reloaded = self.engine.service.reload()
        await worker.settled()
        sixth = worker.invoke("t::f", 5, action={"type": "enqueue", "queue": "work"})
        for call in (first, second):
            worker.reply(call, result=1)
        await reloaded
        self.assertNotIn("error", await worker.result_of(sixth))
        done = {first["data"], second["data"]}
        for _ in range(4):
            call = await worker.invoked("t::f")
            self.assertNotIn(call["data"], done)
            done.add(call["data"])
            worker.reply(call, result=1)
        self.assertEqual(done, set(range(6)))
        await worker.settled()
        await self.pause(0.05)
        self.assertEqual(worker.inbox, [])
        stats = await worker.call("engine::queue::topic_stats", {"topic": "__fn_queue::work"})
        self.assertEqual(msgspec.json.encode(stats).count(b'"dlq_depth":0'), 1, stats)

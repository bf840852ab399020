"""``/metrics`` over a real socket: formats, limits, and the engine's own series."""

from __future__ import annotations

import socket
from math import inf
from typing import Any, ClassVar

from prometheus_client import generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as openmetrics_latest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock as FakeTime
from twisted.logger import globalLogPublisher

from iii.engine.callcounts import MAX_COUNTED_FUNCTIONS
from iii.engine.clock import Clock
from iii.modules.observability.prometheus import scrape, server
from iii.modules.observability.prometheus.exposition import OPENMETRICS, PLAIN, chosen, text_of
from iii.modules.observability.prometheus.figures import PIECE_SAMPLES
from iii.modules.observability.prometheus.sdkseries import SdkSeries
from iii.modules.observability.prometheus.snapshot import Snapshots
from tests.observability.prometheus.cases import (
    PrometheusCase,
    Warnings,
    hub_of,
    number,
    parsed_openmetrics,
)

PLAIN_TYPE = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS_TYPE = "application/openmetrics-text; version=1.0.0; charset=utf-8"


class Series(PrometheusCase):
    """05 A10: what the engine says of itself."""

    async def test_an_engine_with_a_worker_shows_the_documented_series(self) -> None:
        """05.45: names, content type, one worker, one more registration."""
        worker = await self.worker("orders::create")

        answer = await self.ask()
        self.assertEqual((answer.status, answer.headers["content-type"]), (200, PLAIN_TYPE))
        before = await self.scrape()
        for name in (
            "iii_workers_active",
            "iii_workers_spawns_total",
            "iii_functions_registered_total",
            "iii_invocations_total",
            "iii_invocation_duration_seconds_bucket",
            "iii_function_invocations_total",
            "target_info",
        ):
            self.assertIn(name, before.names)
        self.assertIn(b"\niii_workers_active 1.0\n", answer.body)

        await worker.register("orders::cancel")
        after = await self.scrape()
        for name in ("iii_functions_registered_total", "iii_functions"):
            self.assertEqual(after.value(name), before.value(name) + 1)

    async def test_outcomes_are_counted_by_function(self) -> None:
        """05.46: one success and one failure of a worker's function."""
        caller, worker = await self.worker(), await self.worker("f")
        good, bad = caller.invoke("f"), caller.invoke("f")
        await worker.answer("f", result=1)
        await worker.answer("f", error={"code": "broken", "message": "no"})
        await caller.result_of(good)
        await caller.result_of(bad)

        seen = await self.scrape()
        for name in ("iii_invocations_total", "iii_function_invocations_total"):
            counted = {labels["status"]: n for labels, n in seen.all(name, function_id="f")}
            self.assertEqual(counted, {"ok": 1, "error": 1, "deferred": 2})
        errors = seen.all("iii_invocation_errors_total", function_id="f")
        self.assertEqual(errors, [({"function_id": "f", "error_code": "broken"}, 1)])
        count = "iii_invocation_duration_seconds_count"
        for status in ("ok", "error"):
            self.assertEqual(seen.value(count, function_id="f", status=status), 1)

    async def test_the_buckets_of_durations(self) -> None:
        """05 A10: the bounds, cumulative, up to infinity."""
        seen = await self.scrape()
        buckets = seen.all("iii_invocation_duration_seconds_bucket", status="ok")
        bounds = [float(labels["le"]) for labels, _ in buckets]
        self.assertEqual(
            bounds,
            [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, inf],
        )

    async def test_workers_that_are_gone(self) -> None:
        """05 A10: spawned, gone, and by status."""
        stays, goes = await self.worker("f"), await self.worker()
        call = goes.invoke("f")
        await stays.invoked("f")
        seen = await self.scrape()
        by_status = {x["status"]: n for x, n in seen.all("iii_workers_by_status")}
        self.assertEqual(
            by_status, {"connected": 2, "available": 0, "busy": 2, "disconnected": 0}, call
        )
        await self.gone(goes)
        seen = await self.scrape()
        self.assertEqual(seen.value("iii_workers_active"), 1)
        self.assertEqual(seen.value("iii_workers_spawns_total"), 2)
        self.assertEqual(seen.value("iii_workers_deaths_total"), 1)
        self.assertEqual(seen.value("iii_workers_by_status", status="disconnected"), 1)

    async def test_triggers_by_type(self) -> None:
        worker = await self.worker("f")
        await worker.trigger("engine::functions-available", "f")
        seen = await self.scrape()
        self.assertEqual(seen.value("iii_triggers", type="engine::functions-available"), 1)

    async def test_the_engine_names_itself(self) -> None:
        """05 A10: the resource, and the version."""
        seen = await self.scrape()
        [(target, one)] = seen.all("target_info")
        self.assertEqual((target["service_name"], one), ("iii", 1))
        self.assertLessEqual({"service_version", "service_instance_id"}, target.keys())
        self.assertEqual(seen.labels_of("iii_build_info"), {"version"})
        self.assertIn("process_resident_memory_bytes", seen.names)

    async def test_what_was_dropped(self) -> None:
        self.hub.drop("spans.queue_full", 3)
        seen = await self.scrape()
        self.assertEqual(seen.value("iii_telemetry_dropped_total", what="spans.queue_full"), 3)

    async def test_what_workers_measure_is_shown(self) -> None:
        """05 A10: other SDK metrics, with their service."""
        self.hub.add_metrics([number("cart.size", 7, attributes={"user.tier": "gold"})])
        seen = await self.scrape()
        self.assertEqual(
            seen.all("cart_size"), [({"user_tier": "gold", "service_name": "shop"}, 7)]
        )

    async def test_nobody_takes_the_name_of_another(self) -> None:
        """A worker's metric does not spoil the engine's."""
        warnings = Warnings(self)
        self.hub.add_metrics([number("iii.workers.active", 99), number("target_info", 5)])
        for _ in range(2):
            seen = await self.scrape()
            self.assertEqual(seen.all("iii_workers_active"), [({}, 0)])
        self.assertEqual(len([text for text in warnings.texts if "has its name" in text]), 2)


class Formats(PrometheusCase):
    """05 A10: plain text, or OpenMetrics if asked for."""

    async def test_openmetrics_is_given_to_who_asks_and_passes_the_strict_parser(self) -> None:
        worker = await self.worker("f")
        await worker.trigger("engine::functions-available", "f")
        self.hub.add_metrics([number('odd "name"\n', 1, "counter", attributes={"a": 'x"\\\n'})])
        answer = await self.ask(accept="application/openmetrics-text; version=1.0.0")
        self.assertEqual(answer.headers["content-type"], OPENMETRICS_TYPE)
        seen = parsed_openmetrics(answer.body.decode())
        self.assertEqual(seen.value("iii_workers_active"), 1)
        self.assertEqual(seen.value("odd__name___total", a='x"\\\n'), 1)

    def test_who_gets_which(self) -> None:
        prometheus_2 = (
            "application/openmetrics-text;version=1.0.0,application/openmetrics-text;"
            "version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
        )
        for accept, format in (
            ("", PLAIN),
            ("*/*", PLAIN),
            ("text/plain", PLAIN),
            ("text/html, application/xml;q=0.9", PLAIN),
            ("application/openmetrics-text;q=0", PLAIN),
            ("application/openmetrics-text;q=0.4, text/plain;q=0.5", PLAIN),
            ("application/openmetrics-text;q=x", PLAIN),
            (prometheus_2, OPENMETRICS),
            ("APPLICATION/OpenMetrics-Text", OPENMETRICS),
        ):
            self.assertIs(chosen(accept), format, accept)

    async def test_the_text_is_that_of_the_library(self) -> None:
        """Ours is only faster."""
        await self.worker("f", 'g"\\\n')
        self.hub.add_metrics([number("a", 0.1 + 0.2), number("b", 1e21, "counter")])
        self.hub.add_metrics([number("c", -0.0), number("ü.d", 12345678.0, attributes={"ü": "ü"})])
        series = SdkSeries(self.hub)
        snapshots = Snapshots(self.hub, series)
        snapshots._process.collect = list  # type: ignore[method-assign]  # it changes as it is read
        for format, library in ((PLAIN, generate_latest), (OPENMETRICS, openmetrics_latest)):
            registry = snapshots.registry([])
            self.assertEqual(b"".join(text_of(registry, format)), library(registry))

    async def test_ten_thousand_functions_come_in_small_pieces(self) -> None:
        """Nothing takes the reactor for more than a piece."""
        for number_ in range(MAX_COUNTED_FUNCTIONS + 5):
            self.engine.invocations.counts.of(f"f{number_}").ended(0.1, None)
        registry = Snapshots(self.hub, SdkSeries(self.hub)).registry([])
        pieces = list(text_of(registry, PLAIN))
        lines = [piece.count(b"\n") for piece in pieces]
        self.assertGreater(sum(lines), 20 * MAX_COUNTED_FUNCTIONS)
        self.assertLess(max(lines), PIECE_SAMPLES + 20)
        text = b"".join(pieces)
        self.assertIn(b'_total{function_id="f9999",status="ok"} 1.0\n', text)
        self.assertIn(b'_total{function_id="__other__",status="ok"} 5.0\n', text)
        self.assertEqual(text.count(b"# TYPE iii_invocation_duration_seconds histogram\n"), 1)


class Requests(PrometheusCase):
    """05 A10: paths and methods, and clients that misbehave."""

    async def test_other_paths_are_not_found(self) -> None:
        """05 A10: 404, whatever the method."""
        for path in ("/", "/metric", "/metrics/", "/metrics/x", "/healthz/x", "/METRICS"):
            for method in ("GET", "POST"):
                answer = await self.ask(path, method)
                self.assertEqual(answer.status, 404, (method, path))

    async def test_other_methods_are_not_allowed(self) -> None:
        """05 A10: 405."""
        for path in ("/metrics", "/healthz", "/readyz"):
            for method in ("POST", "PUT", "DELETE", "OPTIONS", "PATCH", "NONSENSE"):
                answer = await self.ask(path, method)
                self.assertEqual((answer.status, answer.headers["allow"]), (405, "GET, HEAD"))

    async def test_head_gives_the_head(self) -> None:
        client = await self.client()
        for path in ("/metrics", "/healthz", "/nothing"):
            client.send(f"HEAD {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            answer = await client.response(head=True)
            self.assertIn("content-type", answer.headers)
        self.assertEqual(client.received, b"")

    async def test_a_query_and_a_body_change_nothing(self) -> None:
        client = await self.client()
        body = b"x" * 200_000
        head = b"GET /metrics?name=x HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
        client.send(head + body)
        self.assertEqual((await client.response()).status, 200)

    async def test_an_old_client_gets_its_answer_until_the_end(self) -> None:
        client = await self.client()
        client.send(b"GET /metrics HTTP/1.0\r\n\r\n")
        answer = await client.response()
        self.assertIn(b"\niii_workers_active 0.0\n", answer.body)

    async def test_no_more_connections_than_allowed(self) -> None:
        self.patch(server, "MAX_CONNECTIONS", 1)
        first = await self.client()
        first.send(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        await first.response()
        second = await self.client()
        self.assertEqual(await second.end(), b"")
        first.send(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        self.assertEqual((await first.response()).status, 200)

    async def test_no_more_scrapes_than_allowed(self) -> None:
        self.patch(server, "MAX_SCRAPES", 1)
        slow: Deferred[list[Any]] = Deferred()
        asked: Deferred[None] = Deferred()

        def read() -> Deferred[list[Any]]:
            asked.callback(None)
            return slow

        self.hub.engine.instrument("slow", "gauge", "Slow", read)
        first = await self.client()
        first.send(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        await asked
        self.assertEqual((await self.ask()).status, 503)
        slow.callback([])
        self.assertEqual((await first.response()).status, 200)

    async def test_a_client_that_leaves_is_forgotten(self) -> None:
        asked: Deferred[None] = Deferred()
        ended: list[str] = []

        def read() -> Deferred[list[Any]]:
            asked.callback(None)
            return Deferred(lambda _: ended.append("cancelled"))

        self.hub.engine.instrument("slow", "gauge", "Slow", read)
        client = await self.client()
        client.send(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        await asked
        client.close()
        await self.eventually(lambda: ended == ["cancelled"])

    async def test_half_a_scrape_is_not_taken_for_a_whole_one(self) -> None:
        """What fails in the middle ends the connection."""

        def broken(*_: Any) -> Any:
            raise RuntimeError("no counts")

        self.patch(type(self.hub.engine), "census", broken)
        client = await self.client()
        client.send(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        self.assertNotIn(b"\r\n0\r\n", await client.end())
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)


class SlowReaders(PrometheusCase):
    """A client that does not read costs no memory, and not for ever."""

    def make_clock(self) -> Clock:
        self.time = FakeTime()
        return Clock.virtual(self.time)

    async def test_it_is_cut_off_after_a_minute(self) -> None:
        for index in range(2_000):
            self.engine.invocations.counts.of(f"f{index}").ended(0.1, None)
        client = await self.client()
        assert client.transport is not None
        client.transport.pauseProducing()
        client.send(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        await self.eventually(lambda: self.server._metrics._scrapes)
        [under_way] = self.server._metrics._scrapes
        # What fits into the sockets' buffers is made, and then nothing more.
        await self.eventually(lambda: self._stands_still(under_way))
        self.time.advance(scrape.SCRAPE_LIMIT_S)
        self.assertEqual(len(self.server._metrics._scrapes), 0)
        client.transport.resumeProducing()
        self.assertNotIn(b"\r\n0\r\n", await client.end())

    def _stands_still(self, under_way: scrape.Scrape) -> bool:
        if under_way._next is None and under_way._text is not None:
            return True
        self.time.advance(0)
        return False


class Listening(PrometheusCase):
    """Decisions 1 and 17: where, and whether at all."""

    async def test_on_both_loopback_addresses_and_in_the_ready_line(self) -> None:
        hosts = {port.getHost().host for port in self.server._ports}
        self.assertLessEqual({"127.0.0.1"}, hosts)
        self.assertLessEqual(hosts, {"127.0.0.1", "::1"})
        self.assertEqual(self.engine.ready["metrics"], self.server.port)

    async def test_where_the_configuration_says(self) -> None:
        other = server.PrometheusServer(hub_of(self.engine, host="127.0.0.2"), list, port=0)
        other.start()
        self.assertEqual(other._ports[0].getHost().host, "127.0.0.2")
        await other.stop()
        self.assertIsNone(other.port)

    async def test_off(self) -> None:
        """Decision 17: ``metrics_enabled: false`` or port 0; ``enabled: false`` changes nothing."""
        ports = []
        for config in (
            {"metrics_enabled": False, "prometheus_port": "any"},
            {"prometheus_port": 0},
            {"enabled": False, "prometheus_port": "any"},
        ):
            other = server.PrometheusServer(hub_of(self.engine, **config), list)
            other.start()
            ports.append(other.port is not None)
            await other.stop()
        self.assertEqual(ports, [False, False, True])

    async def test_a_taken_port_is_a_warning(self) -> None:
        """05 A10: the engine goes on; 08 §7: the port and the setting are named."""
        warnings = Warnings(self)
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            other = server.PrometheusServer(hub_of(self.engine, prometheus_port=port), list)
            other.start()
        self.assertIsNone(other.port)
        [warning] = warnings.texts
        self.assertIn(f"127.0.0.1:{port} is already in use", warning)
        self.assertIn("'prometheus_port' of iii-observability", warning)
        await other.stop()


class Quiet(PrometheusCase):
    """No access log."""

    settings: ClassVar[dict[str, Any]] = {"prometheus_port": "any", "service_name": "shop-engine"}

    async def test_requests_leave_no_line(self) -> None:
        client = await self.client()
        lines: list[Any] = []
        globalLogPublisher.addObserver(lines.append)
        self.addCleanup(globalLogPublisher.removeObserver, lines.append)
        for path in ("/metrics", "/nothing"):
            client.send(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            await client.response()
        self.assertEqual(lines, [])

    async def test_the_service_name_is_the_configured(self) -> None:
        seen = await self.scrape()
        self.assertEqual(seen.all("target_info")[0][0]["service_name"], "shop-engine")

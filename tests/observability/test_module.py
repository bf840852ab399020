"""The assembled module in a whole engine, from the outside: workers, sockets, HTTP."""

from __future__ import annotations

import signal
import socket
from typing import Any

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock as FakeTime
from twisted.logger import Logger, globalLogPublisher
from twisted.python.filepath import FilePath

from iii.engine.clock import Clock
from iii.errors import Code, StartError
from iii.modules.observability.export.exports import STOP_LIMIT_S
from iii.testing import InProcessEngine
from tests.observability.export.collectors import free_port
from tests.observability.ingest.cases import frame
from tests.observability.module_case import PARENT, TRACE, TRACEPARENT, ModuleCase, otel
from tests.observability.prometheus.cases import Warnings
from tests.process_case import ProcessCase
from tests.support.probes import probe
from tests.support.rawsocket import open_socket

NAME = "iii-observability"
HTTP = {"class": "modules::api::RestApiModule"}
QUEUE = {"class": "modules::queue::QueueModule"}

#: 05 A6.14, and those of later releases that we have.
FUNCTIONS = {
    *(f"engine::log::{level}" for level in ("info", "warn", "error", "debug", "trace")),
    *(f"engine::baggage::{name}" for name in ("get", "set", "get_all")),
    *(f"engine::traces::{name}" for name in ("list", "tree", "clear", "group_by")),
    *(f"engine::logs::{name}" for name in ("list", "clear")),
    *(f"engine::alerts::{name}" for name in ("list", "evaluate")),
    "engine::metrics::list",
    "engine::sampling::rules",
    "engine::health::check",
    "engine::rollups::list",
}
COMPONENTS = ("otel", "metrics", "logs", "spans")
#: In seconds, seven hours together: the original's analytics speak after 2 s, 60 s, 6 h.
A_WORKING_DAY = (1.0, 5.0, 60.0, 600.0, 3_600.0, 21_600.0)

log = Logger(namespace="iii.tests")


def attribute(key: str, value: str) -> dict[str, Any]:
    return {"key": key, "value": {"stringValue": value}}


class Offers(ModuleCase):
    """05 A1.2: functions and trigger types are there whatever the configuration says."""

    async def offered(self, *modules: dict[str, Any]) -> None:
        engine = await self.start(*modules)
        worker = await self.worker(engine)
        listed = await worker.call("engine::functions::list", {"include_internal": True})
        ids = {row["function_id"] for row in listed["functions"]}
        self.assertEqual(FUNCTIONS - ids, set())
        types = await worker.call("engine::trigger-types::list", {"include_internal": True})
        found = {row["id"] for row in types["trigger_types"]}
        self.assertEqual({"log", "trace"} - found, set())
        health = await worker.call("engine::health::check")
        self.assertEqual(tuple(health["components"]), COMPONENTS)

    async def test_without_the_module_in_the_configuration(self) -> None:
        await self.offered()

    async def test_with_the_name_of_early_releases(self) -> None:
        await self.offered(otel())

    async def test_with_the_name_of_late_releases(self) -> None:
        await self.offered({"name": NAME})

    async def test_when_it_is_not_enabled(self) -> None:
        await self.offered(otel(enabled=False))

    async def test_without_logs_and_metrics(self) -> None:
        await self.offered(otel(logs_enabled=False, metrics_enabled=False))

    async def test_with_everything_exported(self) -> None:
        nowhere = f"http://127.0.0.1:{free_port()}"
        await self.offered(
            otel(
                exporter="both",
                metrics_exporter="both",
                logs_exporter="both",
                endpoint=nowhere,
            )
        )


class Everything(ModuleCase):
    """One engine, one worker, and all there is to see of them."""

    async def test_one_request_is_one_tree(self) -> None:
        """From the request through the worker and a named queue to the worker again."""
        queues = {**QUEUE, "config": {"queue_configs": {"mail": {"type": "standard"}}}}
        engine = await self.start(otel(), HTTP, queues)
        worker = await self.worker(engine, "shop::order", "shop::mail")
        await worker.trigger("http", "shop::order", {"api_path": "order", "http_method": "GET"})

        asked = Deferred.fromCoroutine(
            self.ask(engine.ready["http"], "/order", traceparent=TRACEPARENT)
        )
        call = await worker.invoked("shop::order")
        self.assertIn(TRACE, call["traceparent"])
        worker.send(
            "invokefunction",
            function_id="shop::mail",
            data={"to": "a@example.org"},
            action={"type": "enqueue", "queue": "mail"},
            traceparent=call["traceparent"],
        )
        worker.reply(call, result={"ok": True})
        self.assertEqual((await asked).status, 200)
        await worker.answer("shop::mail", result=None)

        async def whole() -> Any:
            tree = await self.names(worker)
            return tree if "call shop::mail" in str(tree) else None

        tree = await self.eventually(whole)
        self.assertEqual(list(tree), ["GET /order"])
        below = tree["GET /order"]["call shop::order"]
        delivered = below["enqueue shop::mail → mail"]["fn_queue mail"]
        self.assertEqual(delivered, {"call shop::mail": {}})

    async def test_what_a_telemetry_socket_sends_is_shown_everywhere(self) -> None:
        """Spans, metrics and logs over ``/otel``; the socket itself is nowhere."""
        engine = await self.start(otel())
        worker = await self.worker(engine, "shop::order")
        alarms = await self.worker(engine, "alarm")
        await alarms.trigger("log", "alarm", {"level": "error"})
        telemetry = await self.socket(engine, "/otel")
        telemetry.binary(
            b"OTLP"
            + frame(
                "OTLP",
                {
                    "traceId": TRACE,
                    "spanId": PARENT,
                    "name": "work",
                    "startTimeUnixNano": "1760000000000000000",
                    "endTimeUnixNano": "1760000001000000000",
                },
            )
        )
        point = {"asInt": "73400320", "attributes": [attribute("worker.id", worker.id)]}
        gauge = {"name": "iii.worker.memory.rss", "gauge": {"dataPoints": [point]}}
        telemetry.binary(b"MTRC" + frame("MTRC", gauge))
        sent = {"severityNumber": 17, "body": {"stringValue": "refused"}, "traceId": TRACE}
        telemetry.binary(b"LOGS" + frame("LOGS", sent))

        alarm = await alarms.invoked("alarm")
        self.assertEqual(
            (alarm["data"]["body"], alarm["data"]["severity_text"]), ("refused", "ERROR")
        )
        alarms.reply(alarm, result=None)
        self.assertEqual(await self.names(worker), {"work": {}})
        self.assertEqual(await self.bodies(worker, trace_id=TRACE), ["refused"])
        rows = (await worker.call("engine::workers::list"))["workers"]
        rss = {row["id"]: (row["latest_metrics"] or {}).get("memory_rss") for row in rows}
        self.assertEqual(rss, {worker.id: 73400320, alarms.id: None})
        page = await self.scrape(engine)
        self.assertEqual(page.value("iii_worker_memory_rss_bytes", worker_id=worker.id), 73400320)
        self.assertEqual(page.value("iii_workers_active"), 2)

    async def test_calls_are_counted_on_every_page(self) -> None:
        """The list of metrics and the page for Prometheus agree."""
        engine = await self.start(otel())
        worker = await self.worker(engine, "shop::order")
        id = worker.invoke("shop::order")
        await worker.answer("shop::order", result=1)
        await worker.result_of(id)
        figures = (await worker.call("engine::metrics::list"))["engine_metrics"]
        self.assertEqual(figures["invocations"]["by_function"]["shop::order"], 1)
        page = await self.scrape(engine)
        labels = {"function_id": "shop::order", "status": "ok"}
        self.assertEqual(page.value("iii_invocations_total", **labels), 1)


class NotEnabled(ModuleCase):
    """05 A1.2: the minimal configuration of the README, ``enabled: false``."""

    minimal = otel(enabled=False, level="info", format="default")

    async def test_nothing_is_traced_and_ids_pass_untouched(self) -> None:
        engine = await self.start(self.minimal)
        worker = await self.worker(engine, "hello")
        worker.invoke("hello", traceparent=TRACEPARENT, baggage="k=v")
        call = await worker.invoked("hello")
        self.assertEqual((call["traceparent"], call["baggage"]), (TRACEPARENT, "k=v"))
        worker.reply(call, result=None)
        for function_id in ("list", "tree", "clear", "group_by"):
            asked = {"trace_id": TRACE, "attribute": "service.name"}
            error = await worker.error_of(f"engine::traces::{function_id}", asked)
            self.assertEqual(error["code"], "memory_exporter_not_enabled")
        spans = (await worker.call("engine::health::check"))["components"]["spans"]
        self.assertEqual(spans, {"status": "disabled", "details": None})

    async def test_logs_are_kept_and_told(self) -> None:
        """Those of calls and those of frames."""
        engine = await self.start(self.minimal)
        worker = await self.worker(engine, "alarm")
        await worker.trigger("log", "alarm", {"level": "warn"})
        await worker.call("engine::log::warn", {"message": "called"})
        first = await worker.answer("alarm", result=None)
        sent = {"severityNumber": 13, "body": {"stringValue": "framed"}}
        worker.socket.binary(b"LOGS" + frame("LOGS", sent))
        second = await worker.answer("alarm", result=None)
        self.assertEqual([c["data"]["body"] for c in (first, second)], ["called", "framed"])
        self.assertEqual(await self.bodies(worker), ["framed", "called"])

    async def test_metrics_are_kept_and_served(self) -> None:
        engine = await self.start(self.minimal)
        worker = await self.worker(engine)
        gauge = {"name": "orders.open", "gauge": {"dataPoints": [{"asDouble": 2.5}]}}
        worker.socket.binary(b"MTRC" + frame("MTRC", gauge))
        await worker.settled()
        stored = (await worker.call("engine::metrics::list"))["sdk_metrics"]
        self.assertEqual([metric["name"] for metric in stored], ["orders.open"])
        self.assertEqual((await self.scrape(engine)).value("orders_open"), 2.5)


class Switches(ModuleCase):
    """Single settings that take something away, and nothing else."""

    async def test_metrics_off_closes_the_port_only(self) -> None:
        """Decision 17."""
        for config in ({"metrics_enabled": False}, {"prometheus_port": 0}):
            engine = await self.start(otel(**config))
            self.assertNotIn("metrics", engine.ready)
            await self.works(engine)
            worker = await self.worker(engine)
            figures = (await worker.call("engine::metrics::list"))["engine_metrics"]
            self.assertEqual(figures["invocations"]["by_function"]["hello"], 1)

    async def test_logs_off_keeps_none(self) -> None:
        engine = await self.start(otel(logs_enabled=False))
        worker = await self.worker(engine)
        await worker.call("engine::log::info", {"message": "gone"})
        answer = await worker.call("engine::logs::list")
        self.assertEqual((answer["logs"], answer["total"]), ([], 0))

    @probe("05.47")
    async def test_settings_of_early_configurations_load(self) -> None:
        """All numbers as text, as ``${NAME:default}`` leaves them."""
        port = free_port()
        engine = await self.start(
            otel(
                enabled="true",
                metrics_exporter="both",
                endpoint=f"http://127.0.0.1:{free_port()}",
                prometheus_port=str(port),
                sampling_ratio="1.0",
                memory_max_spans="20000",
                worker_metrics={
                    "enabled": "true",
                    "collection_interval_seconds": "5",
                    "history_size": "60",
                },
                log_level="info",
            )
        )
        self.assertEqual(engine.ready["metrics"], port)
        await self.works(engine)

    async def test_a_rule_that_makes_no_sense_stops_the_start(self) -> None:
        """And nothing is left listening: the test would say that the reactor is not clean."""
        rule = {"name": "busy", "metric": "m", "operator": "~", "threshold": 1}
        with self.assertRaises(StartError) as caught:
            await self.start(otel(alerts=[rule]))
        self.assertEqual(caught.exception.code, Code.CONFIG_ERROR)
        self.assertIn("busy", str(caught.exception))


class Outside(ModuleCase):
    """What the engine sends to whom."""

    @probe("05.51")
    async def test_a_collector_that_is_down_holds_up_nothing(self) -> None:
        """Neither calls nor the end of the engine."""
        engine = await self.start(
            otel(
                exporter="otlp",
                metrics_exporter="otlp",
                logs_exporter="otlp",
                logs_batch_size=1,
                endpoint=f"http://127.0.0.1:{free_port()}",
            )
        )
        for _ in range(20):
            await self.works(engine)
        before = engine.engine.clock.monotonic()
        await engine.stop()
        self.assertLess(engine.engine.clock.monotonic() - before, STOP_LIMIT_S + 2)

    @probe("05.50")
    async def test_nobody_is_told_of_us(self) -> None:
        """Seven hours with the original's analytics module in the configuration."""
        reached: set[tuple[str, int]] = set()

        def noting(name: str) -> None:
            connect = getattr(socket.socket, name)

            def note(self: socket.socket, address: Any) -> Any:
                reached.add(address[:2])
                return connect(self, address)

            self.patch(socket.socket, name, note)

        noting("connect")
        noting("connect_ex")
        time = FakeTime()
        engine = await self.start(
            {
                "class": "modules::telemetry::TelemetryModule",
                "config": {
                    "enabled": True,
                    "sdk_api_key": "key",
                    "heartbeat_interval_secs": 60,
                },
            },
            otel(),
            clock=Clock.virtual(time),
        )
        try:
            await self.works(engine)
            for seconds in A_WORKING_DAY:
                time.advance(seconds)
                await self.worker(engine)
        finally:
            await self.stopped(engine, time)
        self.assertEqual(reached, {("127.0.0.1", engine.ready["worker"])})

    async def stopped(self, engine: InProcessEngine, time: FakeTime) -> None:
        """The end of an engine that waits for ``time`` to pass."""
        ended: list[Any] = []
        engine.stop().addBoth(ended.append)

        async def over() -> bool:
            time.advance(0.1)
            return bool(ended)

        await self.eventually(over)


class Lasting(ModuleCase):
    """``persist``: traces outlive the engine."""

    async def test_a_trace_is_there_after_a_restart(self) -> None:
        lasting = otel(persist=True, trace_storage={"directory": self.mktemp()})
        first = await self.start(lasting)
        worker = await self.worker(first, "hello")
        id = worker.invoke("hello", traceparent=TRACEPARENT)
        await worker.answer("hello", result=None)
        await worker.result_of(id)
        before = await self.eventually(lambda: self.names(worker))
        self.assertIn("call hello", str(before))
        await first.stop()

        second = await self.start(lasting)
        self.assertEqual(await self.names(await self.worker(second)), before)

    async def test_without_it_nothing_is_written(self) -> None:
        directory = self.mktemp()
        storage = {"enabled": False, "directory": directory}
        engine = await self.start(otel(trace_storage=storage))
        await self.works(engine)
        await engine.stop()
        self.assertFalse(FilePath(directory).exists())


class Two(ModuleCase):
    """Two engines in one process; only the process' own log is common to them."""

    async def both(self) -> tuple[InProcessEngine, InProcessEngine]:
        return await self.start(otel()), await self.start(otel())

    async def test_each_keeps_what_its_workers_do(self) -> None:
        one, other = await self.both()
        self.assertNotEqual(one.ready["metrics"], other.ready["metrics"])
        here, there = await self.worker(one, "hello"), await self.worker(other)
        id = here.invoke("hello", traceparent=TRACEPARENT)
        await here.answer("hello", result=None)
        await here.result_of(id)
        await here.call("engine::log::error", {"message": "mine"})
        here.socket.binary(b"LOGS" + frame("LOGS", {"body": {"stringValue": "framed"}}))
        await here.settled()

        self.assertIn("call hello", str(await self.eventually(lambda: self.names(here))))
        self.assertEqual(await self.names(there), {})
        self.assertEqual([b for b in await self.bodies(here) if b == "mine"], ["mine"])
        self.assertEqual([b for b in await self.bodies(here) if b == "framed"], ["framed"])
        self.assertEqual({"mine", "framed"} & set(await self.bodies(there)), set())
        self.assertEqual((await self.scrape(one)).value("iii_workers_active"), 1)
        labels = {"function_id": "hello", "status": "ok"}
        self.assertIsNone((await self.scrape(other)).value("iii_invocations_total", **labels))

    async def test_a_line_of_the_process_is_in_each_log_once(self) -> None:
        one, other = await self.both()
        log.warn("the disk is nearly full")
        for engine in (one, other):
            worker = await self.worker(engine)
            found = await self.bodies(worker, severity_text="WARN")
            self.assertEqual(found.count("the disk is nearly full"), 1)

    async def test_the_end_of_one_leaves_the_other_as_it_is(self) -> None:
        one, other = await self.both()
        await one.stop()
        await self.works(other)
        log.warn("still heard")
        worker = await self.worker(other)
        self.assertEqual((await self.bodies(worker, severity_text="WARN")).count("still heard"), 1)
        self.assertEqual((await self.scrape(other)).value("iii_workers_active"), 2)

    async def test_nothing_of_an_engine_observes_the_log_after_its_end(self) -> None:
        observers: list[Any] = []
        add, remove = globalLogPublisher.addObserver, globalLogPublisher.removeObserver
        self.patch(globalLogPublisher, "addObserver", lambda o: (observers.append(o), add(o)))
        self.patch(globalLogPublisher, "removeObserver", lambda o: (observers.remove(o), remove(o)))
        engine = await self.start(otel())
        self.assertTrue(observers)
        await engine.stop()
        self.assertEqual(observers, [])

    async def test_handlers_of_logs_do_not_start_a_conversation(self) -> None:
        """That one engine's handler failed is told to neither engine's handler."""
        one, other = await self.both()
        warnings = Warnings(self)
        ears = [await self.worker(engine, "ear") for engine in (one, other)]
        for ear in ears:
            await ear.trigger("log", "ear", {"level": "warn"})
        log.warn("once")
        for ear in ears:
            call = await ear.answer("ear", error={"code": "E", "message": "deaf"})
            self.assertEqual(call["data"]["body"], "once")

        async def both_failed() -> bool:
            return sum("deaf" in text for text in warnings.texts) == 2

        await self.eventually(both_failed)
        for ear in ears:
            await ear.settled()
            self.assertEqual(ear.inbox, [])


MEMORY = {"store_method": "in_memory"}


class Live(ModuleCase):
    """05 A15: who follows the streams of live spans sees them come."""

    async def test_a_call_is_seen_where_it_is_followed(self) -> None:
        adapter = {"class": "modules::stream::adapters::KvStore", "config": MEMORY}
        config = {"port": 0, "adapter": adapter}
        stream = {"class": "modules::stream::StreamModule", "config": config}
        engine = await self.start(otel(), stream)
        worker = await self.worker(engine, "f")
        watcher = await open_socket(engine.ready["stream"])
        self.addCleanup(watcher.drop)
        wanted = {"subscriptionId": "s", "streamName": "iii:devtools:trace-rows", "groupId": "all"}
        watcher.text(msgspec.json.encode({"type": "join", "data": wanted}))
        await watcher.next_message()  # what there is

        async def seen() -> Any:
            id = worker.invoke("f", {})
            await worker.answer("f", result=1)
            await worker.result_of(id)
            return [frame for frame in watcher.frames if b"handle_invocation f" in frame.payload]

        (frame, *_) = await self.eventually(seen)
        event = msgspec.json.decode(frame.payload)["event"]
        self.assertEqual(event["event"]["type"], "spans")


class Process(ProcessCase):
    """The engine as a process."""

    def test_port_0_takes_a_free_port_for_metrics(self) -> None:
        """Two at once, so it can't be 9464 for both; the ready line says which."""
        arguments = ("--use-default-config", "--port", "0")
        lines = [self.start(*arguments, III_IN_MEMORY="1").ready for _ in range(2)]
        found = {ready["metrics"] for ready in lines} - {0, 9464}
        self.assertEqual(len(found), 2)

    def test_everything_together_ends_with_0(self) -> None:
        """A collector that is down, an archive, alerts; and SIGTERM."""
        config = {
            "port": 0,
            "modules": [
                otel(
                    exporter="both",
                    endpoint=f"http://127.0.0.1:{free_port()}",
                    persist=True,
                    prometheus_port="any",
                    alerts=[{"name": "a", "metric": "iii.invocations.total", "threshold": 1}],
                )
            ],
        }
        self.write("config.yaml", msgspec.json.encode(config).decode())
        child = self.start("--config", "config.yaml")
        self.assertTrue((self.directory / "data" / "observability" / "traces").is_dir())
        child.signal(signal.SIGTERM)
        self.assertEqual(child.wait(), 0, child.output)

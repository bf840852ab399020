"""The composition root: start order, failed starts, stop order, embedding."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any, ClassVar

import msgspec
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionRefusedError
from twisted.trial.unittest import TestCase

from iii import Engine
from iii.builder import EmbeddedEngine, EngineBuilder
from iii.catalogue import Catalogue
from iii.config import from_mapping
from iii.engine.module import Module, ModuleApi
from iii.errors import Code, ConfigError, StartError
from iii.service import EngineService, with_port
from iii.testing import InProcessEngine, in_process
from tests.support.engine_case import RawWorker
from tests.support.rawsocket import CLOSE, dial, open_socket

HTTP = {"class": "modules::api::RestApiModule"}


class Diary(list[str]):
    """What happened, in order."""


class DemoConfig(msgspec.Struct):
    """Configuration of the modules below."""

    name: str = "demo"
    fails: str = ""
    hangs: bool = False


def demo_module(diary: Diary) -> type[Module]:
    """A module class that writes down what happens to it."""

    class DemoModule(Module):
        name = "demo"
        config = DemoConfig

        def __init__(self, settings: DemoConfig) -> None:
            super().__init__(settings)
            self._step("create")

        def start(self, engine: ModuleApi) -> None:
            self._step("start")
            engine.function(f"{self.settings.name}::ping", lambda taken: {"ok": True})

        def closing(self) -> None:
            self._step("closing")

        async def stop(self) -> None:
            self._step("stop")
            if self.settings.hangs:
                await Deferred()

        def _step(self, step: str) -> None:
            diary.append(f"{step} {self.settings.name}")
            if self.settings.fails == step:
                raise StartError(Code.CONFIG_ERROR, f"{step} went wrong")

    return DemoModule


def demo(name: str, **config: Any) -> dict[str, Any]:
    """A configuration entry for it."""
    return {"class": "test::Demo", "config": {"name": name, **config}}


class ServiceCase(TestCase):
    """Engines in this process that are stopped after the test."""

    timeout = 30

    def setUp(self) -> None:
        self.diary = Diary()
        self.register = {"test::Demo": demo_module(self.diary)}

    async def start(self, *modules: dict[str, Any], **top: Any) -> InProcessEngine:
        started = await in_process(
            reactor, {"port": 0, **top}, modules=modules, register=self.register
        )
        self.addCleanup(started.stop)
        return started

    async def worker(self, engine: InProcessEngine, *functions: str) -> RawWorker:
        socket = await open_socket(engine.ready["worker"])
        self.addCleanup(socket.drop)
        worker = RawWorker(socket, await socket.next_message())
        if functions:
            await worker.register(*functions)
        return worker

    async def assert_not_started(self, text: str, *modules: dict[str, Any]) -> None:
        with self.assertRaises(StartError) as caught:
            await self.start(*modules)
        self.assertEqual(caught.exception.message, text)

    async def goodbye(self, worker: RawWorker) -> int | None:
        """Wait for the engine's close frame, answer it; its code."""
        frame = await worker.socket.next_frame()
        while frame.opcode != CLOSE:
            frame = await worker.socket.next_frame()
        worker.socket.close_frame(frame.close_code)
        return frame.close_code

    async def assert_refused(self, port: int) -> None:
        with self.assertRaises(ConnectionRefusedError):
            await dial(port)


class Stores(ServiceCase):
    """04 §1: the modules that keep something, under the names of all releases."""

    async def test_every_spelling_loads(self) -> None:
        """04.51: old class names, a bridge to nobody, the ``workers`` form."""
        kept = {"store_method": "in_memory"}
        old = await self.start(
            {"class": "modules::kv_server::KvServer", "config": kept},
            {
                "class": "modules::streams::StreamModule",
                "config": {
                    "port": 0,
                    "adapter": {"class": "modules::streams::adapters::KvStore", "config": kept},
                },
            },
            {
                "class": "modules::bridge_client::BridgeClientModule",
                "config": {"url": "ws://127.0.0.1:9", "service_id": "a", "service_name": "b"},
            },
        )
        worker = await self.worker(old)
        written = await worker.call("kv_server::set", {"index": "i", "key": "k", "value": 1})
        self.assertEqual(written, {"old_value": None, "new_value": 1})
        self.assertEqual(await worker.call("stream::list_all"), {"stream": [], "count": 0})

        adapter = {"name": "kv", "config": kept}
        new = await in_process(
            reactor,
            {
                "workers": [
                    {"name": "iii-worker-manager", "config": {"port": 0}},
                    {"name": "iii-state", "config": {"adapter": adapter}},
                    {"name": "iii-stream", "config": {"port": 0, "adapter": adapter}},
                ]
            },
        )
        self.addCleanup(new.stop)
        worker = await self.worker(new)
        self.assertEqual(await worker.call("state::list_groups"), {"groups": []})
        self.assertEqual(await worker.call("stream::list_all"), {"stream": [], "count": 0})

    async def test_in_memory_is_for_stores_that_name_no_method(self) -> None:
        """Decision 8: III_IN_MEMORY=1, with and without an adapter block; no file is made."""
        state = {"class": "modules::state::StateModule"}
        adapter = {"class": "modules::state::adapters::KvStore", "config": {"cache_bytes": 0}}
        for entry in (state, {**state, "config": {"adapter": adapter}}):
            engine = await self.start(entry)
            worker = await self.worker(engine)
            await worker.call("state::set", {"scope": "s", "key": "k", "value": 1})
            await engine.stop()
        self.assertFalse(Path("data").exists())  # noqa: ASYNC240 (a test may block)


class Start(ServiceCase):
    """01 §14: create, initialise, in order; the worker port last."""

    async def test_modules_start_in_the_order_of_the_file(self) -> None:
        """01 §14: for each entry in order: create, initialise."""
        await self.start(demo("a"), demo("b"))
        self.assertEqual(self.diary, ["create a", "start a", "create b", "start b"])

    async def test_functions_of_modules_can_be_called(self) -> None:
        """01 §14: callable after the module's own register step."""
        engine = await self.start(demo("a"))
        worker = await self.worker(engine)
        self.assertEqual(await worker.call("a::ping"), {"ok": True})

    async def test_the_ready_line_has_every_port(self) -> None:
        """08 §7: worker and HTTP; several worker ports are listed."""
        manager = {"name": "iii-worker-manager", "config": {"port": 0}}
        engine = await self.start(HTTP, manager, manager)
        self.assertEqual(set(engine.ready), {"event", "worker", "workers", "http", "metrics"})
        self.assertEqual(engine.ready["workers"][0], engine.ready["worker"])
        for port in (*engine.ready["workers"], engine.ready["http"]):
            (await dial(port)).drop()

    async def test_a_module_that_cannot_be_created_ends_the_start(self) -> None:
        """01 §14: `failed to create module '<class>': …`."""
        await self.assert_not_started(
            "failed to create module 'test::Demo': create went wrong", demo("a", fails="create")
        )

    async def test_a_module_that_cannot_initialise_ends_the_start(self) -> None:
        """01 §14: what had started is stopped again, the last one first."""
        await self.assert_not_started(
            "failed to initialize module 'test::Demo': start went wrong",
            demo("a"),
            demo("b", fails="start"),
        )
        self.assertEqual(
            self.diary, ["create a", "start a", "create b", "start b", "stop b", "stop a"]
        )

    async def test_a_wrong_configuration_is_told_with_the_module(self) -> None:
        """01 §12.4: the wrong type of a known key is fatal."""
        with self.assertRaises(StartError) as caught:
            await self.start(demo("a", hangs="yes"))
        self.assertIn("failed to create module 'test::Demo': ", caught.exception.message)
        self.assertIn("expected true or false", caught.exception.message)

    async def test_a_taken_worker_port_frees_the_other_ports(self) -> None:
        """01.58: an engine that did not start leaves nothing behind."""
        first = await self.start(HTTP)
        port = first.ready["worker"]
        service = EngineService(
            reactor,
            from_mapping({"port": port, "modules": [{**HTTP, "config": {"port": 0}}]}, environ={}),
            environ={},
        )
        with self.assertRaises(StartError) as caught:
            await service.start()
        self.assertIn(f"127.0.0.1:{port} is already in use", caught.exception.message)
        self.assertEqual(service.running, 0)
        await self.assert_refused(service.engine.ready["http"])

    async def test_a_foreign_exception_is_told_with_its_class(self) -> None:
        """01 §14: a module of somebody else may fail with anything."""

        class Broken(Module):
            name = "broken"

            def start(self, engine: ModuleApi) -> None:
                raise ZeroDivisionError("no luck")

        self.register["test::Broken"] = Broken
        await self.assert_not_started(
            "failed to initialize module 'test::Broken': ZeroDivisionError: no luck",
            {"class": "test::Broken"},
        )


class Stop(ServiceCase):
    """01 §14, 08 §4: reverse order, never aborted, under one time limit."""

    async def test_modules_stop_in_reverse_order(self) -> None:
        """01 §14 OURS: all are told to take no new work, then stopped, last first."""
        engine = await self.start(demo("a"), demo("b"))
        self.diary.clear()
        await engine.stop()
        self.assertEqual(self.diary, ["closing a", "closing b", "stop b", "stop a"])

    async def test_a_failing_module_does_not_stop_the_stop(self) -> None:
        """01 §18.12: destroy never aborts."""
        engine = await self.start(demo("a"), demo("b", fails="stop"), demo("c", fails="closing"))
        self.diary.clear()
        await engine.stop()
        self.assertEqual(self.diary[-3:], ["stop c", "stop b", "stop a"])
        self.assertEqual(len(self.flushLoggedErrors(StartError)), 2)

    async def test_a_hanging_module_is_left_behind(self) -> None:
        """01 §14: a time limit for each module, within the total."""
        engine = await self.start(demo("a"), demo("b", hangs=True), shutdown_timeout_ms=300)
        started = engine.engine.clock.monotonic()
        await engine.stop()
        self.assertLess(engine.engine.clock.monotonic() - started, 3)
        self.assertEqual(self.diary[-1], "stop a")

    async def test_workers_are_closed_with_1012_and_the_port_is_free(self) -> None:
        """01.50: never 1000 or 1001: most SDKs would not reconnect."""
        engine = await self.start()
        worker = await self.worker(engine)
        stopped = engine.stop()
        self.assertEqual(await self.goodbye(worker), 1012)
        await stopped
        await self.assert_refused(engine.ready["worker"])

    async def test_calls_in_flight_may_finish(self) -> None:
        """08 §4: the answer still reaches the caller; no new connection is taken."""
        engine = await self.start()
        executor = await self.worker(engine, "t::slow")
        caller = await self.worker(engine)
        id = caller.invoke("t::slow")
        call = await executor.invoked("t::slow")
        stopped = engine.stop()
        self.assertTrue(engine.engine.closing)
        await executor.settled()
        self.assertFalse(stopped.called)
        await self.assert_refused(engine.ready["worker"])
        executor.reply(call, result={"done": True})
        answer = await caller.result_of(id)
        self.assertEqual(answer["result"], {"done": True})
        for worker in (executor, caller):
            self.assertEqual(await self.goodbye(worker), 1012)
        await stopped

    async def test_calls_that_do_not_finish_are_given_up(self) -> None:
        """08 §4: `shutdown_timeout_ms` is the total."""
        engine = await self.start(shutdown_timeout_ms=400)
        executor = await self.worker(engine, "t::never")
        executor.invoke("t::never")
        await executor.invoked("t::never")
        stopped = engine.stop()
        self.assertEqual(await self.goodbye(executor), 1012)
        await stopped

    async def test_stopping_twice_is_stopping_once(self) -> None:
        """08 §4: who asks again waits for the first."""
        engine = await self.start(demo("a"))
        first, second = engine.stop(), engine.stop()
        await first
        await second
        self.assertEqual(self.diary.count("stop a"), 1)

    async def test_a_silent_worker_cannot_hold_the_stop(self) -> None:
        """08 §4: a peer that ignores the close frame is dropped after 2 s."""
        engine = await self.start()
        worker = await self.worker(engine)
        await engine.stop()
        await worker.socket.ended()


class StopWhileStarting(ServiceCase):
    """08 §4: a signal may come before the start is over."""

    async def test_a_stop_during_the_start_stops_what_started(self) -> None:
        """08 §4: the start ends, nothing stays open, nothing is stopped twice."""
        opened: Deferred[None] = Deferred()

        class Slow(self.register["test::Demo"]):  # type: ignore[misc, name-defined]
            async def start(self, engine: ModuleApi) -> None:
                super().start(engine)
                await opened

        configuration = from_mapping(
            {"port": 0, "modules": [demo("a"), {"class": "test::Slow"}, demo("b")]},
            environ={},
            catalogue=self.catalogue(Slow),
        )
        service = EngineService(reactor, configuration, environ={})
        starting = Deferred.fromCoroutine(service.start())
        await service.stopService()
        opened.callback(None)
        with self.assertRaises(StartError):
            await starting
        self.assertEqual(service.listeners, [])
        self.assertEqual(self.diary[-2:], ["stop demo", "stop a"])
        self.assertNotIn("create b", self.diary)

    def catalogue(self, slow: type[Module]) -> Catalogue:
        catalogue = Catalogue()
        catalogue.register_module("test::Demo", self.register["test::Demo"])
        catalogue.register_module("test::Slow", slow)
        return catalogue


class FakeAdapter:
    """A back end of a third party."""

    def __init__(self, settings: Any) -> None:
        self.settings = settings


class CheckedAdapter(FakeAdapter):
    """One that says what it takes."""

    class Config(msgspec.Struct):
        url: str = "here"

    config = Config


class AdapterModule(Module):
    """A module with back ends; the instances are collected."""

    name = "iii-cron"
    adapters: ClassVar[dict[str, type[Any]]] = {"kv": FakeAdapter}
    made: ClassVar[list[Any]] = []

    def start(self, engine: ModuleApi) -> None:
        self.made.append(vars(self)["adapter"])


class Builder(ServiceCase):
    """01 §14, decision 38: `Engine.builder()`."""

    def setUp(self) -> None:
        super().setUp()
        AdapterModule.made.clear()

    def builder(self) -> EngineBuilder:
        return EngineBuilder(reactor, environ={}).free_ports()

    async def running(self, builder: EngineBuilder) -> EmbeddedEngine:
        engine = builder.build()
        self.addCleanup(engine.destroy)
        await engine.start()
        return engine

    async def test_engine_builder_is_the_way_in(self) -> None:
        """Decision 38: `iii.Engine.builder()`."""
        self.assertIsInstance(Engine.builder(), EngineBuilder)

    async def test_a_program_brings_its_own_module(self) -> None:
        """01 §14: register_module, add_module, build, start, destroy."""
        builder = self.builder().register_module("my::Demo", self.register["test::Demo"])
        engine = await self.running(builder.add_module("my::Demo", {"name": "mine"}))
        result = await engine.engine.invoke("mine::ping")
        self.assertEqual(msgspec.json.decode(result or b""), {"ok": True})
        await engine.destroy()
        self.assertEqual(self.diary[-1], "stop mine")

    async def test_the_names_of_011_work_too(self) -> None:
        """01 §14: register_worker, add_worker, with_config."""
        builder = self.builder().register_worker("my-worker", self.register["test::Demo"])
        builder.with_config({"modules": []}).add_worker("my-worker", {"name": "w"})
        await self.running(builder)
        self.assertEqual(self.diary, ["create w", "start w"])

    async def test_a_program_brings_its_own_adapter(self) -> None:
        """Decision 38: register_adapter; the module names it in its configuration."""
        builder = self.builder().register_module("modules::cron::CronModule", AdapterModule)
        builder.register_adapter("iii-cron", "my::Adapter", CheckedAdapter)
        adapter = {"class": "my::Adapter", "config": {"url": "there"}}
        await self.running(builder.add_module("iii-cron", {"adapter": adapter}))
        [made] = AdapterModule.made
        self.assertEqual(made.settings.url, "there")

    async def test_without_an_adapter_the_first_one_is_taken(self) -> None:
        """01 §14: the default class."""
        builder = self.builder().register_module("modules::cron::CronModule", AdapterModule)
        await self.running(builder.add_module("iii-cron"))
        [made] = AdapterModule.made
        self.assertIs(type(made), FakeAdapter)

    async def test_an_adapter_that_is_not_built_ends_the_start(self) -> None:
        """01 §13: known by name, but not in this release."""
        builder = self.builder().register_module("modules::cron::CronModule", AdapterModule)
        builder.add_module("iii-cron", {"adapter": {"name": "redis"}})
        with self.assertRaises(StartError) as caught:
            await builder.build().start()
        self.assertIn("adapter 'redis' is not built into this release", str(caught.exception))

    async def test_the_address_is_host_and_port(self) -> None:
        """01 §14: .address("host:port")."""
        for text, expected in (
            ("127.0.0.1:50001", ("127.0.0.1", 50001)),
            ("[::1]:50001", ("::1", 50001)),
            (":50001", (None, 50001)),
        ):
            built = EngineBuilder(reactor, environ={}).default_config().address(text).build()
            [listener] = built.service.configuration.worker_listeners
            self.assertEqual((listener.host, listener.port), expected)
        for wrong in ("localhost", "localhost:http", "localhost:70000"):
            with self.assertRaises(ConfigError):
                self.builder().address(wrong)

    def test_files_and_defaults_are_sources_too(self) -> None:
        """01 §14: config_file, config_file_or_default, default_config."""
        path = Path(self.mktemp())
        with self.assertRaises(ConfigError):
            self.builder().config_file(path)
        default = self.builder().config_file_or_default(path).build()
        names = {entry.name for entry in default.service.configuration.entries}
        self.assertIn("iii-http", names)
        path.write_text("port: 50002\n")
        built = EngineBuilder(reactor, environ={}).with_config_path(path).build()
        self.assertEqual(built.service.configuration.worker_listeners[0].port, 50002)

    async def test_building_from_nothing_is_an_error(self) -> None:
        """01 §14: a programming error."""
        with self.assertRaises(ConfigError):
            self.builder().build()

    async def test_a_program_may_add_the_worker_port(self) -> None:
        """01 §17.2: iii-worker-manager is a listener, not a module."""
        builder = self.builder().default_config()
        builder.add_module("iii-worker-manager", {"port": 0, "handshake_timeout_ms": 1234})
        [listener] = builder.build().service.configuration.worker_listeners
        self.assertEqual(listener.handshake_timeout_ms, 1234)

    async def test_installed_packages_bring_modules(self) -> None:
        """Decision 38: the entry point group `iii.modules`."""
        catalogue = Catalogue()
        catalogue.add_entry_point(
            EntryPoint("my-cron", "tests.test_service:AdapterModule", "iii.modules")
        )
        configuration = from_mapping(
            {"port": 0, "workers": [{"name": "my-cron"}]}, environ={}, catalogue=catalogue
        )
        service = EngineService(reactor, configuration, environ={})
        self.addCleanup(service.stopService)
        await service.start()
        self.assertEqual(len(AdapterModule.made), 1)


class WithPort(TestCase):
    """08 §7: `--port`."""

    def ports(self, port: int | None, *modules: dict[str, Any]) -> tuple[int, list[Any]]:
        configuration = with_port(
            from_mapping({"port": 50003, "modules": list(modules)}, environ={}), port
        )
        http = [e.config.get("port") for e in configuration.entries if e.name == "iii-http"]
        return configuration.worker_listeners[0].port, http

    def test_a_port_replaces_the_configured_one(self) -> None:
        """08 §7: only the worker port."""
        self.assertEqual(self.ports(50004, HTTP), (50004, [None]))

    def test_zero_leaves_ports_that_were_written_down(self) -> None:
        """08 §7: whoever wrote a port wants that port."""
        chosen = {**HTTP, "config": {"port": 50005}}
        self.assertEqual(self.ports(0, HTTP), (0, [0]))
        self.assertEqual(self.ports(0, chosen), (0, [50005]))
        self.assertEqual(self.ports(None, HTTP), (50003, [None]))

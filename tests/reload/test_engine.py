"""Worker ports, settings of the engine, and when the file is read."""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet import reactor, task
from twisted.internet.error import ConnectionRefusedError

from iii.builder import EngineBuilder
from iii.engine.clock import Clock
from iii.filewatch import INTERVAL_S
from tests.reload.reload_case import DemoModule, ReloadCase, demo
from tests.support.engine_case import RawWorker
from tests.support.rawsocket import CLOSE, dial, open_socket


def unused_port() -> int:
    """A port that nobody listened on a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port: int = holder.getsockname()[1]
        return port


class WorkerPorts(ReloadCase):
    """Connections survive unless the entry of their own port changed."""

    free_ports = False

    def manager(self, **config: Any) -> dict[str, Any]:
        return {"name": "iii-worker-manager", "config": config}

    async def goodbye(self, worker: RawWorker) -> int | None:
        """Wait for the engine's close frame, answer it; its code."""
        frame = await worker.socket.next_frame()
        while frame.opcode != CLOSE:
            frame = await worker.socket.next_frame()
        worker.socket.close_frame(frame.close_code)
        return frame.close_code

    async def test_workers_stay_when_modules_change(self) -> None:
        await self.start(demo("a"))
        worker = await self.worker("t::f")
        await self.reload(demo("a", answer=1), demo("b"), invocation_limit_ms=5)
        await worker.settled()
        self.assertIsNotNone(self.engine.engine.workers.get(worker.id))
        self.assertEqual(self.engine.service.ready["worker"], self.engine.ready["worker"])

    async def test_a_changed_port_moves_and_its_workers_are_told_to_come_back(self) -> None:
        first, second, third = unused_port(), unused_port(), unused_port()
        await self.start(self.manager(port=first), self.manager(port=second))
        staying, leaving = [await self.connect(port, f"t::{port}") for port in (first, second)]
        self.write(self.manager(port=third), self.manager(port=first))
        reloaded = self.engine.service.reload()
        self.assertEqual(await self.goodbye(leaving), 1012)
        await reloaded
        await staying.settled()
        with self.assertRaises(ConnectionRefusedError):
            await dial(second)
        back = await self.connect(third, "t::back")
        self.assertEqual(self.engine.service.ready["workers"], [third, first])
        await back.settled()

    async def test_their_order_makes_no_difference(self) -> None:
        one, other = self.manager(port=0), self.manager(port=0, handshake_timeout_ms=5000)
        await self.start(one, other)
        ports = self.engine.service.ready["workers"]
        workers = [await self.connect(port, f"t::{port}") for port in ports]
        await self.reload(other, one)
        self.assertIn("configuration read again: nothing differs", self.log)
        self.assertEqual(self.engine.service.ready["workers"], ports[::-1])
        self.write(other)
        reloaded = self.engine.service.reload()
        self.assertEqual(await self.goodbye(workers[0]), 1012)
        await reloaded
        self.assertEqual(self.engine.service.ready["worker"], ports[1])
        await workers[1].settled()

    async def test_what_its_workers_run_may_finish(self) -> None:
        await self.start(self.manager(port=0))
        caller = await self.worker()
        worker = await self.worker("t::f")
        call = caller.invoke("t::f")
        running = await worker.invoked("t::f")
        self.write(self.manager(port=0, handshake_timeout_ms=5000))
        reloaded = self.engine.service.reload()
        await self.eventually(lambda: self.engine.engine.workers.get(worker.id).draining)
        await worker.settled()
        worker.reply(running, result=7)
        self.assertEqual((await caller.result_of(call))["result"], 7)
        for gone in (caller, worker):
            self.assertEqual(await self.goodbye(gone), 1012)
        await reloaded
        # The port that the engine had chosen by itself stays.
        self.assertEqual(self.engine.service.ready["worker"], self.engine.ready["worker"])
        again = await self.worker()
        await again.settled()

    async def test_a_taken_port_leaves_everybody_connected(self) -> None:
        await self.start(demo("a", answer=1), self.manager(port=0))
        worker = await self.worker()
        taken = await self.second_engine()
        await self.reload(demo("a", answer=2), self.manager(port=taken))
        self.assertEqual(await worker.call("a::ask"), [1, None])
        again = await self.worker()
        await again.settled()
        self.assertIn("not reloaded", "\n".join(self.log))

    async def test_a_port_that_could_not_be_opened_again_is_tried_again(self) -> None:
        """Somebody else took it in between."""
        port = unused_port()
        await self.start(demo("a"), self.manager(port=port))
        worker = await self.worker("t::f")
        taken = await self.second_engine()
        thieves: list[Any] = []
        listener = self.engine.service.listeners[0]
        closing = listener.stop_listening

        async def stolen() -> None:
            await closing()
            other = EngineBuilder(reactor, environ={}).with_config({"port": port}).build()
            await other.start()
            thieves.append(other)

        self.patch(listener, "stop_listening", stolen)
        await self.reload(demo("a"), self.manager(port=taken))
        self.assertIn("opens again failed", "\n".join(self.log))
        await thieves[0].destroy()
        await self.reload(demo("a"), self.manager(port=port))
        await worker.settled()
        await (await self.connect(port, "t::back")).settled()

    async def test_a_stop_while_workers_of_a_closed_port_finish(self) -> None:
        """They are told to come back like all others."""
        await self.start(self.manager(port=0))
        worker = await self.worker("t::f")
        worker.invoke("t::f")
        await worker.invoked("t::f")
        self.write(self.manager(port=0, handshake_timeout_ms=5000), shutdown_timeout_ms=500)
        reloaded = self.engine.service.reload()
        await self.eventually(lambda: self.engine.engine.workers.get(worker.id).draining)
        destroyed = self.engine.destroy()
        self.assertEqual(await self.goodbye(worker), 1012)
        await reloaded
        await destroyed

    async def second_engine(self) -> int:
        """Somebody who holds a port."""
        other = EngineBuilder(reactor, environ={}).with_config({"port": 0}).build()
        self.addCleanup(other.destroy)
        await other.start()
        port: int = other.ready["worker"]
        return port

    async def connect(self, port: int, function: str) -> RawWorker:
        opened = await open_socket(port)
        self.addCleanup(opened.drop)
        worker = RawWorker(opened, await opened.next_message())
        await worker.register(function)
        return worker


class Settings(ReloadCase):
    """Top-level keys."""

    async def test_what_can_change_at_once_does(self) -> None:
        await self.start(demo("a"))
        one, two = await self.worker("t::f"), await self.worker("t::f")
        await self.reload(
            demo("a"),
            function_routing="newest",
            invocation_limit_ms=7000,
            shutdown_timeout_ms=100,
        )
        for number in range(4):
            call = two.invoke("t::f")
            await two.answer("t::f", result=number)
            await two.result_of(call)
        await self.quiet(one)
        self.assertEqual(self.engine.engine.invocations.limit_s, 7)
        self.assertEqual(self.engine.service.drain_limit_s, 0.05)
        self.assertEqual(self.diary, [])

    async def test_what_needs_a_restart_is_named(self) -> None:
        await self.start(demo("a"))
        await self.reload(demo("a"), auth_failures_per_minute=3)
        self.assertEqual([line for line in self.log if "reloaded" in line], [])
        self.assertIn(
            "auth_failures_per_minute: the new value needs a restart of the engine", self.log
        )

    async def quiet(self, worker: RawWorker) -> None:
        await worker.settled()
        self.assertEqual(worker.inbox, [])


class When(ReloadCase):
    """The file is watched, unless somebody does not want that."""

    def looks(self, count: int) -> None:
        for _ in range(count):
            self.timers.advance(INTERVAL_S)

    async def begin(self, *modules: dict[str, Any], **top: Any) -> None:
        self.timers = task.Clock()
        await self.start(*modules, clock=Clock.virtual(self.timers, epoch=1e9), **top)
        self.addCleanup(self.end)

    async def end(self) -> None:
        """The engine needs time that passes to stop."""
        stopped = self.engine.destroy()
        while not stopped.called:
            await self.settle()
        await stopped

    async def settle(self) -> None:
        for _ in range(50):
            self.timers.advance(0.001)
            await self.pause(0)

    async def test_a_changed_file_is_read(self) -> None:
        await self.begin(demo("a", live=1))
        self.write(demo("a", live=2))
        self.looks(2)
        await self.settle()
        self.assertEqual(self.diary, ["change a 2"])

    async def test_not_with_watch_config_false(self) -> None:
        await self.begin(demo("a", live=1), watch_config=False)
        self.write(demo("a", live=2), watch_config=False)
        self.looks(4)
        self.assertEqual(self.diary, [])
        await self.engine.service.reload()
        self.assertEqual(self.diary, ["change a 2"])

    async def test_the_switch_itself_is_followed(self) -> None:
        await self.begin(demo("a", live=1))
        self.write(demo("a", live=2), watch_config=False)
        self.looks(2)
        await self.settle()
        self.assertEqual(self.diary, ["change a 2"])
        self.write(demo("a", live=3), watch_config=False)
        self.looks(4)
        await self.settle()
        self.assertEqual(self.diary, [])
        self.write(demo("a", live=4))
        await self.engine.service.reload()
        self.assertEqual(self.diary, ["change a 4"])
        self.write(demo("a", live=5))
        self.looks(2)
        await self.settle()
        self.assertEqual(self.diary, ["change a 5"])

    async def test_two_at_once_are_done_one_after_the_other(self) -> None:
        await self.start(demo("a", answer=1))
        self.write(demo("a", answer=2))
        first = self.engine.service.reload()
        self.write(demo("a", answer=3))
        second = self.engine.service.reload()
        await first
        await second
        worker = await self.worker()
        self.assertEqual(await worker.call("a::ask"), [3, None])

    async def test_before_the_start_is_over_it_waits(self) -> None:
        self.write(demo("a", live=1))
        builder = EngineBuilder(reactor, environ={})
        builder.register_module("test::Demo", DemoModule)
        engine = builder.config_file(self.path).free_ports().build()
        self.addCleanup(engine.destroy)
        self.write(demo("a", live=2))
        await engine.service.reload()
        self.assertEqual(self.diary, [])
        await engine.start()
        await self.eventually(lambda: DemoModule.diary[-1] == "change a 2")

    async def test_without_a_file_there_is_nothing_to_read(self) -> None:
        engine = EngineBuilder(reactor, environ={}).with_config({"port": 0}).build()
        self.addCleanup(engine.destroy)
        await engine.start()
        await engine.service.reload()
        self.assertIn("there is no configuration file that could be read again", self.log)

    async def test_who_began_without_a_file_may_get_one(self) -> None:
        builder = EngineBuilder(reactor, environ={"III_IN_MEMORY": "1"})
        engine = builder.config_file_or_default(self.path).free_ports().build()
        self.addCleanup(engine.destroy)
        await engine.start()
        await engine.service.reload()
        self.assertIn("configuration read again: nothing differs", self.log)
        self.path.write_text("modules:\n  - class: iii-state\n")
        await engine.service.reload()
        names = [service.entry.name for service in engine.service.modules]
        self.assertEqual(names, ["iii-state", "iii-observability", "iii-http-functions"])

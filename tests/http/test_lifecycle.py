"""Slots, time limits, aborts, start and stop (02 A8, A13; 08 §4; probes 60, 61)."""

from __future__ import annotations

import os
import socket
from unittest.mock import patch

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from iii.engine.clock import Clock
from iii.engine.core import Engine
from iii.engine.module import ModuleApi
from iii.errors import StartError
from iii.modules.http import HttpConfig, HttpModule, service
from tests.http.support import Fast, HttpCase, Stock, Truncated, data_of, later, returns


class Slots:
    """02 A8: ``concurrency_request_limit``."""

    config = {"concurrency_request_limit": 1}

    async def test_a_full_route_queues(self) -> None:
        """02.61: both are served, one after the other; another route isn't held up."""
        worker = self.worker()
        worker.route("x", later)
        worker.route("y", later)
        clients = [await self.send("GET", f"/x?n={n}") for n in (1, 2)]
        other = await self.send("GET", "/y")
        await self.until(lambda: len(worker.calls) == 2)
        await self.pause(0.01)
        self.assertEqual(len(worker.calls), 2)
        worker.answer(worker.calls[0], {"body": 1})
        worker.answer(worker.calls[1], {"body": 2})
        await self.until(lambda: len(worker.calls) == 3)
        worker.answer(worker.calls[2], {"body": 3})
        for client in (*clients, other):
            self.assertEqual((await client.response()).status, 200)

    async def test_waiting_requests_keep_their_order(self) -> None:
        """02 A8: first come, first served."""
        worker = self.worker()
        worker.route("x", later)
        for n in range(5):
            await self.send("GET", f"/x?n={n}")
            await self.until(lambda n=n: self.service.waiting + len(worker.calls) == n + 1)
        for n in range(5):
            worker.answer(worker.last, {"body": n})
        self.assertEqual([data_of(call)["n"] for call in worker.calls], list("01234"))

    async def test_the_time_limit_starts_with_the_slot(self) -> None:
        """02 A8: waiting doesn't eat into the function's time."""
        worker = self.worker()
        worker.route("x", later)
        first = await self.send("GET", "/x")
        await self.until(lambda: worker.calls)
        self.time.advance(0.5)
        second = await self.send("GET", "/x")
        await self.until(lambda: self.service.waiting == 1)
        self.time.advance(0.6)
        self.assertEqual((await first.response()).status, 504)
        self.time.advance(0.9)
        worker.answer(worker.last, {"body": "in time"})
        self.assertEqual((await second.response()).json, "in time")

    async def test_waiting_has_a_limit_too(self) -> None:
        """02 "better" 15: no slot within ``default_timeout`` is 503 ``overloaded``."""
        worker = self.worker()
        worker.route("x", later)
        await self.send("GET", "/x")
        await self.until(lambda: worker.calls)
        worker.writer(worker.last)
        clients = []
        self.service.deadlines.stop()
        clients.append(await self.send("GET", "/x"))
        await self.until(lambda: self.service.waiting == 1)
        self.time.advance(1.1)
        response = await clients[0].response()
        self.assertError(response, 503, "overloaded")
        self.assertEqual(response.headers["retry-after"], "1")
        self.assertEqual(self.service.waiting, 0)

    async def test_the_queue_has_a_bound(self) -> None:
        """503 ``overloaded`` when too many wait."""
        worker = self.worker()
        worker.route("x", later)
        with patch.object(service, "MAX_WAITING", 2):
            for n in range(3):
                await self.send("GET", "/x")
                await self.until(lambda n=n: self.service.waiting + len(worker.calls) == n + 1)
            self.assertError(await self.get("/x"), 503, "overloaded")

    async def test_a_client_that_leaves_the_queue_is_forgotten(self) -> None:
        """02 A8: its request is never run."""
        worker = self.worker()
        worker.route("x", later)
        await self.send("GET", "/x?n=1")
        await self.until(lambda: worker.calls)
        gone = await self.send("GET", "/x?n=2")
        await self.until(lambda: self.service.waiting == 1)
        gone.close()
        await self.until(lambda: self.service.waiting == 0)
        worker.answer(worker.last, {"body": 1})
        await self.pause(0.01)
        self.assertEqual(len(worker.calls), 1)
        self.assertEqual((await self._again(worker)).status, 200)

    async def _again(self, worker):  # type: ignore[no-untyped-def]
        client = await self.send("GET", "/x")
        await self.until(lambda: len(worker.calls) == 2)
        worker.answer(worker.last, {"body": 1})
        return await client.response()

    async def test_an_abort_frees_the_slot(self) -> None:
        """02 "better" 14: slot and channels at once; a late result is dropped."""
        worker = self.worker()
        worker.route("x", later)
        client = await self.send("GET", "/x")
        await self.until(lambda: worker.calls)
        client.close()
        await self.until(lambda: len(self.engine.channels) == 0)
        worker.answer(worker.last, {"body": "nobody"})
        self.assertEqual((await self._again(worker)).status, 200)

    async def test_a_stream_holds_no_slot(self) -> None:
        """02 A8: only until the head exists."""
        worker = self.worker()
        worker.route("x", later)
        client = await self.send("GET", "/x")
        await self.until(lambda: worker.calls)
        writer = worker.writer(worker.last)
        writer.write(b"a")
        await client.until(b"a")
        self.assertEqual((await self._again(worker)).status, 200)
        writer.close()
        self.assertEqual((await client.response()).body, b"a")

    async def test_route_changes_keep_the_count(self) -> None:
        """02 A8: a route that comes back while its requests run isn't empty."""
        worker = self.worker()
        worker.function("f", later)
        id = worker.trigger("f", "x")
        await self.send("GET", "/x")
        await self.until(lambda: worker.calls)
        worker.unregister(id)
        worker.trigger("f", "x")
        await self.send("GET", "/x")
        await self.until(lambda: self.service.waiting == 1)
        self.assertEqual(len(worker.calls), 1)
        worker.answer(worker.last, {"body": 1})
        self.assertEqual(len(worker.calls), 2)

    async def test_a_long_queue_is_worked_off_without_recursion(self) -> None:
        """Requests that end while they begin."""
        worker = self.worker()
        worker.function("f", later)
        worker.trigger("f", "x")
        clients = []
        for _ in range(300):
            clients.append(await self.send("GET", "/x"))
        await self.until(lambda: self.service.waiting == 299)
        worker.function("f", returns({"body": 1}))
        worker.answer(worker.calls[0], {"body": 1})
        self.assertEqual(self.service.waiting, 0)
        for client in clients:
            self.assertEqual((await client.response()).status, 200)


class SlotsFast(Fast, Slots, HttpCase):
    """On the module's own server."""


class SlotsStock(Stock, Slots, HttpCase):
    """Under a stock twisted.web Site."""


class NoSlots(Fast, HttpCase):
    """02 A1: a limit of 0."""

    config = {"concurrency_request_limit": 0}

    async def test_zero_is_one(self) -> None:
        """02 A1: clamped, not a hang."""
        self.worker().route("x", {"body": 1})
        self.assertEqual((await self.get("/x")).status, 200)


class Stopping(Fast, HttpCase):
    """08 §4: what happens to clients when the engine stops."""

    async def test_new_requests_are_refused_and_running_ones_finish(self) -> None:
        """08 §4: 503 with Retry-After, ``Connection: close`` on everything."""
        worker = self.worker()
        worker.route("x", later)
        worker.route("y", {"body": 1})
        running = await self.send("GET", "/x")
        idle = await self.send("GET", "/y")
        self.assertNotIn("connection", (await idle.response()).headers)
        await self.until(lambda: len(worker.calls) == 2)
        self.module.closing()
        idle.send(b"GET /y HTTP/1.1\r\nHost: a\r\n\r\n")
        refused = await idle.response()
        self.assertError(refused, 503, "shutting_down")
        self.assertEqual(refused.headers["retry-after"], "1")
        self.assertEqual(refused.headers["connection"], "close")
        self.assertEqual(await idle.end(), b"")
        worker.answer(worker.calls[0], {"body": "done"})
        finished = await running.response()
        self.assertEqual(finished.json, "done")
        self.assertEqual(finished.headers["connection"], "close")

    async def test_a_stream_finishes_while_closing(self) -> None:
        """08 §4: in-flight answers are not cut by ``closing``."""
        worker = self.worker()
        worker.route("x", later)
        client = await self.send("GET", "/x")
        await self.until(lambda: worker.calls)
        writer = worker.writer(worker.last)
        self.module.closing()
        writer.write(b"a")
        writer.write(b"b")
        writer.close()
        response = await client.response()
        self.assertEqual((response.body, response.headers["connection"]), (b"ab", "close"))

    async def test_nobody_new_is_let_in(self) -> None:
        """08 §4: the port is closed at once."""
        self.module.closing()
        await self.pause()
        with socket.socket() as probe:
            probe.settimeout(1)
            self.assertNotEqual(probe.connect_ex(("127.0.0.1", self.port)), 0)

    async def test_stopping_ends_every_connection(self) -> None:
        """Idle ones close, requests without answer get 503."""
        worker = self.worker()
        worker.route("x", later)
        idle = await self.connect()
        running = await self.send("GET", "/x")
        await self.until(lambda: worker.calls)
        await Deferred.fromCoroutine(self.module.stop())
        self.assertError(await running.response(), 503, "shutting_down")
        self.assertEqual(await running.end(), b"")
        self.assertEqual(await idle.end(), b"")
        self.assertEqual(len(self.engine.channels), 0)

    async def test_stopping_breaks_streams_off(self) -> None:
        """08 §4: what could not finish in time is visibly incomplete; the writer is told."""
        worker = self.worker()
        worker.route("x", later)
        client = await self.send("GET", "/x")
        await self.until(lambda: worker.calls)
        writer = worker.writer(worker.last)
        writer.write(b"a")
        await client.until(b"a")
        await Deferred.fromCoroutine(self.module.stop())
        with self.assertRaises(Truncated):
            await client.response()
        self.assertTrue(writer.dropped)


class Starting(TestCase):
    """02 A1: addresses and ports."""

    def start(self, **settings: object) -> HttpModule:
        self.engine = Engine(reactor, clock=Clock(reactor))
        module = HttpModule(HttpConfig(**settings))  # type: ignore[arg-type]
        module.start(ModuleApi(self.engine, "iii-http"))
        self.addCleanup(lambda: Deferred.fromCoroutine(module.stop()))
        return module

    def test_a_taken_port_stops_the_start(self) -> None:
        """02.60: the error names the address and the setting."""
        self.start(port=0)
        port = self.engine.ready["http"]
        with self.assertRaises(StartError) as caught:
            self.start(port=port)
        self.assertIn(f"address 127.0.0.1:{port} is already in use", str(caught.exception))
        self.assertIn("'port'", str(caught.exception))
        self.assertEqual(caught.exception.code, "address_in_use")

    def test_the_default_is_loopback_on_both_families(self) -> None:
        """Decision 1: 127.0.0.1 and ::1 on one port, and nothing else."""
        with patch.dict(os.environ):
            os.environ.pop("III_HOST", None)
            module = self.start(port=0)
        hosts = {port.getHost().host for port in module._ports}
        self.assertIn("127.0.0.1", hosts)
        self.assertLessEqual(hosts, {"127.0.0.1", "::1"})
        self.assertEqual(
            {port.getHost().port for port in module._ports}, {self.engine.ready["http"]}
        )

    def test_a_port_taken_on_the_second_family_stops_the_start(self) -> None:
        """Decision 1: half a listener would be a trap."""
        if not socket.has_ipv6:
            self.skipTest("this Python has no IPv6")
        with socket.socket(socket.AF_INET6) as taken:
            try:
                taken.bind(("::1", 0))
            except OSError:
                self.skipTest("this machine has no ::1")
            taken.listen()
            port = taken.getsockname()[1]
            with self.assertRaises(StartError) as caught:
                self.start(port=port)
        self.assertIn(f"[::1]:{port} is already in use", str(caught.exception))

    def test_the_environment_replaces_the_default_host(self) -> None:
        """Decision 1: ``III_HOST``, but not over a ``host`` setting."""
        with patch.dict(os.environ, {"III_HOST": "0.0.0.0"}):
            self.assertEqual(self.start(port=0)._ports[0].getHost().host, "0.0.0.0")
            own = self.start(port=0, host="127.0.0.1")
        self.assertEqual([port.getHost().host for port in own._ports], ["127.0.0.1"])

    def test_an_impossible_host_stops_the_start(self) -> None:
        """02 A1: ``failed to bind to``."""
        with self.assertRaises(StartError) as caught:
            self.start(port=0, host="192.0.2.1")
        self.assertIn("failed to bind to 192.0.2.1:0", str(caught.exception))

"""The cutting test of 08 §2: workers whose connections break while others are served.

Every worker dials through a proxy that cuts it off and lets the engine learn late, so
a worker is back, and has registered everything, before its old connection is cleaned
up.  Nothing it registered may be lost by that, at any time.

One worker provides a trigger type the others use, and is cut like all; each has a
function of its own and one that all share, both with an HTTP route.
"""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import msgspec
from twisted.internet import reactor
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

from iii.engine.module import ModuleApi
from iii.modules.http import HttpConfig, HttpModule
from tests.support.engine_case import RawWorker
from tests.support.rawsocket import PING, PONG, TEXT, frame, open_socket
from tests.wire.proxy import CuttingProxy
from tests.wire.support import WireCase

SHARED = "shared.run"
TICK = "tick"
ANSWER_LIMIT_S = 5.0
WORK_S = 0.03


class Member:
    """One worker process: reconnects at once and registers everything anew."""

    def __init__(self, case: CutsCase, number: int) -> None:
        self.case = case
        self.number = number
        self.own = f"own.{number}"
        self.worker: RawWorker | None = None
        self.generation = 0
        self.ticks: set[str] = set()

    @property
    def online(self) -> bool:
        """Whether it is connected and everything of it is registered."""
        return self.worker is not None

    @property
    def provides_ticks(self) -> bool:
        """Whether it is the provider of the trigger type."""
        return self.number == 0

    @property
    def says_who_it_is(self) -> bool:
        """All but one: of that one the engine can't know that it has reconnected."""
        return self.number != 3

    async def connect(self) -> None:
        """Dial, say who it is as SDKs do, and start to answer calls."""
        socket = await open_socket(self.case.proxy.port)
        worker = RawWorker(socket, await socket.next_message())
        if self.provides_ticks:
            worker.send("registertriggertype", id=TICK, description="")
        for function in (SHARED, self.own):
            worker.send("registerfunction", id=function)
            worker.send(
                "registertrigger",
                id=f"http.{function}.{self.number}",
                trigger_type="http",
                function_id=function,
                config={"api_path": function.replace(".", "/"), "http_method": "GET"},
            )
        worker.send(
            "registertrigger",
            id=f"tick.{self.number}",
            trigger_type=TICK,
            function_id=self.own,
            config={"n": self.number},
        )
        if self.says_who_it_is:
            await worker.describe(name=f"member-{self.number}", pid=1000 + self.number)
        await worker.settled()
        self.ticks = set()
        self.worker = worker
        self.generation += 1
        self.case.background(self._serve(worker))

    async def _serve(self, worker: RawWorker) -> None:
        """Answer calls until the connection breaks; some take a while."""
        for message in worker.inbox:
            self._handle(worker, message)
        worker.inbox.clear()
        try:
            while True:
                await worker.socket.until(lambda: bool(worker.socket.frames), "frames", 60)
                for got in worker.socket.frames:
                    if got.opcode == TEXT:
                        self._handle(worker, msgspec.json.decode(got.payload))
                    elif got.opcode == PING:
                        worker.socket.raw(frame(PONG, got.payload))
                worker.socket.frames.clear()
        except AssertionError:
            # The connection is gone; the member that was cut comes back by itself.
            self.case.serving_ended += 1

    def _handle(self, worker: RawWorker, message: dict[str, Any]) -> None:
        if message["type"] == "registertrigger":
            self.ticks.add(message["id"])
        elif message["type"] == "unregistertrigger":
            self.ticks.discard(message["id"])
        elif message["type"] == "invokefunction":
            delay = self.case.chance.choice((0.0, 0.0, WORK_S))
            self.case.later(delay, self._answer, worker, message)

    def _answer(self, worker: RawWorker, message: dict[str, Any]) -> None:
        if not worker.socket.lost:
            worker.reply(message, result={"by": self.number})

    async def be_cut(self, delay_s: float, away_s: float) -> None:
        """Lose the connection, come back, and see that everything is there."""
        worker, self.worker = self.worker, None
        assert worker is not None
        self.case.proxy.cut(worker.socket.transport.getHost().port, delay_s)
        await worker.socket.ended()
        await self.case.pause(away_s)
        await self.connect()
        await self.case.assert_complete()


class CutsCase(WireCase):
    """Engine, HTTP module, proxy, members and callers.

    :cvar rounds: every round is four cuts
    """

    rounds = 16
    members_count = 4
    seed = 64
    timeout = 60

    def prepare(self) -> None:
        """EngineCase: the module whose routes were lost most often elsewhere."""
        self.http = HttpModule(HttpConfig(host="127.0.0.1", port=0))
        self.http.start(ModuleApi(self.engine, "iii-http"))

    async def setUp(self) -> None:
        await super().setUp()
        self.chance = random.Random(self.seed)
        self.proxy = CuttingProxy(self.port)
        self.stopping = False
        self.serving_ended = 0
        self.running: list[Deferred[None]] = []
        self.seen: Counter[str] = Counter()
        self.slowest_s = 0.0
        self.wrong: list[str] = []
        self.members = [Member(self, number) for number in range(self.members_count)]
        for member in self.members:
            await member.connect()

    async def tearDown(self) -> None:
        self.stopping = True
        await self.proxy.stop()
        outcomes = await DeferredList(self.running, consumeErrors=True)
        stopping = self.http.stop()
        if stopping is not None:
            await stopping
        await super().tearDown()
        for succeeded, failure in outcomes:
            if not succeeded:
                failure.raiseException()

    def background(self, work: Any) -> None:
        """Run a coroutine beside the test; it ends before the test does."""
        self.running.append(Deferred.fromCoroutine(work))

    def later(self, delay_s: float, work: Any, *arguments: Any) -> None:
        """Do something in a while, and before the test ends."""

        async def wait() -> None:
            await self.pause(delay_s)
            work(*arguments)

        if delay_s:
            self.background(wait())
        else:
            work(*arguments)

    # Callers ---------------------------------------------------------------------------

    async def call_all_the_time(self) -> None:
        """One caller that is never cut: the shared function and everybody's own."""
        caller = await self.worker()
        while not self.stopping:
            asked = [(SHARED, None)] * 3 + [(member.own, member) for member in self.members]
            for function, member in asked:
                generation = member.generation if member is not None and member.online else 0
                began = reactor.seconds()  # type: ignore[attr-defined]
                id = caller.invoke(function)
                try:
                    answer = await caller.result_of(id, ANSWER_LIMIT_S)
                except AssertionError:
                    self.wrong.append(f"{function}: no answer within {ANSWER_LIMIT_S} s")
                    return
                took = reactor.seconds() - began  # type: ignore[attr-defined]
                self.slowest_s = max(self.slowest_s, took)
                code = answer.get("error", {}).get("code", "result")
                self.seen[code] += 1
                if code == "function_not_found":
                    alive = member is None or (
                        generation and member.online and member.generation == generation
                    )
                    if alive:
                        self.wrong.append(f"{function}: function_not_found")
                elif code not in ("result", "invocation_stopped"):
                    self.wrong.append(f"{function}: {answer}")

    async def request_all_the_time(self) -> None:
        """An HTTP client: the shared route is never a 404."""
        while not self.stopping:
            status = await get(self.http_port, "/shared/run")
            self.seen[f"http {status}"] += 1
            if status not in (200, 500, 502, 503):
                self.wrong.append(f"GET /shared/run: {status}")

    @property
    def http_port(self) -> int:
        """Where the HTTP module listens."""
        port: int = self.engine.ready["http"]
        return port

    # What must be there ------------------------------------------------------------------

    def registered(self) -> dict[str, set[str]]:
        """What the engine serves, by kind."""
        triggers = list(self.engine.triggers.registrations())
        return {
            "functions": {f.id for f in self.engine.functions if not f.id.startswith("engine::")},
            "routes": {t.id for t in triggers if t.trigger_type == "http"},
            "ticks": {t.id for t in triggers if t.trigger_type == TICK},
        }

    def wanted(self, members: list[Member]) -> dict[str, set[str]]:
        """What these members have registered."""
        provider = any(member.provides_ticks for member in members)
        routes = {f"http.{f}.{m.number}" for m in members for f in (SHARED, m.own)}
        return {
            "functions": {SHARED, *(member.own for member in members)},
            "routes": routes,
            "ticks": {f"tick.{m.number}" for m in members} if provider else set(),
        }

    async def assert_complete(self) -> None:
        """Everything of whoever is online is there, nothing that was never registered."""
        there = self.registered()
        online = [member for member in self.members if member.online]
        least, most = self.wanted(online), self.wanted(self.members)
        for kind, ids in there.items():
            self.assertLessEqual(least[kind], ids, kind)
            self.assertLessEqual(ids, most[kind], kind)
        for member in online:
            generation = member.generation
            status = await get(self.http_port, f"/own/{member.number}")
            if member.online and member.generation == generation:
                # Who did not say who it is may be called where it was before it was cut.
                self.assertIn(status, (200,) if member.says_who_it_is else (200, 500), member.own)

    async def assert_exact(self) -> None:
        """After the dust has settled: no more and no less, and every trigger fires."""
        await self.eventually(lambda: self.proxy.settled, 5)
        await self.eventually(lambda: len(self.engine.workers.connections()) == 5, 5)
        self.assertEqual(self.registered(), self.wanted(self.members))
        provider = self.members[0]
        assert provider.worker is not None
        await self.eventually(lambda: provider.ticks == self.wanted(self.members)["ticks"])
        await self.assert_complete()
        for member in self.members:
            self.assertEqual(await get(self.http_port, f"/own/{member.number}"), 200)

    async def cut_and_come_back(self) -> None:
        """``rounds`` times four cuts; one member of each round is left alone."""
        self.background(self.call_all_the_time())
        self.background(self.request_all_the_time())
        cuts = 0
        for _ in range(self.rounds):
            survivor = self.chance.choice(self.members)
            victims = [member for member in self.members if member is not survivor]
            twice = self.chance.choice(victims)
            outcomes = await DeferredList(
                [Deferred.fromCoroutine(self.cut(member, member is twice)) for member in victims],
                consumeErrors=True,
            )
            for succeeded, failure in outcomes:
                if not succeeded:
                    failure.raiseException()
            cuts += len(victims) + 1
            await self.assert_exact()
            self.assertEqual(self.wrong, [])
        self.assertEqual(cuts, 4 * self.rounds)

    async def cut(self, member: Member, twice: bool) -> None:
        """Cut ``member`` at some moment, perhaps again as soon as it is back."""
        for _ in range(2 if twice else 1):
            await self.pause(self.chance.uniform(0, 0.1))
            delay_s = self.chance.choice((0.0, self.chance.uniform(0.02, 0.35)))
            await member.be_cut(delay_s, self.chance.choice((0.0, 0.0, 0.03, 0.15)))


class _Getter(Protocol):
    """One GET on a connection of its own."""

    def __init__(self) -> None:
        self.data = b""
        self.over: Deferred[bytes] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        """Protocol: the answer."""
        self.data += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Protocol: the answer is complete."""
        if not self.over.called:
            self.over.callback(self.data)


async def get(port: int, path: str) -> int:
    """The status of a GET."""
    endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", port)
    getter = await connectProtocol(endpoint, _Getter())
    getter.transport.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    getter.over.addTimeout(ANSWER_LIMIT_S, reactor)
    try:
        answer = await getter.over
    except TimeoutError:
        getter.transport.abortConnection()
        return 0
    return int(answer.split(b" ", 2)[1])

"""The adapter alone, with executors that a test drives; and what must be true in Redis."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Any, ClassVar

import msgspec
from msgspec import Raw
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from iii.engine.core import Engine
from iii.engine.ids import next_id
from iii.engine.module import ModuleApi
from iii.modules.queue.adapter import Message, New, Once, Outcome, QueueName, Receipt, Verdict
from iii.modules.queue.adapters.redis import RedisAdapter
from iii.modules.queue.adapters.redis.config import RedisQueueConfig
from iii.modules.queue.adapters.redis.keys import name_of
from iii.modules.queue.message import Failure
from iii.modules.queue.names import named
from iii.modules.queue.settings import LaneSettings
from tests.support.redis import RedisServer

#: Less than a lane waits at most without being called.
LIMIT_S = 10.0
DONE = Outcome(Verdict.DONE)
RETURNED = Outcome(Verdict.RETURNED)
ABSENT = Outcome(Verdict.ABSENT)
MAIL = named("mail")


def failed(after_ms: int | None = None) -> Outcome:
    """An attempt that failed."""
    return Outcome(Verdict.FAILED, Failure(0, "boom", "it broke"), after_ms)


class Hands:
    """An executor: what it was given waits until the test says how it ended.

    :ivar missing: functions that are not there
    :ivar held: messages that run, with what to tell
    :ivar at_once: what becomes of a message as soon as it comes; None: it is held
    """

    def __init__(self) -> None:
        self.missing: set[str | None] = set()
        self.held: list[tuple[Message, Callable[[Outcome], None]]] = []
        self.at_once: Callable[[Message], Outcome | None] = lambda message: None

    def ready(self, message: Message) -> bool:
        """Executor: unless the function is missing."""
        return message.function_id not in self.missing

    def run(self, message: Message, limit_ms: int, done: Callable[[Outcome], None]) -> None:
        """Executor: hold it, or end it."""
        outcome = self.at_once(message)
        if outcome is None:
            self.held.append((message, done))
        else:
            done(outcome)

    def end(self, outcome: Outcome, place: int = 0) -> Message:
        """End one that is held."""
        message, done = self.held.pop(place)
        done(outcome)
        return message

    @property
    def ids(self) -> list[Any]:
        """The data of what is held."""
        return [msgspec.json.decode(message.data) for message, _ in self.held]


class DirectCase(TestCase):
    """Adapters on one Redis, without workers.

    :cvar options: further arguments of the server
    """

    timeout = 60
    options: ClassVar[tuple[str, ...]] = ()

    async def setUp(self) -> None:
        self.server = RedisServer(self, *self.options)
        self.adapters: list[RedisAdapter] = []
        self.addCleanup(self._end)
        self.adapter = await self.start()

    async def _end(self) -> None:
        for adapter in self.adapters:
            await adapter.stop()

    async def begin_anew(self) -> None:
        """Another adapter, on a Redis with nothing in it."""
        await self._end()
        self.adapters.clear()
        self.server.ask("FLUSHALL")
        self.adapter = await self.start()

    async def start(self, **settings: Any) -> RedisAdapter:
        """One more engine's."""
        given = {"redis_url": self.server.url, "legacy_pubsub": False, **settings}
        adapter = RedisAdapter(msgspec.convert(given, RedisQueueConfig))
        await adapter.start(ModuleApi(Engine(reactor), "iii-queue"), {})
        self.adapters.append(adapter)
        return adapter

    def consume(
        self,
        queue: QueueName = MAIL,
        adapter: RedisAdapter | None = None,
        hands: Hands | None = None,
        **settings: Any,
    ) -> Hands:
        """Work ``queue`` off; again, with the same hands: otherwise."""
        hands = hands or Hands()
        (adapter or self.adapter).consume(queue, LaneSettings(**settings), hands)
        return hands

    async def put(
        self, data: Any, *queues: QueueName, function_id: str | None = "f", **more: Any
    ) -> Receipt:
        """Keep a message."""
        once: Once | None = more.pop("once", None)
        adapter: RedisAdapter = more.pop("adapter", self.adapter)
        new = New(
            next_id(),
            Raw(msgspec.json.encode(data)),
            list(queues) or [MAIL],
            function_id=function_id,
            **more,
        )
        return await adapter.put(new, once)

    async def until(self, there: Callable[[], Any], what: str = "what was expected") -> None:
        """Wait until ``there()``."""
        ends = monotonic() + LIMIT_S
        while not there():
            if monotonic() > ends:
                self.fail(f"after {LIMIT_S} s there is not yet {what}")
            await self.moment()

    async def moment(self, seconds: float = 0.002) -> None:
        """Let others work."""
        passed: Deferred[None] = Deferred()
        reactor.callLater(seconds, passed.callback, None)  # type: ignore[attr-defined]
        await passed

    async def counted(self, queue: QueueName = MAIL, **expected: int) -> None:
        """Wait until a queue has so many messages."""
        ends = monotonic() + LIMIT_S
        while True:
            counts = await self.adapter.counts(queue)
            if all(getattr(counts, name) == value for name, value in expected.items()):
                return
            self.assertLess(monotonic(), ends, f"{expected}, but {counts}")
            await self.moment()

    # What must be true -----------------------------------------------------------------

    async def ask(self, *parts: Any) -> Any:
        """A command."""
        return await self.adapter._hub.redis.call(*parts)

    async def check(self, queue: QueueName = MAIL) -> None:
        """Every message is in one place, and every waiting one can be found by its row."""
        base = f"iii:{{q:{name_of(queue)}}}:".encode()
        found: dict[bytes, list[bytes]] = {}
        for key, members in await self.ask("EVAL", _DUMP, 0, base + b"*"):
            found[key[len(base) :]] = members
        meta = found.get(b"meta", [])
        said = dict(zip(meta[::2], meta[1::2], strict=True))
        places = [set(found.get(zset, [])) for zset in (b"waiting", b"delayed", b"active", b"dlq")]
        everywhere = [id for place in places for id in place]
        self.assertEqual(len(everywhere), len(set(everywhere)), "a message in two places")
        for name in (b"jobs", b"state"):
            self.assertEqual(set(found.get(name, [])[::2]), set(everywhere), name)
        self.assertLessEqual(set(found.get(b"past", [])[::2]), set(everywhere))
        self.assertLessEqual(set(found.get(b"expiry", [])), places[0] | places[1])
        if b"rekey" not in said:
            self._check_rows(found, said.get(b"gen", b"0"), places[0])

    def _check_rows(self, found: dict[bytes, list[bytes]], gen: bytes, waiting: set[bytes]) -> None:
        def those(kind: bytes) -> dict[bytes, list[bytes]]:
            start = b"%b:%b:" % (kind, gen)
            return {k[len(start) :]: ids for k, ids in found.items() if k.startswith(start)}

        rows = those(b"row")
        in_rows = [id for row in rows.values() for id in row]
        self.assertEqual(sorted(in_rows), sorted(waiting), "rows are not what waits")
        looked_at = {*found.get(b"ready", []), *found.get(b"blocked", [])}
        for parked in those(b"parked").values():
            looked_at |= set(parked)
        self.assertLessEqual(set(rows), looked_at, "a row that nobody looks at")


_DUMP = """
local all = {}
for _, key in ipairs(redis.call('KEYS', ARGV[1])) do
  local type, members = redis.call('TYPE', key).ok, {}
  if type == 'hash' then members = redis.call('HGETALL', key) end
  if type == 'zset' then members = redis.call('ZRANGE', key, 0, -1) end
  if type == 'set' then members = redis.call('SMEMBERS', key) end
  all[#all + 1] = {key, members}
end
return all
"""

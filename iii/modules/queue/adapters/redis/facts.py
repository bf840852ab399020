"""What is known of every queue: the same in all engines.

It lies in one hash and, as a copy, in the memory of each engine; whoever changes it tells
the others.  What a lost connection kept from being written is owed, and written when Redis
is back.
"""

from __future__ import annotations

from typing import Any

import msgspec
from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from iii.modules.queue.adapter import LaneFacts, QueueName
from iii.modules.queue.adapters.redis.facts_scripts import FORGET, REMEMBER
from iii.modules.queue.adapters.redis.hub import Hub
from iii.modules.queue.adapters.redis.keys import name_of
from iii.redis import RedisAway, RedisError

log = Logger()

_FIELDS = LaneFacts.__struct_fields__
#: What is owed when Redis is away; about anything else the caller is told at once.
_OWED = frozenset(("subscribed", "left_ms"))


class Facts:
    """Every queue and what is known of it.

    :ivar all: never changed from outside
    :ivar subscribed: queues that this engine has triggers for
    """

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self.all: dict[QueueName, LaneFacts] = {}
        self.subscribed: set[QueueName] = set()
        self._owed: dict[QueueName, list[Deferred[None]]] = {}
        self._loading = 0
        #: what changed while everything is read: what was read of it may be older
        self._changed: set[QueueName] = set()

    async def start(self) -> None:
        """Read what there is, and listen."""
        self._hub.redis.subscribe(self._hub.key("news"), self._heard, self._listening)
        await self._hub.redis.subscribed(self._hub.key("news"))
        await self.load()

    def _listening(self) -> None:
        """The channel is there (again): news may have been missed."""
        loaded = Deferred.fromCoroutine(self.load())
        loaded.addErrback(lambda failure: failure.trap(RedisError) and None)

    async def load(self) -> None:
        """Read everything anew.

        :raises RedisError: it can't be read
        """
        if not self._loading:
            self._changed.clear()
        self._loading += 1
        try:
            flat: list[bytes] = await self._hub.redis.call("HGETALL", self._hub.key("facts"))
        finally:
            self._loading -= 1
        known: dict[QueueName, dict[str, Any]] = {}
        for field, value in zip(flat[::2], flat[1::2], strict=True):
            name, _, text = field.decode().partition(" ")
            facts = known.setdefault(QueueName.of_text(text), {})
            if name in _FIELDS:
                facts[name] = msgspec.json.decode(value)
        read = {queue: msgspec.convert(facts, LaneFacts) for queue, facts in known.items()}
        for queue in self._changed.union(self._owed):
            read.pop(queue, None)
            if queue in self.all:
                read[queue] = self.all[queue]
        self.all = read

    def add(self, queue: QueueName) -> None:
        """Make ``queue`` known, unless it is."""
        if queue not in self.all:
            # It is written with whatever comes next about it, if Redis is away.
            self.remember(queue, {}).addErrback(_told_otherwise)

    def remember(self, queue: QueueName, changes: dict[str, Any]) -> Deferred[None]:
        """Change facts; fires when they are written."""
        before = self.all.get(queue)
        facts = msgspec.structs.replace(before or LaneFacts(), **changes)
        if facts == before and "subscribed" not in changes and queue not in self._owed:
            return succeed(None)
        self.all[queue] = facts
        self._changed.add(queue)
        if changes.get("subscribed"):
            self.subscribed.add(queue)
        elif "subscribed" in changes:
            self.subscribed.discard(queue)
        written = self._write(queue, changes)
        written.addCallback(self._written, queue)
        return written.addErrback(self._not_written, queue, before, changes)

    def forget(self, queue: QueueName) -> Deferred[bool]:
        """Forget ``queue`` if it has nothing any more; whether it has."""
        text = queue.text
        forgotten = self._hub.run(
            FORGET, name_of(queue), text, _news(text, None), len(_FIELDS), *_FIELDS
        )

        def done(is_gone: int) -> bool:
            if is_gone:
                self._changed.add(queue)
                self.all.pop(queue, None)
            return bool(is_gone)

        return forgotten.addCallback(done)

    def back(self, consumed: list[QueueName]) -> None:
        """Redis is back, perhaps with less than it had: write what it has to know.

        :param consumed: queues that this engine works off
        """
        owed, self._owed = self._owed, {}
        for queue in {**dict.fromkeys(consumed), **dict.fromkeys(self.subscribed), **owed}:
            changes: dict[str, Any] = {}
            if queue in self.subscribed:
                changes = {"subscribed": True, "left_ms": None}
            elif queue in owed:
                facts = self.all.get(queue, LaneFacts())
                changes = {"subscribed": facts.subscribed, "left_ms": facts.left_ms}
            written = self._write(queue, changes).addCallback(self._written, queue)
            written.addErrback(self._owed_again, queue)
            for waiter in owed.get(queue, ()):
                written.chainDeferred(waiter)
                written = waiter
        self._listening()

    # Inside ----------------------------------------------------------------------------

    def _write(self, queue: QueueName, changes: dict[str, Any]) -> Deferred[Any]:
        pairs = [(name, msgspec.json.encode(value)) for name, value in changes.items()]
        text = queue.text
        return self._hub.run(
            REMEMBER,
            name_of(queue),
            text,
            "" if queue.kind == "named" else queue.name,
            self._hub.lease_ms,
            _news(text, changes),
            len(pairs),
            *(part for pair in pairs for part in pair),
        )

    def _written(self, done: int, queue: QueueName) -> None:
        if not done:
            # Another engine has triggers for it.
            facts = self.all.get(queue, LaneFacts())
            self.all[queue] = msgspec.structs.replace(facts, subscribed=True)

    def _owed_again(self, failure: Failure, queue: QueueName) -> Deferred[None]:
        """It is written when Redis is back once more."""
        failure.trap(RedisError)
        if failure.check(RedisAway) is None:
            log.error("queue {queue}: {reason}", queue=str(queue), reason=failure.value)
        waiter: Deferred[None] = Deferred()
        self._owed.setdefault(queue, []).append(waiter)
        return waiter

    def _not_written(
        self, failure: Failure, queue: QueueName, before: LaneFacts | None, changes: dict[str, Any]
    ) -> Any:
        if failure.check(RedisAway) is not None and _OWED.intersection(changes):
            return self._owed_again(failure, queue)
        if before is None:
            self.all.pop(queue, None)
        else:
            self.all[queue] = before
        return failure

    def _heard(self, channel: bytes, body: bytes) -> None:
        """Another engine changed something."""
        sender, _, news = body.decode().partition(" ")
        if sender == self._hub.me:
            return
        text, changes = msgspec.json.decode(news)
        queue = QueueName.of_text(text)
        self._changed.add(queue)
        if changes is None:
            self.all.pop(queue, None)
        else:
            known = msgspec.to_builtins(self.all.get(queue, LaneFacts()))
            self.all[queue] = msgspec.convert({**known, **changes}, LaneFacts)


def _news(text: str, changes: dict[str, Any] | None) -> bytes:
    return msgspec.json.encode((text, changes))


def _told_otherwise(failure: Failure) -> None:
    """Whoever made the queue known is told by the command that follows."""
    failure.trap(RedisError)

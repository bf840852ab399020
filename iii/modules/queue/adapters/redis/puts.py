"""New messages on their way to Redis.

Those of one turn go in one script call, and while calls are under way the next ones
gather.  A put is answered by the reply of its call; when Redis is away it fails at once,
and when the connection ends before the reply, the message may have been kept all the same.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, fail
from twisted.logger import Logger
from twisted.python.failure import Failure

from iii.errors import Code, IIIError
from iii.modules.queue.adapter import New, Once, Receipt
from iii.modules.queue.adapters.redis.codec import body_of
from iii.modules.queue.adapters.redis.hub import Hub
from iii.modules.queue.adapters.redis.keys import name_of, target
from iii.modules.queue.adapters.redis.put_script import PUT
from iii.modules.queue.keys import key_in
from iii.modules.queue.message import HIGHEST_PRIORITY
from iii.modules.queue.names import QueueName

if TYPE_CHECKING:
    from iii.redis.protocol import Part

log = Logger()

#: One call has so many messages, and about so many bytes of them.
CALL_MESSAGES = 256
CALL_BYTES = 1024 * 1024
CALLS_UNDER_WAY = 2
#: Messages that wait for Redis may hold so much; more are refused.
MAX_PENDING_BYTES = 64 * 1024 * 1024

Sent = Callable[[list[QueueName]], None]


class _Put:
    """One message.

    :ivar fields: what keys are made from, as far as this engine knows
    """

    __slots__ = ("answer", "body", "fields", "new", "once")

    def __init__(self, new: New, once: Once | None, body: bytes, fields: set[str]) -> None:
        self.new = new
        self.once = once
        self.body = body
        self.fields = fields
        self.answer: Deferred[Receipt] = Deferred()

    def parts(self) -> list[Part]:
        """As the script takes it."""
        new, once = self.new, self.once
        named = new.queues[0].kind == "named"
        parts: list[Part] = [
            new.id,
            self.body,
            target(new.function_id, new.namespace),
            new.due_ms,
            "" if new.ttl_ms is None else new.ttl_ms,
            HIGHEST_PRIORITY - new.priority,
            "" if once is None else f"{once.scope} {once.key}",
            0 if once is None else once.ttl_ms,
            "" if named else new.queues[0].name,
            len(new.queues),
            *map(name_of, new.queues),
            len(self.fields),
        ]
        for field in self.fields:
            parts += (field, key_in(new.data, field))
        return parts


class Puts:
    """All puts of one engine.

    :param sent: told of the queues that messages were sent to, behind the call
    """

    def __init__(self, hub: Hub, sent: Sent) -> None:
        self._hub = hub
        self._sent = sent
        self._waiting: deque[_Put] = deque()
        #: to be sent once more, before everything that waits; nothing is sent meanwhile
        self._returned: list[_Put] = []
        self._pending_bytes = 0
        self._under_way = 0
        self._due = False
        #: fields that keys are made from, by name of topic or queue
        self._fields: dict[tuple[str, str], set[str]] = {}

    def put(self, new: New, once: Once | None) -> Deferred[Receipt]:
        """Keep a message in all its queues.

        :raises IIIError: through the Deferred; ``redis_unavailable``, ``redis_error``,
            ``overloaded``
        """
        if not self._hub.redis.up:
            return self._hub.run(PUT, 0)  # which fails as every command does
        body = body_of(new, self._hub.clock.wall_ms())
        if self._pending_bytes + len(body) > MAX_PENDING_BYTES:
            text = f"{self._pending_bytes} bytes of messages wait for Redis"
            return fail(IIIError(Code.OVERLOADED, text))
        put = _Put(new, once, body, self._fields.get(_place(new), set()))
        self._pending_bytes += len(body)
        self._waiting.append(put)
        self._hurry()
        return put.answer

    # Inside ----------------------------------------------------------------------------

    def _hurry(self) -> None:
        """Send what waits at the end of this turn."""
        if self._returned:
            if self._under_way:
                return  # what comes back of those calls is to be sent before what waits
            self._waiting.extendleft(reversed(self._returned))
            self._returned.clear()
        if not self._due and self._under_way < CALLS_UNDER_WAY:
            self._due = True
            self._hub.turn.begin()
            self._hub.turn.later(self._flush)

    def _flush(self) -> None:
        self._due = False
        while self._waiting and not self._returned and self._under_way < CALLS_UNDER_WAY:
            self._send(self._next())

    def _next(self) -> list[_Put]:
        puts: list[_Put] = []
        size = 0
        while self._waiting and len(puts) < CALL_MESSAGES and size < CALL_BYTES:
            puts.append(self._waiting.popleft())
            size += len(puts[-1].body)
        return puts

    def _send(self, puts: list[_Put]) -> None:
        self._under_way += 1
        parts: list[Part] = []
        for put in puts:
            parts += put.parts()
        kept = self._hub.run(PUT, len(puts), *parts)
        kept.addCallbacks(
            lambda outcomes: self._hub.turn.run(self._kept, (puts, outcomes)),
            self._not_kept,
            errbackArgs=(puts,),
        )
        kept.addErrback(lambda failure: log.failure("answering puts", failure))
        self._sent(list(dict.fromkeys(queue for put in puts for queue in put.new.queues)))

    def _kept(self, answered: tuple[list[_Put], list[Any]]) -> None:
        puts, outcomes = answered
        self._under_way -= 1
        for put, outcome in zip(puts, outcomes, strict=True):
            if isinstance(outcome, list):
                self._learn(put, outcome[0].decode())
                continue
            self._pending_bytes -= len(put.body)
            put.answer.callback(
                Receipt(outcome.decode(), duplicate=True) if outcome else Receipt(put.new.id)
            )
        self._hurry()

    def _learn(self, put: _Put, field: str) -> None:
        """A queue has keys that this engine didn't know of: once more, with them."""
        known = self._fields.setdefault(_place(put.new), set())
        known.add(field)
        put.fields = known
        self._returned.append(put)

    def _not_kept(self, failure: Failure, puts: list[_Put]) -> None:
        self._under_way -= 1
        for put in puts:
            if not put.answer.called:
                self._pending_bytes -= len(put.body)
                put.answer.errback(failure)
        self._hurry()


def _place(new: New) -> tuple[str, str]:
    first = new.queues[0]
    return ("named" if first.kind == "named" else "topic", first.name)

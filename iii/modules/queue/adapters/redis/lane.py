"""One queue as one engine works it off.

Redis decides what runs next; the lane asks for as many messages as there are slots, and
tells in the same call what became of earlier ones.  At most one call is under way, and
everything that happens meanwhile goes with the next.  A call is made when something
happened: a message was put, a slot became free, another engine called, a time came that
Redis had named.

The rule that is easy to get wrong: an outcome is kept until Redis has answered the call
that told it.  After a lost connection the lane tells it again, and says what it holds, so
that messages which were given to it without its knowing go back.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure as Trouble

from iii.engine.clock import Timer
from iii.errors import Code
from iii.modules.queue.adapter import Executor, Outcome, QueueName, Verdict
from iii.modules.queue.adapters.redis.codec import message_of, past_of, pieces
from iii.modules.queue.adapters.redis.facts_scripts import CONSUME
from iii.modules.queue.adapters.redis.hub import Hub
from iii.modules.queue.adapters.redis.keys import mode_of, name_of, target_of
from iii.modules.queue.adapters.redis.rekeying import rekey
from iii.modules.queue.adapters.redis.work_script import WORK
from iii.modules.queue.lane import ABSENT_PAUSE_S, KEPT_FAILURES, RETURNED_PAUSE_S
from iii.modules.queue.message import Details, Failure, Message
from iii.modules.queue.settings import LaneSettings
from iii.redis import RedisAway, RedisError

if TYPE_CHECKING:
    from iii.redis.protocol import Part

log = Logger()

#: One call brings so many messages, about so many bytes of them, and tells so many outcomes.
CALL_MESSAGES = 100
CALL_BYTES = 4 * 1024 * 1024
CALL_OUTCOMES = 500
#: A call that was lost may have named a time; and who should have called may have died.
LOOK_EVERY_S = 15.0
RETRY_S = 1.0
#: Calls in a row that bring nothing although there is more: others have it.
FRUITLESS = 50

_ROW = 7
_Told = tuple[str, str, str, int, bytes]
"""Kind, id, token, due, past: as ``WORK`` takes an outcome."""


class Lane:
    """One queue at work.

    :ivar running: id and token of each message that runs here
    :ivar absent: targets that nobody here can run, with a message of each
    """

    def __init__(
        self, hub: Hub, queue: QueueName, settings: LaneSettings, executor: Executor
    ) -> None:
        self._hub = hub
        self.queue = queue
        self.name = name_of(queue)
        self.settings = settings
        self._executor = executor
        self.running: dict[tuple[str, str], Message] = {}
        self.absent: dict[str, Message] = {}
        self._outcomes: list[_Told] = []
        self._calls = 0
        self._under_way = False
        self._flushed: Deferred[None] | None = None
        self._due = False
        #: something happened since the call under way was made
        self._again = False
        #: what was given to this engine may not have arrived
        self._unsure = False
        self._taking_in = False
        self._resting = False
        self._fruitless = 0
        self._refused = False
        self._rekeying = False
        self._is_consumed = False
        self._timers: dict[str, Timer] = {}
        self._closing = False
        self._stopped = False

    # Events ----------------------------------------------------------------------------

    def consume(self, settings: LaneSettings) -> None:
        """Work the queue off like that from now on; Redis is told."""
        self.settings = settings
        self._cancel("consume")
        told = self._hub.run(
            CONSUME,
            self.name,
            mode_of(settings),
            settings.key_field or "",
            settings.delay_ms,
            settings.ttl_ms or 0,
        )
        told.addCallbacks(self._consumed, self._not_consumed)

    def poke(self) -> None:
        """Something happened: make a call at the end of this turn."""
        if self._stopped or self._due:
            return
        if self._under_way:
            self._again = True
            return
        self._due = True
        self._hub.turn.begin()
        self._hub.turn.later(self._send)

    def back(self) -> None:
        """Redis is back."""
        self._unsure = True
        self.consume(self.settings)

    def look_again(self) -> None:
        """Functions or triggers came."""
        ready = [target for target, one in self.absent.items() if self._executor.ready(one)]
        for target in ready:
            del self.absent[target]
        if ready:
            self.poke()

    def close(self) -> None:
        """Nothing more is taken; outcomes are still told."""
        self._closing = True

    def stop(self) -> Deferred[None]:
        """Give back what runs; fires when Redis knows, or can't be told."""
        self._closing = True
        self._cancel_all()
        self._outcomes += [("R", id, token, 0, b"") for id, token in self.running]
        self.running.clear()
        flushed: Deferred[None] = Deferred()
        self._flushed = flushed
        if not self._under_way:
            self._flush()
        return flushed

    def drop(self) -> None:
        """The queue is forgotten."""
        self._closing = self._stopped = True
        self._cancel_all()

    def _consumed(self, _: Any) -> None:
        self._is_consumed = True
        self.poke()

    def _not_consumed(self, trouble: Trouble) -> None:
        """Nothing is taken before Redis knows how; when it is back it is told again."""
        trouble.trap(RedisError)
        self._is_consumed = False
        if self._hub.redis.up and not self._closing:
            self._later("consume", RETRY_S, lambda: self.consume(self.settings))

    # Calls -----------------------------------------------------------------------------

    @property
    def _slots(self) -> int:
        settings = self.settings
        return min(1, settings.concurrency) if settings.serial else settings.concurrency

    def _wanted(self) -> int:
        if self._closing or self._resting or not self._is_consumed:
            return 0
        if "" in self.absent and self.queue.kind != "named":
            return 0
        return max(0, min(CALL_MESSAGES, self._slots - len(self.running)))

    def _send(self) -> None:
        self._due = False
        wanted = self._wanted()
        if self._stopped or self._under_way:
            return
        if not (wanted or self._outcomes or self._unsure):
            return
        if not self._hub.redis.up:
            self._unsure = True
            return
        told, self._outcomes = self._outcomes[:CALL_OUTCOMES], self._outcomes[CALL_OUTCOMES:]
        self._again = bool(self._outcomes)
        self._calls += 1
        token = f"{self._hub.me}:{self._calls}"
        self._under_way = True
        called = self._hub.run(WORK, *self._parts(token, wanted, told))
        self._unsure = False
        called.addCallbacks(
            lambda reply: self._hub.turn.run(self._worked, (token, reply)),
            self._failed,
            errbackArgs=(told,),
        )
        called.addErrback(self._broken)

    def _parts(self, token: str, wanted: int, told: list[_Told]) -> list[Part]:
        settings, limit = self.settings, self.settings.rate_limit
        parts: list[Part] = [
            self.name,
            token,
            self._hub.lease_ms,
            int(self._hub.judges),
            settings.per_key,
            0 if limit is None else limit.count,
            1 if limit is None else limit.per_ms,
            int(limit is not None and limit.key_field is not None),
            wanted,
            CALL_BYTES,
            len(self.absent),
            *self.absent,
            len(told),
        ]
        for outcome in told:
            parts += outcome
        if not self._unsure:
            return [*parts, 0]
        held = [id for id, _ in self.running]
        held += [id for _, id, _, _, _ in self._outcomes]
        return [*parts, 1, len(held), *held]

    def _worked(self, answered: tuple[str, list[Any]]) -> None:
        token, reply = answered
        self._under_way = False
        if self._refused:
            self._refused = False
            log.info("queue {queue}: Redis takes its outcomes again", queue=str(self.queue))
        more, soon_ms, is_stale = reply[:3]
        given = pieces(reply[3:], _ROW)
        self._taking_in = True
        try:
            for row in given:
                self._take_in(token, *row)
        finally:
            self._taking_in = False
        if is_stale:
            self._rekey()
        self._fruitless = 0 if given else self._fruitless + 1
        if self._flushed is not None:
            self._flush()
        elif self._again or (more and self._fruitless < FRUITLESS):
            self.poke()
        elif more:
            self._call_again(RETRY_S)
        else:
            self._call_again(LOOK_EVERY_S if soon_ms < 0 else min(soon_ms / 1000, LOOK_EVERY_S))

    def _failed(self, trouble: Trouble, told: list[_Told]) -> None:
        """Nobody knows what Redis did; it is told again."""
        trouble.trap(RedisError)
        self._under_way = False
        self._outcomes = told + self._outcomes
        self._unsure = True
        if trouble.check(RedisAway) is None and not self._refused:
            self._refused = True
            log.error(
                "queue {queue}: nothing is handed out, and outcomes wait: {reason}",
                queue=str(self.queue),
                reason=trouble.value,
            )
        self._go_on()

    def _broken(self, trouble: Trouble) -> None:
        """A fault of ours; the queue goes on."""
        self._under_way = False
        log.failure("queue {queue}", trouble, queue=str(self.queue))
        self._unsure = True
        self._go_on()

    def _go_on(self) -> None:
        """After a call that failed: later, or when Redis is back."""
        if self._flushed is not None:
            self._outcomes.clear()  # leases tell the others
            self._flush()
        elif self._hub.redis.up:
            self._call_again(RETRY_S)

    def _flush(self) -> None:
        """The end: nobody calls any more."""
        if self._outcomes and self._hub.redis.up:
            self._send()
        elif self._flushed is not None and not self._flushed.called:
            self._flushed.callback(None)

    def _call_again(self, delay_s: float) -> None:
        """Make a call then, if nothing happens before."""
        if not self._closing:
            self._later("call", delay_s, self.poke)

    def _later(self, name: str, delay_s: float, work: Callable[[], None]) -> None:
        """Do ``work`` then; of each name there is one timer."""
        self._cancel(name)
        self._timers[name] = self._hub.clock.call_later(delay_s, work)

    def _cancel(self, name: str) -> None:
        timer = self._timers.pop(name, None)
        if timer is not None and timer.active():
            timer.cancel()

    def _cancel_all(self) -> None:
        for name in list(self._timers):
            self._cancel(name)

    # Attempts --------------------------------------------------------------------------

    def _take_in(self, token: str, member: bytes, body: bytes, *more: bytes) -> None:
        id = member.decode()
        try:
            message = message_of(body, *more)
        except (msgspec.MsgspecError, ValueError) as error:
            # Somebody else wrote it; it must not come again and again.
            reason = Failure(self._hub.clock.wall_ms(), Code.REDIS_ERROR, f"unreadable: {error}")
            past = past_of(Details(failures=[reason], attempts=1, reason="unreadable"))
            self._tell("B", id, token, 0, past)
            return
        if self._closing:
            self._tell("R", id, token)
        elif not self._executor.ready(message):
            self._set_aside(id, token, message)
        else:
            self.running[id, token] = message
            self._run(id, token, message)

    def _run(self, id: str, token: str, message: Message) -> None:
        done = partial(self._ended, id, token)
        try:
            self._executor.run(message, self.settings.dispatch_timeout_ms, done)
        except Exception as error:
            log.failure("queue {queue}: message {id}", queue=str(self.queue), id=message.id)
            failure = Failure(self._hub.clock.wall_ms(), Code.INTERNAL_ERROR, repr(error))
            done(Outcome(Verdict.FAILED, failure))

    def _ended(self, id: str, token: str, outcome: Outcome) -> None:
        message = self.running.pop((id, token), None)
        if message is None:
            return  # it was given back
        if outcome.verdict is Verdict.DONE:
            self._tell("D", id, token)
        elif outcome.verdict is Verdict.FAILED:
            self._count(id, token, message, outcome)
        elif outcome.verdict is Verdict.ABSENT:
            self._set_aside(id, token, message)
            if self._executor.ready(message):
                # Somebody came meanwhile; nobody is going to say so again.
                self._later("look", ABSENT_PAUSE_S, self.look_again)
        else:
            if self._taking_in:
                # It came back before it was gone: no endless loop, please.
                self._rest()
            self._tell("R", id, token)

    def _count(self, id: str, token: str, message: Message, outcome: Outcome) -> None:
        """An attempt that counts failed."""
        details, settings = message.details, self.settings
        details.attempts += 1
        if outcome.failure is not None:
            details.failures = [*details.failures, outcome.failure][-KEPT_FAILURES:]
        if details.attempts >= settings.max_attempts:
            details.reason = "attempts exhausted"
            log.warn(
                "queue {queue}: message {id} is dead after {attempts} attempt(s): {reason}",
                queue=str(self.queue),
                id=message.id,
                attempts=details.attempts,
                reason=details.reason,
            )
            self._tell("B", id, token, 0, past_of(details))
            return
        wait_ms = outcome.after_ms
        if wait_ms is None:
            wait_ms = settings.wait_ms(details.attempts, random.random())
        self._tell("F", id, token, self._hub.clock.wall_ms() + wait_ms, past_of(details))

    def _set_aside(self, id: str, token: str, message: Message) -> None:
        """Nobody here can run it: another engine may, and it waits until somebody can."""
        self.absent[target_of(message)] = message
        self._tell("A", id, token)

    def _tell(self, kind: str, id: str, token: str, due_ms: int = 0, past: bytes = b"") -> None:
        self._outcomes.append((kind, id, token, due_ms, past))
        self.poke()

    def _rest(self) -> None:
        if not self._resting:
            self._resting = True
            self._later("rest", RETURNED_PAUSE_S, self._rested)

    def _rested(self) -> None:
        self._resting = False
        self.poke()

    def _rekey(self) -> None:
        if self._rekeying or self._closing:
            return
        self._rekeying = True
        made = Deferred.fromCoroutine(rekey(self._hub, self.name))
        made.addErrback(lambda failure: failure.trap(RedisError) and None)
        made.addCallback(self._rekeyed)

    def _rekeyed(self, _: None) -> None:
        self._rekeying = False
        self.poke()

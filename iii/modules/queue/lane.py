"""One internal queue at work: which message runs next, and how many at once.

A lane is moved by events and never polls: a message came in, one was handled, a wait is
over, a function appeared.  Each of them ends in ``pump``, which starts as many messages
as there are slots.  What happens to a message after its call is decided here, too: it is
done, tried again, dead, or goes back as if nothing had been.

A message that runs is still *waiting* on disk.  That is why a crash loses nothing, and
why whatever reads the row again has to leave out what ``running`` holds.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection
from enum import Enum, auto
from functools import partial
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from iii.engine.clock import Clock
from iii.errors import Code
from iii.modules.queue.journal import Journal
from iii.modules.queue.keyed import KeyedRow
from iii.modules.queue.keys import key_in
from iii.modules.queue.limits import Buckets
from iii.modules.queue.message import Failure, Message, State
from iii.modules.queue.rows import Piece, Place, Target, waiting_place
from iii.modules.queue.settings import LaneSettings
from iii.modules.queue.wakeups import Wakeups
from iii.modules.queue.window import Window

log = Logger()

#: So many failures are kept with a message; of older attempts only the count.
KEPT_FAILURES = 20
#: Ranks of messages that are tried again: before every fresh one, in the order they are
#: due; what is due in the same millisecond is told apart by its number.
_AGAIN = -(2**61)
_PER_MS = 2**18
#: A message that comes back at once is not tried again at once.
RETURNED_PAUSE_S = 0.1
#: The safety net for messages whose function is said to be there and is not.
ABSENT_PAUSE_S = 1.0


class Verdict(Enum):
    """How an attempt ended."""

    DONE = auto()
    #: The attempt counts; ``failure`` says why.
    FAILED = auto()
    #: As if nothing had been: its worker or the engine went away.
    RETURNED = auto()
    #: There is nobody to run it.
    ABSENT = auto()


class Outcome:
    """The end of one attempt.

    :param after_ms: when the handler wants to be asked again, instead of the back-off
    """

    __slots__ = ("after_ms", "failure", "verdict")

    def __init__(
        self, verdict: Verdict, failure: Failure | None = None, after_ms: int | None = None
    ) -> None:
        self.verdict = verdict
        self.failure = failure
        self.after_ms = after_ms


class Executor(Protocol):
    """Runs messages of a lane."""

    def ready(self, message: Message) -> bool:
        """Whether somebody is there to run it."""
        ...

    def run(self, message: Message, limit_ms: int, done: Callable[[Outcome], None]) -> None:
        """Make one attempt; ``done`` is called once, perhaps before this returns."""
        ...


class Lane:
    """One internal queue.

    :param delay: takes a message that is due later (``Delays.add``)
    :param complete: whether nothing of it is on disk yet
    """

    def __init__(
        self,
        name: str,
        number: int,
        journal: Journal,
        clock: Clock,
        executor: Executor,
        settings: LaneSettings,
        delay: Callable[[Message], None],
        *,
        complete: bool,
    ) -> None:
        self.name = name
        self.number = number
        self.settings = settings
        self.running: dict[int, Message] = {}
        self.closing = False
        self.delivered_total = 0
        self.failed_total = 0
        self._journal = journal
        self._clock = clock
        self._executor = executor
        self._delay = delay
        #: nothing is taken until a wait is over
        self._blocked = False
        #: whose messages nobody can run, one message of each
        self._absent: dict[Target, Message] = {}
        #: keys that wait for a function, not for a time
        self._absent_keys: set[str] = set()
        self._wakeups: Wakeups[Callable[[], None]] = Wakeups(clock, _call)
        self._pumping = False
        self._buckets = None if settings.rate_limit is None else Buckets(settings.rate_limit)
        self._make_row(complete=complete)

    @property
    def paused(self) -> bool:
        """Whether nothing is taken."""
        return self._journal.facts[self.number].paused

    @property
    def waiting_for_worker(self) -> bool:
        """Whether messages wait because nobody is there to run them."""
        waiting = self._journal.counts.get((self.number, State.WAITING), 0)
        return bool(self._absent) and waiting > 0

    # Events ----------------------------------------------------------------------------

    def arrived(self, message: Message) -> None:
        """A message that may run now was committed, or became due."""
        self._row.offer(message)
        self.pump()

    def functions_changed(self) -> None:
        """Functions or triggers came or went: look again at what nobody could run."""
        if any(map(self._executor.ready, self._absent.values())):
            self._look_again()

    def reconfigured(self, settings: LaneSettings) -> None:
        """Other settings count from now on."""
        before, self.settings = self.settings, settings
        if before.rate_limit != settings.rate_limit:
            limit = settings.rate_limit
            self._buckets = None if limit is None else Buckets(limit)
        if before.key_field != settings.key_field:
            for message in self.running.values():
                field = settings.key_field
                message.key = None if field is None else key_in(message.data, field)
        if (before.key_field, before.per_key) != (settings.key_field, settings.per_key):
            self._make_row(complete=False)
        # What waits is looked at again with the new settings, and blocked again if need be.
        self._blocked = False
        self._look_again()

    def taken_out(self, message: Message) -> None:
        """Somebody cancels, moves or purges a message that doesn't run."""
        self._row.remove(message)
        if self._in_order and (self._absent or message.due_ms > self._clock.wall_ms()):
            # It may be the one the others wait for.
            self._unblock(message.key)

    def changed_on_disk(self) -> None:
        """Many messages were changed at once: read everything anew."""
        self._row.reset()
        self._row.refill()

    def stop(self) -> None:
        """No more timers, nothing more is taken."""
        self.closing = True
        self._wakeups.stop()

    # Running ---------------------------------------------------------------------------

    def pump(self) -> None:
        """Start what can be started."""
        if self._pumping:
            return
        self._pumping = True
        try:
            while self._has_slot():
                message = self._row.pop()
                if message is None:
                    break
                self._begin(message)
        finally:
            self._pumping = False
        if not self.closing:
            self._row.refill()

    def _has_slot(self) -> bool:
        settings = self.settings
        slots = min(1, settings.concurrency) if settings.serial else settings.concurrency
        return (
            len(self.running) < slots and not self._blocked and not self.closing and not self.paused
        )

    def _begin(self, message: Message) -> None:
        now_ms = self._clock.wall_ms()
        if message.expires_ms is not None and message.expires_ms <= now_ms:
            self.bury(message, "expired", now_ms)
            self._release(message)
        elif message.due_ms > now_ms and self._in_order:
            # An ordered message that failed before the engine was started anew.
            self._hold_back(message, message.due_ms - now_ms)
        elif not self._executor.ready(message):
            self._set_aside(message)
        elif self._buckets is None or self._take_token(message, self._buckets):
            self.running[message.seq] = message
            self._run(message)

    def _run(self, message: Message) -> None:
        try:
            self._executor.run(
                message, self.settings.dispatch_timeout_ms, partial(self._ended, message)
            )
        except Exception as error:
            log.failure("queue {queue}: message {id}", queue=self.name, id=message.id)
            if message.seq in self.running:
                failure = Failure(self._clock.wall_ms(), Code.INTERNAL_ERROR, repr(error))
                self._ended(message, Outcome(Verdict.FAILED, failure))

    def _ended(self, message: Message, outcome: Outcome) -> None:
        del self.running[message.seq]
        if outcome.verdict is Verdict.DONE:
            self.delivered_total += 1
            self._journal.finish(message)
            self._release(message)
        elif outcome.verdict is Verdict.RETURNED:
            self._returned(message)
        elif outcome.verdict is Verdict.ABSENT:
            self._nobody_took(message)
        else:
            self._failed(message, outcome)
        self.pump()

    def _returned(self, message: Message) -> None:
        if self._pumping:
            # It came back before it was gone: no endless loop, please.
            self._hold_back(message, int(RETURNED_PAUSE_S * 1000))
        else:
            self._row.offer(message)
            self._release(message)

    def _nobody_took(self, message: Message) -> None:
        if self._buckets is not None:
            self._buckets.give_back(self._bucket_of(message))
        self._set_aside(message)
        if self._executor.ready(message):
            # Somebody came meanwhile; nobody is going to say so again.
            self._wakeups.add(ABSENT_PAUSE_S, self._look_again)

    def _failed(self, message: Message, outcome: Outcome) -> None:
        """An attempt that counts failed."""
        self.failed_total += 1
        details = message.details
        details.attempts += 1
        if outcome.failure is not None:
            details.failures = [*details.failures, outcome.failure][-KEPT_FAILURES:]
        now_ms = self._clock.wall_ms()
        if details.attempts >= self.settings.max_attempts:
            self.bury(message, "attempts exhausted", now_ms)
            self._release(message)
            return
        wait_ms = outcome.after_ms
        if wait_ms is None:
            wait_ms = self.settings.wait_ms(details.attempts, random.random())
        message.due_ms = now_ms + wait_ms
        if self._in_order:
            self._journal.change(message, was=State.WAITING)
            self._hold_back(message, wait_ms)
        else:
            message.state = State.DELAYED
            message.rank = _AGAIN + message.due_ms * _PER_MS + message.seq % _PER_MS
            self._journal.change(message, was=State.WAITING)
            self._release(message)
            self._delay(message)

    def bury(self, message: Message, reason: str, now_ms: int) -> None:
        """``message`` is dead."""
        was = message.state
        message.state = State.DEAD
        message.due_ms = now_ms
        message.details.reason = reason
        self._journal.change(message, was=was)
        log.warn(
            "queue {queue}: message {id} is dead after {attempts} attempt(s): {reason}",
            queue=self.name,
            id=message.id,
            attempts=message.details.attempts,
            reason=reason,
        )

    # Waiting ---------------------------------------------------------------------------

    @property
    def _in_order(self) -> bool:
        """Whether what is behind a message that can't run has to wait for it."""
        return self.settings.serial or self.settings.ordered

    def _hold_back(self, message: Message, wait_ms: int) -> None:
        """``message`` waits at the head of its group, and the group (or the lane) with it."""
        self._block(message)
        key = None if self._keyed is None else message.key
        self._wakeups.add(wait_ms / 1000, partial(self._unblock, key))

    def _set_aside(self, message: Message) -> None:
        """Nobody can run ``message``: it waits until somebody can."""
        if self._keyed is not None and self.settings.ordered:
            self._absent_keys.add(message.key or "")
            self._block(message)
        elif self._in_order or message.function_id is None:
            self._row.offer(message)
            self._release(message)
            self._blocked = True
        else:
            # It stays on disk; the row is read without its function from now on.
            self._release(message)
        self._absent[_target_of(message)] = message

    def _left_out(self) -> Collection[Target]:
        """Whose messages are not read."""
        return () if self._in_order else [target for target in self._absent if target[0]]

    def _take_token(self, message: Message, buckets: Buckets) -> bool:
        """Take a token of the rate limit, or put ``message`` back until there is one."""
        bucket = self._bucket_of(message)
        now = self._clock.monotonic()
        if buckets.take(bucket, now):
            return True
        wait_s = buckets.wait_s(bucket, now)
        if self._keyed is not None and bucket:
            self._block(message)
            self._wakeups.add(wait_s, partial(self._unblock, message.key))
        else:
            self._row.offer(message)
            self._release(message)
            self._blocked = True
            self._wakeups.add(wait_s, partial(self._unblock, None))
        return False

    def _bucket_of(self, message: Message) -> str:
        limit = self.settings.rate_limit
        return "" if limit is None or limit.key_field is None else message.key or ""

    def _block(self, message: Message) -> None:
        """Put ``message`` back in its place; its group (or the lane) stands still."""
        self._row.offer(message)
        if self._keyed is None:
            self._blocked = True
        else:
            self._keyed.release(message, blocked=True)

    def _unblock(self, key: str | None) -> None:
        # Too early does no harm: the message is looked at again and put back.
        if self._keyed is not None and key is not None:
            self._keyed.unblock(key)
        else:
            self._blocked = False
        self.pump()

    def _release(self, message: Message) -> None:
        if self._keyed is not None:
            self._keyed.release(message)

    def _look_again(self) -> None:
        """Somebody may be there for what nobody could run."""
        ready = [target for target, one in self._absent.items() if self._executor.ready(one)]
        for target in ready:
            del self._absent[target]
        keys, self._absent_keys = self._absent_keys, set()
        for key in keys:
            if self._keyed is not None:
                self._keyed.unblock(key)
        self._blocked = False
        if not self._in_order and any(function for function, _ in ready):
            self._row.reset()
        self.pump()

    # Rows ------------------------------------------------------------------------------

    def _make_row(self, *, complete: bool) -> None:
        self._row: Window | KeyedRow
        self._keyed: KeyedRow | None = None
        if self.settings.key_field is None:
            self._row = Window(
                waiting_place, self._read, self.pump, self.running, complete=complete
            )
        else:
            self._row = self._keyed = KeyedRow(
                self._journal,
                self.number,
                self.settings.per_key,
                self.pump,
                self.running,
                self._left_out,
                complete=complete,
            )

    def _read(self, after: Place, limit: int, max_bytes: int) -> Deferred[Piece]:
        return self._journal.window(self.number, after, limit, max_bytes, without=self._left_out())


def _target_of(message: Message) -> Target:
    return (message.function_id or "", message.details.namespace or "")


def _call(wake: Callable[[], None]) -> None:
    wake()

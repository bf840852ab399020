"""One queue at work in this engine: what was delivered, what runs, and how that ends.

The broker hands over as many messages as may run (and some more, when their keys decide
whose turn it is).  A message is acknowledged when it is done, or when its next attempt or
its copy for later, for the dead letters or for the parking place is confirmed; so a crash
at any moment leaves it somewhere, perhaps twice.

In a queue that is in order a failed message stays here, unacknowledged, and its group
waits with it.  Nobody else consumes such a queue meanwhile.

When the channel ends, everything is delivered again.  A message that still runs is then
the same one that comes anew: it is not run twice.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure as Trouble

from iii.errors import Code
from iii.modules.queue.adapters.rabbitmq.absent import Absent
from iii.modules.queue.adapters.rabbitmq.aside import Aside
from iii.modules.queue.adapters.rabbitmq.codec import (
    KEPT_FAILURES,
    Unreadable,
    decode,
    unreadable,
)
from iii.modules.queue.adapters.rabbitmq.ends import Attempt, Ends, attempt_of
from iii.modules.queue.adapters.rabbitmq.post import LONGEST_WAIT_MS, SOON_MS
from iii.modules.queue.adapters.rabbitmq.retries import TROUBLE_PAUSE_S, Retries
from iii.modules.queue.adapters.rabbitmq.tools import Tools
from iii.modules.queue.adapters.rabbitmq.waiting import Job, Waiting
from iii.modules.queue.keys import key_in
from iii.modules.queue.lane import RETURNED_PAUSE_S, Executor, Outcome, Verdict
from iii.modules.queue.limits import Buckets
from iii.modules.queue.message import Details, Failure, Message
from iii.modules.queue.names import QueueName
from iii.modules.queue.settings import LaneSettings
from iii.modules.queue.wakeups import Wakeups
from iii.rabbitmq import Consumer, Delivery

log = Logger()

#: So many messages more than may run, when keys decide whose turn it is.
LOOK_AHEAD = 100
LONGEST_PREFETCH = 65_535
#: How long such messages are gathered before turns are taken.
GATHER_S = 0.005
#: Messages in order whose failed attempts are remembered.
KEPT_HISTORIES = 10_000
#: So long nothing is kept aside before the broker hands over fewer messages again.
CALM_S = 1.0


class Lane:
    """One queue.

    :ivar running: by their number
    """

    def __init__(
        self, tools: Tools, queue: QueueName, settings: LaneSettings, executor: Executor
    ) -> None:
        self.queue = queue
        self.settings = settings
        self.running: dict[int, Job] = {}
        self.delivered_total = 0
        self.failed_total = 0
        self.paused = False
        self.closing = False
        self._clock = tools.clock
        self._post = tools.post
        self._executor = executor
        self._seq = 0
        self._pumping = False
        self._pump_later = False
        #: nobody can run anything of it: what was the last message
        self._away: Message | None = None
        #: keys of an ordered queue whose first message nobody can run
        self._absent: dict[str, Message] = {}
        self._aside = Aside()
        self._calming = False
        self._retries = Retries(tools.clock, tools.post, queue, self)
        #: failed messages that are in order keep their history here
        self._histories: dict[str, Details] = {}
        self._ends = Ends(tools.clock)
        #: messages that run and were delivered on a channel that has ended
        self._lost: dict[str, Job] = {}
        self._settling: set[Deferred[None]] = set()
        self._wakeups: Wakeups[Callable[[], None]] = Wakeups(tools.clock, _call)
        self.absent: Absent | None = None
        if queue.kind == "named":
            self.absent = Absent(tools, queue, executor, self._aside, self._wakeups, self)
        topology, broker = tools.topology, tools.broker

        async def prepare() -> None:
            await topology.ensure(queue)
            await topology.ensure_queue(queue)

        self.consumer: Consumer = broker.consumer(
            tools.names.place(queue).queue,
            self,
            prepare,
            prefetch=self._prefetch(),
            exclusive=self.in_order,
        )
        self._take_up(settings)

    @property
    def in_order(self) -> bool:
        """Whether what is behind a message that can't run has to wait for it."""
        return self.settings.serial or self.settings.ordered

    @property
    def waiting_here(self) -> list[Message]:
        """Messages that were delivered and don't run yet."""
        jobs = [*self._aside.absent, *self._waiting]
        return [job.message for job in sorted(jobs, key=lambda job: job.message.seq)]

    @property
    def early_here(self) -> list[Message]:
        """Messages that were delivered and are due later, or tried again later."""
        return [*(job.message for job in self._aside.early), *self._retries.messages]

    @property
    def waiting_for_worker(self) -> bool:
        """Whether messages wait because nobody is there to run them."""
        return self._away is not None or bool(self._absent or self._aside.absent)

    # Settings --------------------------------------------------------------------------

    def reconfigured(self, settings: LaneSettings) -> None:
        """Other settings count from now on."""
        self.settings = settings
        self.consumer.change(self._prefetch(), self.in_order)
        self._take_up(settings)
        self._away = None
        self.adjust()
        self.pump()

    def _take_up(self, settings: LaneSettings) -> None:
        limit = settings.rate_limit
        self._buckets = None if limit is None else Buckets(limit)
        if self.absent is not None:
            self.absent.parking.settings = settings
        old = getattr(self, "_waiting", None)
        per_key = 1 if self.in_order else settings.per_key
        if settings.key_field is None and not self.in_order:
            per_key = LONGEST_PREFETCH
        self._waiting = Waiting(per_key)
        for job in old or ():
            job.key = self._key(job.message)
            self._waiting.offer(job)
        for job in self.running.values():
            self._waiting.taken(job.key)

    def _prefetch(self) -> int:
        settings = self.settings
        if settings.serial:
            return 1
        keyed = settings.key_field is not None or settings.ordered
        wanted = settings.concurrency + (LOOK_AHEAD if keyed else 0)
        return min(max(1, wanted), LONGEST_PREFETCH)

    def _key(self, message: Message) -> str:
        field = self.settings.key_field
        return "" if field is None else key_in(message.data, field)

    # Consuming or not ------------------------------------------------------------------

    def adjust(self) -> None:
        """Consume, or let go, as things stand."""
        if not (self.closing or self.paused or self._away or not self.settings.concurrency):
            self.consumer.start()
            return
        self.consumer.stop()
        for job in (*self._aside.clear(), *self._waiting.clear()):
            self.consumer.give_back(job.delivery)
        self._waiting.blocked.clear()

    def look_again(self) -> None:
        """Functions or triggers came or went."""
        if self._away is not None and self._executor.ready(self._away):
            self._away = None
            self.adjust()
        for key, message in list(self._absent.items()):
            if self._executor.ready(message):
                del self._absent[key]
                self._waiting.blocked.discard(key)
        if self.absent is not None:
            self.absent.look_again()
        self.pump()

    def run_again(self, jobs: list[Job]) -> None:
        """Absent: these can be run now."""
        for job in jobs:
            self._waiting.offer(job)
        self.resize()

    def resize(self) -> None:
        """Absent, Retries: let the broker hand over so many more as are kept here."""
        base, aside = self._prefetch(), len(self._aside) + len(self._retries)
        if base + aside > self.consumer.prefetch:
            self.consumer.change(min(base + 2 * aside, LONGEST_PREFETCH), self.in_order)
        elif not aside and self.consumer.prefetch > base and not self._calming:
            self._calming = True
            self._wakeups.add(CALM_S, self._calm)

    def _calm(self) -> None:
        self._calming = False
        if not self._aside and not self._retries:
            self.consumer.change(self._prefetch(), self.in_order)

    def stop(self) -> None:
        """Nothing more is taken; the broker gets what is tried again later."""
        self.closing = True
        self._retries.stop()
        self._wakeups.stop()
        if self.absent is not None:
            self.absent.parking.stop()
        self.adjust()

    def leave(self) -> None:
        """The queue is about to be deleted."""
        self._retries.give_back()
        self.stop()

    async def settled(self) -> None:
        """Wait until everything that ended is told to the broker, or can't be."""
        if self.absent is not None:
            await self.absent.parking.settled()
        while self._settling:
            waiter: Deferred[None] = Deferred()
            next(iter(self._settling)).addBoth(_passing(waiter))
            await waiter
        self.consumer.flush()

    def purge(self) -> int:
        """What was delivered and waits is done with; how many that were."""
        return self._purged([*self._aside.clear_absent(), *self._waiting.clear()])

    def purge_delayed(self) -> int:
        """What was delivered and is due later is done with; how many that were."""
        return self._retries.purge() + self._purged(self._aside.clear_early())

    def _purged(self, jobs: list[Job]) -> int:
        for job in jobs:
            self.consumer.ack(job.delivery)
        self.resize()
        return len(jobs)

    def expire(self) -> None:
        """What was delivered, doesn't run, and has expired is dead."""
        now_ms = self._clock.wall_ms()
        jobs = self._waiting.clear()
        for target, _ in self._aside.first_absent():
            jobs += self._aside.take_absent(target)
        for job in sorted(jobs, key=lambda job: job.message.seq):
            expires_ms = job.message.expires_ms
            if expires_ms is not None and expires_ms <= now_ms:
                self._bury(job, "expired", now_ms, taken=False)
            else:
                self._waiting.offer(job)
        self.resize()
        self.pump()

    # Receiver --------------------------------------------------------------------------

    def delivered(self, delivery: Delivery) -> None:
        """Receiver: a message came."""
        self._seq += 1
        try:
            message = decode(
                self.queue, self._seq, delivery.properties, delivery.body, self._clock.wall_ms()
            )
        except Unreadable as error:
            self._unreadable(delivery, str(error))
            return
        if self.in_order:
            message.details = self._histories.get(message.id, message.details)
        if self._recognised(delivery, message):
            return
        self._waiting.offer(Job(delivery, message, self._key(message)))
        if self.settings.key_field is None:
            self.pump()
        elif not self._pump_later:
            # Keys take turns: see first which there are.
            self._pump_later = True
            self._wakeups.add(GATHER_S, self._pump_all)

    def _pump_all(self) -> None:
        self._pump_later = False
        self.pump()

    def gone(self) -> None:
        """Receiver: what is unacknowledged comes again; perhaps also what just was not."""
        self._ends.lost()
        self._retries.gone()
        self._lost |= {job.message.id: job for job in self.running.values()}
        self._aside.clear()
        self._waiting.clear()
        self._waiting.blocked.clear()

    def _recognised(self, delivery: Delivery, message: Message) -> bool:
        """Whether a message that comes again runs still, or has ended meanwhile."""
        if self._retries.recognised(delivery, message):
            return True
        running = self._lost.pop(message.id, None) if self._lost else None
        if running is not None and message.details.attempts == running.message.details.attempts:
            running.delivery = delivery
            return True
        if not self._ends.knows(message):
            return False
        outcome = self._ends.take(message)
        if outcome is None:
            self.consumer.ack(delivery)
        else:
            self._tell(Job(delivery, message, self._key(message)), outcome)
        return True

    def _unreadable(self, delivery: Delivery, why: str) -> None:
        log.error("{queue}: a message can't be read: {why}", queue=str(self.queue), why=why)
        now_ms = self._clock.wall_ms()
        message = unreadable(self._seq, delivery.properties, delivery.body, why, now_ms)
        self.when_sent(self._post.bury(self.queue, message, self.settings), delivery)

    # Running ---------------------------------------------------------------------------

    def pump(self) -> None:
        """Start what can be started."""
        if self._pumping:
            return
        self._pumping = True
        try:
            while self._has_slot():
                job = self._waiting.pop()
                if job is None:
                    break
                self._begin(job)
        finally:
            self._pumping = False

    def _has_slot(self) -> bool:
        settings = self.settings
        slots = min(1, settings.concurrency) if settings.serial else settings.concurrency
        return (
            len(self.running) < slots
            and not self.closing
            and not self.paused
            and self._away is None
        )

    def _begin(self, job: Job) -> None:
        message, settings, now_ms = job.message, self.settings, self._clock.wall_ms()
        first = not message.details.attempts
        if settings.delay_ms and first and not message.due_ms:
            message.due_ms = message.created_ms + settings.delay_ms
        if message.expires_ms is None and settings.ttl_ms is not None:
            message.expires_ms = max(message.created_ms, message.due_ms) + settings.ttl_ms
        if message.expires_ms is not None and message.expires_ms <= now_ms:
            self._bury(job, "expired", now_ms)
        elif message.due_ms > now_ms:
            self._waiting.release(job)
            self._too_early(job, message.due_ms - now_ms)
        elif not self._executor.ready(message):
            self._set_aside(job)
        elif self._buckets is None or self._take_token(job, self._buckets):
            self.running[message.seq] = job
            self._run(job)

    def _run(self, job: Job) -> None:
        limit_ms = self.settings.dispatch_timeout_ms
        try:
            self._executor.run(job.message, limit_ms, partial(self._ended, job))
        except Exception as error:
            log.failure("{queue}: message {id}", queue=str(self.queue), id=job.message.id)
            if job.message.seq in self.running:
                failure = Failure(self._clock.wall_ms(), Code.INTERNAL_ERROR, repr(error))
                self._ended(job, Outcome(Verdict.FAILED, failure))

    def _ended(self, job: Job, outcome: Outcome) -> None:
        del self.running[job.message.seq]
        self._waiting.release(job)
        if not self.consumer.stale(job.delivery):
            self._tell(job, outcome)
        elif outcome.verdict in (Verdict.DONE, Verdict.FAILED):
            self._lost.pop(job.message.id, None)
            self._ends.untold(job.message, outcome)
        self.pump()

    def _tell(self, job: Job, outcome: Outcome) -> None:
        if outcome.verdict is Verdict.DONE:
            self.delivered_total += 1
            self._histories.pop(job.message.id, None)
            self._ends.acked(attempt_of(job.message))
            self.consumer.ack(job.delivery)
        elif outcome.verdict is Verdict.RETURNED:
            self._returned(job)
        elif outcome.verdict is Verdict.ABSENT:
            self._set_aside(job, taken=False)
        else:
            self._failed(job, outcome)

    def _returned(self, job: Job) -> None:
        """As if nothing had been."""
        if self.closing or self.paused or self._away:
            self.consumer.give_back(job.delivery)
            return
        if not self._pumping:
            self._waiting.offer(job)
            return
        # It came back before it was gone: no endless loop, please.
        self._hold_back(job, int(RETURNED_PAUSE_S * 1000))

    def _failed(self, job: Job, outcome: Outcome) -> None:
        """An attempt that counts failed."""
        self.failed_total += 1
        message, settings = job.message, self.settings
        failed, details = attempt_of(message), message.details
        details.attempts += 1
        if outcome.failure is not None:
            details.failures = [*details.failures, outcome.failure][-KEPT_FAILURES:]
        if details.attempts >= settings.max_attempts:
            self._bury(job, "attempts exhausted", self._clock.wall_ms(), taken=False)
            return
        usual = outcome.after_ms is None and not settings.jitter
        wait_ms = outcome.after_ms
        if wait_ms is None:
            wait_ms = settings.wait_ms(details.attempts, random.random())
        if self.in_order:
            self._histories[message.id] = details
            if len(self._histories) > KEPT_HISTORIES:
                del self._histories[next(iter(self._histories))]
            self._hold_back(job, wait_ms)
        elif not self._retries.take(job, failed, wait_ms):
            self._wait_elsewhere(job, wait_ms, usual=usual and not self.closing)

    def _wait_elsewhere(self, job: Job, wait_ms: int, *, usual: bool) -> None:
        """The broker keeps ``job`` until its next attempt."""
        message, settings = job.message, self.settings
        if usual and wait_ms <= LONGEST_WAIT_MS:
            sent = self._post.retry(self.queue, message, settings, wait_ms)
        else:
            message.due_ms = self._clock.wall_ms() + wait_ms
            sent = self._post.delay(self.queue, message, settings, wait_ms)
        self.when_sent(sent, job.delivery)

    def _bury(self, job: Job, reason: str, now_ms: int, *, taken: bool = True) -> None:
        """``job`` is dead."""
        if taken:
            self._waiting.release(job)
        message = job.message
        message.details.reason = reason
        message.due_ms = now_ms
        self._histories.pop(message.id, None)
        log.warn(
            "{queue}: message {id} is dead after {attempts} attempt(s): {reason}",
            queue=str(self.queue),
            id=message.id,
            attempts=message.details.attempts,
            reason=reason,
        )
        self.when_sent(self._post.bury(self.queue, message, self.settings), job.delivery)

    # Waiting ---------------------------------------------------------------------------

    def _hold_back(self, job: Job, wait_ms: int) -> None:
        """``job`` waits here at the head of its group, and the group with it."""
        key = job.key
        self._waiting.offer(job)
        self._waiting.blocked.add(key)
        self._wakeups.add(wait_ms / 1000, partial(self._unblock, key))

    def _unblock(self, key: str) -> None:
        self._waiting.blocked.discard(key)
        self.pump()

    def _set_aside(self, job: Job, *, taken: bool = True) -> None:
        """Nobody can run ``job``: it waits until somebody can."""
        if taken:
            self._waiting.release(job)
        if self.settings.ordered:
            self._waiting.offer(job)
            self._waiting.blocked.add(job.key)
            self._absent[job.key] = job.message
        elif job.message.function_id is None or self.settings.serial:
            self._away = job.message
            self._waiting.offer(job)
            self.adjust()
        else:
            assert self.absent is not None
            self.absent.add(job)

    def _too_early(self, job: Job, wait_ms: int) -> None:
        """What is due soon waits here, to the millisecond; the rest goes into a wait."""
        if wait_ms > SOON_MS or self._aside.full:
            sent = self._post.delay(self.queue, job.message, self.settings, wait_ms)
            self.when_sent(sent, job.delivery)
            return
        self._aside.keep_early(job)
        self.resize()
        self._wakeups.add(wait_ms / 1000, partial(self._due, job.message.seq))

    def _due(self, seq: int) -> None:
        job = self._aside.take_early(seq)
        if job is not None:
            self._waiting.offer(job)
            self.resize()
            self.pump()

    def _take_token(self, job: Job, buckets: Buckets) -> bool:
        """Take a token of the rate limit, or put ``job`` back until there is one."""
        limit = self.settings.rate_limit
        bucket = "" if limit is None or limit.key_field is None else job.key
        now = self._clock.monotonic()
        if buckets.take(bucket, now):
            return True
        self._waiting.release(job)
        self._hold_back(job, int(buckets.wait_s(bucket, now) * 1000) + 1)
        return False

    # Passing on ------------------------------------------------------------------------

    def when_sent(self, sent: Deferred[None], delivery: Delivery) -> None:
        """Absent: acknowledge ``delivery`` when its copy is safe."""
        sent.addCallbacks(
            lambda _: self.consumer.ack(delivery), self._not_sent, errbackArgs=(delivery,)
        )
        self.track(sent)

    def track(self, sent: Deferred[None]) -> None:
        """Retries: a stop waits for ``sent``."""
        self._settling.add(sent)
        sent.addBoth(lambda _: self._settling.discard(sent))

    def passed_on(self, attempt: Attempt, delivery: Delivery) -> None:
        """Retries: the next attempt is safe."""
        self._ends.acked(attempt)
        self.consumer.ack(delivery)

    def _not_sent(self, failure: Trouble, delivery: Delivery) -> None:
        """It stays where it is, and comes again after a pause."""
        if self.consumer.stale(delivery):
            return
        if not self.closing:
            log.warn(
                "{queue}: a message can't be passed on and comes again: {reason}",
                queue=str(self.queue),
                reason=failure.getErrorMessage(),
            )
            self._wakeups.add(TROUBLE_PAUSE_S, partial(self.consumer.give_back, delivery))


def _passing(waiter: Deferred[None]) -> Callable[[object], object]:
    """Tell ``waiter`` that a Deferred has fired, whatever with."""

    def fired(outcome: object) -> object:
        waiter.callback(None)
        return outcome

    return fired


def _call(wake: Callable[[], None]) -> None:
    wake()

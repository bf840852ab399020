"""One topic, or one group of it, whose messages the other engine hands out.

It is a function that is offered there and a trigger on the topic that calls it.  The other
engine decides whose turn it is, how many run at once and what becomes of what failed;
here is only the attempt.  Its outcome is the answer: a result is done, an error is an
attempt that failed.

An attempt that ended because a worker here went away is none: it is made again.  While
nobody here can run messages the function is withdrawn, so that they wait there, or go to
another engine; those that have come already wait here.

A function's name must survive a restart, or the group over there would be another one: it is
made from what it is for.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid5

from twisted.logger import Logger

from iii.bridge import Incoming, Link
from iii.engine.clock import Clock, Timer
from iii.engine.ids import next_id
from iii.engine.invocations import NULL, ErrorBody
from iii.errors import Code
from iii.modules.queue.lane import RETURNED_PAUSE_S, Executor, Outcome, Verdict
from iii.modules.queue.message import Details, Message
from iii.modules.queue.names import QueueName
from iii.modules.queue.settings import LaneSettings

log = Logger()

HANDLER = "queue::bridge::on_message::"
_NAMES = UUID("5f0c3c52-6f0e-4d0c-9a5b-0d8f1c1f7a10")
#: A group of its own where the other engine has such; everybody's where it has not.
DURABLE, SHARED = "durable:subscriber", "queue"


#: What an engine adds to the baggage of a message that it hands out.
_ADDED = "iii.function.id="
_DEFAULTS = LaneSettings()
# Setting → what a trigger calls it, where the values are the same.
_WORDS = {
    "concurrency": "concurrency",
    "backoff_ms": "backoffDelayMs",
    "backoff": "backoffType",
    "max_backoff_ms": "maxBackoffMs",
    "jitter": "jitter",
    "dispatch_timeout_ms": "dispatchTimeoutMs",
    "ttl_ms": "ttlMs",
    "key_field": "concurrencyKey",
    "per_key": "concurrencyPerKey",
}


def handler_of(queue: QueueName) -> str:
    """The function over there that stands for ``queue``."""
    return HANDLER + str(uuid5(_NAMES, queue.text))


class BridgeLane:
    """One queue that is worked off.

    :ivar handler: its function over there
    """

    def __init__(self, clock: Clock, link: Link, queue: QueueName, executor: Executor) -> None:
        self._clock = clock
        self._link = link
        self.queue = queue
        self.executor = executor
        self.handler = handler_of(queue)
        self._settings: LaneSettings | None = None
        self._trigger: str | None = None
        self._offered = False
        self._closing = False
        #: messages that nobody here can run
        self._held: list[tuple[Incoming, Message]] = []
        #: messages that are tried again in a moment
        self._again: list[tuple[Incoming, Message]] = []
        self._timer: Timer | None = None

    def consume(self, settings: LaneSettings) -> None:
        """Work it off like this."""
        if settings == self._settings:
            return
        self._settings = settings
        self._offer()
        if self._trigger is not None:
            self._link.end_trigger(self._trigger)
        self._subscribe(DURABLE if self.queue.kind == "group" else SHARED)

    def look_again(self) -> None:
        """Somebody may be able to run them now."""
        if self._closing or self._settings is None:
            return
        held, self._held = self._held, []
        for incoming, message in held:
            if incoming.wanted:
                self._run(incoming, message)
        if not self._held:
            self._offer()

    def closing(self) -> None:
        """Take no more."""
        self._closing = True
        self._withdraw()

    def stop(self) -> None:
        """Make no more attempts."""
        self._settings = None
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None

    def end(self) -> None:
        """It is none any more."""
        self.closing()
        self.stop()
        if self._trigger is not None:
            self._link.end_trigger(self._trigger)
            self._trigger = None

    # Inside ----------------------------------------------------------------------------

    def _offer(self) -> None:
        if not self._offered:
            self._offered = True
            self._link.offer(self.handler, self._came, f"handles messages of {self.queue}")

    def _withdraw(self) -> None:
        if self._offered:
            self._offered = False
            self._link.withdraw(self.handler)

    def _subscribe(self, kind: str) -> None:
        assert self._settings is not None
        config: dict[str, Any] = {"topic": self.queue.name}
        if changed := _queue_config(self._settings):
            config["queue_config"] = changed
        self._trigger = self._link.trigger(kind, self.handler, config, self._refused)

    def _refused(self, error: ErrorBody) -> None:
        if self.queue.kind == "group" and error.code == Code.TRIGGER_TYPE_NOT_FOUND:
            # Before 0.11 all subscribers of a topic were one group.
            if self._trigger is not None:
                self._link.end_trigger(self._trigger)
            self._subscribe(SHARED)
            return
        log.error(
            "{remote} hands out no messages of {queue}: {reason}",
            remote=str(self._link.remote),
            queue=str(self.queue),
            reason=error.message,
        )

    def _came(self, incoming: Incoming) -> None:
        """A message whose turn it is over there."""
        baggage = _own_baggage(incoming.baggage)
        details = Details(traceparent=incoming.traceparent, baggage=baggage)
        data = incoming.data.copy()
        now_ms = self._clock.wall_ms()
        message = Message.new(0, incoming.id or next_id(), 0, data, details, created_ms=now_ms)
        self._run(incoming, message)

    def _run(self, incoming: Incoming, message: Message) -> None:
        settings = self._settings
        if not incoming.wanted:
            return  # It is handed out again, to whoever is there.
        if self._closing or settings is None or not self.executor.ready(message):
            self._hold(incoming, message)
            return

        def done(outcome: Outcome) -> None:
            self._done(outcome, incoming, message)

        self.executor.run(message, settings.dispatch_timeout_ms, done)

    def _done(self, outcome: Outcome, incoming: Incoming, message: Message) -> None:
        if outcome.verdict is Verdict.DONE:
            incoming.answer(NULL)
        elif outcome.verdict is Verdict.FAILED:
            incoming.answer(None, _error(outcome))
        elif outcome.verdict is Verdict.RETURNED:
            # Its worker has gone: perhaps it comes back, perhaps there is another.
            self._again.append((incoming, message))
            if self._timer is None:
                self._timer = self._clock.call_later(RETURNED_PAUSE_S, self._run_again)
        else:
            self._hold(incoming, message)

    def _run_again(self) -> None:
        self._timer = None
        again, self._again = self._again, []
        for incoming, message in again:
            self._run(incoming, message)

    def _hold(self, incoming: Incoming, message: Message) -> None:
        self._held.append((incoming, message))
        self._withdraw()


def _own_baggage(baggage: str | None) -> str | None:
    """That of the message, without what names our handler."""
    if baggage is None or _ADDED not in baggage:
        return baggage
    members = [m for m in baggage.split(",") if not m.strip().startswith(_ADDED + HANDLER)]
    return ",".join(members) or None


def _error(outcome: Outcome) -> ErrorBody:
    """A failed attempt as the other engine is told of it."""
    failure = outcome.failure
    if failure is None:
        return ErrorBody(Code.INVOCATION_FAILED, "the attempt failed")
    error = ErrorBody(failure.code, failure.message, failure.stacktrace)
    if outcome.after_ms is not None:
        error.details = {"retry_after_ms": outcome.after_ms}
    return error


def _queue_config(settings: LaneSettings) -> dict[str, Any]:
    """How the other engine is to work it off, in the words of triggers.

    What was left at its default is: the other engine may have defaults of its own.
    """
    changed: dict[str, Any] = {}
    for field, name in _WORDS.items():
        value = getattr(settings, field)
        if value != getattr(_DEFAULTS, field):
            changed[name] = value
    if settings.serial:
        changed["type"] = "fifo"
    if settings.max_attempts != _DEFAULTS.max_attempts:
        changed["maxRetries"] = settings.max_attempts - 1
    if settings.delay_ms:
        changed["delaySeconds"] = -(-settings.delay_ms // 1000)
    if settings.rate_limit is not None:
        limit = settings.rate_limit
        changed["rateLimit"] = {"count": limit.count, "perMs": limit.per_ms}
    return changed

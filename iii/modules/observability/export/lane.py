"""How one signal gets to its collector.

A lane belongs to the reactor's thread: the queue, the batches, the back-off and the
counters.  Only turning a batch into a request and sending it happens in the thread of its
courier, one batch at a time.

What a collector does not take for the moment is offered again, at growing intervals;
meanwhile the queue fills up, and beyond its bounds the oldest go.  What a collector refuses
for good is dropped at once, and so is what it rejects of a batch that it takes.  Nothing is
lost without being counted (``Hub.drop``).
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from iii.engine.clock import Timer
from iii.modules.observability.export.answers import Partial
from iii.modules.observability.export.backlog import MAX_QUEUED_ITEMS, Backlog, Batch
from iii.modules.observability.export.courier import Courier
from iii.modules.observability.hub import Hub

log = Logger()
T = TypeVar("T")

#: A batch that could not be sent for so long is given up.
RETRY_LIMIT_S = 300.0
FIRST_RETRY_S = 1.0
MAX_RETRY_S = 30.0
#: What a collector rejects or warns of is told so often at most.
REJECTED_TOLD_S = 60.0


class Refused(Exception):
    """A collector did not take a batch.

    :ivar final: it never will
    :ivar after_s: it asked not to be tried before
    """

    def __init__(self, reason: str, *, final: bool = False, after_s: float = 0.0) -> None:
        super().__init__(reason)
        self.reason = reason
        self.final = final
        self.after_s = after_s


class Sender(Protocol[T]):
    """Sends batches: ``prepare`` and ``send`` run in the courier's thread.

    :ivar target: where to, for the log
    """

    target: str

    def prepare(self, items: list[T]) -> tuple[Any, int]:
        """A request, and how many of ``items`` could not become part of it."""
        ...

    def send(self, request: Any) -> Partial | None:
        """Send it.

        :returns: what of it was rejected; None: nothing
        :raises Refused: it was not taken
        """
        ...

    def close(self) -> None:
        """Close the connection; what is under way fails.  Any thread may call this."""
        ...


class _Attempt(Generic[T]):
    """A batch under way.

    :ivar request: what was made of it; None: nothing yet, or none of it was readable
    """

    def __init__(self, batch: Batch[T], since: float) -> None:
        self.batch = batch
        self.since = since
        self.tries = 0
        self.request: Any = None
        self.unreadable = 0

    def run(self, sender: Sender[T]) -> Partial | None:
        """In the courier's thread: send it; what was rejected of it."""
        self.tries += 1
        if self.tries == 1:
            self.request, self.unreadable = sender.prepare(self.batch.items)
        if self.unreadable < len(self.batch.items):
            return sender.send(self.request)
        return None


class Lane(Generic[T]):
    """The way of one signal.

    :param signal: ``traces``, ``metrics`` or ``logs``
    :param weigh: about how many bytes something takes
    """

    def __init__(
        self,
        signal: str,
        hub: Hub,
        sender: Sender[T],
        weigh: Callable[[T], int],
        *,
        batch_items: int,
        flush_s: float,
    ) -> None:
        self.courier = Courier(f"iii-export-{signal}", hub.engine.call_from_thread)
        self._signal = signal
        self._hub = hub
        self._clock = hub.engine.clock
        self._sender = sender
        self._flush_s = flush_s
        self._backlog = Backlog(weigh, batch_items)
        self._attempt: _Attempt[T] | None = None
        self._flush: Timer | None = None
        self._retry: Timer | None = None
        self._due = False
        self._failing_since: float | None = None
        self._lost = 0
        self._rejected = 0
        self._rejected_told_at: float | None = None
        self._stopped: Deferred[None] | None = None
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether it takes nothing more."""
        return self._closed

    @property
    def waiting(self) -> int:
        """How many are not sent yet."""
        return self._backlog.total

    def put(self, items: list[T]) -> None:
        """Send these soon."""
        if self._closed:
            self._drop("stopped", len(items))
            return
        too_large, crowded_out = self._backlog.add(items)
        self._drop("too_large", too_large)
        self._drop("queue_full", crowded_out)
        self._go()

    def stop(self) -> Deferred[None]:
        """Send what there is, each batch once; the Deferred fires when that is over."""
        if self._stopped is None:
            self._stopped = Deferred()
            if self._closed:
                self._stopped.callback(None)
            elif self._retry is not None:
                self._again()
            else:
                self._go()
        return self._stopped

    def abandon(self) -> None:
        """Stop at once; what was not sent is lost."""
        if not self._closed:
            self._close()
            # Not by the courier, which may be hanging in that very connection.
            closer = Courier("iii-export-end", self._hub.engine.call_from_thread)
            closer.run(self._sender.close, _told)
            closer.end()
        self._finish()

    # Inside: batches ---------------------------------------------------------------------

    def _go(self) -> None:
        """Send the next batch, if it is time."""
        if self._closed:
            return
        stopping = self._stopped is not None
        if self._attempt is None:
            if not self._backlog.waiting:
                self._due = False
                if stopping:
                    self._end()
            elif self._due or stopping or self._backlog.is_batch:
                self._attempt = _Attempt(self._backlog.take(), self._clock.monotonic())
                self._ship(self._attempt)
        if self._backlog.waiting and self._flush is None:
            self._flush = self._clock.call_later(self._flush_s, self._flush_now)

    def _flush_now(self) -> None:
        self._flush = None
        self._due = self._backlog.waiting > 0
        self._go()

    def _ship(self, attempt: _Attempt[T]) -> None:
        self.courier.run(lambda: attempt.run(self._sender), self._shipped)

    # Inside: what became of them ---------------------------------------------------------

    def _shipped(self, outcome: Failure | Partial | None) -> None:
        attempt = self._attempt
        if attempt is None:  # abandoned meanwhile
            return
        if not isinstance(outcome, Failure):
            self._arrived(attempt, outcome)
        elif isinstance(outcome.value, Refused):
            self._refused(attempt, outcome.value)
        else:
            # Not the collector's fault: once more would end alike.
            log.failure("{signal} could not be exported", outcome, signal=self._signal)
            self._done_with(attempt, "unreadable")

    def _arrived(self, attempt: _Attempt[T], partial: Partial | None) -> None:
        self._drop("unreadable", attempt.unreadable)
        if partial is not None:
            self._drop("rejected", partial.rejected)
            self._tell_rejected(partial)
        if self._failing_since is not None:
            log.info(
                "{target} takes {signal} again, after {seconds:.0f} s; {lost} were lost",
                target=self._sender.target,
                signal=self._signal,
                seconds=self._clock.monotonic() - self._failing_since,
                lost=self._lost,
            )
            self._failing_since = None
        self._done_with(attempt)

    def _tell_rejected(self, partial: Partial) -> None:
        """Batches come every second: not each time."""
        self._rejected += partial.rejected
        now, before = self._clock.monotonic(), self._rejected_told_at
        if before is not None and now - before < REJECTED_TOLD_S:
            return
        log.warn(
            "{target} takes {signal}, but rejected {count} of them: {reason}"
            if self._rejected
            else "{target} takes {signal} and warns: {reason}",
            target=self._sender.target,
            signal=self._signal,
            count=self._rejected,
            reason=partial.reason or "it did not say why",
        )
        self._rejected, self._rejected_told_at = 0, now

    def _refused(self, attempt: _Attempt[T], refused: Refused) -> None:
        if self._failing_since is None:
            self._tell(refused)
        if refused.final:
            self._done_with(attempt, "refused")
        elif self._stopped is not None:
            self._end()
        elif self._clock.monotonic() - attempt.since >= RETRY_LIMIT_S:
            self._done_with(attempt, "given_up")
        else:
            wait_s = min(MAX_RETRY_S, FIRST_RETRY_S * 2 ** min(attempt.tries - 1, 10))
            wait_s = max(wait_s * random.uniform(0.5, 1), min(MAX_RETRY_S, refused.after_s))
            self._retry = self._clock.call_later(wait_s, self._again)

    def _tell(self, refused: Refused) -> None:
        """The first of a row of failures."""
        self._failing_since = self._clock.monotonic()
        self._lost = 0
        log.warn(
            "{target} does not take {signal}: {reason}; {plan}",
            target=self._sender.target,
            signal=self._signal,
            reason=refused.reason,
            plan="what it refuses is dropped"
            if refused.final
            else f"trying again, up to {MAX_QUEUED_ITEMS} of them wait",
        )

    def _again(self) -> None:
        _cancel(self._retry)
        self._retry = None
        if self._attempt is not None:
            self._ship(self._attempt)

    def _done_with(self, attempt: _Attempt[T], lost_as: str | None = None) -> None:
        if lost_as is not None:
            self._drop(lost_as, len(attempt.batch.items))
        self._backlog.done(attempt.batch)
        self._attempt = None
        self._go()

    def _drop(self, why: str, count: int) -> None:
        if count:
            self._lost += count
            self._hub.drop(f"export.{self._signal}.{why}", count)

    # Inside: the end ---------------------------------------------------------------------

    def _end(self) -> None:
        """Everything was tried."""
        self.courier.run(self._sender.close, self._ended)
        self._close()

    def _ended(self, outcome: Failure | None) -> None:
        _told(outcome)
        self._finish()

    def _close(self) -> None:
        self._closed = True
        _cancel(self._flush)
        _cancel(self._retry)
        self._attempt = None
        self._drop("stopped", self._backlog.clear())
        self.courier.end()

    def _finish(self) -> None:
        if self._stopped is not None and not self._stopped.called:
            self._stopped.callback(None)


def _cancel(timer: Timer | None) -> None:
    if timer is not None and timer.active():
        timer.cancel()


def _told(outcome: Failure | None) -> None:
    if outcome is not None:
        log.failure("a connection to a collector could not be closed", outcome)

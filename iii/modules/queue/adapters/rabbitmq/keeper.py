"""Waits that are over: their messages go on.

A wait is a plain queue of the broker in which every message stays equally long, so the
first one is always the next.  Whoever knows of it looks at the first message when its
time has come, publishes it to where it goes, and takes it out of the wait when the broker
has confirmed that.  The broker itself passes nothing on: what it dead-letters it may
lose when it is killed.

Every engine does this for every wait it knows of, and each message goes through one.
Nothing is held between two looks, so people see all messages, and what an engine that
died was to pass on others pass on.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred, DeferredList, DeferredLock
from twisted.logger import Logger
from twisted.python.failure import Failure

from iii.engine.clock import Clock
from iii.modules.queue.adapters.rabbitmq.codec import Unreadable, decode, until_of
from iii.modules.queue.message import Message
from iii.modules.queue.names import QueueName
from iii.modules.queue.wakeups import Wakeups
from iii.rabbitmq import Broker, Desk, Got

log = Logger()

#: An empty wait is looked at again after the first of these, then ever more seldom: others
#: put messages into it, and pass them on themselves unless they die.
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 30.0
#: The first message is looked at at least so often: somebody may have hidden an earlier one.
LONGEST_SLEEP_S = 10.0
TROUBLE_PAUSE_S = 1.0
#: Messages on their way at once.
AT_ONCE = 100
#: Clocks and timers are not that exact.
EARLY_MS = 1

PassOn = Callable[[Message], "Deferred[None]"]


class _Wait:
    """One of them.

    :ivar next_at: when it is looked at next (monotonic)
    """

    __slots__ = ("name", "next_at", "pass_on", "pause_s", "queue", "working")

    def __init__(self, name: str, queue: QueueName, pass_on: PassOn) -> None:
        self.name = name
        self.queue = queue
        self.pass_on = pass_on
        self.next_at = float("inf")
        self.pause_s = FIRST_PAUSE_S
        self.working = False


class Keeper:
    """The waits that this engine knows of.

    :param turn: whoever takes messages of a queue takes turns by this
    :param unreadable: makes what nobody can read a dead letter
    """

    def __init__(
        self,
        clock: Clock,
        broker: Broker,
        turn: Callable[[str], DeferredLock],
        unreadable: Callable[[QueueName, Got, str], Deferred[None]],
    ) -> None:
        self._clock = clock
        self._broker = broker
        self._turn = turn
        self._unreadable = unreadable
        self._waits: dict[str, _Wait] = {}
        self._wakeups: Wakeups[tuple[_Wait, float]] = Wakeups(clock, self._woken)
        self._working: set[Deferred[None]] = set()
        self._stopped = False

    def know(self, name: str, queue: QueueName, pass_on: PassOn) -> None:
        """There is such a wait, and perhaps something in it.

        :param queue: whose messages they are
        :param pass_on: sends one whose time has come to where it goes
        """
        if name not in self._waits:
            wait = self._waits[name] = _Wait(name, queue, pass_on)
            self._look_at(wait, 0.0)

    def used(self, name: str, wait_ms: int) -> None:
        """A message goes into a wait that is known; its time comes after ``wait_ms``."""
        wait = self._waits[name]
        wait.pause_s = FIRST_PAUSE_S
        self._look_at(wait, wait_ms / 1000)

    def look_again(self) -> None:
        """The broker is back."""
        for wait in self._waits.values():
            self._look_at(wait, 0.0)

    def forget(self, queue: QueueName) -> None:
        """``queue`` is no more."""
        for name, wait in list(self._waits.items()):
            if wait.queue == queue:
                del self._waits[name]

    def stop(self) -> None:
        """Pass nothing more on."""
        self._stopped = True
        self._wakeups.stop()

    async def settled(self) -> None:
        """Wait until nothing is being passed on."""
        await DeferredList(list(self._working))

    # Inside ----------------------------------------------------------------------------

    def _look_at(self, wait: _Wait, pause_s: float) -> None:
        """Look after ``pause_s``, unless that happens earlier in any case."""
        at = self._clock.monotonic() + pause_s
        if at < wait.next_at:
            wait.next_at = at
            self._wakeups.add(pause_s, (wait, at))

    def _woken(self, planned: tuple[_Wait, float]) -> None:
        wait, at = planned
        if wait.next_at != at or self._waits.get(wait.name) is not wait:
            return
        wait.next_at = float("inf")
        if wait.working:
            self._look_at(wait, FIRST_PAUSE_S)
            return
        if not self._broker.up:
            return  # it is looked at when the broker is back
        wait.working = True
        done: Deferred[None] = Deferred.fromCoroutine(self._work(wait))
        done.addErrback(self._not_sent, wait)
        self._working.add(done)
        done.addCallback(self._worked, wait, done)

    def _worked(self, _: None, wait: _Wait, done: Deferred[None]) -> None:
        wait.working = False
        self._working.discard(done)

    def _not_sent(self, failure: Failure, wait: _Wait) -> None:
        if self._broker.up and not self._stopped:
            log.warn(
                "{queue}: messages whose time has come can't be passed on yet: {reason}",
                queue=wait.name,
                reason=failure.getErrorMessage(),
            )
        self._look_at(wait, TROUBLE_PAUSE_S)

    async def _work(self, wait: _Wait) -> None:
        """Pass on what is due, and see when the next message is."""
        async with self._turn(wait.name), self._broker.desk() as desk:
            sending: list[Deferred[None]] = []
            try:
                while not self._stopped:
                    got = await desk.get(wait.name)
                    if got is None:
                        self._look_at(wait, wait.pause_s)
                        wait.pause_s = min(2 * wait.pause_s, LONGEST_PAUSE_S)
                        return
                    wait_ms = until_of(got.properties) - self._clock.wall_ms()
                    if wait_ms > EARLY_MS:
                        self._look_at(wait, min(wait_ms / 1000, LONGEST_SLEEP_S))
                        return
                    sending.append(self._send(wait, desk, got))
                    if len(sending) >= AT_ONCE:
                        await DeferredList(sending)
                        sending.clear()
            finally:
                await DeferredList(sending)

    def _send(self, wait: _Wait, desk: Desk, got: Got) -> Deferred[None]:
        try:
            message = decode(wait.queue, 0, got.properties, got.body, self._clock.wall_ms())
        except Unreadable as error:
            sent = self._unreadable(wait.queue, got, str(error))
        else:
            sent = wait.pass_on(message)
        sent.addCallback(lambda _: desk.ack(got))
        sent.addErrback(self._not_sent, wait)
        return sent

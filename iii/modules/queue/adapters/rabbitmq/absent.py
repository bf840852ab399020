"""Messages of a named queue whose function is not here.

They are kept aside, and the other engines are asked for the function.  One that has it
says so, and gets them through the parking place; they also go there when too many are
kept.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Protocol

from msgspec import Raw
from twisted.internet.defer import Deferred

from iii.modules.queue.adapters.rabbitmq.aside import Aside, Target, target_of
from iii.modules.queue.adapters.rabbitmq.known import Question
from iii.modules.queue.adapters.rabbitmq.parking import Parking
from iii.modules.queue.adapters.rabbitmq.tools import Tools
from iii.modules.queue.adapters.rabbitmq.waiting import Job
from iii.modules.queue.lane import ABSENT_PAUSE_S, Executor
from iii.modules.queue.message import Details, Message
from iii.modules.queue.names import QueueName
from iii.modules.queue.settings import LaneSettings
from iii.modules.queue.wakeups import Wakeups
from iii.rabbitmq import Delivery

#: How long other engines are believed to have a function, and how often they are asked.
ELSEWHERE_S = 10.0
ASK_EVERY_S = 10.0
#: Functions that other engines look for.
KEPT_WANTED = 10_000


class Owner(Protocol):
    """The lane they belong to."""

    settings: LaneSettings

    def when_sent(self, sent: Deferred[None], delivery: Delivery) -> None:
        """Acknowledge a message when its copy is safe."""
        ...

    def run_again(self, jobs: list[Job]) -> None:
        """These can be run now."""
        ...

    def resize(self) -> None:
        """More or fewer messages are kept aside."""
        ...

    def look_again(self) -> None:
        """Functions may have come."""
        ...


class Absent:
    """The messages of one lane that nobody here can run."""

    def __init__(
        self,
        tools: Tools,
        queue: QueueName,
        executor: Executor,
        aside: Aside,
        wakeups: Wakeups[Callable[[], None]],
        owner: Owner,
    ) -> None:
        self._clock = tools.clock
        self._post = tools.post
        self._ask = tools.ask
        self._queue = queue
        self._executor = executor
        self._aside = aside
        self._wakeups = wakeups
        self._owner = owner
        self._elsewhere: dict[Target, float] = {}
        self._wanted: dict[Target, Message] = {}
        self.parking = Parking(
            tools.clock, tools.broker, tools.names, tools.post, queue, executor.ready
        )

    def add(self, job: Job) -> None:
        """The function of ``job`` is not here."""
        target = target_of(job)
        until = self._elsewhere.get(target)
        if until is not None and until < self._clock.monotonic():
            del self._elsewhere[target]
            until = None
        if until is not None or self._aside.full:
            self._park(job)
            return
        if self._aside.keep_absent(job):
            self._look_for(target)
        self._owner.resize()
        if self._executor.ready(job.message):
            # Somebody came meanwhile; nobody is going to say so again.
            self._wakeups.add(ABSENT_PAUSE_S, self._owner.look_again)

    def look_again(self) -> None:
        """Functions came or went."""
        for target, job in self._aside.first_absent():
            if self._executor.ready(job.message):
                self._owner.run_again(self._aside.take_absent(target))
        for target, message in list(self._wanted.items()):
            if self._executor.ready(message):
                del self._wanted[target]
                self._ask(Question(self._queue.text, *target, here=True))
        self.parking.look_again()

    def asked(self, question: Question) -> None:
        """Another engine looks for a function, or has one."""
        target = (question.function_id, question.namespace)
        if question.here:
            self._elsewhere[target] = self._clock.monotonic() + ELSEWHERE_S
            for job in self._aside.take_absent(target):
                self._park(job)
            self._owner.resize()
            return
        details = Details(question.namespace)
        probe = Message.new(
            0, "", 0, Raw(b"null"), details, created_ms=0, function_id=question.function_id
        )
        if self._executor.ready(probe):
            self.parking.look_again()
            self._ask(Question(self._queue.text, *target, here=True))
        elif len(self._wanted) < KEPT_WANTED:
            self._wanted[target] = probe

    def _look_for(self, target: Target) -> None:
        """Ask who has a function, again and again while messages wait for it."""
        if any(target == one for one, _ in self._aside.first_absent()):
            self._ask(Question(self._queue.text, *target))
            self._wakeups.add(ASK_EVERY_S, partial(self._look_for, target))

    def _park(self, job: Job) -> None:
        sent = self._post.park(self._queue, job.message, self._owner.settings)
        sent.addCallback(self._parked, job)
        self._owner.when_sent(sent, job.delivery)

    def _parked(self, _: None, job: Job) -> None:
        self._ask(Question(self._queue.text, *target_of(job)))
        if self._executor.ready(job.message):
            self.parking.look_again()

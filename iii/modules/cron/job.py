"""A job is a trigger with its schedule; a run is one time it is carried out."""

from __future__ import annotations

import hashlib
from collections import deque
from itertools import count

import msgspec
from msgspec import Raw

from iii.engine.bindings import Binding
from iii.engine.clock import Timer
from iii.engine.invocations import NULL, Call
from iii.modules.cron.adapters.claims import Claim
from iii.modules.cron.config import CronTrigger
from iii.modules.cron.schedule import Schedule
from iii.modules.cron.shapes import RunRow
from iii.modules.cron.timeline import Entry

KEPT_RUNS = 20
#: Of an error that is kept with a run.
ERROR_CHARS = 500

Identity = tuple[str, str, str, str]


class Job(Entry):
    """One trigger.

    :ivar key: its name across restarts (``adapters.claims``)
    :ivar since: when it was registered, in seconds since 1970
    :ivar last_tick: the newest tick that was due, whatever came of it
    :ivar failures: how many since they were told of
    :ivar recent: the last runs that are over, the newest first
    """

    __slots__ = (
        "binding",
        "failures",
        "failures_told_at",
        "identity",
        "key",
        "last_error",
        "last_run",
        "last_status",
        "last_tick",
        "number",
        "planned",
        "recent",
        "running",
        "schedule",
        "since",
        "skipped",
        "trigger",
    )

    def __init__(
        self, binding: Binding, trigger: CronTrigger, schedule: Schedule, since: int
    ) -> None:
        super().__init__()
        self.binding = binding
        self.trigger = trigger
        self.schedule = schedule
        self.since = since
        self.identity: Identity = (
            binding.function_id,
            binding.namespace,
            " ".join(trigger.expression.split()).upper(),
            schedule.timezone,
        )
        self.number = 0
        self.planned = False
        self.key = ""
        self.running: dict[Run, None] = {}
        self.last_tick: int | None = None
        self.last_run: float | None = None
        self.last_status: str | None = None
        self.last_error: str | None = None
        self.skipped = 0
        self.failures = 0
        self.failures_told_at: float | None = None
        self.recent: deque[RunRow] = deque(maxlen=KEPT_RUNS)


class Run:
    """One tick of a job, or one call of ``engine::cron::run``.

    :ivar claim: what was granted and has to be released at its end
    :ivar by_hand: it was asked for and is no tick
    :ivar context: the trace context of its calls
    :ivar started: when it began, by the monotonic clock; None: it has not
    """

    __slots__ = (
        "by_hand",
        "call",
        "claim",
        "context",
        "job",
        "payload",
        "started",
        "tick",
        "timer",
    )

    def __init__(self, job: Job, tick: int, *, by_hand: bool) -> None:
        self.job = job
        self.tick = tick
        self.by_hand = by_hand
        self.claim: Claim | None = None
        self.payload: Raw = NULL
        self.call: Call | None = None
        self.timer: Timer | None = None
        self.context: str | None = None
        self.started: float | None = None


class Numbers:
    """Tells alike jobs apart: the first is 0, the next 1; a number that is free is used again."""

    def __init__(self) -> None:
        self._taken: dict[Identity, set[int]] = {}

    def give(self, job: Job) -> None:
        """Number ``job``, and with that its key."""
        taken = self._taken.setdefault(job.identity, set())
        job.number = next(number for number in count() if number not in taken)
        taken.add(job.number)
        text = msgspec.json.encode((*job.identity, job.number))
        job.key = hashlib.sha256(text).hexdigest()[:32]

    def take_back(self, job: Job) -> None:
        """``job`` is gone."""
        taken = self._taken[job.identity]
        taken.remove(job.number)
        if not taken:
            del self._taken[job.identity]

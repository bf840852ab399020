"""Messages that an engine has and can't run now: their function is nowhere, or it is too early.

They stay here, unacknowledged and in their order, so that they run at once when they may;
the broker hands over that many more meanwhile.  Only so many are kept.  Those whose
function another engine has are passed on to it (``Parking``).
"""

from __future__ import annotations

from collections import deque

from iii.modules.queue.adapters.rabbitmq.waiting import Job

#: Messages of one queue that are kept aside; further ones are parked, or wait on the broker.
MAX_ASIDE = 1_000

Target = tuple[str, str | None]
"""Function and namespace."""


class Aside:
    """The messages of one lane that are kept aside."""

    def __init__(self) -> None:
        self._absent: dict[Target, deque[Job]] = {}
        self._early: dict[int, Job] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count + len(self._early)

    @property
    def full(self) -> bool:
        """Whether no more are kept."""
        return len(self) >= MAX_ASIDE

    @property
    def early(self) -> list[Job]:
        """Those that are due later."""
        return list(self._early.values())

    @property
    def absent(self) -> list[Job]:
        """Those whose function is nowhere."""
        return [job for row in self._absent.values() for job in row]

    def first_absent(self) -> list[tuple[Target, Job]]:
        """Every target that is nowhere, with its first message."""
        return [(target, row[0]) for target, row in self._absent.items()]

    def keep_absent(self, job: Job) -> bool:
        """Its function is nowhere; whether it is the first of it."""
        row = self._absent.setdefault(target_of(job), deque())
        row.append(job)
        self._count += 1
        return len(row) == 1

    def take_absent(self, target: Target) -> list[Job]:
        """Those of a target, in order; they are here no more."""
        row = self._absent.pop(target, None)
        if row is None:
            return []
        self._count -= len(row)
        return list(row)

    def keep_early(self, job: Job) -> None:
        """It is due later."""
        self._early[job.message.seq] = job

    def take_early(self, seq: int) -> Job | None:
        """One that is due now; None: it is not here any more."""
        return self._early.pop(seq, None)

    def clear(self) -> list[Job]:
        """Nothing is kept any more; what was."""
        return [*self.clear_early(), *self.clear_absent()]

    def clear_early(self) -> list[Job]:
        """Nothing that is due later is kept any more; what was."""
        jobs = self.early
        self._early.clear()
        return jobs

    def clear_absent(self) -> list[Job]:
        """Nothing whose function is nowhere is kept any more; what was."""
        jobs = self.absent
        self._absent.clear()
        self._count = 0
        return jobs


def target_of(job: Job) -> Target:
    """Whom a message is for."""
    return (job.message.function_id or "", job.message.details.namespace)

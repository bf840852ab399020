"""The contract: all its parts, and how they become test cases over a backend."""

from __future__ import annotations

from tests.queue.contract.admin import Lists, Mending
from tests.queue.contract.attempts import Absent, Attempts, Conditions
from tests.queue.contract.backend import Backend, Needing, Test
from tests.queue.contract.case import ContractCase
from tests.queue.contract.deadletters import Bounds, DeadLetters
from tests.queue.contract.jobs import Delays, Idempotency, Lifetimes, Priorities, Receipts
from tests.queue.contract.limits import Concurrency, Fifo, Keys, Rates
from tests.queue.contract.refusals import Refusals
from tests.queue.contract.restarts import Restarts
from tests.queue.contract.sharing import Sharing
from tests.queue.contract.topics import Groups, Named, Retention, Topics

SUITE: tuple[type[ContractCase], ...] = (
    *(Topics, Groups, Retention, Named),
    *(Attempts, Absent, Conditions),
    *(Concurrency, Fifo, Keys, Rates),
    *(Receipts, Delays, Lifetimes, Priorities, Idempotency),
    *(DeadLetters, Bounds, Lists, Mending),
    *(Restarts, Sharing, Refusals),
)


def over(backend: type[Backend], module: str) -> dict[str, type[ContractCase]]:
    """The cases of the contract over one backend, as names of a test module.

    :param module: the ``__name__`` of the test module
    """
    made: dict[str, type[ContractCase]] = {}
    for part in SUITE:
        if part.needed <= backend.abilities:
            name = f"{backend.__name__}{part.__name__}"
            members = {"backend_class": backend, "__module__": module, "__doc__": part.__doc__}
            made[name] = type(name, (part,), {**members, **_possible(backend, part)})
    return made


def _possible(backend: type[Backend], part: type[ContractCase]) -> dict[str, Test]:
    """The tests of ``part`` that need something, and may."""
    return {
        name: member.test
        for name, member in vars(part).items()
        if isinstance(member, Needing) and member.abilities <= backend.abilities
    }

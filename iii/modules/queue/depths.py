"""What is in the queues at this moment, for whoever watches them.

The adapter is asked for one queue after the other, and lets others work in between.  A
topic is the sum of its groups, as for the admin functions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

from iii.engine.callcounts import OTHER
from iii.engine.instruments import Sample
from iii.engine.module import ModuleApi
from iii.modules.queue.adapter import Counts, NotSupported, QueueAdapter
from iii.modules.queue.figures import LABELS, MAX_COUNTED_QUEUES
from iii.modules.queue.named import NamedQueues
from iii.modules.queue.names import QueueName, named

#: After so many queues others may work.
STRIDE = 100

_STATES = ("waiting", "delayed", "active")
_Of = Callable[[Counts], Iterable[tuple[tuple[str, ...], float]]]
"""More labels and a value of each state of a queue."""


class Depths:
    """How many messages the queues have."""

    def __init__(self, engine: ModuleApi, adapter: QueueAdapter, queues: NamedQueues) -> None:
        self._engine = engine
        self._adapter = adapter
        self._queues = queues

    def show(self) -> None:
        """Show them."""
        self._show(
            "iii_queue_depth",
            "Messages that are not done, without dead letters",
            lambda counts: (((state,), getattr(counts, state)) for state in _STATES),
            "state",
        )
        self._show("iii_queue_dlq_depth", "Dead letters", lambda counts: [((), counts.dead)])
        self._show(
            "iii_queue_waiting_for_worker",
            "1: messages wait because nobody is there to run them",
            lambda counts: [((), int(counts.waiting_for_worker))],
        )
        self._show(
            "iii_queue_paused",
            "1: nothing is taken from it",
            lambda counts: [((), int(counts.paused))],
        )

    def _show(self, name: str, help: str, of: _Of, *labels: str) -> None:
        self._engine.instrument(name, "gauge", help, partial(self._read, of), (*LABELS, *labels))

    async def _read(self, of: _Of) -> list[Sample]:
        return [
            ((*labels, *more), value)
            for labels, counts in (await self._sums()).items()
            for more, value in of(counts)
        ]

    async def _sums(self) -> dict[tuple[str, str], Counts]:
        """The counts of every topic and named queue; of none when the adapter can't tell."""
        sums: dict[tuple[str, str], Counts] = {}
        for number, queue in enumerate(self._known(), 1):
            try:
                counts = await self._adapter.counts(queue)
            except NotSupported:
                return {}
            labels = (queue.name, "named" if queue.kind == "named" else "topic")
            if labels not in sums and len(sums) >= MAX_COUNTED_QUEUES:
                labels = (OTHER, labels[1])
            sums.setdefault(labels, Counts()).add(counts)
            if number % STRIDE == 0:
                await self._engine.clock.pause()
        return sums

    def _known(self) -> dict[QueueName, object]:
        """Every queue; those that are configured need not be known to the adapter yet."""
        return {**self._adapter.facts(), **dict.fromkeys(map(named, self._queues.queues))}

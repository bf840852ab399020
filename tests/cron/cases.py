"""The cron module on a clock that the test moves, and workers without sockets."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock as Ticks

from iii.engine.bindings import Registration
from iii.engine.clock import Clock
from iii.engine.core import Engine
from iii.engine.invocations import Call, ErrorBody
from iii.engine.module import ModuleApi
from iii.engine.workers import Worker
from iii.modules.cron.adapters.local import LocalClaims, LocalConfig
from iii.modules.cron.config import CronConfig
from iii.modules.cron.module import CronModule
from tests.engine.cases import CoreCase, raw, value

#: 2026-03-04T10:00:00Z, a Wednesday
START = 1_772_618_400.0


def stamp(seconds: float) -> str:
    """The time that long after the start, as cron writes it."""
    return datetime.fromtimestamp(START + seconds, UTC).isoformat()


class CronCase(CoreCase):
    """An engine with the cron module.

    :cvar settings: the module's configuration
    :ivar offset: added to the wall clock; a test that changes it sets the clock
    """

    settings = CronConfig()

    def setUp(self) -> None:
        self.ticks = Ticks()
        self.offset = START
        self.load()
        self.owner = self.worker("job")

    def load(self, **adapter: Any) -> None:
        """A new engine with a new module."""
        clock = Clock(self.ticks, wall=self.wall, monotonic=self.ticks.seconds)
        self.engine = Engine(self.ticks, clock=clock)
        self.module = CronModule(self.settings)
        self.module.adapter = LocalClaims(LocalConfig(**(adapter or {"store_method": "in_memory"})))
        self.module.start(ModuleApi(self.engine, "iii-cron"))

    def wall(self) -> float:
        """The wall clock."""
        return self.offset + self.ticks.seconds()

    def cron(self, expression: str, owner: Worker | None = None, **more: Any) -> Registration:
        """Register a ``cron`` trigger for ``job``."""
        id = more.pop("id", None)
        function = more.pop("function", "job")
        metadata = more.pop("metadata", None)
        config = {"expression": expression, **more}
        return self.bound(owner or self.owner, "cron", function, config, id=id, metadata=metadata)

    def pass_time(self, seconds: float, step: float = 0.25) -> None:
        """Let time pass, in small steps as a reactor does."""
        for _ in range(round(seconds / step)):
            self.ticks.advance(step)

    def calls(self, worker: Worker | None = None) -> list[Call]:
        """The calls that reached the worker and were not taken yet."""
        link = self.link(worker or self.owner)
        calls, link.calls = link.calls, []
        return calls

    def ticks_of(self, calls: list[Call]) -> list[str]:
        """Their scheduled times."""
        return [value(call.data)["scheduled_time"] for call in calls]

    def answer(self, call: Call, result: Any = None, error: ErrorBody | None = None) -> None:
        """The worker has done ``call``."""
        assert call.owner is not None
        outcome = None if error is not None else raw(result)
        self.engine.invocations.finish(call.owner, call.id, outcome, error)

    def runs(self, seconds: float, worker: Worker | None = None) -> list[str]:
        """Let time pass with a worker that answers at once; the scheduled times it saw."""
        seen: list[str] = []
        for _ in range(round(seconds / 0.25)):
            self.ticks.advance(0.25)
            for call in self.calls(worker):
                seen.append(value(call.data)["scheduled_time"])
                self.answer(call)
        return seen

    def ask(self, function_id: str, data: Any = None) -> Any:
        """Call a function of the module."""
        asked: Deferred[Any] = self.engine.invoke(function_id, data)
        self.ticks.advance(0)
        result = self.successResultOf(asked)
        return msgspec.json.decode(result)

    def row(self) -> dict[str, Any]:
        """The only job, as listed."""
        [row] = self.ask("engine::cron::list")
        found: dict[str, Any] = row
        return found

"""The ``iii-cron`` module: functions on schedules."""

from __future__ import annotations

from collections.abc import Awaitable

from twisted.internet.defer import Deferred

from iii.engine.adapters import Adapters
from iii.engine.module import Module, ModuleApi
from iii.modules.cron.config import CronConfig, CronTrigger
from iii.modules.cron.jobs import Jobs
from iii.modules.cron.shapes import JobRow, RunNow, Started


class CronModule(Module):
    """Runs functions on schedules.  Trigger type ``cron``."""

    name = "iii-cron"
    config = CronConfig
    adapters = Adapters(
        kv="iii.modules.cron.adapters.local:LocalClaims",
        redis="iii.modules.cron.adapters.redis:RedisClaims",
    )

    def __init__(self, settings: CronConfig) -> None:
        super().__init__(settings)
        self._jobs: Jobs | None = None

    def start(self, engine: ModuleApi) -> Awaitable[None] | None:
        """Module: offer the trigger type and the functions."""
        jobs = self._jobs = Jobs(engine, self.adapter, strict=self.settings.strict_expressions)
        engine.trigger_type(
            "cron", jobs, description="Cron-based scheduled triggers", trigger_schema=CronTrigger
        )
        engine.function(
            "engine::cron::list", jobs.list, gives=list[JobRow], description="List the cron jobs"
        )
        engine.function(
            "engine::cron::run",
            jobs.run_now,
            takes=RunNow,
            gives=Started,
            description="Run a cron job now",
        )
        ready: Awaitable[None] | None = self.adapter.start(engine, self.stores, jobs.again)
        return ready

    def closing(self) -> None:
        """Module: no tick starts anything any more."""
        if self._jobs is not None:
            self._jobs.closing()

    @property
    def under_way(self) -> int:
        """Module: runs that wait for their claim or condition."""
        return 0 if self._jobs is None else self._jobs.under_way

    def stop(self) -> Deferred[None] | None:
        """Module: forget the jobs, finish the writes."""
        if self._jobs is None:
            return None
        self._jobs.stop()
        stopped: Deferred[None] | None = self.adapter.stop()
        return stopped

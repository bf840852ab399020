"""Another configuration while the engine runs (docs/configuration.md).

The file is read again when it has changed (``iii.filewatch``) or somebody asks for it
(SIGHUP).  It is checked completely and compared with what runs; then either all of it
comes into force (``iii.replacing``) or nothing does, and the log says why.  One reload
at a time; a stop of the engine ends one that is under way.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from twisted.internet.defer import CancelledError, Deferred, DeferredLock
from twisted.logger import Logger
from twisted.python.failure import Failure

from iii.checking import InvalidConfiguration, Kind
from iii.config import examine
from iii.differences import compare
from iii.engine.module import ModuleApi
from iii.entries import Configuration, check_modules
from iii.errors import IIIError
from iii.filewatch import FileWatch, Stamp, stamp_of
from iii.replacing import Replacement
from iii.tlscheck import check_certificates

if TYPE_CHECKING:
    from collections.abc import Mapping

    from iii.catalogue import Catalogue
    from iii.service import EngineService

log = Logger()

Outcome = Literal["applied", "unchanged", "failed"]
#: Under this name a configuration that could not be taken over is shown as trouble.
TROUBLE = "configuration"


@dataclass(frozen=True, slots=True)
class Source:
    """A file, and how it becomes a configuration again.

    :ivar read: ``read(must_exist)``: the checked configuration; raises InvalidConfiguration
    :ivar watch: False: it is read again only when somebody asks for it
    :ivar stamp: of the file when it was first read
    """

    path: Path
    read: Callable[[bool], Configuration]
    watch: bool = True
    stamp: Stamp | None = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "stamp", stamp_of(self.path))


def source_of(
    path: Path,
    *,
    environ: Mapping[str, str],
    catalogue: Catalogue,
    finish: Callable[[Configuration], Configuration],
    watch: bool = True,
) -> Source:
    """The source of a running engine.  Made before the file is read for the first time.

    :param finish: what the command line or the program adds to what the file says
    """

    def read(must_exist: bool) -> Configuration:
        report = examine(path, environ=environ, catalogue=catalogue, must_exist=must_exist)
        if report.configuration is None:
            raise InvalidConfiguration(report.errors)
        configuration = finish(report.configuration)
        problems = check_modules(configuration.loaded)
        errors = [problem for problem in problems if problem.kind is Kind.ERROR]
        if errors:
            raise InvalidConfiguration(errors)
        return configuration

    return Source(path, read, watch)


class Reloads:
    """Reloads the configuration of one engine.

    :ivar counts: how often each outcome there was
    """

    def __init__(self, service: EngineService) -> None:
        self._service = service
        self.counts: dict[Outcome, int] = {"applied": 0, "unchanged": 0, "failed": 0}
        self._lock = DeferredLock()
        self._work: Deferred[None] | None = None
        self._watch: FileWatch | None = None
        self._started = False
        self._asked_early = False
        self._stopped = False

    def show(self, api: ModuleApi) -> None:
        """Offer figures about reloads."""
        api.instrument(
            "iii_config_reloads_total",
            "counter",
            "Reloads of the configuration",
            lambda: [((outcome,), float(count)) for outcome, count in self.counts.items()],
            ("outcome",),
        )
        api.instrument(
            "iii_config_last_reload_successful",
            "gauge",
            "0 while the file says something that could not be taken over",
            lambda: [((), float(TROUBLE not in self._service.engine.troubles))],
        )

    def start(self) -> None:
        """The engine is up: watch the file, and do what was asked for meanwhile."""
        self._started = True
        source = self._service.source
        if source is not None and source.watch:
            clock = self._service.engine.clock
            self._watch = FileWatch(clock, source.path, source.stamp, self._file_changed)
        self._watch_or_not()
        if self._asked_early:
            self._file_changed()

    async def run(self) -> None:
        """Read the configuration again and take it over.  Waits for one that is under way."""
        await self._lock.acquire()
        try:
            if not self._started:
                self._asked_early = True
            elif not self._stopped:
                self._work = Deferred.fromCoroutine(self._reload())
                await self._work
        finally:
            self._work = None
            self._lock.release()

    async def stop(self) -> None:
        """Reload nothing any more; what is under way ends."""
        self._stopped = True
        if self._watch is not None:
            self._watch.stop()
        if self._work is not None:
            self._work.cancel()
        await self._lock.acquire()
        self._lock.release()

    def _file_changed(self) -> None:
        Deferred.fromCoroutine(self.run()).addErrback(_broken)

    def _watch_or_not(self) -> None:
        if self._watch is None:
            return
        if self._service.configuration.settings.watch_config:
            self._watch.start()
        else:
            self._watch.stop()

    async def _reload(self) -> None:
        service = self._service
        if service.source is None:
            log.info("there is no configuration file that could be read again")
            return
        try:
            # Who began without a file may still have none.
            wanted = service.source.read(service.configuration.source is not None)
            self._check_certificates(wanted)
            outcome = await self._take_over(wanted)
        except Exception as error:
            if self._stopped and isinstance(error, CancelledError | IIIError):
                return
            outcome = "failed"
            self._tell_failure(error)
        else:
            service.engine.troubles.pop(TROUBLE, None)
        self.counts[outcome] += 1

    async def _take_over(self, wanted: Configuration) -> Outcome:
        service = self._service
        modules = [module.entry for module in service.modules if module.started]
        differences = compare(service.configuration, modules, wanted)
        await Replacement(service, wanted, differences).carry_out()
        self._watch_or_not()
        if not differences:
            log.info("configuration read again: nothing differs")
            return "unchanged"
        for warning in wanted.warnings:
            log.warn("{problem}", problem=str(warning))
        if done := str(differences):
            log.info("configuration reloaded: {done}", done=done)
        if differences.need_restart:
            log.warn(
                "{settings}: the new value needs a restart of the engine",
                settings=", ".join(differences.need_restart),
            )
        return "applied"

    def _check_certificates(self, wanted: Configuration) -> None:
        now = datetime.fromtimestamp(self._service.engine.clock.wall(), UTC)
        problems = check_certificates(wanted, now)
        errors = [problem for problem in problems if problem.kind is Kind.ERROR]
        if errors:
            raise InvalidConfiguration(errors)

    def _tell_failure(self, error: Exception) -> None:
        if not isinstance(error, IIIError):
            log.failure("reloading the configuration failed")
        reasons = (
            [str(problem) for problem in error.problems]
            if isinstance(error, InvalidConfiguration)
            else [error.message if isinstance(error, IIIError) else str(error)]
        )
        for reason in reasons:
            log.error("configuration not reloaded, the running one stays: {reason}", reason=reason)
        self._service.engine.troubles[TROUBLE] = "; ".join(reasons)


def _broken(failure: Failure) -> None:
    log.failure("reloading the configuration failed", failure)

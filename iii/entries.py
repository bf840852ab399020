"""What a configuration says, as data: listeners, module entries, engine settings.

An ``Entry`` keeps its module's ``config:`` block as plain data, because only the
module knows its shape: the module hands its struct type to ``check_config`` and
gets it back filled in; ``check_adapter`` does so for its back end.  Every part knows
its line (``line_of``), so errors found long after reading still name it.
"""

from __future__ import annotations

import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import msgspec

from iii.access.settings import Auth, Rbac
from iii.catalogue import Adapter, KnownModule, Role, load_class
from iii.checking import Checker, InvalidConfiguration, Kind, Place, Problem
from iii.errors import ConfigError
from iii.tls import Tls

DEFAULT_WORKER_PORT = 49134

Port = Annotated[int, msgspec.Meta(ge=0, le=65535)]
Milliseconds = Annotated[int, msgspec.Meta(ge=0)]
T = TypeVar("T", bound=msgspec.Struct)
Factory = Callable[[Any], Any]
"""Makes an adapter of its configuration."""


class Settings(msgspec.Struct, frozen=True):
    """Top-level keys about the engine itself.

    :ivar auth: tokens of every worker port that has no other way to tell who comes
    :ivar auth_failures_per_minute: how many wrong credentials an address may try; 0: any
    :ivar trusted_proxies: those whose ``X-Forwarded-For`` says whose address that is
    """

    function_routing: Literal["balance", "newest"] = "balance"
    shutdown_timeout_ms: Milliseconds = 8000
    auth: Auth | None = None
    registration_namespace_grace_ms: Milliseconds | None = None
    invocation_limit_ms: Milliseconds = 24 * 3600 * 1000
    watch_config: bool = True
    auth_failures_per_minute: Annotated[int, msgspec.Meta(ge=0)] = 10
    trusted_proxies: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class WorkerListener:
    """A port workers connect to.

    :ivar tls: None: plain WebSockets
    :ivar allowed_origins: of which pages besides those of this host browsers may connect
    :ivar place: where its keys stand
    :ivar host: None for loopback, IPv4 and IPv6
    :ivar port: 0 takes a free one
    :ivar middleware_function_id: what calls of its connections go through
    :ivar rbac: what its connections may do; None: everything
    :ivar auth: its own tokens
    """

    host: str | None = None
    port: int = DEFAULT_WORKER_PORT
    handshake_timeout_ms: int = 10_000
    middleware_function_id: str | None = None
    rbac: Rbac | None = None
    line: int | None = None
    auth: Auth | None = None
    tls: Tls | None = None
    allowed_origins: tuple[str, ...] = ()
    place: Place = field(default_factory=Place, compare=False)


@dataclass(frozen=True, slots=True)
class AdapterChoice:
    """The back end an entry asks for.

    :ivar written: its name as in the file
    :ivar adapter: what that means
    :ivar config: the adapter's own configuration
    """

    written: str
    adapter: Adapter
    config: dict[str, Any]
    place: Place


@dataclass(frozen=True, slots=True)
class Entry:
    """One module to load.

    :ivar written: its name as in the file
    :ivar flavour: which key named it; the defaults of some modules depend on it
    :ivar config: the ``config:`` block without ``adapter``
    :ivar adapter: the back end asked for; None means the module's default
    :ivar implicit: nobody wrote it: part of the default set, or mandatory
    :ivar warnings: what ``check_config`` noticed
    """

    written: str
    module: KnownModule
    flavour: Literal["class", "name"]
    config: dict[str, Any]
    place: Place
    adapter: AdapterChoice | None = None
    implicit: bool = False
    warnings: list[Problem] = field(default_factory=list, compare=False)

    @property
    def canonical(self) -> str:
        """``modules::api::RestApiModule``, whatever the file calls it."""
        return self.module.canonical

    @property
    def name(self) -> str:
        """``iii-http``, whatever the file calls it."""
        return self.module.name

    @property
    def line(self) -> int | None:
        return self.place.line

    def place_of(self, *path: str | int) -> Place:
        """A spot inside ``config:``, with its line and a name for messages."""
        place = self.place / "config"
        for step in path:
            place = place / step
        return place

    def line_of(self, *path: str | int) -> int | None:
        """Line of a key inside ``config:``: ``entry.line_of("cors", "allowed_origins")``."""
        return self.place_of(*path).line


@dataclass(frozen=True, slots=True)
class Configuration:
    """Everything the engine needs to start.

    :ivar source: the file; None when the defaults run
    :ivar default_host: ``III_HOST``: where listeners without ``host:`` bind
    :ivar in_memory: ``III_IN_MEMORY=1``: stores that name no method are volatile
    :ivar warnings: to be logged as warnings
    :ivar notes: to be logged as information
    """

    source: Path | None
    worker_listeners: list[WorkerListener]
    entries: list[Entry]
    settings: Settings = field(default_factory=Settings)
    default_host: str | None = None
    in_memory: bool = False
    warnings: list[Problem] = field(default_factory=list)
    notes: list[Problem] = field(default_factory=list)
    place: Place = field(default_factory=Place, compare=False)

    @property
    def loaded(self) -> list[Entry]:
        """The entries that become modules of the running engine, in start order."""
        return [e for e in self.entries if e.module.role is Role.MODULE and not e.module.missing]

    def line_of(self, key: str) -> int | None:
        """Line of a top-level key."""
        return (self.place / key).line


def check_config(entry: Entry, type_: type[T], *, strict: bool = False, coerce: bool = False) -> T:
    """The ``config:`` block of an entry as the module's own struct.

    Unknown keys go to ``entry.warnings``.

    :param strict: unknown keys are errors
    :param coerce: read ``"9464"`` and ``"true"`` as number and boolean
    :raises InvalidConfiguration: with all errors of the block
    """
    checker = Checker(coerce=coerce)
    result = checker.struct(entry.config, type_, entry.place / "config")
    _tell(entry, checker.problems, strict)
    return typing.cast("T", result)


def check_adapter(
    entry: Entry, own: Mapping[str, Factory], *, strict: bool = False
) -> tuple[Factory, Any]:
    """What makes the back end of an entry, and its ``config:``, checked if it says what it takes.

    Unknown keys go to ``entry.warnings``.

    :param own: the adapters of the module's class, the first one is for entries without
    :param strict: unknown keys are errors
    :raises InvalidConfiguration: with all errors
    """
    choice = entry.adapter
    adapter = choice.adapter if choice is not None else next(iter(entry.module.adapters), None)
    if adapter is None:
        # A third party's module whose adapters only its own table knows.
        return next(iter(own.values())), {}
    place = entry.place if choice is None else choice.place
    factory = adapter.factory or own.get(adapter.name)
    if factory is None:
        text = f"adapter '{adapter.name}' is not built into this release"
        raise InvalidConfiguration([place.error(text)])
    config = {} if choice is None else choice.config
    type_ = getattr(factory, "config", None)
    if not (isinstance(type_, type) and issubclass(type_, msgspec.Struct)):
        return factory, config
    checker = Checker()
    settings = checker.struct(config, type_, place)
    _tell(entry, checker.problems, strict)
    return factory, settings


def _tell(entry: Entry, problems: Sequence[Problem], strict: bool) -> None:
    """Keep the warnings, raise the errors."""
    fatal = (Kind.ERROR, Kind.UNKNOWN) if strict else (Kind.ERROR,)
    entry.warnings.extend(
        problem
        for problem in problems
        if problem.kind not in fatal and problem not in entry.warnings
    )
    errors = [problem for problem in problems if problem.kind in fatal]
    if errors:
        raise InvalidConfiguration(errors)


def check_modules(entries: Sequence[Entry], *, strict: bool = False) -> list[Problem]:
    """Check every entry as its module and its adapter do (``iii check``), in the file's order.

    Imports the modules.  A module class may set ``coerce_strings = True``.
    """
    problems: list[Problem] = []
    for entry in entries:
        if entry.module.role is not Role.MODULE or entry.module.missing:
            continue
        for check in (_check_block, _check_adapter):
            try:
                check(entry, load_class(entry.module), strict)
            except InvalidConfiguration as error:
                problems.extend(error.problems)
            except ConfigError as error:
                problems.append(entry.place.error(error.message))
                break
        problems.extend(entry.warnings)
    return sorted(problems, key=lambda problem: problem.line or 0)


def _check_block(entry: Entry, class_: type[Any], strict: bool) -> None:
    type_ = getattr(class_, "config", None)
    if type_ is not None:
        coerce = bool(getattr(class_, "coerce_strings", False))
        check_config(entry, type_, strict=strict, coerce=coerce)


def _check_adapter(entry: Entry, class_: type[Any], strict: bool) -> None:
    own: Mapping[str, Factory] = getattr(class_, "adapters", {})
    if own or entry.adapter is not None:
        check_adapter(entry, own, strict=strict)

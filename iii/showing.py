"""``engine::…`` functions about what runs: the engine itself, its configuration, its modules.

Everything a person may want to check is in there, nothing that is secret
(``iii.masking``).  A worker that may not do everything is told none of it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from iii._version import __version__
from iii.catalogue import load_class
from iii.engine.ids import uuid4_text
from iii.engine.invocations import Call
from iii.engine.module import ModuleApi
from iii.engine.native import Empty
from iii.entries import Entry
from iii.errors import ConfigError
from iii.masking import masked
from iii.net import effective_host

if TYPE_CHECKING:
    from iii.service import EngineService, ModuleService

DEFAULT = "default"
#: What the engine itself put into a configuration, such as a free port for ``--port 0``.
ENGINE = "engine"
#: A program that runs an engine inside itself.
PROGRAM = "program"


class Endpoint(Struct):
    """A port that is open.

    :ivar host: None: loopback
    """

    port: int
    host: str | None = None
    tls: bool = False


class Instance(Struct):
    """``engine::instance::info``.

    :ivar id: another one after each start
    :ivar endpoints: ``worker``, ``http``, ``stream``, ``console``, ``metrics``
    """

    id: str
    version: str
    started_at_ms: int
    uptime_seconds: float
    pid: int
    ready: bool
    not_ready: list[str]
    endpoints: dict[str, Endpoint]


class ModuleConfig(Struct):
    """A module's configuration as it holds.

    :ivar config: all of it, what nobody wrote with its default
    :ivar sources: dotted path of a value → ``config.yaml:12``, ``default``,
        ``III_HOST``, ``engine`` or ``program``
    """

    name: str
    written: str
    canonical: str
    implicit: bool
    source: str
    adapter: str | None
    config: Any
    sources: dict[str, str]


class Shown(Struct):
    """``engine::config::get``.

    :ivar source: the file; None: the default configuration
    :ivar workers: the worker ports
    """

    source: str | None
    settings: dict[str, Any]
    workers: list[dict[str, Any]]
    modules: list[ModuleConfig]
    warnings: list[str]


class ModuleRow(Struct):
    """A module that is configured.

    :ivar status: ``running``, ``degraded`` (with ``reason``), ``starting``
    :ivar adapter: its back end, for those that have several
    :ivar stores: what it keeps where
    """

    name: str
    canonical: str
    status: str
    reason: str | None
    adapter: str | None
    adapters: list[str]
    endpoint: Endpoint | None
    stores: dict[str, str]
    functions: int
    implicit: bool


class ModuleRows(Struct):
    """``engine::modules::list``."""

    modules: list[ModuleRow]


class Showing:
    """The functions, for one engine."""

    def __init__(self, service: EngineService) -> None:
        self._service = service
        self._engine = service.engine
        self._id = uuid4_text()

    def install(self, api: ModuleApi) -> None:
        """Offer them."""
        about = {
            "engine::instance::info": (self.instance, Instance, "What this engine is"),
            "engine::config::get": (self.config, Shown, "The configuration, without secrets"),
            "engine::modules::list": (self.modules, ModuleRows, "The modules and how they are"),
        }
        for id, (tell, gives, description) in about.items():
            handler = partial(self._told, tell)
            api.function(id, handler, gives=gives, description=description, wants_call=True)

    def _told(self, tell: Callable[[], Struct], _: Empty, call: Call) -> Struct:
        """Whoever asks may do everything, or is refused."""
        self._engine.check_unrestricted(call.caller)
        return tell()

    def instance(self) -> Instance:
        """``engine::instance::info``."""
        engine, clock = self._engine, self._engine.clock
        waiting = engine.not_ready()
        return Instance(
            self._id,
            __version__,
            engine.started_at_ms,
            max(0.0, (clock.wall_ms() - engine.started_at_ms) / 1000),
            os.getpid(),
            not waiting,
            waiting,
            dict(self._endpoints()),
        )

    def config(self) -> Shown:
        """``engine::config::get``."""
        configuration = self._service.configuration
        source = configuration.source
        listeners = [_plain(each) for each in configuration.worker_listeners]
        for listener in listeners:
            listener.pop("place", None)
        return Shown(
            None if source is None else str(source.absolute()),
            masked(_plain(configuration.settings)),
            masked(listeners),
            [_shown(entry, configuration.default_host) for entry in configuration.loaded],
            [str(problem) for problem in configuration.warnings],
        )

    def modules(self) -> ModuleRows:
        """``engine::modules::list``."""
        counts: dict[str, int] = {}
        for function in self._engine.functions:
            name = getattr(function.spec.owner, "module", None)
            if name is not None:
                counts[name] = counts.get(name, 0) + 1
        endpoints = dict(self._endpoints())
        return ModuleRows([self._row(each, endpoints, counts) for each in self._service.modules])

    # Inside ----------------------------------------------------------------------------

    def _row(
        self, service: ModuleService, endpoints: Mapping[str, Endpoint], counts: Mapping[str, int]
    ) -> ModuleRow:
        entry = service.entry
        reason = self._engine.troubles.get(entry.name)
        status = "starting" if not service.started else "degraded" if reason else "running"
        adapters = [adapter.name for adapter in entry.module.adapters]
        return ModuleRow(
            entry.name,
            entry.canonical,
            status,
            reason,
            _adapter(entry),
            adapters,
            endpoints.get(entry.name.removeprefix("iii-")),
            {name: masked(path) for name, path in service.module.stores.items()},
            counts.get(entry.name, 0),
            entry.implicit,
        )

    def _endpoints(self) -> Iterator[tuple[str, Endpoint]]:
        """The open ports by the names of the ready line."""
        if self._service.listeners:
            first = self._service.listeners[0]
            yield "worker", Endpoint(first.port, first.host, first.certificates is not None)
        entries = {service.entry.name: service.entry for service in self._service.modules}
        for name, port in self._engine.ready.items():
            if not isinstance(port, int):
                continue
            entry = entries.get("iii-observability" if name == "metrics" else f"iii-{name}")
            config = {} if entry is None else entry.config
            yield name, Endpoint(port, effective_host(config.get("host")), bool(config.get("tls")))


def _adapter(entry: Entry) -> str | None:
    if entry.adapter is not None:
        return entry.adapter.adapter.name
    return entry.module.adapters[0].name if entry.module.adapters else None


def _shown(entry: Entry, default_host: str | None) -> ModuleConfig:
    config = dict(_defaults(entry))
    sources = {".".join(path): DEFAULT for path in _paths(config)}
    config = _merged(config, entry.config)
    for path in _paths(entry.config):
        sources[".".join(path)] = _source(entry, path, default_host)
    adapter = entry.adapter
    if adapter is not None and adapter.config:
        config["adapter"] = {"name": adapter.adapter.name, "config": adapter.config}
        for path in _paths(adapter.config):
            sources[".".join(("adapter", "config", *path))] = _at(entry, adapter.place.line)
    return ModuleConfig(
        entry.name,
        entry.written,
        entry.canonical,
        entry.implicit,
        DEFAULT if entry.implicit else _at(entry, entry.line),
        _adapter(entry),
        masked(config),
        sources,
    )


def _defaults(entry: Entry) -> dict[str, Any]:
    """What the module's own struct says of keys that nobody wrote."""
    try:
        type_ = getattr(load_class(entry.module), "config", None)
    except ConfigError:
        return {}
    if not (isinstance(type_, type) and issubclass(type_, Struct)):
        return {}
    found: dict[str, Any] = {}
    for known in msgspec.structs.fields(type_):
        if known.default is not msgspec.NODEFAULT:
            found[known.encode_name] = _plain(known.default)
        elif known.default_factory is not msgspec.NODEFAULT:
            found[known.encode_name] = _plain(known.default_factory())
    return found


def _plain(value: Any) -> Any:
    """Structs as mappings; what can't be data as text."""
    return msgspec.to_builtins(value, enc_hook=str)


def _merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(under)
    for key, value in over.items():
        below = merged.get(key)
        both = isinstance(value, dict) and isinstance(below, dict)
        merged[key] = _merged(below, value) if both else value  # type: ignore[arg-type]
    return merged


def _paths(config: Mapping[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Where the values are; lists count as values."""
    for key, value in config.items():
        path = (*above, str(key))
        if isinstance(value, dict) and value:
            yield from _paths(value, path)
        else:
            yield path


def _source(entry: Entry, path: tuple[str, ...], default_host: str | None) -> str:
    """Who chose the value at ``path``."""
    place = entry.place_of(*path)
    if place.source is None:
        return ENGINE if entry.implicit else PROGRAM
    if _written(place.source[1].value, place.path):
        return _at(entry, place.line)
    if path == ("host",) and entry.config["host"] == default_host:
        return "III_HOST"
    return ENGINE


def _written(document: Any, path: tuple[Any, ...]) -> bool:
    """Whether a file has a value at ``path``."""
    here: Any = document
    for step in path:
        try:
            here = here[step]
        except (LookupError, TypeError):
            return False
    return True


def _at(entry: Entry, line: int | None) -> str:
    file = entry.place.file
    if file is None:
        return PROGRAM
    return file if line is None else f"{file}:{line}"

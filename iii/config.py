"""Configuration: read → expand ``${VAR:default}`` → YAML 1.2 → checked entries.

``load`` turns a file, or its absence, into a ``Configuration``: worker
listeners, module entries in start order, engine settings.  Both generations of
files are one format here (``modules:`` with ``class:``, ``workers:`` with ``name:``;
``port:`` or an ``iii-worker-manager`` entry).  What a module makes of its own
``config:`` block is the module's business: it hands its struct type to
``check_config``.

All problems of a file are collected before any is raised.  Pure functions: the
environment is an argument, nothing is written, no network library is loaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import msgspec

from iii.access.checks import (
    check_auth,
    check_nothing_is_null,
    check_proxies,
    check_rbac,
    check_reachable,
)
from iii.access.settings import Auth, NonEmpty, Rbac
from iii.browsers import Origin
from iii.catalogue import Catalogue, KnownModule, Role, adapter_not_found, find_adapter
from iii.checking import Checker, InvalidConfiguration, Kind, Place, Problem, found
from iii.entries import (
    DEFAULT_WORKER_PORT,
    AdapterChoice,
    Configuration,
    Entry,
    Milliseconds,
    Port,
    Settings,
    WorkerListener,
    check_config,
    check_modules,
)
from iii.expansion import expand
from iii.tls import Tls
from iii.yaml12 import YamlError, parse

__all__ = [
    "AdapterChoice",
    "Auth",
    "Configuration",
    "Entry",
    "InvalidConfiguration",
    "Kind",
    "Problem",
    "Report",
    "Settings",
    "WorkerListener",
    "check_config",
    "check_modules",
    "default_configuration",
    "examine",
    "from_mapping",
    "load",
]

_SWITCH = {"": False, "0": False, "false": False, "1": True, "true": True}


class _TopLevel(Settings, frozen=True):
    """The whole file; the lists are read one entry at a time."""

    strict_keys: ClassVar[tuple[str, ...]] = ("auth", "tls")

    port: Port | None = None
    host: NonEmpty | None = None
    tls: Tls | None = None
    allowed_origins: list[Origin] | None = None
    modules: list[Any] | None = None
    workers: list[Any] | None = None

    def settings(self) -> Settings:
        return Settings(**{name: getattr(self, name) for name in Settings.__struct_fields__})


class _RawEntry(msgspec.Struct, frozen=True):
    """One item of ``modules:`` or ``workers:``."""

    class_: NonEmpty | None = msgspec.field(name="class", default=None)
    name: NonEmpty | None = None
    config: dict[str, Any] | None = None
    image: Any = None


class _RawAdapter(msgspec.Struct, frozen=True):
    """``adapter:`` inside a module's configuration."""

    class_: NonEmpty | None = msgspec.field(name="class", default=None)
    name: NonEmpty | None = None
    config: dict[str, Any] | None = None


class _PortOnly(msgspec.Struct):
    """The one key known of a module that listens and is not in this release."""

    port: Port = 0


class _ListenerConfig(msgspec.Struct, frozen=True):
    """``config:`` of ``iii-worker-manager``."""

    strict_keys: ClassVar[tuple[str, ...]] = ("auth", "rbac", "middleware_function_id", "tls")

    host: NonEmpty | None = None
    port: Port = DEFAULT_WORKER_PORT
    tls: Tls | None = None
    allowed_origins: list[Origin] = []
    handshake_timeout_ms: Milliseconds = 10_000
    middleware_function_id: NonEmpty | None = None
    rbac: Rbac | None = None
    auth: Auth | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """What ``examine`` found.

    :ivar configuration: None when there are errors
    :ivar entries: those that could be read, also when there are errors elsewhere
    """

    configuration: Configuration | None
    problems: list[Problem]
    entries: list[Entry]

    @property
    def errors(self) -> list[Problem]:
        return [problem for problem in self.problems if problem.kind is Kind.ERROR]


def load(
    path: Path | None,
    *,
    environ: Mapping[str, str],
    catalogue: Catalogue | None = None,
    strict: bool = False,
    must_exist: bool = False,
) -> Configuration:
    """Read a configuration file; None or a missing file means the defaults.

    :param strict: unknown names and keys are errors
    :param must_exist: a missing file is an error
    :raises InvalidConfiguration: with all errors of the file
    """
    report = examine(
        path, environ=environ, catalogue=catalogue, strict=strict, must_exist=must_exist
    )
    if report.configuration is None:
        raise InvalidConfiguration(report.errors)
    return report.configuration


def examine(
    path: Path | None,
    *,
    environ: Mapping[str, str],
    catalogue: Catalogue | None = None,
    strict: bool = False,
    must_exist: bool = False,
) -> Report:
    """As ``load``, but tells every problem instead of raising errors."""
    reader = _Reader(environ, catalogue)
    if path is None:
        return reader.report(reader.defaults(), strict)
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        missing = f"Config file not found: '{path.absolute()}'."
        if must_exist:
            reader.tell(Problem(Kind.ERROR, missing))
            return reader.report(None, strict)
        reader.tell(Problem(Kind.NOTE, f"{missing} Running with the default modules."))
        return reader.report(reader.defaults(), strict)
    except OSError as error:
        reason = f"the configuration can't be read: {error.strerror or error}"
        reader.tell(Problem(Kind.ERROR, reason, str(path)))
        return reader.report(None, strict)
    document = reader.document(path, data)
    if document is None:
        return reader.report(None, strict)
    return reader.report(reader.mapping(*document, source=path), strict)


def default_configuration(
    environ: Mapping[str, str], *, catalogue: Catalogue | None = None
) -> Configuration:
    """What runs without a configuration file (decision 8)."""
    return load(None, environ=environ, catalogue=catalogue)


def from_mapping(
    top: Mapping[str, Any],
    *,
    environ: Mapping[str, str],
    catalogue: Catalogue | None = None,
    strict: bool = False,
) -> Configuration:
    """A configuration built in a program: the same keys and rules as a file.

    :raises InvalidConfiguration: with all errors
    """
    reader = _Reader(environ, catalogue)
    report = reader.report(reader.mapping(dict(top), Place(), source=None), strict)
    if report.configuration is None:
        raise InvalidConfiguration(report.errors)
    return report.configuration


class _Reader:
    """Builds one Configuration; every problem on the way goes to ``checker.problems``."""

    def __init__(self, environ: Mapping[str, str], catalogue: Catalogue | None) -> None:
        self.environ = environ
        self.catalogue = Catalogue() if catalogue is None else catalogue
        self.checker = Checker()
        self.entries: list[Entry] = []
        self.listeners: list[WorkerListener] = []
        self.default_host = environ.get("III_HOST") or None
        self.in_memory = self._in_memory()
        for fault in self.catalogue.faults:
            self.tell(Problem(Kind.WARNING, fault))

    def tell(self, problem: Problem) -> None:
        self.checker.problems.append(problem)

    def report(self, configuration: Configuration | None, strict: bool) -> Report:
        """The outcome: unknown names and keys are errors if ``strict``, warnings if not."""
        problems = [
            Problem(Kind.ERROR, p.message, p.path, p.line)
            if strict and p.kind is Kind.UNKNOWN
            else p
            for p in sorted(self.checker.problems, key=lambda problem: problem.line or 0)
        ]
        if configuration is None or any(problem.kind is Kind.ERROR for problem in problems):
            return Report(None, problems, self.entries)
        configuration.warnings.extend(p for p in problems if p.kind is not Kind.NOTE)
        configuration.notes.extend(p for p in problems if p.kind is Kind.NOTE)
        return Report(configuration, problems, self.entries)

    def _in_memory(self) -> bool:
        text = self.environ.get("III_IN_MEMORY", "")
        if text not in _SWITCH:
            self.tell(Problem(Kind.ERROR, f"III_IN_MEMORY must be 1 or 0, not '{text}'"))
        return _SWITCH.get(text, False)

    # -- the three sources: nothing, text, data --------------------------------------------

    def defaults(self) -> Configuration:
        """The set that runs without a file."""
        for module in self.catalogue:
            if module.default:
                self._add_entry(module, implicit=True)
        # One line, not one per module: the author wrote none of them.
        missing = ", ".join(entry.name for entry in self.entries if entry.module.missing)
        if missing:
            text = f"not built into this release, their triggers stay parked: {missing}"
            self.tell(Problem(Kind.WARNING, text))
        self.listeners.append(WorkerListener(self.default_host))
        return self._configuration(None, Settings(), Place())

    def document(self, path: Path, data: bytes) -> tuple[dict[str, Any], Place] | None:
        """The file as a mapping; None when the text is not one."""

        def fault(line: int, message: str) -> None:
            self.tell(Problem(Kind.ERROR, message, str(path), line))

        try:
            expanded = expand(data.decode("utf-8-sig"), self.environ)
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            fault(line, f"not UTF-8 text (byte 0x{data[error.start]:02x})")
            return None
        for unset in expanded.unset:
            fault(unset.position.line, unset.message)
        if expanded.unset:
            return None
        try:
            document = parse(expanded.text)
        except YamlError as error:
            for index, message in error.faults:
                line, column = expanded.position(index)
                fault(line, f"{message} (column {column})")
            return None
        top = {} if document.value is None else document.value
        if not isinstance(top, dict):
            fault(1, f"expected a mapping with modules: or workers:, found {found(top)}")
            return None
        return top, Place(file=str(path), source=(expanded, document))

    def mapping(
        self, top: dict[str, Any], place: Place, *, source: Path | None
    ) -> Configuration | None:
        """The configuration that ``top`` describes; None when its own keys are wrong."""
        checked = self.checker.struct(top, _TopLevel, place)
        for key in ("modules", "workers"):
            items = top.get(key)
            for index, item in enumerate(items if isinstance(items, list) else ()):
                self._entry(item, place / key / index)
        self._refuse_equal_addresses(place)
        for module in self.catalogue:
            if module.mandatory and all(entry.module is not module for entry in self.entries):
                self._add_entry(module, implicit=True)
        self.checker.problems += check_nothing_is_null(top, _TopLevel.strict_keys, place)
        if checked is None:
            return None
        self.checker.problems += check_auth(checked.auth, place / "auth")
        proxies = check_proxies(checked.trusted_proxies, place / "trusted_proxies")
        self.checker.problems += proxies
        self._top_level_listener(checked, place)
        self.checker.problems += check_reachable(self.listeners)
        return self._configuration(source, checked.settings(), place)

    def _configuration(
        self, source: Path | None, settings: Settings, place: Place
    ) -> Configuration:
        return Configuration(
            source=source,
            worker_listeners=self.listeners,
            entries=self.entries,
            settings=settings,
            default_host=self.default_host,
            in_memory=self.in_memory,
            place=place,
        )

    # -- entries ---------------------------------------------------------------------------

    def _entry(self, item: Any, place: Place) -> None:
        if not isinstance(item, dict):
            text = f"expected a mapping with class: or name:, found {found(item)}"
            return self.tell(place.error(text))
        raw = self.checker.struct(item, _RawEntry, place)
        if raw is None:
            return None
        written = raw.class_ or raw.name
        if written is None:
            return self.tell(place.error("the key 'class' or 'name' is missing"))
        module = self.catalogue.find(written)
        if module is None:
            return self._unknown_module(written, raw, place)
        if raw.class_ and raw.name and self.catalogue.find(raw.name) is not module:
            text = f"class: {raw.class_} and name: {raw.name} are different modules; give one"
            return self.tell(place.error(text))
        return self._known_module(written, module, raw, place.named(written))

    def _unknown_module(self, written: str, raw: _RawEntry, place: Place) -> None:
        suggestion = self.catalogue.suggestion(written)
        if raw.class_:
            text = f"Unknown module class: {written}{suggestion}"
            return self.tell((place / "class").problem(Kind.ERROR, text))
        text = (
            f"UNKNOWN WORKER '{written}': it is not part of the engine and is not started by it, "
            f"it can connect to the worker port by itself{suggestion}"
        )
        return self.tell((place / "name").problem(Kind.UNKNOWN, text))

    def _known_module(
        self, written: str, module: KnownModule, raw: _RawEntry, place: Place
    ) -> None:
        config = dict(raw.config or {})
        if raw.image is not None:
            text = f"image: of {written} is ignored: the engine starts no containers"
            self.tell((place / "image").problem(Kind.WARNING, text))
        if module.role is Role.LISTENER:
            return self._listener(config, place)
        self._tell_about(written, module, place)
        if module.missing and module.port is not None and "port" in config:
            self.checker.struct({"port": config["port"]}, _PortOnly, place / "config")
        return self._add_entry(
            module,
            config,
            written=written,
            flavour="class" if raw.class_ else "name",
            adapter=self._adapter(module, config, place) if module.adapters else None,
            place=place,
        )

    def _add_entry(
        self,
        module: KnownModule,
        config: dict[str, Any] | None = None,
        *,
        written: str | None = None,
        flavour: Literal["class", "name"] = "name",
        adapter: AdapterChoice | None = None,
        place: Place | None = None,
        implicit: bool = False,
    ) -> None:
        config = {} if config is None else config
        if module.port is not None and self.default_host is not None:
            config.setdefault("host", self.default_host)
        place = Place(label=module.canonical) if place is None else place
        self.entries.append(
            Entry(written or module.name, module, flavour, config, place, adapter, implicit)
        )

    def _tell_about(self, written: str, module: KnownModule, place: Place) -> None:
        both = f"{module.canonical} ({module.name})"
        if module.missing:
            text = f"{both} is accepted but not built into this release; {module.absent}"
            self.tell(place.problem(Kind.WARNING, text))
        elif module.role is Role.INERT and module.absent:
            self.tell(place.problem(Kind.WARNING, f"{both} is accepted; {module.absent}"))
        if written not in (module.canonical, module.name):
            self.tell(place.problem(Kind.NOTE, f"'{written}' means {both}"))

    def _adapter(
        self, module: KnownModule, config: dict[str, Any], place: Place
    ) -> AdapterChoice | None:
        """Take ``adapter:`` out of ``config``; None for the default or after an error."""
        value = config.pop("adapter", None)
        place = place / "config" / "adapter"
        if value is None:
            return None
        if not isinstance(value, dict):
            text = f"expected a mapping with class: or name:, found {found(value)}"
            self.tell(place.error(text))
            return None
        raw = self.checker.struct(value, _RawAdapter, place)
        if raw is None:
            return None
        chosen = {
            written: find_adapter(module, written) for written in (raw.class_, raw.name) if written
        }
        if not chosen:
            self.tell(place.error("the key 'class' or 'name' is missing"))
        elif len(set(chosen.values())) > 1:
            names = " and ".join(chosen)
            self.tell(place.error(f"{names} are different adapters; give one"))
        else:
            [(written, adapter), *_] = chosen.items()
            if adapter is not None:
                return AdapterChoice(written, adapter, dict(raw.config or {}), place / "config")
            self.tell(place.error(adapter_not_found(module, written)))
        return None

    # -- listeners -------------------------------------------------------------------------

    def _listener(self, config: dict[str, Any], place: Place) -> None:
        problems = self.checker.problems
        problems += check_nothing_is_null(config, _ListenerConfig.strict_keys, place / "config")
        checked = self.checker.struct(config, _ListenerConfig, place / "config")
        if checked is None:
            return
        problems += check_auth(checked.auth, place / "config" / "auth")
        problems += check_rbac(checked.rbac, config.get("rbac"), place / "config" / "rbac")
        self.listeners.append(
            WorkerListener(
                checked.host or self.default_host,
                checked.port,
                checked.handshake_timeout_ms,
                checked.middleware_function_id,
                checked.rbac,
                place.line,
                auth=checked.auth,
                tls=checked.tls,
                allowed_origins=tuple(checked.allowed_origins),
                place=place / "config",
            )
        )

    def _top_level_listener(self, top: _TopLevel, place: Place) -> None:
        """What describes a port counts only without an ``iii-worker-manager`` entry."""
        keys = ("port", "host", "tls", "allowed_origins")
        given = [key for key in keys if getattr(top, key) is not None]
        if self.listeners:
            for key in given:
                text = f"{key}: has no effect, the iii-worker-manager entry decides"
                # A port that was to have TLS must not be plain.
                kind = Kind.ERROR if key == "tls" else Kind.WARNING
                self.tell((place / key).problem(kind, text))
            return
        port = DEFAULT_WORKER_PORT if top.port is None else top.port
        line = (place / given[0]).line if given else None
        origins = tuple(top.allowed_origins or ())
        host = top.host or self.default_host
        self.listeners.append(
            WorkerListener(host, port, line=line, tls=top.tls, allowed_origins=origins, place=place)
        )

    def _refuse_equal_addresses(self, place: Place) -> None:
        """The same module twice is fine, unless both want one address (decision 11)."""
        addresses = [
            ("iii-worker-manager", listener.host, listener.port, listener.line)
            for listener in self.listeners
        ] + [
            (e.name, e.config.get("host"), e.config.get("port", e.module.port), e.line)
            for e in self.entries
            if e.module.port is not None
        ]
        taken: dict[tuple[str, str, int], int | None] = {}
        for name, host, port, line in addresses:
            if type(port) is not int or port == 0 or not isinstance(host, str | None):
                continue  # a free port, or a wrong type, which is told elsewhere
            where = "127.0.0.1" if host in (None, "localhost") else str(host)
            if (name, where, port) not in taken:
                taken[name, where, port] = line
                continue
            first = taken[name, where, port]
            seen = f" (first on line {first})" if first is not None else ""
            text = f"{name} listens on {where}:{port} twice{seen}"
            self.tell(Problem(Kind.ERROR, text, place.file, line))

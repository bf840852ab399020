"""Every module and adapter the engine knows, under every name it ever had.

Three generations of configuration files name the same module differently:
``modules::streams::StreamModule``, ``modules::stream::StreamModule``,
``iii-stream``.  ``KNOWN`` is the table of what is meant, ``Catalogue`` looks names
up in it.  A module without ``module`` is not in this release: its entry loads
with a warning, so that a configuration of any release starts.

Module classes are named by import path and imported when they are wanted, so
reading a configuration needs no network library.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from iii.checking import nearest
from iii.errors import ConfigError

ENTRY_POINT_GROUP = "iii.modules"


class Role(StrEnum):
    """What an entry means to the engine."""

    MODULE = "module"
    #: The engine itself; always there, its configuration is ignored.
    CORE = "core"
    #: The worker port: becomes a ``WorkerListener`` instead of a module.
    LISTENER = "listener"
    #: Accepted because files in the field have it; does nothing.
    INERT = "inert"


@dataclass(frozen=True, slots=True, eq=False)
class Adapter:
    """One back end of a module.

    :ivar name: the short name (``redis``)
    :ivar canonical: the class as 0.10 wrote it
    :ivar aliases: other names and classes for the same
    :ivar factory: what a third party registered; None for the module's own
    """

    name: str
    canonical: str
    aliases: tuple[str, ...] = ()
    factory: Any = None


@dataclass(frozen=True, slots=True, eq=False)
class KnownModule:
    """One row of the catalogue.

    :ivar canonical: the class as 0.10 wrote it; the worker name where there is none
    :ivar name: the worker name (``iii-http``)
    :ivar aliases: other names and classes, besides those ``normalise`` handles
    :ivar adapters: the default one first; empty for modules without adapters
    :ivar port: the default of its ``port`` key, for modules that listen
    :ivar default: part of the set that runs without a configuration file
    :ivar mandatory: added to every configuration that does not list it
    :ivar module: the class or its import path (``package.module:Class``);
        None when this release does not have it
    :ivar absent: what that means for the user; also said of an inert module
    """

    canonical: str
    name: str
    aliases: tuple[str, ...] = ()
    adapters: tuple[Adapter, ...] = ()
    role: Role = Role.MODULE
    port: int | None = None
    default: bool = False
    mandatory: bool = False
    module: str | type[Any] | None = None
    absent: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        return (self.canonical, self.name, *self.aliases)

    @property
    def missing(self) -> bool:
        """Is it a module that this release does not bring?"""
        return self.role is Role.MODULE and self.module is None


_BRIDGE = "bridge"

# In the order in which the default set starts (decision 8).
KNOWN: tuple[KnownModule, ...] = (
    KnownModule(
        "modules::worker::WorkerModule",
        "iii-engine-functions",
        role=Role.CORE,
        default=True,
        mandatory=True,
    ),
    KnownModule(
        "modules::observability::OtelModule",
        "iii-observability",
        aliases=(
            "modules::observability::ObservabilityModule",
            "modules::observability::LoggingModule",
        ),
        default=True,
        mandatory=True,
        module="iii.modules.observability.module:ObservabilityModule",
    ),
    KnownModule(
        "modules::state::StateModule",
        "iii-state",
        aliases=("state",),
        adapters=(
            Adapter("kv", "modules::state::adapters::KvStore"),
            Adapter("redis", "modules::state::adapters::RedisAdapter"),
            Adapter(_BRIDGE, "modules::state::adapters::Bridge"),
        ),
        default=True,
        module="iii.modules.state.module:StateModule",
    ),
    KnownModule(
        "modules::stream::StreamModule",
        "iii-stream",
        adapters=(
            Adapter("kv", "modules::stream::adapters::KvStore"),
            Adapter("redis", "modules::stream::adapters::RedisAdapter"),
            Adapter(_BRIDGE, "modules::stream::adapters::Bridge"),
        ),
        port=3112,
        default=True,
        module="iii.modules.stream.module:StreamModule",
    ),
    KnownModule(
        "modules::queue::QueueModule",
        "iii-queue",
        aliases=("queue", "modules::queue::EventModule"),
        adapters=(
            Adapter(
                "builtin",
                "modules::queue::BuiltinQueueAdapter",
                ("modules::queue::InMemoryAdapter",),
            ),
            Adapter("redis", "modules::queue::RedisAdapter"),
            Adapter("rabbitmq", "modules::queue::RabbitMQAdapter"),
            Adapter(_BRIDGE, "modules::queue::adapters::Bridge"),
        ),
        default=True,
        module="iii.modules.queue.module:QueueModule",
    ),
    KnownModule(
        "modules::pubsub::PubSubModule",
        "iii-pubsub",
        aliases=("pubsub",),
        adapters=(
            Adapter("local", "modules::pubsub::LocalAdapter"),
            Adapter("redis", "modules::pubsub::RedisAdapter"),
        ),
        default=True,
        module="iii.modules.pubsub.module:PubSubModule",
    ),
    KnownModule(
        "modules::cron::CronModule",
        "iii-cron",
        aliases=("cron",),
        adapters=(
            Adapter("kv", "modules::cron::KvCronAdapter", ("local",)),
            Adapter("redis", "modules::cron::RedisCronAdapter", ("modules::cron::RedisAdapter",)),
        ),
        default=True,
        module="iii.modules.cron.module:CronModule",
    ),
    KnownModule(
        "modules::api::RestApiModule",
        "iii-http",
        aliases=("http",),
        port=3111,
        default=True,
        module="iii.modules.http.module:HttpModule",
    ),
    KnownModule(
        "modules::kv_server::KvServer",
        "iii-kv-server",
        default=True,
        module="iii.modules.kv_server.module:KvServerModule",
    ),
    KnownModule(
        "modules::console::ConsoleModule",
        "iii-console",
        port=3113,
        default=True,
        module="iii.modules.console.module:ConsoleModule",
    ),
    KnownModule(
        "modules::shell::ExecModule",
        "iii-exec",
        module="iii.modules.shell.module:ExecModule",
    ),
    KnownModule(
        "modules::bridge_client::BridgeClientModule",
        "iii-bridge",
        module="iii.modules.bridge.module:BridgeModule",
    ),
    KnownModule(
        "modules::http_functions::HttpFunctionsModule",
        "iii-http-functions",
        default=True,
        mandatory=True,
        module="iii.modules.http_functions.module:HttpFunctionsModule",
    ),
    KnownModule("iii-worker-manager", "iii-worker-manager", role=Role.LISTENER, port=49134),
    KnownModule("modules::telemetry::TelemetryModule", "iii-telemetry", role=Role.INERT),
    KnownModule(
        "configuration",
        "configuration",
        role=Role.INERT,
        absent="its functions are not found",
    ),
    KnownModule(
        "modules::devtools::DevToolsModule",
        "iii-devtools",
        role=Role.INERT,
        absent="it does nothing",
    ),
)

# Second segment of a class, as older releases wrote it.
_OLD_PACKAGES = {"streams": "stream", "event": "queue", "rest_api": "api"}


def normalise(written: str) -> str:
    """The form in which names are compared.

    ``#N`` (an instance) goes, old package names become current ones, and the
    segment ``adapters`` does not matter.
    """
    segments = written.split("#", 1)[0].strip().split("::")
    if segments[0] == "modules" and len(segments) > 2:
        package = _OLD_PACKAGES.get(segments[1], segments[1])
        rest = [segment for segment in segments[2:] if segment != "adapters"]
        segments = ["modules", package, *rest]
    return "::".join(segments)


class Catalogue:
    """Finds modules and adapters by any of their names.

    :param known: the rows to start with
    :ivar faults: installed packages that could not be loaded, and why
    """

    def __init__(self, known: Iterable[KnownModule] = KNOWN) -> None:
        self._modules: dict[str, KnownModule] = {}
        self.faults: list[str] = []
        for module in known:
            self._add(module)

    @classmethod
    def with_entry_points(cls) -> Catalogue:
        """The catalogue with what installed packages bring (group ``iii.modules``).

        An entry point is a module class, registered under the entry point's
        name, or a function, called with the catalogue.  A package that fails
        to import is listed in ``faults`` and does not disturb the others.
        """
        catalogue = cls()
        for point in sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda point: point.name):
            catalogue.add_entry_point(point)
        return catalogue

    def add_entry_point(self, point: EntryPoint) -> None:
        """Load one entry point and register what it offers."""
        try:
            offered = point.load()
            if isinstance(offered, type):
                self.register_module(point.name, offered)
            else:
                offered(self)
        except Exception as error:
            # Foreign code: it may fail with anything, and must not stop the engine.
            self.faults.append(
                f"entry point '{point.name}' ({point.value}) can't be loaded: "
                f"{type(error).__name__}: {error}"
            )

    def _add(self, module: KnownModule) -> None:
        for name in module.names:
            self._modules[normalise(name)] = module

    def __iter__(self) -> Iterator[KnownModule]:
        return iter(dict.fromkeys(self._modules.values()))

    def find(self, written: str) -> KnownModule | None:
        """The module meant by ``written``, or None."""
        return self._modules.get(normalise(written))

    def suggestion(self, written: str) -> str:
        """``; did you mean 'modules::…'?``, or nothing."""
        return nearest(written, (name for module in self for name in module.names))

    def register_module(self, class_: str, module: type[Any]) -> None:
        """Make ``module`` usable in configurations as ``class_`` and by its own ``name``.

        A class the engine brings itself is replaced.
        """
        known = self.find(class_)
        if known is None:
            name = str(getattr(module, "name", class_))
            known = KnownModule(canonical=class_, name=name if self.find(name) is None else class_)
        self._add(replace(known, module=module, role=Role.MODULE))

    def register_adapter(self, module: str, class_: str, factory: Any) -> None:
        """Make ``factory`` usable as ``adapter: {class: class_}`` of ``module``.

        :raises ConfigError: nobody knows ``module``
        """
        known = self.find(module)
        if known is None:
            raise ConfigError(f"Unknown module class: {module}{self.suggestion(module)}")
        adapters = list(known.adapters)
        old = find_adapter(known, class_)
        if old is None:
            adapters.append(Adapter(class_, class_, factory=factory))
        else:
            # In its place: the first adapter is the default.
            adapters[adapters.index(old)] = replace(old, factory=factory)
        self._add(replace(known, adapters=tuple(adapters)))


def find_adapter(module: KnownModule, written: str) -> Adapter | None:
    """The adapter of ``module`` meant by ``written``, or None."""
    form = normalise(written)
    for adapter in module.adapters:
        if form in map(normalise, (adapter.name, adapter.canonical, *adapter.aliases)):
            return adapter
    return None


def adapter_not_found(module: KnownModule, written: str) -> str:
    """The message for an unknown adapter, in the vocabulary the author used."""
    classes = "::" in written
    available = [adapter.canonical if classes else adapter.name for adapter in module.adapters]
    return (
        f"Adapter factory '{written}' not found. Available: [{', '.join(available)}]"
        f"{nearest(written, available)}"
    )


def load_class(module: KnownModule) -> type[Any]:
    """The class of a module, imported now.

    :raises ConfigError: it can't be imported
    """
    if isinstance(module.module, type):
        return module.module
    path, _, attribute = (module.module or "").partition(":")
    try:
        found: type[Any] = getattr(import_module(path), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"{module.canonical} ({module.name}) can't be loaded: {error}") from error
    return found

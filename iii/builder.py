"""``Engine.builder()``: an engine inside a program of one's own.

::

    engine = (
        Engine.builder()
        .address("127.0.0.1:49134")
        .register_module("my::GreetModule", GreetModule)
        .add_module("my::GreetModule", {"greeting": "Hello"})
        .add_module("iii-http", {"port": 3111})
        .build()
    )
    engine.serve()                      # until SIGINT or SIGTERM

``build`` returns an ``EmbeddedEngine``; a program that runs a reactor already uses its
``start`` and ``destroy`` instead of ``serve``.  What a file would say and what the
methods say is one configuration, checked by the same rules.  The engine itself
knows nothing of this: ``Engine.builder`` loads this file when it is called.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import globalLogBeginner

from iii.catalogue import Catalogue, Role
from iii.config import default_configuration, from_mapping, load
from iii.engine.clock import Clock
from iii.entries import Configuration
from iii.errors import ConfigError
from iii.logging import LogOutput
from iii.process import EngineProcess
from iii.reload import Source, source_of
from iii.service import EngineService, with_port


class EngineBuilder:
    """Collects what an engine is made of.

    Every method but ``build`` returns the builder.

    :param reactor: Twisted's reactor unless given
    :param clock: the engine's source of time, for tests
    :param environ: where ``III_HOST`` and ``${NAME}`` come from
    """

    def __init__(
        self,
        reactor: Any = None,
        *,
        clock: Clock | None = None,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        self._reactor = reactor
        self._clock = clock
        self._environ = environ
        self._catalogue = Catalogue.with_entry_points()
        self._base: Configuration | None = None
        self._source: Source | None = None
        self._added: list[dict[str, Any]] = []
        self._address: tuple[str | None, int] | None = None
        self._free_ports = False

    # What to run -----------------------------------------------------------------------

    def address(self, address: str) -> EngineBuilder:
        """Where workers connect: ``host:port``, ``[host]:port`` or ``:port``."""
        host, separator, port = address.rpartition(":")
        if not separator or not port.isdigit() or int(port) > 65535:
            raise ConfigError(f"'{address}' is no address: expected host:port")
        self._address = (host.strip("[]") or None, int(port))
        return self

    def free_ports(self) -> EngineBuilder:
        """Take free ports for workers and for every module whose port nobody chose."""
        self._free_ports = True
        return self

    def config_file(self, path: str | Path) -> EngineBuilder:
        """Run what a file says, and what it says later on.

        :raises InvalidConfiguration: it is missing or wrong
        """
        return self._load(Path(path), must_exist=True)

    with_config_path = config_file

    def config_file_or_default(self, path: str | Path) -> EngineBuilder:
        """Run what a file says, or the default modules when there is none.

        :raises InvalidConfiguration: it is wrong
        """
        return self._load(Path(path), must_exist=False)

    def default_config(self) -> EngineBuilder:
        """Run the default modules."""
        self._source = None
        self._base = default_configuration(self._environ, catalogue=self._catalogue)
        return self

    def with_config(self, config: Configuration | Mapping[str, Any]) -> EngineBuilder:
        """Run a configuration made in the program: the mapping a file would hold.

        :raises InvalidConfiguration: it is wrong
        """
        self._source = None
        self._base = (
            config
            if isinstance(config, Configuration)
            else from_mapping(config, environ=self._environ, catalogue=self._catalogue)
        )
        return self

    def register_module(self, class_: str, module: type[Any]) -> EngineBuilder:
        """Make a ``Module`` of the program usable under ``class_``, also in files.

        Before the file is read: names are looked up while reading.
        """
        self._catalogue.register_module(class_, module)
        return self

    def register_adapter(self, module: str, class_: str, factory: Any) -> EngineBuilder:
        """Make a back end usable as ``adapter: {class: class_}`` of ``module``.

        :raises ConfigError: nobody knows ``module``
        """
        self._catalogue.register_adapter(module, class_, factory)
        return self

    def add_module(self, class_: str, config: Mapping[str, Any] | None = None) -> EngineBuilder:
        """Run one more module, after those of the configuration.

        Without any configuration this starts an empty one.
        """
        self._added.append({"class": class_, "config": None if config is None else dict(config)})
        return self

    register_worker = register_module
    add_worker = add_module

    # The result ------------------------------------------------------------------------

    def build(self) -> EmbeddedEngine:
        """The engine, not yet started.

        :raises InvalidConfiguration: an added module is unknown or its entry is wrong
        :raises ConfigError: nothing said what to run
        """
        configuration = self._configuration(self._base)
        reactor = self._reactor
        if reactor is None:
            # Importing it installs it, so only when nobody brought one.
            from twisted.internet import reactor
        service = EngineService(
            reactor,
            configuration,
            environ=self._environ,
            clock=self._clock,
            source=self._source,
        )
        return EmbeddedEngine(reactor, service, self._environ)

    def _load(self, path: Path, *, must_exist: bool) -> EngineBuilder:
        environ, catalogue = self._environ, self._catalogue
        self._source = source_of(
            path, environ=environ, catalogue=catalogue, finish=self._configuration
        )
        self._base = load(path, environ=environ, catalogue=catalogue, must_exist=must_exist)
        return self

    def _configuration(self, base: Configuration | None) -> Configuration:
        """What runs: ``base``, and what the program adds to it."""
        if base is None and not self._added:
            raise ConfigError(
                "the engine has no configuration: use default_config(), config_file(), "
                "with_config() or add_module()"
            )
        configuration = base
        if self._added or configuration is None:
            added = from_mapping(
                {"modules": self._added}, environ=self._environ, catalogue=self._catalogue
            )
            configuration = added if configuration is None else self._joined(configuration, added)
        if self._address is not None:
            host, port = self._address
            first, *others = configuration.worker_listeners
            listener = replace(first, host=host, port=port)
            configuration = replace(configuration, worker_listeners=[listener, *others])
        return with_port(configuration, 0) if self._free_ports else configuration

    def _joined(self, base: Configuration, added: Configuration) -> Configuration:
        """``base`` with the modules the program added."""
        extra = [entry for entry in added.entries if not entry.implicit]
        # A mandatory module that nobody wrote gives way to one that was added.
        given = {entry.module.name for entry in extra}
        kept = [e for e in base.entries if not (e.implicit and e.module.name in given)]
        known = [self._catalogue.find(module["class"]) for module in self._added]
        listens = any(module is not None and module.role is Role.LISTENER for module in known)
        return replace(
            base,
            worker_listeners=added.worker_listeners if listens else base.worker_listeners,
            entries=[*kept, *extra],
            warnings=[*base.warnings, *added.warnings],
            notes=[*base.notes, *added.notes],
        )


class EmbeddedEngine:
    """An engine a program owns.

    :ivar engine: what modules and workers share; ``engine.invoke`` calls functions
    :ivar service: the same as a Twisted service, for ``setServiceParent``
    """

    def __init__(self, reactor: Any, service: EngineService, environ: Mapping[str, str]) -> None:
        self.service = service
        self.engine = service.engine
        self._reactor = reactor
        self._environ = environ

    @property
    def ready(self) -> dict[str, Any]:
        """Which ports are open, once started."""
        return self.service.ready

    def start(self) -> Deferred[dict[str, Any]]:
        """Start in a reactor that runs; fires with the ready line.

        The Deferred fails with an ``IIIError`` when the engine can't start.
        """
        return Deferred.fromCoroutine(self.service.start())

    def destroy(self) -> Deferred[None]:
        """Stop in good order."""
        return self.service.stopService()

    def serve(self) -> int:
        """Run the reactor until SIGINT or SIGTERM; returns the exit code.

        :raises IIIError: the engine can't start
        """
        output: Any = LogOutput.from_environment(sys.stdout, self._environ)
        self.service.output = output
        globalLogBeginner.beginLoggingTo([output], redirectStandardIO=False)
        process = EngineProcess(self._reactor, self.service, environ=self._environ, say=output.say)
        return process.run()

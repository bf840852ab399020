"""An engine for tests: real, in memory, on free ports.

::

    async with iii.testing.engine() as e:
        client = III(e.url)
        await client.connect()

``engine`` runs ``python -m iii`` as a child process, so it serves any test runner
and ``import iii`` stays free of Twisted.  ``in_process`` starts the engine in the
reactor of the calling program (trial), where a test can look inside.

Neither touches the working directory or a port of a running engine.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

    from iii.builder import EmbeddedEngine
    from iii.engine.clock import Clock

START_LIMIT_S = 15.0
STOP_LIMIT_S = 15.0
LOG_TAIL_BYTES = 4000

_IN_MEMORY = {"III_IN_MEMORY": "1"}


class Addresses:
    """Where a started engine listens.

    :ivar ready: its ready line
    """

    ready: Mapping[str, Any]

    @property
    def url(self) -> str:
        """For workers: ``ws://127.0.0.1:<port>``."""
        return f"ws://127.0.0.1:{self.ready['worker']}"

    @property
    def http_url(self) -> str:
        """For HTTP clients: ``http://127.0.0.1:<port>``.

        :raises LookupError: the configuration has no HTTP module
        """
        if "http" not in self.ready:
            raise LookupError("this engine has no HTTP module")
        return f"http://127.0.0.1:{self.ready['http']}"


class TestEngine(Addresses):
    """An engine in a child process.

    :ivar directory: its working directory; gone after the test
    """

    __test__ = False  # not a test case, whatever pytest makes of the name

    def __init__(
        self, process: asyncio.subprocess.Process, ready: Mapping[str, Any], directory: Path
    ) -> None:
        self.ready = ready
        self.directory = directory
        self._process = process

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    @property
    def log_text(self) -> str:
        """Everything it has written so far."""
        return _log_path(self.directory).read_text(errors="replace")

    async def stop(self) -> int:
        """SIGTERM, and wait; returns the exit code.  A second call does nothing."""
        return await _stop(self._process)


@asynccontextmanager
async def engine(
    config: Mapping[str, Any] | None = None,
    *,
    modules: Iterable[Mapping[str, Any]] | None = None,
    environ: Mapping[str, str] | None = None,
) -> AsyncIterator[TestEngine]:
    """Start an engine, give it, and stop it.

    :param config: what a configuration file would hold; default: the default modules
    :param modules: entries of ``modules:``, instead of those in ``config``
    :param environ: additional environment variables
    :raises RuntimeError: it does not start; with what it wrote
    """
    with tempfile.TemporaryDirectory(prefix="iii-test-") as name:
        directory = Path(name)
        process, ready = await _start(directory, _merged(config, modules), environ or {})
        started = TestEngine(process, ready, directory)
        try:
            yield started
        finally:
            await started.stop()


class InProcessEngine(Addresses):
    """An engine in this process.

    :ivar engine: the engine itself
    :ivar service: its ``EngineService``
    """

    def __init__(self, embedded: EmbeddedEngine) -> None:
        self.engine = embedded.engine
        self.service = embedded.service
        self.ready = embedded.ready
        self._embedded = embedded

    def stop(self) -> Deferred[None]:
        """Stop in good order; for ``addCleanup``."""
        return self._embedded.destroy()


def in_process(
    reactor: Any,
    config: Mapping[str, Any] | None = None,
    *,
    modules: Iterable[Mapping[str, Any]] | None = None,
    register: Mapping[str, type[Any]] | None = None,
    adapters: Mapping[tuple[str, str], Any] | None = None,
    environ: Mapping[str, str] | None = None,
    clock: Clock | None = None,
) -> Deferred[InProcessEngine]:
    """Start an engine in ``reactor``; fires when it serves.

    :param config: as for ``engine``
    :param modules: as for ``engine``
    :param register: module classes that the configuration may name
    :param adapters: (module, class) → adapter that the configuration may name
    :param environ: the whole environment that the configuration sees
    :param clock: the engine's clock
    """
    from twisted.internet.defer import Deferred

    from iii.builder import EngineBuilder

    async def start() -> InProcessEngine:
        builder = EngineBuilder(reactor, clock=clock, environ=_IN_MEMORY | dict(environ or {}))
        for class_, module in (register or {}).items():
            builder.register_module(class_, module)
        for (of, name), adapter in (adapters or {}).items():
            builder.register_adapter(of, name, adapter)
        wanted = _merged(config, modules)
        builder = builder.default_config() if wanted is None else builder.with_config(wanted)
        embedded = builder.free_ports().build()
        await embedded.start()
        return InProcessEngine(embedded)

    return Deferred.fromCoroutine(start())


def _merged(
    config: Mapping[str, Any] | None, modules: Iterable[Mapping[str, Any]] | None
) -> dict[str, Any] | None:
    if config is None and modules is None:
        return None
    merged = dict(config or {})
    if modules is not None:
        merged["modules"] = [dict(module) for module in modules]
    return merged


async def _start(
    directory: Path, config: dict[str, Any] | None, environ: Mapping[str, str]
) -> tuple[asyncio.subprocess.Process, Mapping[str, Any]]:
    arguments = ["--use-default-config"]
    if config is not None:
        # JSON is YAML; numbers and strings keep their types.
        (directory / "config.yaml").write_text(json.dumps(config))
        arguments = ["--config", "config.yaml"]
    readable, writable = os.pipe()
    try:
        with _log_path(directory).open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "iii", *arguments),
                *("--port", "0", "--ready-fd", str(writable)),
                cwd=directory,
                env=_child_environment() | dict(environ),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(writable,),
            )
    except BaseException:
        os.close(readable)
        raise
    finally:
        os.close(writable)
    try:
        line = await asyncio.wait_for(_line(readable), START_LIMIT_S)
    except BaseException:
        await _stop(process)
        raise
    if not line:
        code = await _stop(process)
        tail = _log_path(directory).read_bytes()[-LOG_TAIL_BYTES:].decode(errors="replace")
        raise RuntimeError(f"the engine did not start (exit code {code}):\n{tail}")
    return process, json.loads(line)


def _child_environment() -> dict[str, str]:
    # The child works in an empty directory: it must find the package all the same.
    package = str(Path(__file__).parents[1])
    path = os.pathsep.join(filter(None, (package, os.environ.get("PYTHONPATH"))))
    return os.environ | _IN_MEMORY | {"PYTHONPATH": path}


async def _line(fd: int) -> bytes:
    """The first line that comes out of a pipe; empty when it ends before."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    with os.fdopen(fd, "rb", buffering=0) as pipe:
        transport, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), pipe
        )
        try:
            return await reader.readline()
        finally:
            transport.close()


async def _stop(process: asyncio.subprocess.Process) -> int:
    if process.returncode is None:
        process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(process.wait(), STOP_LIMIT_S)
        except TimeoutError:
            process.kill()
    return await process.wait()


def _log_path(directory: Path) -> Path:
    return directory / "engine.log"

"""What a person wants to know once the engine is up.

What listens where, which stores are where, and what to do next.  Pure text from
the running service; ``iii.process`` shows it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from iii._version import __version__
from iii.entries import DEFAULT_WORKER_PORT
from iii.net import show_address

if TYPE_CHECKING:
    from iii.entries import Entry
    from iii.service import EngineService
    from iii.wire.listener import WorkerListener

_ANYWHERE = frozenset(("0.0.0.0", "::"))


def summary(service: EngineService) -> str:
    """The text shown after the start."""
    configuration = service.configuration
    source = configuration.source
    origin = f"configuration {source.absolute()}" if source else "default configuration"
    lines = [f"iii {__version__} is running ({origin})", ""]
    lines += [f"  {what:<10}{where}" for what, where in _listening(service)]
    lines += [f"  {what:<10}{where}" for what, where in _stores(service)]
    lines += ["", *_next_steps(service)]
    return "\n".join(lines)


def _listening(service: EngineService) -> Iterator[tuple[str, str]]:
    for listener in service.listeners:
        guarded = f" ({listener.gate.describe})" if listener.gate is not None else ""
        yield "workers", f"{listener.scheme}://{_host(listener.host)}:{listener.port}{guarded}"
    for module in service.modules:
        if port := _port(service, module.entry):
            yield _short(module.entry), _url(module.entry, port)
        if module.entry.name == "iii-observability" and "metrics" in service.engine.ready:
            address = _address("http", module.entry, service.engine.ready["metrics"])
            yield "metrics", f"{address}/metrics"


def _stores(service: EngineService) -> Iterator[tuple[str, str]]:
    """A module with files says where in ``stores`` (name → path)."""
    found = False
    for module in service.modules:
        for name, path in module.module.stores.items():
            found = True
            # Those on a broker are no paths.
            yield "store", f"{name}: {path if '://' in path else Path(path).absolute()}"
    if not found:
        yield "stores", "none: this configuration keeps nothing on disk"


def _next_steps(service: EngineService) -> Iterator[str]:
    worker = service.listeners[0] if service.listeners else None
    addresses = {
        _short(module.entry): _url(module.entry, port)
        for module in service.modules
        if (port := _port(service, module.entry))
    }
    yield "Next:"
    if worker is not None:
        url = f"{worker.scheme}://{_host(worker.host)}:{worker.port}"
        yield f'  connect a worker    III("{url}")'
        yield f"  see what is there   iii functions{_target(worker, url)}"
    if "http" in addresses:
        yield f"  call over HTTP      curl '{addresses['http']}/<api_path of an http trigger>'"
    if "console" in addresses:
        yield f"  look inside         {addresses['console']}"
    yield "  stop                Ctrl-C"


def _short(entry: Entry) -> str:
    return entry.name.removeprefix("iii-")


def _port(service: EngineService, entry: Entry) -> int | None:
    """The port a module announced; two instances of one module share a name, so its own wins."""
    if entry.module.port is None:
        return None
    if _short(entry) == "console" and "console" not in service.engine.ready:
        return None  # an engine runs without it, too
    configured = entry.config.get("port")
    announced = service.engine.ready.get(_short(entry))
    port = configured if isinstance(configured, int) and configured else announced
    return port if isinstance(port, int) else None


def _url(entry: Entry, port: int) -> str:
    return _address("ws" if _short(entry) == "stream" else "http", entry, port)


def _address(scheme: str, entry: Entry, port: int) -> str:
    """With TLS ``ws`` is ``wss`` and ``http`` is ``https``."""
    secured = f"{scheme}s" if entry.config.get("tls") else scheme
    return f"{secured}://{show_address(_host(entry.config.get('host')), port)}"


def _target(worker: WorkerListener, url: str) -> str:
    """The options with which our own command reaches this port."""
    if worker.certificates is not None:
        return f" --url {url}"
    return "" if worker.port == DEFAULT_WORKER_PORT else f" --port {worker.port}"


def _host(host: object) -> str:
    """A name under which this machine reaches a listener on ``host``."""
    return "localhost" if host is None or host in _ANYWHERE else str(host)

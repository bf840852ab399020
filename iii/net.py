"""Listening sockets, for the worker port and for modules.

Loopback means 127.0.0.1 and ::1: clients that dial ``localhost`` may try either
first.  A machine without IPv6 is fine.  A taken port is reported with the address,
the setting that chose it and, where the system tells, the process that has it.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twisted.internet.error import CannotListenError

from iii.errors import Code, StartError

if TYPE_CHECKING:
    from iii.tlsport import Certificates

LOOPBACK = ("127.0.0.1", "::1")
LOOPBACK_NAMES = frozenset((*LOOPBACK, "localhost"))
BACKLOG = 4096
#: Tries for a free port that is free on ::1, too.
_TRIES = 10
_LISTENING = "0A"


def is_loopback(host: str | None) -> bool:
    """Whether only this machine can connect to a listener on ``host``."""
    return host is None or host in LOOPBACK_NAMES or host.startswith("127.")


def show_address(host: str, port: object) -> str:
    """``127.0.0.1:49134``, ``[::1]:49134``."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def shown(port: Any) -> str:
    """Where a listening port listens."""
    address = port.getHost()
    return show_address(address.host, address.port)


def effective_host(host: str | None) -> str | None:
    """Where a listener with the setting ``host`` binds; None: loopback."""
    return host or os.environ.get("III_HOST") or None


def listen(
    reactor: Any,
    factory: Any,
    host: str | None,
    port: int,
    setting: str,
    certificates: Certificates | None = None,
) -> list[Any]:
    """Bind ``factory`` and return its listening ports, the first being the main one.

    :param host: an address, ``localhost``, or None for ``III_HOST`` or loopback
    :param port: 0 takes a free one (the same for both loopback families)
    :param setting: the setting that chose the port, for error messages
    :param certificates: the port has TLS, with these
    :raises StartError: the address is taken or can't be bound
    """
    host = effective_host(host)
    if certificates is not None:
        # OpenSSL is loaded only by who needs it.
        from iii.tlsport import TlsFactory

        factory = TlsFactory(certificates, factory, reactor)
    if host is not None and host != "localhost":
        return [_bind(reactor, factory, host, port, setting)]
    for attempt in range(_TRIES):
        first = _bind(reactor, factory, LOOPBACK[0], port, setting)
        try:
            return [first, _bind(reactor, factory, LOOPBACK[1], first.getHost().port, setting)]
        except StartError as error:
            if error.code != Code.ADDRESS_IN_USE:
                return [first]  # no IPv6 here
            first.stopListening()
            if port != 0 or attempt == _TRIES - 1:
                raise
    raise AssertionError("unreachable")


def _bind(reactor: Any, factory: Any, host: str, port: int, setting: str) -> Any:
    try:
        return reactor.listenTCP(port, factory, BACKLOG, host)
    except CannotListenError as error:
        reason = error.socketError
        where = show_address(host, port)
        if getattr(reason, "errno", None) == errno.EADDRINUSE:
            who = holder(port)
            raise StartError(
                Code.ADDRESS_IN_USE,
                f"address {where} is already in use (Address already in use)"
                f"{f' by {who}' if who else ''}: stop who has it, or choose another with {setting}",
            ) from error
        text = f"failed to bind to {where}: {reason}; check its host, and {setting}"
        raise StartError(Code.CONFIG_ERROR, text) from error


def holder(port: int) -> str | None:
    """``process 4711 (nginx)``: who listens on ``port``, where /proc tells."""
    inodes = {f"socket:[{inode}]" for inode in _listening(port)}
    for process in Path("/proc").glob("[0-9]*") if inodes else ():
        try:
            if any(str(link.readlink()) in inodes for link in (process / "fd").iterdir()):
                return f"process {process.name} ({(process / 'comm').read_text().strip()})"
        except OSError:
            continue  # gone, or somebody else's
    return None


def _listening(port: int) -> list[str]:
    """The inodes of the sockets that listen on ``port``."""
    found: list[str] = []
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        try:
            lines = table.read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if fields[3] == _LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
                found.append(fields[9])
    return found

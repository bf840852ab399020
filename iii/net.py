"""Listening sockets, for the worker port and for modules.

Loopback means 127.0.0.1 and ::1: clients that dial ``localhost`` may try either
first.  A machine without IPv6 is fine.
"""

from __future__ import annotations

import errno
import os
from typing import Any

from twisted.internet.error import CannotListenError
from twisted.logger import Logger

from iii.errors import Code, StartError

log = Logger()

LOOPBACK = ("127.0.0.1", "::1")
LOOPBACK_NAMES = frozenset(("127.0.0.1", "::1", "localhost"))
BACKLOG = 4096


def default_host() -> str | None:
    """The host of listeners that name none: ``III_HOST``, else None for loopback."""
    return os.environ.get("III_HOST") or None


def is_loopback(host: str | None) -> bool:
    """Whether only this machine can connect to a listener on ``host``."""
    return host is None or host in LOOPBACK_NAMES or host.startswith("127.")


def show_address(host: str, port: int) -> str:
    """``127.0.0.1:49134``, ``[::1]:49134``."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def listen(reactor: Any, factory: Any, host: str | None, port: int, setting: str) -> list[Any]:
    """Bind ``factory`` and return its listening ports, the first being the main one.

    :param host: an address, ``localhost``, or None for the default host
    :param port: 0 takes a free one (the same for both loopback families)
    :param setting: the setting that chose the port, for error messages
    :raises StartError: the address is taken or can't be bound
    """
    if host is None:
        host = default_host()
    if host is None or host == "localhost":
        ports = [_bind(reactor, factory, LOOPBACK[0], port, setting)]
        number = ports[0].getHost().port
        try:
            ports.append(reactor.listenTCP(number, factory, BACKLOG, LOOPBACK[1]))
        except CannotListenError as error:
            if port != 0 and _errno(error) == errno.EADDRINUSE:
                ports[0].stopListening()
                raise _in_use(LOOPBACK[1], port, setting) from error
            log.debug("no IPv6 loopback for port {port}: {error}", port=number, error=error)
        return ports
    return [_bind(reactor, factory, host, port, setting)]


def _bind(reactor: Any, factory: Any, host: str, port: int, setting: str) -> Any:
    try:
        return reactor.listenTCP(port, factory, BACKLOG, host)
    except CannotListenError as error:
        if _errno(error) == errno.EADDRINUSE:
            raise _in_use(host, port, setting) from error
        reason = error.socketError
        raise StartError(
            Code.ADDRESS_IN_USE,
            f"failed to bind to {show_address(host, port)} ({setting}): {reason}",
        ) from error


def _in_use(host: str, port: int, setting: str) -> StartError:
    return StartError(
        Code.ADDRESS_IN_USE,
        f"address {show_address(host, port)} is already in use (Address already in use): "
        f"stop the program that has it or change {setting}",
    )


def _errno(error: CannotListenError) -> int | None:
    return getattr(error.socketError, "errno", None)

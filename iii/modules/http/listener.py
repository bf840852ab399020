"""Listening on the configured address.

No host means loopback, both 127.0.0.1 and ::1 on one port, because clients try
either for ``localhost``; a machine without IPv6 does with the first.
"""

from __future__ import annotations

import errno
import os
from typing import Any

from twisted.internet.error import CannotListenError
from twisted.internet.protocol import Factory
from twisted.internet.tcp import Port

from iii.errors import Code, StartError

LOOPBACK = ("127.0.0.1", "::1")
BACKLOG = 1024
#: Tries for a free port that is free on ::1, too.
_TRIES = 10


def listen(reactor: Any, factory: Factory, host: str | None, port: int) -> list[Port]:
    """Listen; with port 0 on a free one.

    :raises StartError: the address can't be had
    """
    host = host or os.environ.get("III_HOST") or None
    if host is not None and host != "localhost":
        return [_listen(reactor, factory, host, port)]
    for attempt in range(_TRIES):
        first = _listen(reactor, factory, LOOPBACK[0], port)
        try:
            number = int(first.getHost().port)
            return [first, _listen(reactor, factory, LOOPBACK[1], number)]
        except StartError as error:
            if error.code != Code.ADDRESS_IN_USE:
                return [first]  # no IPv6 here
            first.stopListening()
            if port != 0 or attempt == _TRIES - 1:
                raise
    raise AssertionError("unreachable")


def _listen(reactor: Any, factory: Factory, host: str, port: int) -> Port:
    try:
        bound: Port = reactor.listenTCP(port, factory, backlog=BACKLOG, interface=host)
    except CannotListenError as error:
        reason = error.socketError
        if getattr(reason, "errno", None) == errno.EADDRINUSE:
            raise StartError(
                Code.ADDRESS_IN_USE,
                f"address {_shown(host, port)} is already in use: choose another with the "
                "setting 'port' of iii-http, or stop who uses it",
            ) from error
        raise StartError(
            Code.CONFIG_ERROR, f"failed to bind to {_shown(host, port)}: {reason}"
        ) from error
    return bound


def _shown(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def shown(port: Port) -> str:
    """``127.0.0.1:3111``."""
    address: Any = port.getHost()
    return _shown(address.host, address.port)

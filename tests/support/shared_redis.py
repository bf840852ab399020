"""One Redis for all tests of a process that only need an empty one."""

from __future__ import annotations

import atexit
from collections.abc import Callable
from typing import Any
from unittest import TestCase

from tests.support.redis import RedisServer


class _Process(TestCase):
    """What a ``RedisServer`` asks of a case, for the time of the process."""

    def addCleanup(self, function: Callable[..., Any], *args: Any, **more: Any) -> None:
        """TestCase: when the process ends."""
        atexit.register(function, *args, **more)


_server: RedisServer | None = None


def empty_redis() -> RedisServer:
    """The server, with nothing in it.  Nobody stops it.

    :raises SkipTest: there is no Redis on this machine
    """
    global _server
    if _server is None:
        _server = RedisServer(_Process())
    _server.ask("FLUSHALL")
    return _server

"""The epoll reactor, without a log context around every event.

Twisted's reactors run each read and write inside ``callWithLogger``, which copies
a context dictionary so that old-style log messages can tell which connection
they are about.  Nothing of ours logs that way, and it costs about a tenth of a
request.  Everything else, errors included, is Twisted's own.

``iii`` installs it where there is epoll; ``twistd --reactor iii-epoll iii`` does too.
"""

from __future__ import annotations

import errno
import sys
from typing import Any

from twisted.internet.main import installReactor

try:
    from twisted.internet.epollreactor import EPollReactor
except ImportError:  # no epoll on this system
    EPollReactor = None  # type: ignore[assignment,misc]

if EPollReactor is not None:

    class PlainEPollReactor(EPollReactor):
        """``EPollReactor`` that calls its selectables directly."""

        def doPoll(self, timeout: float | None) -> None:
            """Wait for events and handle them.

            :param timeout: seconds to wait at most, None for ever
            """
            try:
                events = self._poller.poll(
                    -1 if timeout is None else timeout, len(self._selectables)
                )
            except OSError as error:
                if error.errno == errno.EINTR:
                    return
                raise
            selectables = self._selectables
            handle = self._doReadOrWrite
            for fd, event in events:
                # An earlier event of this round may have closed it.
                selectable = selectables.get(fd)
                if selectable is not None:
                    handle(selectable, fd, event)  # type: ignore[no-untyped-call]

        doIteration = doPoll


def install() -> Any:
    """Install the reactor, unless one is installed; return the one in use."""
    if EPollReactor is not None and "twisted.internet.reactor" not in sys.modules:
        installReactor(PlainEPollReactor())  # type: ignore[no-untyped-call]
    from twisted.internet import reactor

    return reactor

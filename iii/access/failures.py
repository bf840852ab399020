"""Failed attempts to authenticate, counted by address.

What is limited is guessing: so many *different* wrong credentials in a minute, and the
address is turned away until the minute is over.  One worker with one wrong token, which
all SDKs go on trying for ever, is one wrong credential and keeps nobody else of its host
out.  A flood of attempts of any kind ends the same way, at ten times that number.

The table is bounded; the longest-known address is forgotten first.  An IPv6 address counts
as its /64 network, of which one machine has as many addresses as it likes.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from ipaddress import IPv6Address, ip_address

from iii.engine.clock import Clock

WINDOW_S = 60.0
MAX_ADDRESSES = 10_000
FLOOD = 10


class _Window:
    """What an address has done in its minute."""

    __slots__ = ("attempts", "ends", "wrong")

    def __init__(self, ends: float) -> None:
        self.ends = ends
        self.attempts = 0
        self.wrong: set[bytes] = set()


class FailedAttempts:
    """Remembers failures and says who has to wait.

    :param per_minute: how many different wrong credentials an address may try; 0: no limit
    :ivar total: how many attempts have failed so far, refusals of those who wait included
    """

    def __init__(self, clock: Clock, per_minute: int) -> None:
        self._clock = clock
        self._per_minute = per_minute
        self._windows: OrderedDict[str, _Window] = OrderedDict()
        self.total = 0

    def wait_s(self, address: str) -> float:
        """How many seconds ``address`` has to wait; 0: it may try."""
        window = self._current(network_of(address))
        if window is None or not self._per_minute:
            return 0.0
        tried_enough = len(window.wrong) >= self._per_minute
        if not tried_enough and window.attempts < FLOOD * self._per_minute:
            return 0.0
        return window.ends - self._clock.monotonic()

    def failed(self, address: str, credential: str | None) -> bool:
        """An attempt failed.

        :param credential: what was tried, None when nothing was
        :returns: whether it is the first of its kind in this minute, and worth a log line
        """
        self.total += 1
        network = network_of(address)
        window = self._current(network)
        if window is None:
            if len(self._windows) >= MAX_ADDRESSES:
                self._windows.popitem(last=False)
            window = self._windows[network] = _Window(self._clock.monotonic() + WINDOW_S)
        window.attempts += 1
        if credential is None:
            return window.attempts == 1
        digest = hashlib.sha256(credential.encode()).digest()[:8]
        is_new = digest not in window.wrong
        # Beyond the limit nothing is tried any more, so the set is bounded by it.
        if len(window.wrong) < max(self._per_minute, 1):
            window.wrong.add(digest)
        return is_new

    def __len__(self) -> int:
        """How many addresses are remembered."""
        return len(self._windows)

    def _current(self, network: str) -> _Window | None:
        """The window of ``network``; whatever is over is forgotten."""
        now = self._clock.monotonic()
        windows = self._windows
        # All windows are equally long, so the oldest ends first.
        while windows and next(iter(windows.values())).ends <= now:
            windows.popitem(last=False)
        return windows.get(network)


def network_of(address: str) -> str:
    """What counts as one peer: an IPv4 address, a /64 of IPv6, or the text itself."""
    try:
        ip = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(ip, IPv6Address):
        if ip.ipv4_mapped is not None:
            return str(ip.ipv4_mapped)
        return f"{IPv6Address(int(ip) >> 64 << 64)}/64"
    return str(ip)

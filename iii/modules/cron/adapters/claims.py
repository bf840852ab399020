"""What cron asks of its back end: who runs a tick, and which tick ran last.

``key`` names a job across restarts and engines: function, expression, time zone and the
number among alike triggers.  Trigger ids don't, SDKs make new ones every time.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NamedTuple, Protocol

from twisted.internet.defer import Deferred

from iii.engine.module import ModuleApi
from iii.modules.cron.schedule import Schedule

Again = Callable[[str, int], None]
"""``again(key, tick)``: nobody has the tick any more that somebody had taken.

Whoever has the job, and time for it, takes it again; may be said as often as one likes.
"""


class Claim(NamedTuple):
    """One engine's wish to run one tick.

    :ivar trigger_id: for locks that other engines know by this name
    :ivar tick: in seconds since 1970
    :ivar schedule: to learn how long the tick matters
    :ivar exclusive: no other run of the job may go on at the same time
    """

    key: str
    trigger_id: str
    tick: int
    schedule: Schedule
    exclusive: bool


class Claims(Protocol):
    """The back end of one module."""

    def start(
        self, engine: ModuleApi, stores: dict[str, str], again: Again
    ) -> Awaitable[None] | None:
        """The module starts.

        :param stores: what is kept where, to be added to
        :param again: to be told of ticks whose engine has died
        :raises StartError: it can't be used
        """
        ...

    def take(self, claim: Claim) -> bool | Deferred[bool]:
        """Whether this engine runs the tick.  A failure means no."""
        ...

    def release(self, claim: Claim, *, ran: bool = True) -> None:
        """The run of a taken claim has ended.

        :param ran: there was one; else another engine may have it
        """
        ...

    def recall(self, key: str) -> Deferred[int | None]:
        """The last tick that was remembered.

        :raises IIIError: it can't be kept, now or (through the Deferred) later
        """
        ...

    def remember(self, key: str, tick: int) -> Deferred[None]:
        """Keep the last tick."""
        ...

    def stop(self) -> Deferred[None] | None:
        """Finish what is under way.  Claims that were not released are nobody's from now on."""
        ...

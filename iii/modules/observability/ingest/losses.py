"""What of a frame could not be kept: counted, and told of once a minute."""

from __future__ import annotations

from twisted.logger import Logger

from iii.modules.observability.hub import Hub

log = Logger()

REPORT_EVERY_S = 60.0
#: Of a reason, which may quote what it is about.
MAX_REASON_CHARS = 300


class Losses:
    """Losses of one kind of frame.

    :param kind: of the frames, ``OTLP``
    """

    def __init__(self, hub: Hub, kind: str) -> None:
        self._hub = hub
        self._kind = kind
        self._unsaid = 0
        self._said_at: float | None = None

    def lost(self, what: str, sender: str, reason: object) -> None:
        """One thing was lost.

        :param what: as in ``Hub.dropped``: ``spans.unreadable``
        :param sender: the service, as far as it is known
        """
        self._hub.drop(what)
        self._unsaid += 1
        now = self._hub.engine.clock.monotonic()
        if self._said_at is not None and now - self._said_at < REPORT_EVERY_S:
            return
        log.warn(
            "{kind} telemetry of {sender}: {reason}: counted as {what}, what can be read is kept"
            " ({count} lost since the last such line)",
            kind=self._kind,
            sender=sender,
            what=what,
            reason=str(reason)[:MAX_REASON_CHARS],
            count=self._unsaid,
        )
        self._unsaid = 0
        self._said_at = now

"""What an alert does: a log line, a webhook, a call.

Nobody waits for an action, and no action keeps an evaluation from being made: what fails
is logged, and the next event after the cool-down tries again.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, NamedTuple

import msgspec
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from iii.errors import IIIError
from iii.modules.observability.config import AlertAction
from iii.modules.observability.hub import Hub

log = Logger()

#: How long to wait after a failed attempt; after the last there is no other.
WAITS_S = (1.0, 2.0)
MAX_ACTIONS_UNDER_WAY = 1_000


class Event(NamedTuple):
    """An alert began to fire, or ended.

    :ivar timestamp: milliseconds
    :ivar resolved: it ended
    """

    alert: str
    metric: str
    value: float
    threshold: float
    operator: str
    timestamp: int
    resolved: bool = False

    @property
    def body(self) -> dict[str, Any]:
        """What webhooks and functions get; ``resolved`` only where it is true."""
        body = self._asdict()
        if not self.resolved:
            del body["resolved"]
        return body


class Actions:
    """Runs the actions of alerts."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._engine = hub.engine
        self._under_way: set[Deferred[None]] = set()
        self._stopped = False

    def stop(self) -> None:
        """Leave what is under way."""
        self._stopped = True
        for running in list(self._under_way):
            running.cancel()

    def run(self, action: AlertAction, event: Event) -> None:
        """Do what ``action`` says about ``event``."""
        if action.type == "log":
            _write(event)
        elif action.type == "webhook":
            self._begin(self._deliver(action.url or "", event))
        else:
            self._begin(self._call(action.path or "", event))

    # Inside ----------------------------------------------------------------------------

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        if len(self._under_way) >= MAX_ACTIONS_UNDER_WAY:
            work.close()
            self._hub.drop("alerts.too_many_actions")
            return
        running = Deferred.fromCoroutine(work)
        self._under_way.add(running)
        running.addBoth(self._over, running)

    def _over(self, outcome: object, running: Deferred[None]) -> None:
        self._under_way.discard(running)
        if isinstance(outcome, Failure) and not self._stopped:
            log.failure("an alert's action failed", outcome)

    async def _deliver(self, url: str, event: Event) -> None:
        # Only engines with such an alert need an HTTP client.
        from iii.modules.observability.metrics.webhook import post

        body = msgspec.json.encode(event.body)
        attempts = len(WAITS_S) + 1
        for attempt, wait_s in enumerate((*WAITS_S, None), 1):
            try:
                await post(self._engine.reactor, self._engine.clock, url, body)
                return
            except Exception as error:
                if self._stopped:
                    return
                why = str(error) or type(error).__name__
            if wait_s is None:
                log.error(
                    "alert {alert}: {url} did not take the event in {attempts} attempts ({why});"
                    " it is given up",
                    alert=event.alert,
                    url=url,
                    attempts=attempts,
                    why=why,
                )
                return
            log.warn(
                "alert {alert}: {url} did not take the event ({why}); attempt {attempt} of"
                " {attempts}, the next in {wait_s:g} s",
                alert=event.alert,
                url=url,
                why=why,
                attempt=attempt,
                attempts=attempts,
                wait_s=wait_s,
            )
            await self._engine.clock.pause(wait_s)

    async def _call(self, path: str, event: Event) -> None:
        body = {**event.body, "firing": not event.resolved}
        try:
            await self._engine.invoke(path, body)
        except IIIError as error:
            log.warn(
                "alert {alert}: function {path} failed ({error}); the next event tries again",
                alert=event.alert,
                path=path,
                error=str(error),
            )


def _write(event: Event) -> None:
    fields = {
        "alert_name": event.alert,
        "metric": event.metric,
        "value": event.value,
        "threshold": event.threshold,
        "operator": event.operator,
    }
    if event.resolved:
        log.info("Alert resolved", **fields)
    else:
        log.warn("Alert triggered", **fields)

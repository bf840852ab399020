"""``/healthz`` and ``/readyz``: for whoever decides about restarts and traffic (08 §7).

``alive`` and ``readiness`` are the answers, ``add_health`` puts them below any
``twisted.web`` root.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from twisted.web.server import Request

from iii.modules.observability.prometheus.pages import Page, reply

Ready = Callable[[], list[str]]
"""The names of what is not ready."""

Answer = tuple[int, dict[str, Any]]
"""An HTTP status and a JSON body."""


def alive() -> Answer:
    """The process runs, or there would be no answer."""
    return 200, {"status": "ok"}


def readiness(waiting_for: list[str]) -> Answer:
    """Whether all is there."""
    if waiting_for:
        return 503, {"status": "unavailable", "not_ready": waiting_for}
    return 200, {"status": "ok"}


def add_health(root: Any, ready: Ready) -> None:
    """Put both below ``root``, a ``Resource``."""
    root.putChild(b"healthz", HealthPage(alive))
    root.putChild(b"readyz", HealthPage(lambda: readiness(ready())))


class HealthPage(Page):
    """One of them."""

    def __init__(self, answer: Callable[[], Answer]) -> None:
        super().__init__()
        self._answer = answer

    def answer(self, request: Request) -> bytes | int:
        """Page."""
        status, body = self._answer()
        request.setHeader(b"cache-control", b"no-store")
        return reply(request, status, b"application/json", msgspec.json.encode(body))

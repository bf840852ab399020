"""What the engine says in its log, for tests."""

from __future__ import annotations

from typing import Any

from twisted.logger import LogEvent, formatEvent, globalLogPublisher


class Lines:
    """The lines that were logged since it was made, for a test with ``addCleanup``."""

    def __init__(self, case: Any) -> None:
        self._lines: list[tuple[str, str]] = []
        globalLogPublisher.addObserver(self._take)
        case.addCleanup(globalLogPublisher.removeObserver, self._take)

    def texts(self, level: str) -> list[str]:
        """Those of one level, in order."""
        return [text for known, text in self._lines if known == level]

    def _take(self, event: LogEvent) -> None:
        if str(event.get("log_namespace", "")).startswith("iii."):
            self._lines.append((event["log_level"].name, formatEvent(event)))

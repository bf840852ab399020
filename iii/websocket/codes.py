"""Close codes, by what they mean here."""

from __future__ import annotations

CLOSE_NORMAL = 1000
CLOSE_GOING_AWAY = 1001
CLOSE_REFUSED = 1008
CLOSE_INTERNAL_ERROR = 1011
# Every worker SDK reconnects after it; after 1000 or 1001 most never do.
CLOSE_RESTART = 1012
CLOSE_OVERLOAD = 1013

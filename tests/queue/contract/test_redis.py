"""The contract over the backend ``redis``."""

from __future__ import annotations

from tests.queue.contract.redis import Redis
from tests.queue.contract.suite import over

globals().update(over(Redis, __name__))

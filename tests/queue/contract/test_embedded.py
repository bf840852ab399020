"""The contract over the backend ``embedded``."""

from __future__ import annotations

from tests.queue.contract.embedded import Embedded
from tests.queue.contract.suite import over

globals().update(over(Embedded, __name__))

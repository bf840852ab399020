"""What may go wrong with Redis, and the codes of it."""

from __future__ import annotations

from iii.errors import Code, IIIError


class RedisError(IIIError):
    """Redis refused a command; ``message`` has its words."""

    def __init__(self, message: str, code: str = Code.REDIS_ERROR) -> None:
        super().__init__(code, message)


class RedisAway(RedisError):
    """Redis is not there.  Whether it has run a command under way, nobody knows."""

    def __init__(self, message: str) -> None:
        super().__init__(message, Code.REDIS_UNAVAILABLE)

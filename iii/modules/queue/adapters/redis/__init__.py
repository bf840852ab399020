"""Queues on Redis."""

from iii.modules.queue.adapters.redis.adapter import RedisAdapter

__all__ = ["RedisAdapter"]

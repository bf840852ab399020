"""Redis, as every adapter on it needs it (docs/adapters.md)."""

from iii.redis.address import Address, parse_url
from iii.redis.client import Redis
from iii.redis.config import RedisConfig
from iii.redis.durability import warn_of_loss
from iii.redis.errors import RedisAway, RedisError
from iii.redis.script import Script

__all__ = [
    "Address",
    "Redis",
    "RedisAway",
    "RedisConfig",
    "RedisError",
    "Script",
    "parse_url",
    "warn_of_loss",
]

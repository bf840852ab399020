"""Whether Redis itself keeps what it acknowledged.

With ``appendonly yes`` and ``appendfsync always`` it does; with anything weaker a crash may
take back what callers were told is safe, and one that may evict keys needs no crash for it.
That is for whoever runs Redis to decide, so it is said once at the start, per server, and
nothing else is done about it.
"""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

from twisted.logger import Logger

from iii.engine.module import ModuleApi
from iii.redis.client import Redis
from iii.redis.errors import RedisError

log = Logger()

_ALWAYS = "appendonly yes and appendfsync always"
_LOSS = {
    "everysec": "when its machine fails, what was acknowledged in the last second or two is lost",
    "no": "when its machine fails, what was acknowledged since the last write-out is lost",
}

#: Of which servers it was said, by reactor: all engines and modules of it say it once.
_told: WeakKeyDictionary[Any, set[str]] = WeakKeyDictionary()


async def warn_of_loss(engine: ModuleApi, redis: Redis, who: str) -> None:
    """Warn, once per server, if Redis may lose what it acknowledged.

    A Redis that does not tell its settings is not judged.

    :param who: the module, for the log
    """
    try:
        append = await _setting(redis, "appendonly")
        sync = await _setting(redis, "appendfsync")
        memory = await _setting(redis, "maxmemory")
        policy = await _setting(redis, "maxmemory-policy")
        server = await _run_id(redis)
    except RedisError as error:
        log.debug("{who}: Redis does not tell how it keeps data: {error}", who=who, error=error)
        return
    told = _told.setdefault(engine.reactor, set())
    if server in told:
        return
    told.add(server)
    if may_evict(memory, policy):
        log.warn(
            "{who}: Redis at {address} has maxmemory-policy {policy}: it throws away what was"
            " acknowledged when its memory is full; use noeviction",
            who=who,
            address=redis.address,
            policy=policy,
        )
    loss = what_is_lost(append, sync)
    if loss is None:
        return
    log.warn(
        "{who}: Redis at {address} has appendonly {append}, appendfsync {sync}: {loss}; {safe}"
        " keep everything",
        who=who,
        address=redis.address,
        append=append,
        sync=sync,
        loss=loss,
        safe=_ALWAYS,
    )


def what_is_lost(append: str | None, sync: str | None) -> str | None:
    """What a Redis with these settings may lose; None: nothing, or nobody knows.

    :param append: its ``appendonly``; None: unknown
    :param sync: its ``appendfsync``
    """
    if append == "no":
        return "when it ends, what was acknowledged since its last snapshot is lost"
    return _LOSS.get(sync or "") if append == "yes" else None


def may_evict(memory: str | None, policy: str | None) -> bool:
    """Whether a Redis with these settings throws away keys that have no end of their own.

    :param memory: its ``maxmemory``; None: unknown
    :param policy: its ``maxmemory-policy``
    """
    return memory not in (None, "0") and (policy or "").startswith("allkeys")


async def _setting(redis: Redis, name: str) -> str | None:
    found: list[bytes] = await redis.call("CONFIG", "GET", name)
    return found[1].decode() if len(found) == 2 else None


async def _run_id(redis: Redis) -> str:
    """What tells this server from others; the same until it is started anew."""
    text: bytes = await redis.call("INFO", "server")
    for line in text.decode().splitlines():
        name, _, value = line.partition(":")
        if name == "run_id":
            return value
    return str(redis.address)

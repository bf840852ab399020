"""The adapter ``redis``: the engines on one Redis share the ticks.

A tick is claimed in one step inside Redis, and the claim stays for longer than any engine
may come late with the same tick.  While the run goes on the claim is *open*: it has a
lease, which its engine renews.  An engine that dies stops renewing, and when the lease
has run out, another one that has the job (or the same one, restarted) claims the tick
again.  A closed claim is never given out a second time.

Leases are shorter than the lock's TTL, so that renewing, noticing and claiming again fit
into it.  Their times are Redis's: the clocks of engines may differ.  When Redis itself was
away, leases have run out without anybody's fault; everybody first tells of runs that have
ended, and only then are ticks claimed again.

``cron_lock:<trigger id>`` is what engines of the original know.  Theirs are respected; ours
are told apart by their value.  The scripts stand in ``claim_scripts``.
"""

from __future__ import annotations

import os
from itertools import count
from typing import Annotated, Any

from msgspec import Meta
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from iii.dialling import LONGEST_RETRY_S
from iii.engine.clock import Clock, Timer
from iii.engine.module import ModuleApi
from iii.modules.cron.adapters.claim_scripts import (
    CLOSE,
    GIVE_BACK,
    ORPHANS,
    REMEMBER,
    RENEW,
    SCRIPTS,
    TAKE,
)
from iii.modules.cron.adapters.claims import Again, Claim
from iii.modules.cron.shapes import iso
from iii.redis import Redis, RedisAway, RedisConfig, RedisError, Script, parse_url

log = Logger()

OPEN = "cron_open"
RUNS = "cron_runs"
SHORTEST_TTL_MS = 300
#: How long a claim is kept at least, and at most.
SHORTEST_MS, LONGEST_MS = 60_000, 86_400_000
#: How long is known which tick of a job was the last; older ticks are not run at all.
MARK_MS = 30 * 86_400_000
#: An open claim whose engine is gone and whose job nobody has is forgotten after this.
FORGET_MS = 86_400_000
#: Claims renewed by one command, and open claims asked for at a time.
BATCH = 100
PAGE = 500

TAKEN, TAKEN_OVER = 1, 2


class RedisClaimsConfig(RedisConfig, frozen=True, kw_only=True):
    """``config:`` of the adapter.

    :ivar lock_ttl_ms: within this a tick runs again whose engine died
    """

    lock_ttl_ms: Annotated[int, Meta(ge=SHORTEST_TTL_MS)] = 30_000


class _Held:
    """A claim of ours.

    :ivar token: what stands in Redis for it
    """

    __slots__ = ("claim", "keep_ms", "member", "token")

    def __init__(self, claim: Claim, token: str) -> None:
        following = claim.schedule.next_second(claim.tick)
        period_ms = 0 if following is None else (following - claim.tick) * 1000
        self.claim = claim
        self.token = token
        self.member = f"{claim.key}:{claim.tick}"
        self.keep_ms = max(SHORTEST_MS, min(2 * period_ms, LONGEST_MS))

    @property
    def keys(self) -> tuple[str, str, str]:
        """The tick's record, the lock of the trigger, the lock of the job."""
        claim = self.claim
        lock = f"cron_lock:{claim.trigger_id}"
        return f"cron_tick:{self.member}", lock, f"cron_busy:{claim.key}"


class RedisClaims:
    """``Claims`` of many engines.

    :ivar lease_s: how long an open claim lasts unless it is renewed
    """

    config = RedisClaimsConfig

    def __init__(self, settings: RedisClaimsConfig) -> None:
        self._address = parse_url(settings.redis_url)
        ttl_s = settings.lock_ttl_ms / 1000
        self.lease_s = ttl_s * 2 / 3
        self._look_every_s = min(1.0, ttl_s / 10)
        self._patience_s = min(LONGEST_RETRY_S + 1.0, ttl_s / 6)
        self._name = f"iii:{os.urandom(16).hex()}"
        self._numbers = count(1)
        self._held: dict[tuple[str, int], _Held] = {}
        # Claims that are over and of which Redis does not know yet: how to tell it.
        self._ended: dict[_Held, Script] = {}
        self._timers: dict[str, Timer] = {}
        self._looking = False
        self._stopped = False

    async def start(self, engine: ModuleApi, stores: dict[str, str], again: Again) -> None:
        """Claims: connect.

        :raises StartError: Redis is not there
        """
        self._clock: Clock = engine.clock
        self._again = again
        self._redis = Redis(
            engine,
            self._address,
            who="cron",
            without="ticks are skipped",
            scripts=SCRIPTS,
        )
        self._redis.on_back.append(self._tell_ended)
        await self._redis.start()
        if not self._stopped:
            self._every("renew", self.lease_s / 3, self._renew)
            self._every("look", self._look_every_s, self._look)

    def take(self, claim: Claim) -> Deferred[bool]:
        """Claims: in one step, among all engines."""
        held = _Held(claim, f"{self._name}:{next(self._numbers)}")
        tick, lock, busy = held.keys
        is_sent = self._redis.up
        asked = self._redis.run(
            TAKE,
            *(OPEN, tick, f"cron_last:{claim.key}", lock, busy),
            *(held.token, claim.tick, self._lease_ms, held.keep_ms, MARK_MS),
            *(int(claim.exclusive), held.member),
        )
        return asked.addCallbacks(
            self._taken, self._not_taken, callbackArgs=(held,), errbackArgs=(held, is_sent)
        )

    def release(self, claim: Claim, *, ran: bool = True) -> None:
        """Claims: close it, or give it back."""
        held = self._held.pop((claim.key, claim.tick), None)
        if held is not None:
            self._ended[held] = CLOSE if ran else GIVE_BACK
            self._tell(held)

    def recall(self, key: str) -> Deferred[int | None]:
        """Claims: what any engine remembered."""
        return self._redis.call("HGET", RUNS, key).addCallback(_number)

    def remember(self, key: str, tick: int) -> Deferred[None]:
        """Claims: for all engines."""
        return self._redis.run(REMEMBER, RUNS, key, tick).addCallback(_nothing)

    def stop(self) -> Deferred[None]:
        """Claims: tell of what has ended; what runs is left to its lease."""
        self._stopped = True
        for timer in self._timers.values():
            if timer.active():
                timer.cancel()
        # Replies come in order: with this one everything sent before has been done.
        last = self._redis.call("PING").addErrback(lambda failure: failure.trap(RedisError))
        return last.addCallback(lambda _: self._redis.stop())

    # Claims ----------------------------------------------------------------------------

    @property
    def _lease_ms(self) -> int:
        return int(self.lease_s * 1000)

    def _taken(self, outcome: int, held: _Held) -> bool:
        if outcome not in (TAKEN, TAKEN_OVER):
            return False
        claim = held.claim
        self._held[(claim.key, claim.tick)] = held
        if outcome == TAKEN_OVER:
            log.info(
                "cron {id}: the engine that ran {tick} is gone; it runs here once more",
                id=claim.trigger_id,
                tick=iso(claim.tick),
            )
        return True

    def _not_taken(self, failure: Failure, held: _Held, is_sent: bool) -> Failure:
        if is_sent and failure.check(RedisAway):
            self._ended[held] = GIVE_BACK  # it may be ours without our knowing
        return failure

    def _tell_ended(self) -> None:
        for held in list(self._ended):
            self._tell(held)

    def _tell(self, held: _Held) -> None:
        tick, lock, busy = held.keys
        told = self._redis.run(self._ended[held], OPEN, tick, lock, busy, held.token, held.member)
        told.addCallbacks(self._told, self._untold, callbackArgs=(held,), errbackArgs=(held,))

    def _told(self, _: Any, held: _Held) -> None:
        self._ended.pop(held, None)

    def _untold(self, failure: Failure, held: _Held) -> None:
        """It stays in ``_ended``; told again when Redis is back, or with the next renewal."""
        failure.trap(RedisError)

    def _renew(self) -> None:
        if self._redis.up:
            self._tell_ended()
            self._renew_some(list(self._held.values()))

    def _renew_some(self, left: list[_Held]) -> None:
        some, left = left[:BATCH], left[BATCH:]
        if some:
            keys = [key for held in some for key in held.keys]
            about = [part for held in some for part in (held.token, held.member, held.keep_ms)]
            renewed = self._redis.run(RENEW, 1 + len(keys), OPEN, *keys, self._lease_ms, *about)
            renewed.addCallbacks(self._renewed, _later, callbackArgs=(some,))
        if left and not self._stopped:
            self._timers["renew more"] = self._clock.call_later(0, self._renew_some, left)

    def _renewed(self, outcomes: list[int], some: list[_Held]) -> None:
        for outcome, held in zip(outcomes, some, strict=True):
            claim = held.claim
            if not outcome and self._held.get((claim.key, claim.tick)) is held:
                del self._held[(claim.key, claim.tick)]
                log.warn(
                    "cron {id}: the claim of {tick} was not renewed in time; another engine may"
                    " run it as well",
                    id=claim.trigger_id,
                    tick=iso(claim.tick),
                )

    # What others left behind -----------------------------------------------------------

    def _look(self) -> None:
        """Look for open claims whose lease has run out."""
        since = self._redis.up_since
        if since is None or self._looking:
            return
        if self._clock.monotonic() - since >= self._patience_s:
            self._looking = True
            self._look_from(0)

    def _look_from(self, offset: int) -> None:
        asked = self._redis.run(ORPHANS, OPEN, FORGET_MS, offset, PAGE)
        asked.addCallback(self._found, offset).addErrback(self._not_found)

    def _found(self, members: list[bytes], offset: int) -> None:
        for member in members:
            key, _, tick = member.decode().rpartition(":")
            self._again(key, int(tick))
        if len(members) == PAGE and not self._stopped:
            self._look_from(offset + PAGE)
        else:
            self._looking = False

    def _not_found(self, failure: Failure) -> None:
        self._looking = False
        _later(failure)

    def _every(self, name: str, seconds: float, work: Any) -> None:
        def run() -> None:
            self._timers[name] = self._clock.call_later(seconds, run)
            work()

        self._timers[name] = self._clock.call_later(seconds, run)


def _later(failure: Failure) -> None:
    """Redis is away, which its client tells; the next turn tries again."""
    failure.trap(RedisError)


def _number(value: bytes | None) -> int | None:
    return None if value is None else int(value)


def _nothing(_: Any) -> None:
    return None

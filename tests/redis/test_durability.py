"""What a Redis may lose is said once at the start (issue 7)."""

from __future__ import annotations

from unittest import TestCase

from iii.redis import warn_of_loss
from iii.redis.durability import what_is_lost
from tests.redis.cases import RedisCase


class Settings(TestCase):
    """Which settings lose what."""

    def test_only_always_keeps_everything(self) -> None:
        """What is unknown is not judged."""
        for append, sync, word in (
            ("yes", "always", None),
            ("yes", "everysec", "second"),
            ("yes", "no", "write-out"),
            ("no", "always", "snapshot"),
            ("no", None, "snapshot"),
            (None, "always", None),
            ("yes", None, None),
        ):
            loss = what_is_lost(append, sync)
            self.assertEqual(loss is None, word is None, (append, sync))
            self.assertIn(word or "", loss or "")


class Told(RedisCase):
    """A Redis that keeps nothing."""

    async def test_once_per_server(self) -> None:
        """Whichever module asks."""
        for who in ("queue", "state"):
            redis = await self.redis()
            await warn_of_loss(self.api(), redis, who)
        [line] = self.said("acknowledged")
        self.assertIn("queue: Redis at redis://127.0.0.1", line)
        self.assertIn("appendonly no", line)
        self.assertIn("appendfsync always keep everything", line)

    async def test_a_redis_that_does_not_tell_is_not_judged(self) -> None:
        """Managed servers refuse ``CONFIG``."""
        user = ("ACL", "SETUSER", "poor", "on", "nopass", "~*", "&*", "+@all", "-config")
        self.server.ask(*user)
        redis = await self.redis(f"redis://poor:x@127.0.0.1:{self.server.port}")
        await warn_of_loss(self.api(), redis, "queue")
        self.assertEqual(self.said("acknowledged"), [])


class Evicting(RedisCase):
    """A Redis that is a cache."""

    options = ("--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru")

    async def test_it_is_said(self) -> None:
        """Besides what it may lose in a crash."""
        await warn_of_loss(self.api(), await self.redis(), "queue")
        [line] = self.said("noeviction")
        self.assertIn("allkeys-lru", line)
        self.assertEqual(len(self.said("acknowledged")), 2)


class Kept(RedisCase):
    """A Redis that keeps everything."""

    options = ("--appendonly", "yes", "--appendfsync", "always")

    async def test_nothing_is_said(self) -> None:
        """There is nothing to say."""
        await warn_of_loss(self.api(), await self.redis(), "queue")
        self.assertEqual(self.said("acknowledged"), [])

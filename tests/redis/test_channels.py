"""Whether a channel is heard, and being told when it is again."""

from __future__ import annotations

from tests.redis.cases import RedisCase


class Coming(RedisCase):
    """``Redis.subscribe(…, came)`` and ``Redis.hears``."""

    async def test_it_is_told_whenever_the_channel_is_heard(self) -> None:
        """The first time, and after each loss; not when nobody wants it any more."""
        redis = await self.redis()
        came: list[bool] = []
        redis.subscribe("c", lambda channel, body: None, lambda: came.append(redis.hears("c")))
        self.assertFalse(redis.hears("c"))
        await self.eventually(lambda: came)
        self.assertFalse(redis.hears("other"))
        for times in (2, 3):
            self.server.ask("CLIENT", "KILL", "TYPE", "pubsub")
            await self.eventually(lambda times=times: len(came) == times)
            self.assertTrue(redis.hears("c"))
        self.server.kill()
        await self.eventually(lambda: not redis.hears("c"))
        redis.unsubscribe("c")
        redis.subscribe("d", lambda channel, body: None)
        self.server.start()
        await self.eventually(lambda: redis.hears("d"))
        self.assertEqual((came, redis.hears("c")), ([True] * 3, False))

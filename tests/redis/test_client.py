"""Connections to a Redis that comes and goes (03 §4.1, issue 7)."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import Clock as Ticks

from iii.engine.clock import Clock
from iii.errors import Code, StartError
from iii.redis import Redis, RedisAway, RedisError, Script
from iii.redis import client as clients
from iii.redis import link as links
from tests.redis.cases import RedisCase
from tests.support.redis import RedisServer

DOUBLE = Script("return 2 * ARGV[1]", 0)


class Commands(RedisCase):
    """What an adapter asks for."""

    async def test_replies_come_as_redis_gave_them(self) -> None:
        """Numbers that are text stay text, bytes stay bytes."""
        redis = await self.redis()
        value = b"\x00\xff\r\n$-1"
        await redis.call("SET", "k", value)
        self.assertEqual(await redis.call("GET", "k"), value)
        self.assertIsNone(await redis.call("GET", "none"))
        await redis.call("RPUSH", "l", "message", "15", 1.5)
        self.assertEqual(await redis.call("LRANGE", "l", 0, -1), [b"message", b"15", b"1.5"])
        self.assertEqual(await redis.call("LRANGE", "none", 0, -1), [])
        self.assertEqual(await redis.call("INCR", "n"), 1)

    async def test_many_at_once_are_answered_in_order(self) -> None:
        """They go out without waiting for each other."""
        redis = await self.redis()
        asked = [redis.call("INCR", "n") for _ in range(1000)]
        self.assertEqual(await gatherResults(asked), list(range(1, 1001)))

    async def test_an_error_of_redis_is_the_caller_s(self) -> None:
        """And nobody else's."""
        redis = await self.redis()
        first, second = redis.call("INCR"), redis.call("PING")
        with self.assertRaises(RedisError) as caught:
            await first
        self.assertEqual(caught.exception.code, Code.REDIS_ERROR)
        self.assertIn("wrong number of arguments", caught.exception.message)
        await second

    async def test_scripts_survive_being_flushed(self) -> None:
        """By an administrator, while we are connected."""
        redis = await self.redis(scripts=(DOUBLE,))
        self.assertEqual(await redis.run(DOUBLE, 4), 8)
        self.server.ask("SCRIPT", "FLUSH")
        self.assertEqual(await redis.run(DOUBLE, 5), 10)

    async def test_no_more_than_a_bounded_number_waits(self) -> None:
        """A Redis that is slow must not fill the engine."""
        self.patch(links, "MAX_WAITING", 3)
        redis = await self.redis()
        asked = [redis.call("PING") for _ in range(3)]
        with self.assertRaises(RedisError) as caught:
            await redis.call("PING")
        self.assertEqual(caught.exception.code, "overloaded")
        await gatherResults(asked)
        await redis.call("PING")

    async def test_nor_more_than_so_many_bytes(self) -> None:
        """The same, for few large commands."""
        self.patch(links, "MAX_WAITING_BYTES", 1000)
        redis = await self.redis()
        asked = redis.call("SET", "k", b"x" * 1000)
        with self.assertRaises(RedisError) as caught:
            await redis.call("PING")
        self.assertEqual(caught.exception.code, "overloaded")
        await asked
        await redis.call("PING")

    async def test_a_socket_file_and_a_database(self) -> None:
        """``redis+unix://``."""
        redis = await self.redis(f"redis+unix://{self.server.path}?db=3")
        await redis.call("SET", "k", "v")
        self.assertIn("db3:keys=1", self.server.ask("INFO", "keyspace"))


class Start(RedisCase):
    """Redis away, or not for us, when the engine starts."""

    async def refused(self, url: str) -> StartError:
        """Why a client does not start."""
        with self.assertRaises(StartError) as caught:
            await self.redis(url)
        self.assertNotIn("hidden", str(caught.exception))
        return caught.exception

    async def test_nobody_listens(self) -> None:
        """03 §1.2: the start fails at once and names the address."""
        self.server.kill()
        error = await self.refused(self.server.url.replace("//", "//:hidden@"))
        self.assertEqual(error.code, Code.REDIS_UNAVAILABLE)
        self.assertIn(f"demo: Failed to connect to Redis at {self.server.url}: ", error.message)
        self.assertIn("refused", error.message)

    async def test_a_password_nobody_asked_for(self) -> None:
        """Redis says so."""
        error = await self.refused(self.server.url.replace("//", "//:hidden@"))
        self.assertEqual(error.code, Code.REDIS_ERROR)
        self.assertIn("called without any password configured", error.message)

    async def test_a_database_that_is_not_there(self) -> None:
        """The same."""
        self.assertIn("out of range", (await self.refused(self.server.url + "/99")).message)

    async def test_a_server_that_accepts_and_says_nothing(self) -> None:
        """03 §1.2: five seconds, then it fails."""
        ticks = Ticks()
        self.server.freeze()
        starting = Deferred.fromCoroutine(self.redis(clock=Clock.virtual(ticks)))
        for _ in range(6):
            await self.eventually(lambda: ticks.getDelayedCalls() or starting.called)
            await self._settle()
            ticks.advance(1)
        with self.assertRaises(StartError) as caught:
            await starting
        self.assertEqual(caught.exception.code, Code.REDIS_UNAVAILABLE)
        self.assertIn("no answer for 5 s", str(caught.exception))

    async def test_stopped_while_it_connects(self) -> None:
        """The start ends with a reason, and nothing is left."""
        self.server.freeze()
        redis = self.client()
        starting = Deferred.fromCoroutine(redis.start())
        await self._settle()
        await redis.stop()
        with self.assertRaises(StartError) as caught:
            await starting
        self.assertEqual(caught.exception.code, "shutting_down")

    async def _settle(self) -> None:
        """Let the reactor connect."""
        turns = iter(range(5))
        await self.eventually(lambda: next(turns, None) is None)


class Passwords(RedisCase):
    """A Redis that asks who one is."""

    options = (
        "--requirepass",
        "s3cret@",
        *["--user", "ann", "on", ">ann:s3cret", "~*", "&*", "+@all"],
    )

    async def test_the_right_ones(self) -> None:
        """With and without a user; percent-decoded."""
        for user in (":s3cret%40", "ann:ann%3As3cret"):
            redis = await self.redis(f"redis://{user}@127.0.0.1:{self.server.port}")
            heard: list[bytes] = []
            redis.subscribe("c", lambda channel, body, heard=heard: heard.append(body))  # type: ignore[misc]
            await redis.subscribed("c")
            await redis.call("PUBLISH", "c", "x")
            await self.eventually(lambda heard=heard: heard)  # type: ignore[misc]
            await redis.stop()

    async def test_the_wrong_and_the_missing_one(self) -> None:
        """The start fails with Redis's words, and without the password."""
        for user, expected in ((":hidden@", "WRONGPASS"), ("", "NOAUTH")):
            with self.assertRaises(StartError) as caught:
                await self.redis(f"redis://{user}127.0.0.1:{self.server.port}")
            self.assertIn(expected, str(caught.exception))
            self.assertNotIn("hidden", str(caught.exception))
        self.assertEqual([line for line in self.lines if "hidden" in line], [])


class Away(RedisCase):
    """Redis goes and comes back while it is used."""

    async def test_what_is_under_way_fails_and_so_does_what_follows(self) -> None:
        """With a code, at once."""
        redis = await self.redis()
        self.server.freeze()
        asked = redis.call("GET", "k")
        self.server.kill()
        with self.assertRaises(RedisAway) as caught:
            await asked
        self.assertEqual(caught.exception.code, Code.REDIS_UNAVAILABLE)
        self.assertFalse(redis.up)
        with self.assertRaises(RedisAway):
            await redis.call("GET", "k")

    async def test_it_comes_back_by_itself_with_one_line_each(self) -> None:
        """However long it took, and with the scripts."""
        redis = await self.redis(scripts=(DOUBLE,))
        back: list[bool] = []
        redis.on_back.append(lambda: back.append(redis.up))
        redis.subscribe("c", lambda channel, body: None)
        await redis.subscribed("c")
        for number in range(1, 3):
            self.server.kill()
            await self.eventually(lambda: not redis.up)
            self.server.start()
            await self.eventually(lambda n=number: len(back) == n)  # type: ignore[misc]
            self.assertEqual(await redis.run(DOUBLE, 2), 4)
            await self.eventually(lambda n=number: len(self.said("is back after")) == n)  # type: ignore[misc]
            self.assertEqual(len(self.said("is away")), number)
        self.assertEqual(back, [True, True])
        self.assertIn("nothing works; trying again until it is back", self.said("is away")[0])

    async def test_a_server_that_hangs_is_given_up(self) -> None:
        """It keeps the connection and never answers, with and without a command."""
        for has_command in (True, False):
            ticks = Ticks()
            redis = await self.redis(clock=Clock.virtual(ticks))
            self.server.freeze()
            asked = redis.call("PING") if has_command else None
            for _ in range(int(links.COMMAND_LIMIT_S + links.PING_EVERY_S) + 1):
                ticks.advance(1)
            if asked is not None:
                with self.assertRaises(RedisAway) as caught:
                    await asked
                self.assertIn("no answer for 5 s", caught.exception.message)
            await self.eventually(lambda redis=redis: not redis.up)  # type: ignore[misc]
            await redis.stop()
            self.server.kill()
            self.server.start()

    async def test_channels_are_subscribed_to_again(self) -> None:
        """Those that are wanted by then."""
        redis = await self.redis()
        heard: list[tuple[bytes, bytes]] = []
        for channel in ("a", "b"):
            redis.subscribe(channel, lambda channel, body: heard.append((channel, body)))
            await redis.subscribed(channel)
        self.server.kill()
        await self.eventually(lambda: not redis.up)
        redis.unsubscribe("b")
        redis.subscribe("c", lambda channel, body: heard.append((channel, body)))
        self.server.start()
        await self.eventually(lambda: self._subscribers("a", "b", "c") == [1, 0, 1])
        for channel in ("a", "b", "c"):
            self.server.ask("PUBLISH", channel, "x")
        await self.eventually(lambda: len(heard) == 2)
        self.assertEqual(heard, [(b"a", b"x"), (b"c", b"x")])

    async def test_more_channels_than_one_batch(self) -> None:
        """All of them, also when they are more than commands may wait."""
        self.patch(clients, "BATCH", 10)
        self.patch(links, "MAX_WAITING", 5)
        redis = await self.redis()
        for number in range(25):
            redis.subscribe(f"c{number}", lambda channel, body: None)
        names = [f"c{number}" for number in range(25)]
        for _ in range(2):
            await self.eventually(lambda: self._subscribers(*names) == [1] * 25)
            self.server.kill()
            await self.eventually(lambda: not redis.up)
            self.server.start()
        await self.eventually(lambda: self._subscribers(*names) == [1] * 25)
        self.assertEqual(self.said("refused"), [])

    async def test_only_the_channels_connection_is_cut(self) -> None:
        """It is missed and told like everything else."""
        redis = await self.redis()
        redis.subscribe("a", lambda channel, body: None)
        await redis.subscribed("a")
        self.server.ask("CLIENT", "KILL", "TYPE", "pubsub")
        await self.eventually(lambda: self.said("is back after"))
        await self.eventually(lambda: self._subscribers("a") == [1])
        self.assertEqual(len(self.said("is away")), 1)
        await redis.call("PING")

    async def test_stopping_while_it_is_away_leaves_nothing(self) -> None:
        """No timer, no connection; trial looks for both."""
        redis = await self.redis()
        self.server.kill()
        await self.eventually(lambda: not redis.up)
        await redis.stop()

    def _subscribers(self, *channels: str) -> list[int]:
        answer: list[Any] = self.server.ask("PUBSUB", "NUMSUB", *channels)
        return answer[1::2]


class Tls(RedisCase):
    """``rediss://``: encrypted, and the server's certificate checked."""

    def setUp(self) -> None:
        super().setUp()
        from tests.redis.certificates import make_certificates

        self.ca = make_certificates(self.server.directory)
        directory = self.server.directory
        self.secure = RedisServer(
            self,
            *("--tls-port", "0", "--tls-cert-file", str(directory / "server.pem")),
            *("--tls-key-file", str(directory / "server.key")),
            *("--tls-ca-cert-file", str(self.ca), "--tls-auth-clients", "no"),
        )
        taken = RedisServer(self)
        self.tls_port = taken.port
        taken.kill()
        if self.secure.ask("CONFIG", "SET", "tls-port", str(self.tls_port)) != "OK":
            self.skipTest("this redis-server has no TLS")

    async def test_with_the_right_authority(self) -> None:
        """By name and by address."""
        for host in ("localhost", "127.0.0.1"):
            redis: Redis = await self.redis(f"rediss://{host}:{self.tls_port}?ca={self.ca}")
            await redis.call("SET", "k", b"x" * 100_000)
            self.assertEqual(len(await redis.call("GET", "k")), 100_000)

    async def test_with_an_authority_nobody_knows(self) -> None:
        """The start fails."""
        with self.assertRaises(StartError) as caught:
            await self.redis(f"rediss://localhost:{self.tls_port}")
        self.assertIn("certificate verify failed", str(caught.exception))

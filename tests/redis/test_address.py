"""Where a Redis is (``redis_url``)."""

from __future__ import annotations

from unittest import TestCase

from rich.pretty import pretty_repr

from iii.errors import StartError
from iii.modules.cron.adapters.redis import RedisClaimsConfig
from iii.redis import RedisConfig
from iii.redis.address import Address, parse_url


class Urls(TestCase):
    """03 §4.1: reading them is ours."""

    def test_every_part_of_a_url(self) -> None:
        """What is left out has its default."""
        rows = (
            ("redis://", Address("redis")),
            ("redis://h", Address("redis", "h")),
            ("redis://h:7000/3", Address("redis", "h", 7000, database=3)),
            ("redis://[::1]:7000", Address("redis", "::1", 7000)),
            ("redis://:pw@h", Address("redis", "h", password="pw")),
            ("redis://me:pw@h", Address("redis", "h", username="me", password="pw")),
            (
                "rediss://me:p%40%2F%3Aw@h/1",
                Address("rediss", "h", username="me", password="p@/:w", database=1),
            ),
            ("rediss://h?ca=/etc/ca.pem", Address("rediss", "h", ca="/etc/ca.pem")),
            (
                "redis+unix:///run/redis.sock?db=2",
                Address("redis+unix", path="/run/redis.sock", database=2),
            ),
            ("unix://:pw@/run/r.sock", Address("redis+unix", path="/run/r.sock", password="pw")),
        )
        for url, expected in rows:
            self.assertEqual(parse_url(url), expected, url)

    def test_an_address_shows_neither_user_nor_password(self) -> None:
        """Whichever way it gets into a text."""
        address = parse_url("redis://someone:hidden@[::1]:7000/3")
        self.assertEqual(str(address), "redis://[::1]:7000/3")
        for text in (str(address), repr(address), f"{address}", f"{address!r}"):
            self.assertNotIn("hidden", text)
            self.assertNotIn("someone", text)

    def test_nor_do_the_settings(self) -> None:
        """Not even in a traceback with values."""
        for settings in (
            RedisConfig(redis_url="redis://:hidden@h"),
            RedisClaimsConfig(redis_url="redis://:hidden@h"),
            parse_url("redis://:hidden@h"),
        ):
            self.assertNotIn("hidden", repr(settings))
            self.assertNotIn("hidden", pretty_repr(settings))

    def test_a_url_that_cannot_be_read_is_not_repeated(self) -> None:
        """It may have a password in it."""
        rows = {
            "http://:hidden@h": "must start with redis://",
            "hidden": "must start with redis://",
            "redis://:hidden@h:port": "no URL",
            "redis://:hidden@[::1": "no URL",
            "redis://:hidden@h/first": "the database must be a number",
            "redis+unix://:hidden@": "the path of the socket is missing",
        }
        for url, expected in rows.items():
            with self.assertRaises(StartError) as caught:
                parse_url(url)
            self.assertEqual(caught.exception.code, "config_error")
            self.assertIn(expected, str(caught.exception))
            self.assertNotIn("hidden", str(caught.exception))

    def test_a_missing_authority_is_told(self) -> None:
        """When it is needed first."""
        address = parse_url("rediss://h?ca=/nowhere/ca.pem")
        with self.assertRaisesRegex(StartError, "the file of ca= can't be used: .*No such file"):
            address.endpoint(None, 1)

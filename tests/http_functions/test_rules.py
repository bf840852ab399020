"""Which URLs may be called (02 B3)."""

from __future__ import annotations

from unittest import TestCase

import msgspec

from iii.modules.http_functions.codes import Refused
from iii.modules.http_functions.config import HttpFunctionsConfig, Security
from iii.modules.http_functions.rules import Rules


def verdict(url: str, *allowlist: str, block_private: bool = True, https: bool = True) -> str:
    """Why ``url`` is refused; empty when it isn't."""
    try:
        Rules(allowlist, block_private=block_private, require_https=https).target(url)
    except Refused as refused:
        return f"{refused.code}: {refused.message}"
    return ""


PREFIX = "url_validation_failed: "


class Strict(TestCase):
    """Without settings."""

    def test_https_is_required(self) -> None:
        for url in ("http://example.com", "ftp://example.com", "http://127.0.0.1"):
            self.assertEqual(verdict(url), PREFIX + "HTTPS is required", url)

    def test_private_addresses_are_blocked(self) -> None:
        for host in (
            "10.0.0.1",
            "172.16.0.1",
            "192.168.1.1",
            "127.0.0.1",
            "169.254.169.254",
            "[::1]",
            "[::ffff:127.0.0.1]",
            "[::ffff:a9fe:a9fe]",
            "[64:ff9b::10.0.0.1]",
            "[fd00::1]",
            "2130706433",
            "0x7f.1",
            "0177.0.0.1",
            "0",
        ):
            self.assertEqual(verdict(f"https://{host}"), PREFIX + "Private IP blocked", host)

    def test_public_hosts_and_addresses_are_not(self) -> None:
        for host in ("example.com", "8.8.8.8", "[2606:4700::1111]", "localhost.example.com"):
            self.assertEqual(verdict(f"https://{host}/x"), "", host)

    def test_what_is_no_url(self) -> None:
        for url in ("", "nonsense", "https://", "https://a b/"):
            self.assertEqual(verdict(url), PREFIX + "Invalid URL", url)


class Open(TestCase):
    """With both switches off."""

    def test_http_and_loopback_may_be_called(self) -> None:
        self.assertEqual(verdict("http://127.0.0.1:1", block_private=False, https=False), "")

    def test_nothing_but_http(self) -> None:
        for url in ("ftp://example.com", "file:///etc/passwd", "gopher://127.0.0.1"):
            got = verdict(url, block_private=False, https=False)
            self.assertEqual(got, PREFIX + "Invalid URL", url)


class Allowlist(TestCase):
    """Patterns of hosts and of URLs."""

    def assertAllows(self, pattern: str, *urls: str) -> None:
        """``pattern`` matches every URL."""
        for url in urls:
            self.assertEqual(verdict(url, pattern, block_private=False, https=False), "", url)

    def assertRefuses(self, pattern: str, *urls: str) -> None:
        """``pattern`` matches none."""
        for url in urls:
            got = verdict(url, pattern, block_private=False, https=False)
            self.assertEqual(got, PREFIX + "URL not in allowlist", url)

    def test_a_host_with_wildcards(self) -> None:
        self.assertAllows("*.example.com", "https://a.example.com", "http://a.b.Example.com:81/x")
        self.assertRefuses(
            "*.example.com",
            "https://example.com",
            "https://a.example.com.evil.net",
            "https://evil.net/.example.com",
            "https://evil.net?a.example.com",
            "https://a.example.com@evil.net",
            "https://evil.net\\.example.com",
        )
        self.assertAllows("api?.EXAMPLE.com", "https://api1.example.com")
        self.assertAllows("api[0-3].example.com", "https://api1.example.com")
        self.assertRefuses("api[!0-3].example.com", "https://api1.example.com")
        self.assertRefuses("example.com", "https://exampleXcom", "https://xexample.com")
        self.assertAllows("[::1]", "http://[::1]:80/")
        self.assertAllows("::1", "http://[::1]/")

    def test_a_url(self) -> None:
        pattern = "https://api.example.com/hooks/*"
        self.assertAllows(
            pattern, "https://api.example.com/hooks/a/b?c", "https://API.example.com:443/hooks/"
        )
        self.assertRefuses(
            pattern,
            "http://api.example.com/hooks/a",
            "https://api.example.com:444/hooks/a",
            "https://api.example.com/other",
            "https://api.example.com/hooks/../other",
            "https://api.example.com/hooks/%2e%2e/other",
            "https://evil.net/api.example.com/hooks/a",
        )
        self.assertAllows("http://localhost:3000", "http://localhost:3000/any/thing")
        self.assertAllows("http://[::1]:3000/*", "http://[::1]:3000/any")
        self.assertAllows("example.com/hooks/*", "http://example.com/hooks/a")

    def test_a_wildcard_in_the_host_of_a_url_does_not_reach_its_path(self) -> None:
        self.assertAllows("https://*.example.com/*", "https://a.example.com/x")
        self.assertRefuses("https://*.example.com/*", "https://evil.net/a.example.com/x")
        self.assertRefuses("*://*.example.com/*", "https://evil.net/?://a.example.com/x")

    def test_one_of_several_is_enough(self) -> None:
        self.assertEqual(verdict("https://b.example", "a.example", "b.example"), "")

    def test_a_listed_address_must_be_public_all_the_same(self) -> None:
        self.assertEqual(verdict("https://10.0.0.1", "10.0.0.1"), PREFIX + "Private IP blocked")


class Settings(TestCase):
    """The ``config:`` block."""

    def test_a_pattern_that_is_none_is_an_error(self) -> None:
        for bad in ("[abc", "https://[a/", "[z-a].example"):
            with self.assertRaisesRegex(msgspec.ValidationError, "Invalid URL"):
                msgspec.convert({"security": {"url_allowlist": [bad]}}, HttpFunctionsConfig)

    def test_strict_is_what_nobody_configures(self) -> None:
        for block in ({}, {"security": {}}, {"security": {"url_allowlist": None}}):
            security = msgspec.convert(block, HttpFunctionsConfig).security
            self.assertEqual(security, Security(None, True, True, None))

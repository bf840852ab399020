"""How URLs are read (02 B3): spellings can't hide where a request goes."""

from __future__ import annotations

from ipaddress import IPv4Address
from unittest import TestCase

from hypothesis import given
from hypothesis import strategies as st

from iii.modules.http_functions.target import MAX_URL_CHARS, NotAUrl, parse

URLS = {
    "https://Example.COM": "https://example.com/",
    "  https://example.com/a\n": "https://example.com/a",
    "https:\\\\example.com\\a": "https://example.com/a",
    "https://example.com:443/a?b=c#d": "https://example.com/a?b=c",
    "http://example.com:8080": "http://example.com:8080/",
    "https://example.com/a/../b/./c/%2E%2e/d": "https://example.com/b/d",
    "https://example.com/../../a/..": "https://example.com/",
    "https://example.com/a b/ü?q=ü x": "https://example.com/a%20b/%C3%BC?q=%C3%BC%20x",
    "https://example.com/%41%zz": "https://example.com/%41%zz",
    "https://bücher.example/": "https://xn--bcher-kva.example/",
    "https://ex%61mple.com/": "https://example.com/",
    "https://a_b.example.com/": "https://a_b.example.com/",
    "https://[::FFFF:127.0.0.1]:444/": "https://[::ffff:7f00:1]:444/",
    "https://user:pw@example.com/": "https://example.com/",
}

NONE = (
    "",
    "example.com",
    "/a",
    "https:",
    "https://",
    "https:///a",
    "https://:80/",
    "https://a b.example/",
    "https://a%00.example/",
    "https://a%2fb/",
    "https://[::1",
    "https://[fe80::1%25eth0]/",
    "https://[1.2.3.4]/",
    "https://1.2.3.4.5/",
    "https://256.1.1.1/",
    "https://1.2.3.09/",
    "https://4294967296/",
    "https://a..b/",
    "https://a:65536/",
    "https://a:0/",
    "https://a:b/",
    "ftp://example.com/",
    "file:///etc/passwd",
    "https://" + "a" * 254 + "/",
    "https://example.com/" + "a" * MAX_URL_CHARS,
)


class Reading(TestCase):
    """Parts of a URL."""

    def test_urls_in_their_normal_form(self) -> None:
        for text, normal in URLS.items():
            self.assertEqual(parse(text).url.decode(), normal, text)

    def test_what_is_no_url(self) -> None:
        for text in NONE:
            with self.assertRaises(NotAUrl, msg=text):
                parse(text)

    def test_user_and_password_become_a_header_and_are_not_shown(self) -> None:
        target = parse("https://me:p%40ss@example.com/")
        self.assertEqual(target.login, "Basic bWU6cEBzcw==")
        self.assertNotIn("bWU6", repr(target))
        self.assertIsNone(parse("https://example.com/").login)

    @given(st.text(max_size=60))
    def test_any_text_is_read_or_refused(self, text: str) -> None:
        try:
            target = parse("http://" + text)
        except NotAUrl:
            return
        self.assertRegex(target.url.decode(), r"\Ahttp://[\x21-\x7e]+\Z")
        self.assertEqual(parse(target.url.decode()).url, target.url)


class Numbers(TestCase):
    """An IPv4 address is known in all its spellings."""

    @given(st.ip_addresses(v=4), st.lists(st.sampled_from("dox"), min_size=4, max_size=4))
    def test_four_numbers(self, address: IPv4Address, bases: list[str]) -> None:
        octets = [_spelt(octet, base) for octet, base in zip(address.packed, bases, strict=True)]
        self.assertEqual(parse(f"http://{'.'.join(octets)}/").address, address)

    @given(st.ip_addresses(v=4), st.sampled_from("dox"), st.integers(1, 3))
    def test_fewer_numbers(self, address: IPv4Address, base: str, count: int) -> None:
        first = [str(octet) for octet in address.packed[: count - 1]]
        last = int(address) & (256 ** (5 - count) - 1)
        text = ".".join([*first, _spelt(last, base)])
        self.assertEqual(parse(f"http://{text}/").address, address)

    def test_digits_of_other_scripts_and_a_dot_at_the_end(self) -> None:
        for text in (
            "１２７.0.0.1",
            "127。0。0。1",
            "127.0.0.1.",
            "0x7f.1",
            "2130706433",
            "%31%32%37.1",
        ):
            self.assertEqual(parse(f"http://{text}/").host, "127.0.0.1", text)


def _spelt(number: int, base: str) -> str:
    return {"d": str(number), "o": f"0{number:o}", "x": f"0x{number:x}"}[base]

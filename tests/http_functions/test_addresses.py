"""Which addresses are private (02 B3): nothing private is let through in any form."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Any
from unittest import TestCase

from hypothesis import given
from hypothesis import strategies as st

from iii.modules.http_functions.addresses import is_private, read_address

PRIVATE_4 = [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/4",
    "240.0.0.0/4",
]
PRIVATE_6 = [
    "::/128",
    "::1/128",
    "fc00::/7",
    "fe80::/10",
    "fec0::/10",
    "ff00::/8",
    "2001:db8::/32",
    "2001::/32",
    "2002::/16",
    "100::/64",
    "64:ff9b:1::/48",
    "::ffff:0:0:0/96",
]
PUBLIC_4 = [
    "1.1.1.1",
    "8.8.8.8",
    "9.255.255.255",
    "11.0.0.0",
    "100.63.255.255",
    "100.128.0.0",
    "126.255.255.255",
    "128.0.0.0",
    "169.253.255.255",
    "172.15.255.255",
    "172.32.0.0",
    "192.0.1.0",
    "192.167.255.255",
    "192.169.0.0",
    "198.17.255.255",
    "198.20.0.0",
    "223.255.255.255",
]
PUBLIC_6 = ["2606:4700:4700::1111", "2a00:1450:4001:80b::200e", "2001:4860:4860::8888"]


def inside(networks: list[str]) -> Any:
    """An address of one of the networks."""
    return st.sampled_from(networks).flatmap(_within)


def _within(text: str) -> Any:
    network = IPv6Network(text) if ":" in text else IPv4Network(text)
    kind = IPv6Address if ":" in text else IPv4Address
    first, last = int(network[0]), int(network[-1])
    return st.integers(first, last).map(kind)


class Private(TestCase):
    """Every form of a private address is one."""

    @given(inside(PRIVATE_4))
    def test_ipv4(self, address: IPv4Address) -> None:
        self.assertTrue(is_private(address))

    @given(inside(PRIVATE_6))
    def test_ipv6(self, address: IPv6Address) -> None:
        self.assertTrue(is_private(address))

    @given(inside(PRIVATE_4), st.sampled_from(["::ffff:", "64:ff9b::", "::"]))
    def test_ipv4_inside_ipv6(self, address: IPv4Address, prefix: str) -> None:
        self.assertTrue(is_private(IPv6Address(f"{prefix}{address}")))

    @given(inside(PRIVATE_4))
    def test_ipv4_inside_6to4(self, address: IPv4Address) -> None:
        self.assertTrue(is_private(IPv6Address((0x2002 << 112) | (int(address) << 80) | 1)))

    @given(st.ip_addresses(v=4))
    def test_a_mapped_address_is_judged_as_what_it_maps(self, address: IPv4Address) -> None:
        self.assertEqual(is_private(IPv6Address(f"::ffff:{address}")), is_private(address))

    @given(st.ip_addresses(v=4))
    def test_nothing_python_knows_as_private_is_public(self, address: IPv4Address) -> None:
        known = address.is_private or address.is_multicast or address.is_reserved
        self.assertTrue(is_private(address) or not known, address)

    @given(st.ip_addresses(v=6))
    def test_nothing_python_knows_as_private_is_public_in_ipv6(self, address: IPv6Address) -> None:
        known = address.is_private or address.is_multicast or address.is_site_local
        self.assertTrue(is_private(address) or not known, address)

    def test_the_interface_of_an_address_does_not_matter(self) -> None:
        self.assertTrue(is_private(read_address("fe80::1%eth0")))


class Public(TestCase):
    """What is not private is let through."""

    def test_the_neighbours_of_private_networks(self) -> None:
        for text in (*PUBLIC_4, *PUBLIC_6):
            self.assertFalse(is_private(read_address(text)), text)

    def test_public_addresses_behind_nat64(self) -> None:
        self.assertFalse(is_private(IPv6Address("64:ff9b::8.8.8.8")))

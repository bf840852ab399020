"""Which addresses are nobody's but our own network's.

IPv4 is a list of what is blocked.  IPv6 is the other way round: only the global unicast
block is open, less what is set apart in it.  An address that carries an IPv4 address
(mapped, NAT64) is judged as that one.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

Address = IPv4Address | IPv6Address

_BLOCKED_4 = tuple(
    map(
        IPv4Network,
        (
            "0.0.0.0/8",  # this network
            "10.0.0.0/8",
            "100.64.0.0/10",  # behind a provider's NAT; cloud metadata of some
            "127.0.0.0/8",
            "169.254.0.0/16",  # link-local; cloud metadata of most
            "172.16.0.0/12",
            "192.0.0.0/24",  # protocol assignments
            "192.0.2.0/24",  # documentation
            "192.88.99.0/24",  # 6to4 relays
            "192.168.0.0/16",
            "198.18.0.0/15",  # benchmarks
            "198.51.100.0/24",  # documentation
            "203.0.113.0/24",  # documentation
            "224.0.0.0/4",  # multicast
            "240.0.0.0/4",  # reserved, and broadcast
        ),
    )
)
_GLOBAL_6 = IPv6Network("2000::/3")
_BLOCKED_6 = tuple(
    map(
        IPv6Network,
        (
            "2001::/23",  # protocol assignments, Teredo among them
            "2001:db8::/32",  # documentation
            "2002::/16",  # 6to4: an IPv4 address in disguise
            "3fff::/20",  # documentation
        ),
    )
)
_NAT64 = IPv6Network("64:ff9b::/96")


def is_private(address: Address) -> bool:
    """Whether only our own machine or network can be meant."""
    if isinstance(address, IPv4Address):
        return any(address in network for network in _BLOCKED_4)
    inner = _embedded(address)
    if inner is not None:
        return is_private(inner)
    return address not in _GLOBAL_6 or any(address in network for network in _BLOCKED_6)


def read_address(text: str) -> Address:
    """An address as a resolver writes it; the interface of a scoped one does not matter.

    :raises ValueError: it is none
    """
    return ip_address(text.partition("%")[0])


def _embedded(address: IPv6Address) -> IPv4Address | None:
    """The IPv4 address that traffic to ``address`` ends at."""
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped

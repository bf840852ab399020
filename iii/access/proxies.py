"""Whose attempt it is when a proxy stands in front.

Behind a proxy every client has the proxy's address, and one that guesses would keep all
others out.  So ``X-Forwarded-For`` counts, but only from the proxies that are configured:
anybody else could write anything into it.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

Network = IPv4Network | IPv6Network


class Proxies:
    """The proxies that are believed.

    :param networks: addresses and networks, e.g. ``10.0.0.0/8``
    :raises ValueError: one of them is none
    """

    def __init__(self, networks: Iterable[str] = ()) -> None:
        self._networks: list[Network] = [ip_network(each, strict=False) for each in networks]

    def client(self, peer: str, forwarded_for: str | None) -> str:
        """Who is behind ``peer``, seen from the nearest proxy that is not believed.

        :param peer: the address of the connection
        :param forwarded_for: its ``X-Forwarded-For``
        """
        hops = [hop.strip() for hop in forwarded_for.split(",")] if forwarded_for else []
        address = peer
        while hops and self._believes(address):
            hop = hops.pop()
            if not _is_address(hop):
                break
            address = hop
        return address

    def _believes(self, address: str) -> bool:
        if not self._networks or not _is_address(address):
            return False
        ip = ip_address(address)
        ip = getattr(ip, "ipv4_mapped", None) or ip
        return any(ip in network for network in self._networks)


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True

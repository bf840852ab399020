"""Connections to addresses that were checked, and to no others.

A host name is resolved once for a connection; every address it has is checked, and those
very addresses are connected to.  Nobody resolves the name again, so an answer that changes
between check and connection (DNS rebinding) has no effect.  A connection that is used
again is one to an address that was checked.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.interfaces import (
    IAddress,
    IHostnameResolver,
    IHostResolution,
    IReactorPluggableNameResolver,
    IResolutionReceiver,
    IStreamClientEndpoint,
)
from twisted.internet.ssl import optionsForClientTLS
from twisted.internet.threads import deferToThreadPool
from twisted.web.client import URI
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import implementer

from iii.modules.http_functions.addresses import read_address
from iii.modules.http_functions.codes import invalid_url
from iii.modules.http_functions.rules import Rules

CONNECT_TIMEOUT_S = 30.0
#: Of a host that has more, the first are tried; all are checked.
MAX_TRIED_ADDRESSES = 16
MAX_TLS_CONTEXTS = 64


@implementer(IAgentEndpointFactory)
class CheckedEndpoints:
    """Makes the connections of an ``Agent``.

    :param trust_root: whom to trust instead of the system's certificate authorities
    """

    def __init__(self, reactor: Any, rules: Rules, trust_root: Any = None) -> None:
        self._reactor = reactor
        self._rules = rules
        self._trust_root = trust_root
        self._contexts: OrderedDict[str, Any] = OrderedDict()

    def endpointForURI(self, uri: URI) -> CheckedEndpoint:
        """IAgentEndpointFactory."""
        return CheckedEndpoint(self, uri.host.decode(), uri.port, tls=uri.scheme == b"https")

    async def connect(self, host: str, port: int, factory: Any, *, tls: bool) -> Any:
        """Open a connection.

        :raises Refused: no address may be connected to
        """
        addresses = await self.addresses_of(host, port)
        # Named by an address: the name itself has been dealt with.
        endpoint: Any = HostnameEndpoint(
            Pinned(self._reactor, addresses), addresses[0].host, port, timeout=CONNECT_TIMEOUT_S
        )
        if tls:
            endpoint = wrapClientTLS(await self._context(host.removesuffix(".")), endpoint)
        return await endpoint.connect(factory)

    async def addresses_of(self, host: str, port: int) -> list[Any]:
        """Where ``host`` may be connected to.

        :raises Refused: one of its addresses is forbidden, or it has none
        """
        resolved: Deferred[list[Any]] = Deferred()
        self._reactor.nameResolver.resolveHostName(_Receiver(resolved), host, port)
        addresses = await resolved
        if not addresses:
            raise invalid_url("DNS lookup failed")
        self._rules.check(read_address(address.host) for address in addresses)
        return addresses[:MAX_TRIED_ADDRESSES]

    async def _context(self, host: str) -> Any:
        """What TLS with ``host`` needs.  Reading a bundle of authorities takes a while."""
        known = self._contexts.pop(host, None)
        if known is None:
            pool = self._reactor.getThreadPool()
            known = await deferToThreadPool(
                self._reactor, pool, optionsForClientTLS, host, self._trust_root
            )
            while len(self._contexts) >= MAX_TLS_CONTEXTS:
                self._contexts.popitem(last=False)
        self._contexts[host] = known
        return known


@implementer(IStreamClientEndpoint)
class CheckedEndpoint:
    """One host and port."""

    def __init__(self, endpoints: CheckedEndpoints, host: str, port: int, *, tls: bool) -> None:
        self._endpoints = endpoints
        self._host = host
        self._port = port
        self._tls = tls

    def connect(self, protocolFactory: Any) -> Deferred[Any]:
        """IStreamClientEndpoint."""
        return Deferred.fromCoroutine(
            self._endpoints.connect(self._host, self._port, protocolFactory, tls=self._tls)
        )


@implementer(IReactorPluggableNameResolver, IHostnameResolver)
class Pinned:
    """A reactor to which every name leads to the same addresses.

    So ``HostnameEndpoint`` does what it is good at, trying several addresses in time.
    """

    def __init__(self, reactor: Any, addresses: list[Any]) -> None:
        self._reactor = reactor
        self._addresses = addresses
        self.nameResolver = self

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)

    def installNameResolver(self, resolver: Any) -> Any:
        """IReactorPluggableNameResolver: nobody may."""
        raise NotImplementedError("the addresses are fixed")

    def resolveHostName(
        self, resolutionReceiver: Any, hostName: str, portNumber: int = 0, *args: Any, **kw: Any
    ) -> Any:
        """IHostnameResolver."""
        resolution = _Resolution(hostName)
        resolutionReceiver.resolutionBegan(resolution)
        for address in self._addresses:
            resolutionReceiver.addressResolved(address)
        resolutionReceiver.resolutionComplete()
        return resolution


@implementer(IHostResolution)
class _Resolution:
    def __init__(self, name: str) -> None:
        self.name = name

    def cancel(self) -> None:
        """IHostResolution: it is over at once."""


@implementer(IResolutionReceiver)
class _Receiver:
    """Gathers addresses."""

    def __init__(self, resolved: Deferred[list[Any]]) -> None:
        self._resolved = resolved
        self._addresses: list[Any] = []

    def resolutionBegan(self, resolutionInProgress: Any) -> None:
        """IResolutionReceiver."""

    def addressResolved(self, address: IAddress) -> None:
        """IResolutionReceiver."""
        if isinstance(address, IPv4Address | IPv6Address):
            self._addresses.append(address)

    def resolutionComplete(self) -> None:
        """IResolutionReceiver."""
        if not self._resolved.called:  # whoever waited may have given up
            self._resolved.callback(self._addresses)

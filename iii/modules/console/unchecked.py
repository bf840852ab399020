"""TLS to the engine itself, whose own word it is where it listens.

Its certificate is for the names that others call it by, so it says nothing here.
"""

from __future__ import annotations

from typing import Any

from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.ssl import CertificateOptions
from twisted.web.iweb import IPolicyForHTTPS
from zope.interface import implementer


@implementer(IOpenSSLClientConnectionCreator)
class UncheckedTls:
    """Makes TLS clients that do not ask who the other one is."""

    def __init__(self) -> None:
        self._context = CertificateOptions(verify=False).getContext()

    def clientConnectionForTLS(self, tlsProtocol: Any) -> Any:
        """Twisted: a connection."""
        return SSL.Connection(self._context, None)


@implementer(IPolicyForHTTPS)
class UncheckedHttps:
    """The same for HTTP clients."""

    def creatorForNetloc(self, hostname: bytes, port: int) -> Any:
        """Twisted: who connects to this host."""
        return UncheckedTls()

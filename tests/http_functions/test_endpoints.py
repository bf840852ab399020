"""Connections go to addresses that were checked (02 B3), and TLS is checked, too."""

from __future__ import annotations

import datetime
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import (
    Certificate,
    PrivateCertificate,
    trustRootFromCertificates,
)
from twisted.trial.unittest import TestCase
from twisted.web.server import Site

from iii.engine.module import ModuleApi
from iii.modules.http_functions import HttpFunctionsModule
from iii.modules.http_functions.codes import Refused
from iii.modules.http_functions.config import HttpFunctionsConfig, Security
from iii.modules.http_functions.endpoints import MAX_TRIED_ADDRESSES, CheckedEndpoints
from iii.modules.http_functions.rules import Rules
from tests.http_functions.cases import HttpFunctionsCase, Names, reactor

PUBLIC, PRIVATE = "93.184.216.34", "127.0.0.1"


class Pinning(TestCase):
    """A name server that says something else every time."""

    def setUp(self) -> None:
        self.port = reactor.listenTCP(0, Factory.forProtocol(Protocol), interface="127.0.0.1")
        self.addCleanup(self.port.stopListening)

    async def connect(self, names: Names, *, block: bool = True) -> None:
        """Connect to ``host.example`` and hang up."""
        rules = Rules((), block_private=block, require_https=True)
        endpoints = CheckedEndpoints(names, rules)
        port = self.port.getHost().port
        protocol = await endpoints.connect(
            "host.example", port, Factory.forProtocol(Protocol), tls=False
        )
        protocol.transport.abortConnection()

    async def test_the_second_answer_is_never_used(self) -> None:
        names = Names([PUBLIC], [PRIVATE])
        await self.connect(names)
        self.assertEqual((names.asked, names.connected), (["host.example"], [PUBLIC]))

    async def test_a_later_connection_is_checked_anew(self) -> None:
        names = Names([PUBLIC], [PRIVATE])
        await self.connect(names)
        with self.assertRaisesRegex(Refused, "Private IP blocked"):
            await self.connect(names)
        self.assertEqual(names.connected, [PUBLIC])

    async def test_one_private_address_among_many_is_too_many(self) -> None:
        for private in (PRIVATE, "::1", "::ffff:10.0.0.1", "fe80::1%eth0", "64:ff9b::7f00:1"):
            names = Names([PUBLIC] * (MAX_TRIED_ADDRESSES + 1) + [private])
            with self.assertRaisesRegex(Refused, "Private IP blocked"):
                await self.connect(names)
            self.assertEqual(names.connected, [])

    async def test_no_address_at_all(self) -> None:
        with self.assertRaisesRegex(Refused, "DNS lookup failed"):
            await self.connect(Names([]))

    async def test_private_addresses_when_they_are_allowed(self) -> None:
        names = Names([PRIVATE], [PUBLIC])
        await self.connect(names, block=False)
        self.assertEqual(names.connected, [PRIVATE])


class Tls(HttpFunctionsCase):
    """A server with a certificate for ``localhost`` and 127.0.0.1."""

    settings = HttpFunctionsConfig(security=Security(block_private_ips=False))
    trusted = True

    def prepare(self) -> None:
        """HttpFunctionsCase: trust the server's certificate."""
        key, certificate = self_signed("localhost")
        self.certificate = PrivateCertificate.loadPEM(key + certificate)
        trust = [Certificate.loadPEM(certificate)] if self.trusted else []
        self.module = HttpFunctionsModule(
            self.settings, environ=self.environ, trust_root=trustRootFromCertificates(trust)
        )
        self.module.start(ModuleApi(self.engine, "iii-http-functions"))

    async def setUp(self) -> None:
        await super().setUp()
        self.secure = reactor.listenSSL(
            0, Site(self.far), self.certificate.options(), interface="127.0.0.1"
        )
        self.addCleanup(self.secure.stopListening)
        self.port_ = self.secure.getHost().port

    async def ask(self, host: str) -> Any:
        """Call the server under a name; the engine's answer."""
        await self.w.register("far", invocation={"url": f"https://{host}:{self.port_}/x"})
        return await self.w.result_of(self.w.invoke("far"))

    async def test_a_certificate_that_is_trusted(self) -> None:
        answer = await self.ask("localhost")
        self.assertEqual(answer.get("result"), {"ok": True}, answer)
        self.assertEqual(self.far.seen[0].header("host"), f"localhost:{self.port_}")

    async def test_a_certificate_for_another_host(self) -> None:
        answer = await self.ask("127.0.0.1")
        self.assertEqual(answer["error"]["code"], "http_request_failed")
        self.assertIn("TLS", answer["error"]["message"])
        self.assertEqual(self.far.seen, [])


class Distrust(Tls):
    """The same with a certificate that nobody vouches for."""

    trusted = False

    async def test_a_certificate_that_is_trusted(self) -> None:
        answer = await self.ask("localhost")
        self.assertEqual(answer["error"]["code"], "http_request_failed")
        self.assertIn("TLS: certificate verify failed", answer["error"]["message"])
        self.assertEqual(self.far.seen, [])


class Ipv6(HttpFunctionsCase):
    """An address in brackets."""

    async def test_a_server_on_loopback(self) -> None:
        server = reactor.listenTCP(0, Site(self.far), interface="::1")
        self.addCleanup(server.stopListening)
        self.module.stop()
        rules = HttpFunctionsConfig(
            security=Security(["::1"], block_private_ips=False, require_https=False)
        )
        self.module = HttpFunctionsModule(rules, environ={})
        self.module.start(ModuleApi(self.engine, "iii-http-functions"))
        port = server.getHost().port
        await self.w.register("far", invocation={"url": f"http://[::1]:{port}/x"})
        self.assertEqual(await self.call(), {"ok": True})
        self.assertEqual(self.far.seen[0].header("host"), f"[::1]:{port}")


def self_signed(name: str) -> tuple[bytes, bytes]:
    """Key and certificate, as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    return (
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
        certificate.public_bytes(pem),
    )

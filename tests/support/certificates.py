"""Authorities and certificates of a test's own, made when it runs."""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID

DAY = timedelta(days=1)


class Authority:
    """Signs certificates.

    :param directory: where all files go
    :ivar path: its own certificate
    """

    def __init__(self, directory: Path, name: str = "ca") -> None:
        self.directory = directory
        self.name = name
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._subject = _named(f"iii test authority {name}")
        builder = _builder(self._subject, self._subject, self._key, -DAY, 30 * DAY)
        usage = x509.KeyUsage(
            digital_signature=True,
            key_cert_sign=True,
            crl_sign=True,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            encipher_only=False,
            decipher_only=False,
        )
        made = (
            builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False
            )
            .sign(self._key, hashes.SHA256())
        )
        self.path = directory / f"{name}.pem"
        self.path.write_bytes(made.public_bytes(Encoding.PEM))

    def issue(
        self,
        name: str = "server",
        *,
        begins: timedelta = -DAY,
        ends: timedelta = 30.5 * DAY,
        passphrase: str | None = None,
        host: str = "localhost",
    ) -> tuple[Path, Path]:
        """Write ``NAME.pem`` and ``NAME.key``; their paths.

        :param begins: when it becomes valid, from now
        :param ends: when it ends, from now
        :param passphrase: of the key
        :param host: whom it is for; of localhost also its addresses
        """
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(_named(name), self._subject, key, begins, ends)
        addresses = ("127.0.0.1", "::1") if host == "localhost" else ()
        hosts = x509.SubjectAlternativeName(
            [
                x509.DNSName(host),
                *(x509.IPAddress(ipaddress.ip_address(address)) for address in addresses),
            ]
        )
        made = (
            builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(hosts, critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()),
                critical=False,
            )
            .sign(self._key, hashes.SHA256())
        )
        certificate, secret = self.directory / f"{name}.pem", self.directory / f"{name}.key"
        certificate.write_bytes(made.public_bytes(Encoding.PEM))
        lock = BestAvailableEncryption(passphrase.encode()) if passphrase else NoEncryption()
        secret.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, lock))
        return certificate, secret


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    begins: timedelta,
    ends: timedelta,
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + begins)
        .not_valid_after(now + ends)
    )


def _named(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

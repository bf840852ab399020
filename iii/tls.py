"""``tls: {cert, key, client_ca}`` of a listener: the files, read and checked.

All of them are PEM.  What is no good is told with the key and the absolute path before
a port opens, and by ``iii check``; what is good becomes an OpenSSL context.  Listening
and renewing are in ``iii.tlsport``.

No Twisted in here; OpenSSL and the X.509 parser are loaded with the first ``tls:``.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import msgspec

from iii.errors import ConfigError

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

Key = Literal["cert", "key", "client_ca"]
File = Annotated[str, msgspec.Meta(min_length=1)]

#: A certificate that ends sooner is worth a warning.
EXPIRES_SOON_DAYS = 14
ALPN = b"http/1.1"
#: For TLS 1.2; TLS 1.3 has only good ones.
CIPHERS = b"ECDHE+AESGCM:ECDHE+CHACHA20:!aNULL:!MD5:!DSS"
_SESSIONS = b"iii"
_NOT_PEM = "is not PEM text"


class Tls(msgspec.Struct, frozen=True):
    """The ``tls:`` block of a listener; paths start at the working directory."""

    #: A misspelt ``client_ca`` would let everybody in.
    strict_keys: ClassVar[bool] = True

    #: The certificate, and behind it those between it and the authority.
    cert: File
    key: File
    #: Authorities of clients.  None: clients need no certificate.
    client_ca: File | None = None


class TlsError(ConfigError):
    """A file of a ``tls:`` block is no good.

    :ivar key: which of its keys names it
    """

    def __init__(self, key: Key, file: str, why: str) -> None:
        super().__init__(f"tls.{key}: {Path(file).absolute()} {why}")
        self.key: Key = key


@dataclass(frozen=True, slots=True)
class Loaded:
    """What the files of a ``tls:`` block hold.

    :ivar context: an ``OpenSSL.SSL.Context`` for connections
    :ivar names: the hosts the certificate is for
    :ivar expires: the first instant at which it is not valid any more
    """

    context: Any
    names: tuple[str, ...]
    expires: datetime

    def days_left(self, now: datetime) -> int:
        """How many whole days it stays valid."""
        return (self.expires - now).days

    def __str__(self) -> str:
        names = ", ".join(self.names) or "no host"
        return f"certificate for {names}, valid until {self.expires:%Y-%m-%d %H:%M} UTC"


def load(tls: Tls, now: datetime) -> Loaded:
    """Read and check the files.

    :param now: an aware point in time
    :raises TlsError: one is missing, is not what it should be, does not belong to the
        others, or is not valid at ``now``
    """
    chain = _certificates("cert", tls.cert)
    leaf = chain[0]
    _check_dates("cert", tls.cert, leaf, now)
    key = _private_key(tls.key)
    if _public_bytes(leaf.public_key()) != _public_bytes(key.public_key()):
        certificate = Path(tls.cert).absolute()
        raise TlsError("key", tls.key, f"does not belong to the certificate {certificate}")
    authorities = []
    if tls.client_ca is not None:
        authorities = _certificates("client_ca", tls.client_ca)
        for authority in authorities:
            _check_dates("client_ca", tls.client_ca, authority, now)
    context = _context(tls, chain, key, authorities)
    return Loaded(context, _names_of(leaf), leaf.not_valid_after_utc)


def _read(key: Key, file: str) -> bytes:
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise TlsError(key, file, f"can't be read: {error.strerror or error}") from error


def _certificates(key: Key, file: str) -> list[Certificate]:
    from cryptography.x509 import load_pem_x509_certificates

    data = _read(key, file)
    if b"-----BEGIN" not in data:
        raise TlsError(key, file, _NOT_PEM)
    try:
        return load_pem_x509_certificates(data)
    except ValueError as error:
        raise TlsError(key, file, "holds no certificate that can be read") from error


def _private_key(file: str) -> Any:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    data = _read("key", file)
    if b"-----BEGIN" not in data:
        raise TlsError("key", file, _NOT_PEM)
    # The library's words may quote what it read.
    try:
        return load_pem_private_key(data, None)
    except TypeError:
        why = "has a passphrase: the engine starts without anybody to ask; remove it"
        raise TlsError("key", file, why) from None
    except (ValueError, UnsupportedAlgorithm):
        raise TlsError("key", file, "holds no private key that can be read") from None


def _public_bytes(key: Any) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    public: bytes = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return public


def _check_dates(key: Key, file: str, certificate: Certificate, now: datetime) -> None:
    begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if now > ends:
        raise TlsError(key, file, f"expired on {ends:%Y-%m-%d %H:%M} UTC")
    if now < begins:
        raise TlsError(key, file, f"is not valid before {begins:%Y-%m-%d %H:%M} UTC")


def _names_of(certificate: Certificate) -> tuple[str, ...]:
    from cryptography.x509 import DNSName, ExtensionNotFound, IPAddress, SubjectAlternativeName

    try:
        found = certificate.extensions.get_extension_for_class(SubjectAlternativeName).value
    except ExtensionNotFound:
        return ()
    hosts = found.get_values_for_type(DNSName)
    return (*hosts, *map(str, found.get_values_for_type(IPAddress)))


def _context(tls: Tls, chain: list[Certificate], key: Any, authorities: list[Certificate]) -> Any:
    from OpenSSL import SSL

    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_options(
        SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION | SSL.OP_CIPHER_SERVER_PREFERENCE
    )
    # Idle connections give their buffers back: 34 KiB each.
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    context.set_cipher_list(CIPHERS)
    context.set_session_id(_SESSIONS)
    context.set_alpn_select_callback(_select_protocol)
    try:
        context.use_certificate(chain[0])
        for between in chain[1:]:
            context.add_extra_chain_cert(between)
    except (SSL.Error, TypeError) as error:
        raise TlsError("cert", tls.cert, f"is refused by OpenSSL: {_words(error)}") from error
    try:
        context.use_privatekey(key)
        context.check_privatekey()
    except (SSL.Error, TypeError) as error:
        raise TlsError("key", tls.key, f"is refused by OpenSSL: {_words(error)}") from None
    if authorities:
        from OpenSSL import crypto

        store: Any = context.get_cert_store()
        for authority in authorities:
            store.add_cert(crypto.X509.from_cryptography(authority))
        context.set_client_ca_list(
            [crypto.X509.from_cryptography(authority).get_subject() for authority in authorities]
        )
        context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, _verified)
    return context


def _select_protocol(connection: Any, offered: list[bytes]) -> Any:
    from OpenSSL import SSL

    return ALPN if ALPN in offered else SSL.NO_OVERLAPPING_PROTOCOLS


def _verified(connection: Any, certificate: Any, error: int, depth: int, ok: int) -> bool:
    """OpenSSL's own verdict is ours."""
    return bool(ok)


def _words(error: Exception) -> str:
    """The reason in an OpenSSL error: its last part."""
    parts = error.args[0] if error.args else ""
    if isinstance(parts, list) and parts:
        return str(parts[0][-1])
    return str(error) or type(error).__name__

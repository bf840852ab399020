"""Whom a client trusts over ``wss://``, and what it shows of itself.

The files are read when the client connects, so renewed ones are picked up with the
next connection; the channels of a connection share what it was opened with.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping
from pathlib import Path

from iii.client.options import InitOptions


class Trust:
    """Makes TLS contexts for one client.

    :param secure: the engine's address is ``wss://``
    """

    def __init__(
        self, options: InitOptions, *, secure: bool, env: Mapping[str, str] = os.environ
    ) -> None:
        self._options = options
        self._secure = secure
        self._env = env
        self._context: ssl.SSLContext | None = None

    @property
    def context(self) -> ssl.SSLContext | None:
        """What the last worker connection was opened with; None without TLS."""
        return self._context if self._context is not None or not self._secure else self.renewed()

    def renewed(self) -> ssl.SSLContext | None:
        """A context from the files as they are now; None without TLS.

        :raises ValueError: a file is no good; the message names it
        """
        if not self._secure:
            return None
        ca = self._file(self._options.ca, "III_CA")
        context = _trusting(ca)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        cert = self._file(self._options.client_cert, "III_CLIENT_CERT")
        key = self._file(self._options.client_key, "III_CLIENT_KEY")
        if cert is not None:
            try:
                context.load_cert_chain(cert, key, password=_no_passphrase)
            except (OSError, ValueError) as error:
                files = f"{cert} and {key}" if key else str(cert)
                raise ValueError(f"the certificate in {files} can't be used: {error}") from error
        elif key is not None:
            raise ValueError(
                f"the key {key} has no certificate: name it with client_cert or III_CLIENT_CERT"
            )
        self._context = context
        return context

    def _file(self, given: str | os.PathLike[str] | None, variable: str) -> Path | None:
        named = given or self._env.get(variable)
        return Path(named) if named else None


def _trusting(ca: Path | None) -> ssl.SSLContext:
    """A context that trusts the authorities in ``ca``, else the system's."""
    if ca is None:
        return ssl.create_default_context()
    try:
        return ssl.create_default_context(cafile=str(ca))
    except (OSError, ValueError) as error:
        raise ValueError(f"the authorities in {ca} can't be read: {error}") from error


def _no_passphrase() -> str:
    raise ValueError("the key has a passphrase, and nobody is there to ask")

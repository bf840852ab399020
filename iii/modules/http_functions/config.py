"""The settings of ``iii-http-functions`` (docs/external-functions.md)."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct, field

from iii.modules.http_functions.rules import Rules, glob, pattern

MIB = 1024 * 1024
DAY_MS = 24 * 3600 * 1000

Count = Annotated[int, Meta(ge=1, le=100_000)]
Bytes = Annotated[int, Meta(ge=1, le=64 * MIB)]


class Security(Struct, frozen=True):
    """What may be called.  Without a word of the operator: public addresses, over TLS."""

    #: Patterns of hosts or URLs.  None or empty: any.
    url_allowlist: list[str] | None = None
    block_private_ips: bool = True
    require_https: bool = True
    #: Patterns of environment variables that registrations may name.  None: any.
    variable_allowlist: list[str] | None = None

    def __post_init__(self) -> None:
        try:
            for text in self.url_allowlist or ():
                pattern(text)
        except ValueError as error:
            raise ValueError(f"Invalid URL in url_allowlist: {error}") from error
        for text in self.variable_allowlist or ():
            glob(text)

    @property
    def rules(self) -> Rules:
        """The same as something that checks."""
        return Rules(
            self.url_allowlist or (),
            block_private=self.block_private_ips,
            require_https=self.require_https,
        )


class HttpFunctionsConfig(Struct, frozen=True):
    """The ``config:`` block."""

    security: Security = field(default_factory=Security)
    #: For functions that name no ``timeout_ms``.
    default_timeout_ms: Annotated[int, Meta(ge=1, le=DAY_MS)] = 30_000
    max_request_bytes: Bytes = 16 * MIB
    max_response_bytes: Bytes = 16 * MIB
    #: Requests at once, to all hosts and to one; more calls wait for their turn.
    max_connections: Count = 512
    max_connections_per_host: Count = 128

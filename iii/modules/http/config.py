"""The settings of the HTTP module (docs/http.md, "Settings")."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from msgspec import Meta, Struct

from iii.tls import Tls

Port = Annotated[int, Meta(ge=0, le=65535)]
Count = Annotated[int, Meta(ge=0)]
Milliseconds = Annotated[int, Meta(ge=1)]

JSON_BODY_LIMIT = 64 * 1024 * 1024


class CorsConfig(Struct):
    """Which origins and methods browsers are told about; empty means all."""

    allowed_origins: list[str] = []
    allowed_methods: list[str] = []


class MiddlewareConfig(Struct):
    """A function that runs before every matched route, lowest ``priority`` first."""

    function_id: str
    #: Only ``preHandler`` exists; entries of other phases are reported and never run.
    phase: str = "preHandler"
    priority: int = 0


class HttpConfig(Struct):
    """The ``config:`` block of ``iii-http``."""

    strict_keys: ClassVar[tuple[str, ...]] = ("tls",)

    port: Port = 3111
    #: None: ``III_HOST``, or loopback (127.0.0.1 and ::1).
    host: str | None = None
    #: None: plain HTTP.
    tls: Tls | None = None
    default_timeout: Milliseconds = 30_000
    concurrency_request_limit: Count = 1024
    #: None: every origin, method and header is allowed.
    cors: CorsConfig | None = None
    middleware: list[MiddlewareConfig] = []
    #: Bytes.  None: JSON bodies up to 64 MiB, streamed bodies of any size.
    body_limit: Annotated[int, Meta(ge=0)] | None = None
    ignore_trailing_slash: bool = False
    #: After a start, a request that no route matches is told to come again, as long as
    #: workers may not have come back yet.
    startup_grace_ms: Count = 0
    not_found_function: str | None = None
    #: Copied from the request or made up, given to the function and the client.
    request_id_header: str | None = None
    trust_proxy: bool = False
    flatten_request: bool = True
    expose_multi_values: bool = False
    #: Accepted for old configurations; errors have one form.
    error_format: Literal["legacy", "envelope"] = "envelope"

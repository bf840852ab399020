"""What a client can be told, and what it takes from the environment.

An argument wins over a variable, with one exception that operators rely on:
``III_WORKER_NAME`` renames a worker without touching its program.  Nothing here
does I/O; the environment is read when the client is made, the token each time it
connects, so a rotated token is picked up.
"""

from __future__ import annotations

import os
import platform
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from iii._version import __version__

DEFAULT_ADDRESS = "ws://localhost:49134"
DEFAULT_INVOCATION_TIMEOUT_MS = 30_000
USER_AGENT = f"iii-python/{__version__}"

#: What the engine may rely on with this client, whatever its version number says:
#: messages to 64 MiB arrive.
FEATURES = ["large-messages.v1"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ReconnectionConfig:
    """The pauses between attempts to connect: growing, with jitter.

    :param max_retries: consecutive failures after the first attempt; -1 = never give up
    """

    initial_delay_ms: float = 1000
    max_delay_ms: float = 30_000
    backoff_multiplier: float = 2.0
    jitter_factor: float = 0.3
    max_retries: int = -1

    def delay_s(self, retry: int, jitter: float) -> float:
        """Seconds before retry number ``retry`` (from 0); ``jitter`` lies in [-1, 1]."""
        # The exponent is bounded: a float overflows at about 2 ** 1024.
        growth = self.backoff_multiplier ** min(retry, 64)
        delay = min(self.initial_delay_ms * growth, self.max_delay_ms)
        return max(0.0, delay + delay * self.jitter_factor * jitter) / 1000

    def exhausted(self, retries: int) -> bool:
        """Whether no attempt is left after so many retries."""
        return 0 <= self.max_retries <= retries


@dataclass(frozen=True, kw_only=True, slots=True)
class TelemetryOptions:
    """What the worker says about its program when it introduces itself."""

    language: str | None = None
    project_name: str | None = None
    framework: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class InitOptions:
    """Everything about a client besides its address.

    :param worker_name: default ``<host>:<pid>``; ``III_WORKER_NAME`` wins
    :param worker_description: one sentence, shown in lists
    :param namespace: default ``III_NAMESPACE``
    :param invocation_timeout_ms: how long a call waits for its answer
    :param headers: sent with every WebSocket upgrade
    :param token: sent as ``Authorization: Bearer``; default ``III_TOKEN``
    :param ca: PEM file of the authorities to trust over ``wss://``; default ``III_CA``, else
        the system's
    :param client_cert: PEM file of a certificate to show; default ``III_CLIENT_CERT``
    :param client_key: PEM file of its private key; default ``III_CLIENT_KEY``, or in the
        same file
    """

    worker_name: str | None = None
    worker_description: str | None = None
    namespace: str | None = None
    invocation_timeout_ms: float = DEFAULT_INVOCATION_TIMEOUT_MS
    reconnection_config: ReconnectionConfig | None = None
    headers: Mapping[str, str] | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)
    ca: str | os.PathLike[str] | None = None
    client_cert: str | os.PathLike[str] | None = None
    client_key: str | os.PathLike[str] | None = None
    telemetry: TelemetryOptions | None = None

    def __post_init__(self) -> None:
        if self.namespace is not None and not self.namespace.strip():
            raise ValueError("namespace must not be blank")


def default_address(env: Mapping[str, str] = os.environ) -> str:
    """The engine's address when the program names none."""
    return env.get("III_URL") or env.get("III_BRIDGE_URL") or DEFAULT_ADDRESS


def checked_address(address: str) -> str:
    """Refuse now what could never connect.

    :raises ValueError: when it is not a WebSocket address
    """
    if not address.startswith(("ws://", "wss://")):
        meant = {"http": "ws", "https": "wss"}.get(urlsplit(address).scheme)
        hint = f": an engine's address is {meant}://…" if meant else ""
        shown = shown_address(address)
        raise ValueError(f"address must start with ws:// or wss://, got {shown!r}{hint}")
    return address


def shown_address(address: str) -> str:
    """The address for logs and errors, without what may be secret: user, query."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return "an address that can't be read"
    return (
        f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
        if parts.scheme
        else address
    )


def upgrade_headers(options: InitOptions, env: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The extra headers of a WebSocket upgrade, with the token unless the caller set one."""
    headers = dict(options.headers or {})
    token = options.token or env.get("III_TOKEN")
    if token and not any(name.lower() == "authorization" for name in headers):
        headers["Authorization"] = f"Bearer {token}"
    return headers


def introduction(options: InitOptions, env: Mapping[str, str] = os.environ) -> dict[str, Any]:
    """The input of ``engine::workers::register``: who is connected here."""
    telemetry = options.telemetry or TelemetryOptions()
    system = f"{platform.system()} {platform.release()} ({platform.machine()})"
    about: dict[str, Any] = {
        "runtime": "python",
        "version": __version__,
        "name": env.get("III_WORKER_NAME")
        or options.worker_name
        or f"{socket.gethostname()}:{os.getpid()}",
        "os": system,
        "pid": os.getpid(),
        "isolation": env.get("III_ISOLATION") or None,
        "features": FEATURES,
        "telemetry": {
            "language": telemetry.language or env.get("LANG", "").split(".")[0] or None,
            "project_name": telemetry.project_name,
            "framework": telemetry.framework or "iii-py",
        },
    }
    namespace = options.namespace or env.get("III_NAMESPACE", "").strip()
    optional = {"description": options.worker_description, "namespace": namespace}
    return about | {key: value for key, value in optional.items() if value}

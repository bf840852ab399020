"""iii: functions, triggers and workers around one engine.

``from iii import III`` is the client; ``iii.Engine`` is the engine itself.  Names
are loaded when they are first used, so importing ``iii`` costs nothing, and a
program that only uses the client never imports Twisted.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from iii._version import __version__

if TYPE_CHECKING:
    from iii.client.channels import (
        Channel,
        ChannelReader,
        ChannelWriter,
        StreamChannelRef,
        WritableStream,
        is_channel_ref,
    )
    from iii.client.client import III, init
    from iii.client.connection import IIIConnectionState
    from iii.client.discovery import FunctionInfo, TriggerInfo, WorkerInfo
    from iii.client.errors import (
        ChannelError,
        IIIForbiddenError,
        IIITimeoutError,
        RegistrationRejectedError,
        UnwelcomeError,
    )
    from iii.client.http import HttpRequest, HttpResponse, http
    from iii.client.messages import TriggerAction, TriggerActionEnqueue, TriggerActionVoid
    from iii.client.options import InitOptions, ReconnectionConfig, TelemetryOptions
    from iii.client.registrations import FunctionRef
    from iii.client.triggers import Trigger, TriggerConfig, TriggerHandler, TriggerTypeRef
    from iii.engine.core import Engine
    from iii.errors import IIIError, InvocationError

_MODULES = {
    "iii.client.channels": (
        "Channel",
        "ChannelReader",
        "ChannelWriter",
        "StreamChannelRef",
        "WritableStream",
        "is_channel_ref",
    ),
    "iii.client.client": ("III", "init"),
    "iii.client.connection": ("IIIConnectionState",),
    "iii.client.discovery": ("FunctionInfo", "TriggerInfo", "WorkerInfo"),
    "iii.client.errors": (
        "ChannelError",
        "IIIForbiddenError",
        "IIITimeoutError",
        "RegistrationRejectedError",
        "UnwelcomeError",
    ),
    "iii.client.http": ("HttpRequest", "HttpResponse", "http"),
    "iii.client.messages": ("TriggerAction", "TriggerActionEnqueue", "TriggerActionVoid"),
    "iii.client.options": ("InitOptions", "ReconnectionConfig", "TelemetryOptions"),
    "iii.client.registrations": ("FunctionRef",),
    "iii.client.triggers": ("Trigger", "TriggerConfig", "TriggerHandler", "TriggerTypeRef"),
    "iii.engine.core": ("Engine",),
    "iii.errors": ("IIIError", "InvocationError"),
}

_HOME = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "III",
    "Channel",
    "ChannelError",
    "ChannelReader",
    "ChannelWriter",
    "Engine",
    "FunctionInfo",
    "FunctionRef",
    "HttpRequest",
    "HttpResponse",
    "IIIConnectionState",
    "IIIError",
    "IIIForbiddenError",
    "IIITimeoutError",
    "InitOptions",
    "InvocationError",
    "ReconnectionConfig",
    "RegistrationRejectedError",
    "StreamChannelRef",
    "TelemetryOptions",
    "Trigger",
    "TriggerAction",
    "TriggerActionEnqueue",
    "TriggerActionVoid",
    "TriggerConfig",
    "TriggerHandler",
    "TriggerInfo",
    "TriggerTypeRef",
    "UnwelcomeError",
    "WorkerInfo",
    "WritableStream",
    "__version__",
    "http",
    "init",
    "is_channel_ref",
]


def __getattr__(name: str) -> Any:
    """Load a public name on its first use."""
    if name not in _HOME:
        raise AttributeError(f"module 'iii' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Also the names that are not loaded yet."""
    return sorted({*globals(), *__all__})

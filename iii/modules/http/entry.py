"""One ``http`` trigger on the way to becoming a route.

The configuration is read as leniently as published SDKs need: only ``api_path``
is required, wrong types of optional fields mean "absent", unknown fields are
nobody's business.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from iii.engine.bindings import Binding
from iii.errors import Code, RegistrationError
from iii.modules.http import pattern, request

METHODS = ("GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS")


class HttpTrigger(Struct):
    """The ``config`` of an ``http`` trigger, as listings describe it."""

    api_path: Annotated[str, Meta(description="e.g. users/:id or files/*")]
    http_method: str = "GET"
    condition_function_id: str | None = None
    middleware_function_ids: list[str] = []


class Entry:
    """A binding with its parsed configuration: an element of a route's stack."""

    __slots__ = (
        "_opening",
        "binding",
        "condition",
        "method",
        "middleware",
        "pattern",
        "plain",
        "shown",
    )

    def __init__(self, binding: Binding, *, ignore_trailing_slash: bool) -> None:
        config = msgspec.json.decode(binding.config)
        if not isinstance(config, dict):
            config = {}
        path = config.get("api_path")
        if not isinstance(path, str):
            raise RegistrationError(
                Code.TRIGGER_REGISTRATION_FAILED, "api_path is required for http triggers"
            )
        method = config.get("http_method")
        self.method = method.upper() if isinstance(method, str) else "GET"
        if self.method not in METHODS:
            raise RegistrationError(
                Code.TRIGGER_REGISTRATION_FAILED, f"Unsupported HTTP method: {method}"
            )
        self.binding = binding
        self.pattern = pattern.parse(path, ignore_trailing_slash=ignore_trailing_slash)
        #: the pattern as figures and spans name it
        self.shown = f"/{self.pattern.text.lstrip('/')}"
        self.condition = _condition(config)
        self.middleware = _strings(config.get("middleware_function_ids"))
        #: Nothing to ask before the function is called.
        self.plain = self.condition is None and not self.middleware
        self._opening = request.opening(self.pattern.text, self.method)

    def opening(self, method: str) -> bytes:
        """The part of the request object that is known beforehand."""
        if method == self.method:
            return self._opening
        return request.opening(self.pattern.text, method)  # HEAD on a GET route

    def params(self, values: tuple[str, ...]) -> dict[str, str]:
        """``path_params`` for the values the router found."""
        if not values:
            return {}
        params = dict(zip(self.pattern.names, values, strict=True))
        if self.pattern.alias is not None:
            params[self.pattern.alias] = values[-1]
        return params


def _condition(config: dict[str, Any]) -> str | None:
    for name in ("condition_function_id", "_condition_path"):
        value = config.get(name)
        if isinstance(value, str):
            return value
    return None


def _strings(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list):
        return ()
    return tuple(item for item in value if isinstance(item, str))

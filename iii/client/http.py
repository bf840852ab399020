"""Streaming HTTP: a handler that reads the request and writes the response.

``http`` turns ``async def callback(request, response)`` into a handler.  The
response goes through a channel: status and headers as text frames, the body as
bytes, and the end of the channel is the end of the response, so a callback that
wrote must close.  A callback that never touches ``response`` may return a value
like any handler.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from iii.client.channels import ChannelReader, ChannelWriter, WritableStream
from iii.client.encode import encode


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """One HTTP request.  ``path`` is the route's pattern, ``body`` the JSON body or None."""

    method: str
    path: str
    path_params: dict[str, str] = field(default_factory=dict)
    query_params: dict[str, Any] = field(default_factory=dict)
    headers: dict[str, Any] = field(default_factory=dict)
    body: Any = None
    request_body: ChannelReader | None = None


class HttpResponse:
    """The response under way."""

    def __init__(self, writer: ChannelWriter) -> None:
        self.writer = writer

    @property
    def stream(self) -> WritableStream:
        """The body, for code that does not wait."""
        return self.writer.stream

    async def status(self, status_code: int) -> None:
        """Set the status; before the first byte of the body."""
        await self._control({"type": "set_status", "status_code": status_code})

    async def headers(self, headers: Mapping[str, str]) -> None:
        """Set headers; before the first byte of the body."""
        await self._control({"type": "set_headers", "headers": dict(headers)})

    def close(self) -> None:
        """End the response, without waiting."""
        self.writer.close()

    async def _control(self, message: dict[str, Any]) -> None:
        await self.writer.send_message_async(encode(message).decode())


HttpCallback = Callable[[HttpRequest, HttpResponse], Awaitable[Any]]


def http(callback: HttpCallback) -> Callable[[Any], Awaitable[Any]]:
    """Make a handler of ``async def callback(request, response)``.

    :raises TypeError: when the callback is not a coroutine function
    """
    if not inspect.iscoroutinefunction(callback):
        raise TypeError("http() needs an async def callback(request, response)")

    async def handler(data: Any) -> Any:
        writer = data.get("response") if isinstance(data, dict) else None
        if not isinstance(writer, ChannelWriter):
            raise ValueError("this function answers HTTP requests only: no response channel")
        body = data.get("request_body")
        request = HttpRequest(
            method=data.get("method", "GET"),
            path=data.get("path", ""),
            path_params=data.get("path_params") or {},
            query_params=data.get("query_params") or {},
            headers=data.get("headers") or {},
            body=data.get("body"),
            request_body=body if isinstance(body, ChannelReader) else None,
        )
        try:
            return await callback(request, HttpResponse(writer))
        except BaseException:
            # A response that was begun must not stay open behind the error.
            if writer.used:
                writer.close()
            raise

    handler.__name__ = getattr(callback, "__name__", "http")
    handler.__doc__ = callback.__doc__
    return handler

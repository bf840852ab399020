"""HTTP as a stranger would speak it: ``http.client``, in a thread."""

from __future__ import annotations

import asyncio
import http.client
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

LIMIT_S = 12.0


@dataclass
class Reply:
    """A response and when its pieces arrived, in seconds since the request."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    first_piece_s: float
    last_piece_s: float

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def shown(self) -> str:
        return f"{self.status} {dict(self.headers)} {self.body[:300]!r}"


async def request(
    port: int,
    method: str,
    path: str,
    *,
    json_body: Any = None,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
) -> Reply:
    """One request on a connection of its own."""
    sent = dict(headers or {})
    if json_body is not None:
        body = json.dumps(json_body).encode()
        sent["content-type"] = "application/json"
    return await asyncio.to_thread(_request, port, method, path, body, sent)


def _request(
    port: int, method: str, path: str, body: bytes | None, headers: dict[str, str]
) -> Reply:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=LIMIT_S)
    began = time.monotonic()
    try:
        connection.request(method, path, body=body, headers=headers)
        response = connection.getresponse()
        pieces: list[tuple[float, bytes]] = []
        while piece := response.read1(65536):
            pieces.append((time.monotonic() - began, piece))
    finally:
        connection.close()
    return Reply(
        status=response.status,
        headers={name.lower(): value for name, value in response.getheaders()},
        body=b"".join(piece for _, piece in pieces),
        first_piece_s=pieces[0][0] if pieces else 0.0,
        last_piece_s=pieces[-1][0] if pieces else 0.0,
    )

"""What a function receives for a request: built by joining bytes.

The parts that a route knows beforehand are made once, bodies and header objects
are bytes already, so nothing is encoded as a whole.  At its top level the object
also carries the caller's own fields (decision 30): path parameters go before
members of a JSON body, those before query parameters, and none of them can take
the place of a request-object key or start with ``_``.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote_plus

import msgspec
from msgspec import Raw

encode = msgspec.json.encode

RESERVED = frozenset(
    (
        "path",
        "method",
        "path_params",
        "query_params",
        "headers",
        "body",
        "trigger",
        "request_body",
        "response",
        "query_params_all",
        "headers_all",
    )
)


def opening(pattern: str, method: str) -> bytes:
    """The fields a route knows beforehand, up to the first that varies."""
    path, verb = encode(pattern), encode(method)
    return (
        b'{"path":%b,"method":%b,"trigger":{"type":"http","path":%b,"method":%b},"path_params":'
        % (path, verb, path, verb)
    )


def opening_unmatched(path: str, method: str) -> bytes:
    """The same for ``not_found_function``: the actual path, a trigger without route."""
    return b'{"path":%b,"method":%b,"trigger":{"type":"http"},"path_params":' % (
        encode(path),
        encode(method),
    )


def query_pairs(query: str) -> list[tuple[str, str]]:
    """Read ``application/x-www-form-urlencoded`` text; any bytes are accepted."""
    coded = "%" in query or "+" in query
    pairs = []
    for part in query.split("&"):
        if not part:
            continue
        name, _, value = part.partition("=")
        if coded:
            name, value = unquote_plus(name), unquote_plus(value)
        pairs.append((name, value))
    return pairs


def all_values(pairs: list[tuple[str, str]]) -> dict[str, list[str]]:
    """Every value of every name, in order."""
    collected: dict[str, list[str]] = {}
    for name, value in pairs:
        collected.setdefault(name, []).append(value)
    return collected


def request_object(
    opening: bytes,
    params: dict[str, str],
    query: list[tuple[str, str]],
    headers: bytes,
    body: bytes,
    more: bytes = b"",
) -> bytes:
    """The object without its closing brace.

    :param headers: a JSON object
    :param body: JSON
    :param more: further fields, each with a comma before it
    """
    return b"".join(
        (
            opening,
            encode(params) if params else b"{}",
            b',"query_params":',
            encode(dict(query)) if query else b"{}",
            b',"headers":',
            headers,
            b',"body":',
            body,
            more,
        )
    )


def channel_refs(body_id: str, body_key: str, response_id: str, response_key: str) -> bytes:
    """The two channel references; ids and keys are plain ASCII."""
    return (
        f',"request_body":{{"channel_id":"{body_id}","access_key":"{body_key}",'
        f'"direction":"read"}},"response":{{"channel_id":"{response_id}",'
        f'"access_key":"{response_key}","direction":"write"}}'
    ).encode()


def lifted(
    params: dict[str, str], members: dict[str, Raw] | None, query: list[tuple[str, str]]
) -> bytes:
    """The caller's own fields, each with a comma before it."""
    if not (params or members or query):
        return b""
    fields: dict[str, Any] = dict(query)
    if members:
        fields.update(members)
    if params:
        fields.update(params)
    for name in [name for name in fields if name in RESERVED or name[:1] == "_"]:
        del fields[name]
    return b"," + encode(fields)[1:-1] if fields else b""

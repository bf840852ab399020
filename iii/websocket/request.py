"""What an upgrade request says, for those who decide about it.

Header names are lower-case; the query is passed on as it came, not decoded.
"""

from __future__ import annotations


def headers_of(request: bytes) -> dict[str, str]:
    """Lower-case name → the last value that is ASCII.

    :param request: the head of the request, its first line included
    """
    headers: dict[str, str] = {}
    for line in request.splitlines()[1:]:
        name, colon, value = line.partition(b":")
        if colon and name.isascii() and value.isascii():
            headers[name.strip().lower().decode()] = value.strip().decode()
    return headers


def query_of(query: str) -> dict[str, list[str]]:
    """Name → values in order, both as they came.

    :param query: what is behind the ``?``
    """
    values: dict[str, list[str]] = {}
    for pair in query.split("&"):
        name, _, value = pair.partition("=")
        if name:
            values.setdefault(name, []).append(value)
    return values

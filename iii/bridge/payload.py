"""What an engine adds to a payload must not travel on: the next one adds its own."""

from __future__ import annotations

from msgspec import Raw

_MEMBER = b'"_caller_worker_id":"'


def without_caller(data: Raw, caller: str | None) -> bytes:
    """``data`` without the caller's worker id that this engine appended (``with_caller``).

    It stands at the end, so nothing is looked through.
    """
    text = bytes(data)
    if caller is None:
        return text
    added = b"".join((_MEMBER, caller.encode(), b'"}'))
    if not text.endswith(added):
        return text
    kept = text[: -len(added)]
    return (kept[:-1] if kept.endswith(b",") else kept) + b"}"

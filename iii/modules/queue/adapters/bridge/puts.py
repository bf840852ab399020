"""Messages on their way to the other engine's queues.

A message is put by a call whose answer is waited for: it is accepted here when it is safe
there.  Engines from 0.11 on take it as ``iii::durable::publish``, older ones as ``enqueue``;
which one it is shows in the first answer and is asked anew after every connection.

What is plain is put as plain, so that engines of the original understand it; what only
engines like this one can do is said in fields of its own and needs their receipt.
"""

from __future__ import annotations

from typing import Any, NoReturn

import msgspec
from msgspec import Raw, Struct

from iii.bridge import BridgeError, Link, RemoteError
from iii.errors import Code, IIIError
from iii.modules.queue.adapter import New, Once, Receipt
from iii.modules.queue.message import DEFAULT_PRIORITY

PUBLISH, OLDER_PUBLISH = "iii::durable::publish", "enqueue"


class _Receipt(Struct):
    messageReceiptId: str
    duplicate: bool = False


class Puts:
    """Puts messages."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._publish = PUBLISH
        link.on_connected(self._connected)

    async def topic(self, name: str, new: New, once: Once | None) -> Receipt:
        """Publish on a topic.

        :raises IIIError: it is not kept there
        """
        job = _job(new, once)
        data = {"topic": name, "data": new.data, **job}
        try:
            answer = await self._call(self._publish, data, new)
        except RemoteError as error:
            if error.code != Code.FUNCTION_NOT_FOUND or self._publish == OLDER_PUBLISH:
                _refused(error)
            self._publish = OLDER_PUBLISH
            try:
                answer = await self._call(self._publish, data, new)
            except RemoteError as older:
                _refused(older)
        return _receipt(answer, new, needed=bool(job))

    async def named(self, name: str, new: New, once: Once | None) -> Receipt:
        """Put a call on a named queue there.

        :raises IIIError: it is not kept there
        """
        job = _job(new, once)
        action = Raw(msgspec.json.encode({"type": "enqueue", "queue": name, **job}))
        try:
            answer = await self._call(new.function_id or "", new.data, new, action=action)
        except RemoteError as error:
            _refused(error)
        return _receipt(answer, new, needed=True)

    async def _call(self, function_id: str, data: Any, new: New, **how: Any) -> Raw | None:
        try:
            return await self._link.call(
                function_id, data, traceparent=new.traceparent, baggage=new.baggage, **how
            )
        except BridgeError as error:
            raise IIIError(error.code, f"{self._link.remote}: {error.message}") from error

    def _connected(self) -> None:
        """It may be another release now."""
        self._publish = PUBLISH


def _job(new: New, once: Once | None) -> dict[str, Any]:
    """What makes it more than a plain message."""
    job: dict[str, Any] = {}
    if new.due_ms:
        job["deliver_at"] = new.due_ms
    if new.ttl_ms is not None:
        job["ttl_ms"] = new.ttl_ms
    if new.priority != DEFAULT_PRIORITY:
        job["priority"] = new.priority
    if once is not None:
        job["idempotency_key"] = once.key
        job["idempotency_ttl_ms"] = once.ttl_ms
    return job


def _receipt(answer: Raw | None, new: New, *, needed: bool) -> Receipt:
    """The other engine's receipt; a plain message of a topic has none.

    :raises IIIError: it gave none, so it has not understood what was asked
    """
    try:
        given = msgspec.json.decode(b"null" if answer is None else answer, type=_Receipt)
    except msgspec.ValidationError as error:
        if needed:
            text = "the other engine has no delays, priorities, lifetimes or idempotency keys"
            raise IIIError(Code.NOT_SUPPORTED, text) from error
        return Receipt(new.id)
    return Receipt(given.messageReceiptId, given.duplicate)


def _refused(error: RemoteError) -> NoReturn:
    raise IIIError(error.code, error.text) from error

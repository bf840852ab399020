"""The action ``enqueue`` of a call: it is put on a queue instead of being made.

That is a call of ``engine::queue::enqueue``, of whoever provides it; its receipt is the
answer to the call.
"""

from __future__ import annotations

from typing import Any

from msgspec import Raw
from twisted.logger import Logger

from iii.engine.functions import DEFAULT_NAMESPACE
from iii.engine.ids import next_id
from iii.engine.invocations import Call, ErrorBody, Invocations
from iii.engine.tracecontext import UNRECORDED
from iii.errors import Code
from iii.wire import messages as m
from iii.wire.codec import encode
from iii.wire.link import WorkerLink

log = Logger()

ENQUEUE = "engine::queue::enqueue"
#: What an action may not say: the call itself says it, and was checked for it.
_NOT_EXTRA = frozenset(("type", "queue", "namespace", "_caller_worker_id"))


def enqueue(
    invocations: Invocations, link: WorkerLink, message: m.InvokeFunction, action: dict[str, Any]
) -> None:
    """Put ``message`` on a queue.

    :param link: to the worker that sent it, which gets the receipt when it waits for one
    :param action: names the queue; what else it says is passed on
    """
    receipt = next_id()
    queued = {
        "queue": action.get("queue"),
        "function_id": message.function_id,
        "data": message.data,
        "messageReceiptId": receipt,
        "traceparent": message.traceparent,
        "baggage": message.baggage,
    }
    if message.namespace not in (None, DEFAULT_NAMESPACE):
        queued["namespace"] = message.namespace
    extra = {key: value for key, value in action.items() if key not in _NOT_EXTRA}
    data = Raw(encode({**extra, **queued} if extra else queued))
    invocations.start(
        Call(
            next_id(),
            ENQUEUE,
            data,
            _enqueued,
            requester=(link, message, receipt),
            # The enqueue has a span of its own, in the trace of the message.
            traceparent=UNRECORDED,
        )
    )


def _enqueued(call: Call, result: Raw | None, error: ErrorBody | None) -> None:
    link, message, receipt = call.requester
    if error is not None:
        _not_enqueued(link, message, error)
    elif message.invocation_id is not None:
        value = result or Raw(encode({"messageReceiptId": receipt}))
        link.send_result(
            message.invocation_id,
            message.function_id,
            value,
            None,
            message.traceparent,
            message.baggage,
        )


def _not_enqueued(link: WorkerLink, message: m.InvokeFunction, error: ErrorBody) -> None:
    not_loaded = error.code == Code.FUNCTION_NOT_FOUND
    text = "QueueModule not loaded" if not_loaded else error.message
    log.warn(
        "{worker}: enqueue of {function} failed: {text}",
        worker=link.worker.describe,
        function=message.function_id,
        text=text,
    )
    if message.invocation_id is not None:
        told = ErrorBody(Code.ENQUEUE_ERROR, text)
        link.send_result(message.invocation_id, message.function_id, None, told)

"""What is asked before a function runs: middleware and conditions.

Only requests that have something to ask come through this coroutine; the rest
takes the plain path in ``serving.py``.  After every wait the request may be over
(time limit, client gone), and then nobody is asked any more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType
from twisted.logger import Logger

from iii.errors import Code, InvocationError
from iii.modules.http import request
from iii.modules.http.answer import Answer, answer_of

if TYPE_CHECKING:
    from iii.modules.http.serving import Serving

log = Logger()


class Verdict(Struct):
    """What a middleware function returns."""

    action: Any = None
    response: Raw | UnsetType = UNSET


_verdict = msgspec.json.Decoder(Verdict)


async def ask(serving: Serving) -> None:
    """Global middleware, body, condition, the route's middleware; then the function."""
    service = serving.service
    for function_id in service.middleware:
        # Of the configuration, which knows no namespaces.
        await _middleware(serving, function_id, None)
        if serving.over:
            return
    await serving.read_body()
    entry = serving.entry
    namespace = entry.binding.namespace
    if not serving.over and entry.condition is not None:
        await _condition(serving, entry.condition, namespace)
    for function_id in entry.middleware:
        if serving.over:
            return
        await _middleware(serving, function_id, namespace)
    serving.invoke()


async def _condition(serving: Serving, function_id: str, namespace: str) -> None:
    data = b"".join((serving.object(), serving.lifted(), b"}"))
    result = await _call(serving, function_id, data, namespace)
    if result is not None and bytes(result).strip() == b"false":
        serving.fail(422, Code.CONDITION_NOT_MET, "Request condition not met", skipped=True)


async def _middleware(serving: Serving, function_id: str, namespace: str | None) -> None:
    exchange = serving.exchange
    data = (
        b'{"phase":"preHandler","request":{"path_params":%b,"query_params":%b,"headers":%b,'
        b'"method":%b},"context":{}}'
        % (
            request.encode(serving.params),
            request.encode(dict(serving.query)),
            serving.headers_json(),
            request.encode(exchange.method),
        )
    )
    result = await _call(serving, function_id, data, namespace)
    if result is None or serving.over:
        return
    try:
        verdict = _verdict.decode(result)
    except msgspec.ValidationError:
        verdict = Verdict()
    if verdict.action == "respond":
        serving.answer(_response(verdict.response))
    elif verdict.action != "continue":
        log.warn(
            "middleware {function} returned neither continue nor respond; going on",
            function=function_id,
        )


def _response(said: Raw | UnsetType) -> Answer:
    """The answer a middleware gives: an envelope whose absent body is JSON null."""
    text = b"{}" if said is UNSET else bytes(said).strip()
    fields: dict[str, Any] = {}
    if text[:1] == b"{":
        fields = msgspec.json.decode(text, type=dict[str, Raw])
    fields.setdefault("body", Raw(b"null"))
    return answer_of(request.encode(fields))


async def _call(
    serving: Serving, function_id: str, data: bytes, namespace: str | None
) -> Raw | None:
    """Ask a function; when it fails, so does the request."""
    service = serving.service
    try:
        return await service.api.invoke(
            function_id,
            Raw(data),
            namespace=namespace,
            traceparent=serving.context,
            baggage=serving.exchange.headers.baggage,
            timeout_s=service.timeout_s,
        )
    except InvocationError as error:
        serving.failed(error)
        return None

"""One call over HTTP: request out, response in.

The time of a call runs from its start to the last byte of the response, the wait for a
slot included.  No redirects, no retries, no cookies, no proxies: each would reach an
address that nobody checked, or run a function twice.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Raw
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.protocol import Protocol
from twisted.internet.threads import deferToThreadPool
from twisted.python.failure import Failure
from twisted.web.client import Agent, ResponseDone
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers
from twisted.web.iweb import IBodyProducer
from zope.interface import implementer

from iii.engine import tracecontext
from iii.engine.ids import uuid4_text
from iii.engine.invocations import Call
from iii.engine.module import ModuleApi
from iii.engine.tracing import Error
from iii.errors import Code, IIIError, InvocationError
from iii.modules.http_functions.auth import Variables
from iii.modules.http_functions.codes import not_read, not_sent
from iii.modules.http_functions.config import HttpFunctionsConfig
from iii.modules.http_functions.outcome import cause_of, result_of
from iii.modules.http_functions.registration import Remote, is_header_value
from iii.modules.http_functions.slots import Room, Slots

#: Larger payloads are prepared, and larger responses looked through, in a thread.
THREAD_BYTES = 256 * 1024
MAX_BAGGAGE_CHARS = 8_192

_SPAN = (
    "http.request.method",
    "server.address",
    "server.port",
    "http.response.status_code",
    "iii.function.id",
)


class Exchanges:
    """Makes calls.

    :param agent: what sends requests
    """

    def __init__(
        self, engine: ModuleApi, settings: HttpFunctionsConfig, agent: Agent, variables: Variables
    ) -> None:
        self._engine = engine
        self._settings = settings
        self._agent = agent
        self._variables = variables
        self._slots = Slots(settings.max_connections, settings.max_connections_per_host)
        self._room = Room()
        self._running: set[_Running] = set()

    @property
    def under_way(self) -> int:
        """How many calls are not over."""
        return len(self._running)

    def run(self, remote: Remote, call: Call) -> Deferred[Raw | None]:
        """Run ``call``.

        :raises IIIError: through the Deferred
        """
        running = _Running()
        self._running.add(running)
        work = running.work = Deferred.fromCoroutine(self._run(remote, call, running))
        text = f"operation timed out after {remote.timeout_s * 1000:g} ms"
        timer = self._engine.clock.call_later(remote.timeout_s, running.end, not_sent(text))

        def over(outcome: Any) -> Any:
            self._running.discard(running)
            if timer.active():
                timer.cancel()
            return Failure(running.why) if running.why is not None else outcome

        return work.addBoth(over)

    def stop(self) -> None:
        """End every call."""
        for running in list(self._running):
            running.end(InvocationError(Code.INVOCATION_STOPPED, "Invocation stopped"))

    async def _run(self, remote: Remote, call: Call, running: _Running) -> Raw | None:
        size = len(bytes(call.data))
        if size > self._settings.max_request_bytes:
            text = f"{remote.id} takes {self._settings.max_request_bytes} bytes, these are {size}"
            raise InvocationError(Code.PAYLOAD_TOO_LARGE, text)
        if not self._room.take(size):
            raise InvocationError(Code.OVERLOADED, "requests and responses fill the memory")
        host = f"{remote.target.scheme}://{remote.target.authority}"
        try:
            await self._slots.enter(host)
            try:
                return await self._traced(remote, call, running)
            finally:
                self._slots.leave(host)
        finally:
            self._room.give_back(size)

    async def _traced(self, remote: Remote, call: Call, running: _Running) -> Raw | None:
        tracing = self._engine.tracing
        parent = tracecontext.usable(call.traceparent)
        context = tracing.context(parent, remote.method)
        started = self._engine.clock.monotonic()
        status: list[int] = []
        failed: BaseException | None = None
        try:
            return await self._exchange(remote, call, context, status)
        except BaseException as error:
            failed = running.why or error
            raise
        finally:
            target, code = remote.target, status[0] if status else ""
            tracing.span(
                remote.method,
                "client",
                parent,
                context,
                started,
                failed is None,
                None if failed is None else _told(failed),
                (_SPAN, remote.method, target.host, target.port, code, remote.id),
            )

    async def _exchange(
        self, remote: Remote, call: Call, context: str | None, status: list[int]
    ) -> Raw | None:
        timestamp = self._timestamp()
        payload = bytes(call.data)
        trace = _trace_headers(context, call.baggage)
        body, headers = await self._off(
            len(payload), _prepare, remote, self._variables, timestamp, payload, trace
        )
        if not all(map(is_header_value, headers.values())):
            raise not_sent("a header has characters that no header can have")
        fields = Headers({name: [value] for name, value in headers.items()})
        producer: Any = _Body(body)
        try:
            response: Any = await self._agent.request(
                remote.method.encode(), remote.target.url, fields, producer
            )
        except (IIIError, CancelledError):
            raise
        except Exception as error:
            raise not_sent(cause_of(error)) from error
        status.append(response.code)
        reader = _Reader(self._settings.max_response_bytes, self._room)
        try:
            response.deliverBody(reader)
            received = await reader.read
            result: Raw | None = await self._off(len(received), result_of, response.code, received)
            return result
        finally:
            reader.release()

    def _timestamp(self) -> int:
        seconds = int(self._engine.clock.wall())
        if seconds < 0:
            raise InvocationError(Code.TIMESTAMP_ERROR, "the clock is before 1970")
        return seconds

    async def _off(self, size: int, function: Callable[..., Any], *args: Any) -> Any:
        """The result of ``function``; in a thread when there is much to do."""
        if size <= THREAD_BYTES:
            return function(*args)
        reactor: Any = self._engine.reactor
        return await deferToThreadPool(reactor, reactor.getThreadPool(), function, *args)


class _Running:
    """A call that is not over.

    :ivar why: it was ended from here, for this reason
    """

    def __init__(self) -> None:
        self.work: Deferred[Raw | None] | None = None
        self.why: IIIError | None = None

    def end(self, why: IIIError) -> None:
        """Break off; its connection is closed."""
        self.why = why
        if self.work is not None:
            self.work.cancel()


def _told(error: BaseException) -> Error:
    """An error as a span tells it."""
    if isinstance(error, IIIError):
        return error.code, error.message, None
    return Code.INTERNAL_ERROR, type(error).__name__, None


def _prepare(
    remote: Remote, variables: Variables, timestamp: int, payload: bytes, trace: dict[str, str]
) -> tuple[bytes, dict[str, str]]:
    """Body and headers; the later of two equal headers counts."""
    body = bytes(msgspec.json.format(payload, indent=-1))
    headers = {"accept": "*/*", "content-type": "application/json"}
    if remote.target.login is not None:
        headers["authorization"] = remote.target.login
    headers |= remote.headers | trace
    headers |= {
        "x-iii-function-path": remote.id,
        "x-iii-invocation-id": uuid4_text(),
        "x-iii-timestamp": str(timestamp),
    }
    if remote.auth is not None:
        headers |= remote.auth.headers(variables, timestamp, body)
    return body, headers


def _trace_headers(context: str | None, baggage: str | None) -> dict[str, str]:
    headers = {} if context is None else {"traceparent": context}
    if baggage and len(baggage) <= MAX_BAGGAGE_CHARS and is_header_value(baggage):
        headers["baggage"] = baggage
    return headers


@implementer(IBodyProducer)
class _Body:
    """The request's body, written at once."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self.length = len(body)

    def startProducing(self, consumer: Any) -> Deferred[None]:
        """IBodyProducer."""
        consumer.write(self._body)
        return succeed(None)

    def pauseProducing(self) -> None:
        """IBodyProducer: it is all written."""

    def resumeProducing(self) -> None:
        """IBodyProducer: it is all written."""

    def stopProducing(self) -> None:
        """IBodyProducer: it is all written."""


class _Reader(Protocol):
    """Reads a response's body.

    :ivar read: fires with all of it
    """

    def __init__(self, limit: int, room: Room) -> None:
        self.read: Deferred[bytes] = Deferred(self._given_up)
        self._parts: list[bytes] = []
        self._size = 0
        self._limit = limit
        self._room = room

    def dataReceived(self, data: bytes) -> None:
        """IProtocol."""
        if self.read.called:
            return
        if self._size + len(data) > self._limit:
            self._refuse(f"it has more than {self._limit} bytes")
        elif not self._room.take(len(data)):
            self._refuse("requests and responses fill the memory")
        else:
            self._size += len(data)
            self._parts.append(data)

    def connectionLost(self, reason: Failure = Protocol.connectionLost) -> None:  # type: ignore[assignment]
        """IProtocol: the body is over, or broken off."""
        if self.read.called:
            return
        if reason.check(ResponseDone, PotentialDataLoss):
            self.read.callback(b"".join(self._parts))
        else:
            self.read.errback(not_read(cause_of(reason.value)))

    def release(self) -> None:
        """Its bytes are not held any more."""
        self._room.give_back(self._size)
        self._size = 0

    def _refuse(self, why: str) -> None:
        self._abort()
        self.read.errback(not_read(why))

    def _given_up(self, read: Deferred[bytes]) -> None:
        self._abort()

    def _abort(self) -> None:
        if self.transport is not None:
            self.transport.abortConnection()

"""One request on its way through a route.

The order (02 A13): slot, time limit, global middleware, channels and body,
condition, the route's middleware, the function; then the first of result and
response channel decides the head.  With nothing to ask beforehand all of it is
plain calls; middleware and conditions run in a coroutine (``asking.py``).

A ``Serving`` is the reader of the channel that may carry the answer; an
``Upload`` writes the one that carries the request's body.  ``_release`` ends the part that
holds resources: slot, timers, channels.  It runs exactly once, when the head of
the answer is decided or the client has gone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Raw
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from iii.engine.channels import Channel, Offer
from iii.engine.ids import uuid4_text
from iii.engine.invocations import Call, ErrorBody
from iii.engine.tracecontext import log_fields
from iii.engine.tracing import Error
from iii.errors import Code, InvocationError
from iii.modules.http import asking, json_body, request
from iii.modules.http.answer import Answer, StreamHead, answer_of
from iii.modules.http.entry import Entry
from iii.modules.http.exchange import Exchange
from iii.modules.http.fields import Pair
from iii.modules.http.function_input import FunctionInput
from iii.modules.http.router import Route
from iii.modules.http.upload import Upload

if TYPE_CHECKING:
    from iii.modules.http.service import HttpService

log = Logger()

CHANNEL_FRAMES = 64
#: What is recorded, and never sent, when nobody waits for an answer any more.
CLIENT_GONE, CLIENT_GONE_CODE = 499, "client_gone"

_STATUS_OF = {
    Code.PAYLOAD_TOO_LARGE: 413,
    Code.OVERLOADED: 503,
    Code.INVOCATION_TIMEOUT: 504,
}


class Serving(FunctionInput):
    """Carries one request."""

    #: The status of an answer that names none.
    default_status = 200

    # What most requests never change are class attributes: setting them costs.
    request_body: Channel | None = None
    _body_id = ""
    _response_id = ""
    _body_key = ""
    _response_key = ""
    _source = b""
    _response_broke = False
    response: Channel | None = None
    _begun = False
    _released = False
    _resultless = False
    _call: Call | None = None
    _upload: Upload | None = None
    # The answer's head as the response channel told it.
    _answer_started = False
    _head: StreamHead | None = None
    _reported = False
    # Of the answer: its status, once it is decided.
    _status = 0
    # For ``figures``: the trace context of what happens here, and when it began.
    context: str | None = None
    started = 0.0

    def __init__(
        self,
        service: HttpService,
        exchange: Exchange,
        route: Route[Entry],
        values: tuple[str, ...],
    ) -> None:
        super().__init__(service, exchange, route.serving, values)
        self.route = route

    # The way to the function -----------------------------------------------------------

    def begin(self) -> None:
        """The request has its slot."""
        self._begun = True
        service = self.service
        service.figures.begin(self)
        service.deadlines.add(self)
        stack = self.route.stack
        if stack:
            # It may have changed while the request waited.
            self.entry = stack[-1]
        self.bind_params()
        exchange = self.exchange
        if exchange.query:
            self.query = request.query_pairs(exchange.query)
        if service.request_id_header is not None:
            self._request_id = (
                exchange.headers.values.get(service.request_id_header) or uuid4_text()
            )
        if self.plain:
            if exchange.body == b"":
                self._offer_channels()
                self._invoke()
            else:
                self._take_body()
        else:
            Deferred.fromCoroutine(asking.ask(self)).addErrback(self._crashed)

    def read_body(self) -> Deferred[None]:
        """For the coroutine: fires when the body is here or flows."""
        ready: Deferred[None] = Deferred()
        self._take_body(ready)
        return ready

    def _take_body(self, ready: Deferred[None] | None = None) -> None:
        exchange, service = self.exchange, self.service
        if exchange.headers.is_json and exchange.length != 0:
            exchange.collect(service.json_limit, lambda body: self._got_json(body, ready))
            return
        limit = service.stream_limit
        if limit is not None and (exchange.length or 0) > limit:
            self._too_large(limit)
            return
        self._offer_channels()
        if exchange.length != 0:
            self._stream_body()
        if not self._released:
            self._proceed(ready)

    def _got_json(self, body: bytes | None, ready: Deferred[None] | None) -> None:
        if self._released:
            return
        if body is None:
            self._too_large(self.service.json_limit)
            return
        try:
            self._members = json_body.parse(body)
            self._body = body
        except json_body.NotJson:
            # Not an error: the function gets null and can read the raw bytes.
            self._members = None
        self._source = body
        self._offer_channels()
        self._proceed(ready)

    def _proceed(self, ready: Deferred[None] | None) -> None:
        if ready is None:
            self._invoke()
        else:
            ready.callback(None)

    def _too_large(self, limit: int) -> None:
        message = f"the request body is larger than {limit} bytes"
        self._fail(413, Code.PAYLOAD_TOO_LARGE, message)

    def _offer_channels(self) -> None:
        """Name both channels; they are made when the function opens them."""
        channels = self.service.api.channels
        # A key each: who is handed one reference must not be able to use the other.
        self._body_key = uuid4_text()
        self._body_id = channels.offer(Offer(self._body_key, self._body_opened))
        self._response_key = uuid4_text()
        self._response_id = channels.offer(Offer(self._response_key, self._response_opened))

    def _body_opened(self, channel: Channel) -> None:
        """The function wants to read a body that is here, or that there is none."""
        self.request_body = channel
        self._upload = Upload(self.exchange, channel, None, self._stream_too_large)
        source, self._source = self._source, b""
        self._upload.send(source)

    def _stream_body(self) -> None:
        """A body that streams in needs its channel at once: a full one holds it back."""
        channels = self.service.api.channels
        channels.withdraw(self._body_id)
        channel = self.request_body = channels.create(CHANNEL_FRAMES, key=self._body_key)
        self._body_id = channel.id
        limit = self.service.stream_limit
        self._upload = Upload(self.exchange, channel, limit, self._stream_too_large)
        self._upload.stream()

    def _response_opened(self, channel: Channel) -> None:
        """The function wants to answer as a stream."""
        self.response = channel
        channel.attach_reader(self)

    def _stream_too_large(self) -> None:
        self._too_large(self.service.stream_limit or 0)

    @property
    def plain(self) -> bool:
        """Whether nobody has to be asked before the function."""
        return self.entry.plain and not self.service.middleware

    def _invoke(self) -> None:
        data = b"".join(
            (
                self.object(),
                request.channel_refs(
                    self._body_id, self._body_key, self._response_id, self._response_key
                ),
                self.lifted(),
                b"}",
            )
        )
        self._members = None
        self._start(Raw(data), self.context, self.exchange.headers.baggage)

    def invoke(self) -> None:
        """For the coroutine: everybody agreed."""
        if not self._released:
            self._invoke()

    def _start(self, data: Raw, traceparent: str | None, baggage: str | None) -> None:
        binding = self.entry.binding
        call = self.service.api.start_call(binding, data, _ended, self, traceparent, baggage)
        if self._released:
            self.service.api.abandon(call)
        else:
            self._call = call

    # The response channel --------------------------------------------------------------

    def deliver(self, payload: bytes, text: bool) -> bool:
        """Reader: a frame of the function's own stream."""
        if text:
            if not self._answer_started:
                if self._head is None:
                    self._head = StreamHead()
                self._head.told(payload)
            return True
        if not self._answer_started:
            if self._released:
                return True
            self._start_stream()
        return self.exchange.write(payload)

    def end(self, clean: bool) -> None:
        """Reader: no frame follows."""
        if self._answer_started:
            self.response = None
            if clean:
                self.exchange.finish()
                self._over()
            else:
                self._over((Code.INVOCATION_STOPPED, "the response stream broke off", None))
                log.warn(
                    "{function}: its response stream broke off",
                    function=self.entry.binding.function_id,
                )
                self.exchange.abort()
        elif self._released:
            return
        elif clean:
            self._start_stream()
            self.exchange.finish()
            self._over()
        elif self._resultless:
            self._fail(500, Code.INVOCATION_STOPPED, "the response stream broke off")
        else:
            # The function may still answer with its result.
            self.response = None
            self._response_broke = True

    def _start_stream(self) -> None:
        """The head of a streamed answer is decided."""
        self._answer_started = True
        head = self._head or StreamHead()
        status = self._status = head.status or self.default_status
        own = self._with_id(head.headers)
        fields = self.service.cors.merge(own, self.exchange.headers.origin)
        call, self._call = self._call, None
        self._release(keep_response=True)
        self.exchange.start(status, fields, head.length, self._drained)
        if call is not None:
            self.service.api.abandon(call)

    @property
    def _writer_came(self) -> bool:
        """Whether somebody has opened the response channel for writing."""
        return self.response is not None and self.response.writer_taken

    def _drained(self) -> None:
        if self.response is not None:
            self.response.drain()

    # The outcome -----------------------------------------------------------------------

    def ended(self, result: Raw | None, error: ErrorBody | None) -> None:
        """The function answered."""
        self._call = None
        if self._released:
            return
        if error is not None:
            self._function_failed(error)
            return
        text = b"null" if result is None else bytes(result)
        if text == b"null":
            self._no_result()
        else:
            self._answer(answer_of(text, self.default_status))

    def _no_result(self) -> None:
        self._resultless = True
        if self._response_broke:
            self._fail(500, Code.INVOCATION_STOPPED, "the response stream broke off")
        elif not self._writer_came:
            self.service.writer_waits.add(self)

    def no_writer(self) -> None:
        """Nobody opened the response channel of a result-less function."""
        if not self._writer_came:
            self._answer(Answer(204, [], b""))

    def _answer(self, answer: Answer) -> None:
        service, exchange = self.service, self.exchange
        if answer.complaint is not None and not self.route.warned:
            self.route.warned = True
            log.warn(
                "{function}: {complaint}; 200 is sent (reported once per route)",
                function=self.entry.binding.function_id,
                complaint=answer.complaint,
            )
        self._release()
        self._status = answer.status
        self._over()
        origin = exchange.headers.origin
        if answer.headers is None and self._request_id is None:
            fields = service.cors.json(origin)
        else:
            own = answer.headers
            if own is None:
                own = [(b"content-type", b"application/json")]
            fields = service.cors.merge(self._with_id(own), origin)
        exchange.respond(answer.status, fields, answer.body)

    def answer(self, answer: Answer) -> None:
        """For the coroutine: middleware answers instead of the function."""
        if not self._released:
            self._answer(answer)

    def _with_id(self, own: list[Pair]) -> list[Pair]:
        name = self.service.request_id_header
        if self._request_id is None or name is None:
            return own
        return [*own, (name.encode(), self._request_id.encode())]

    def _function_failed(self, error: ErrorBody) -> None:
        try:
            status = _STATUS_OF.get(Code(error.code), 500)
        except ValueError:
            status = 500
        self._fail(status, error.code, error.message, error.stacktrace)

    def _fail(
        self,
        status: int,
        code: str,
        message: str,
        stacktrace: str | None = None,
        **beside: Any,
    ) -> None:
        if self._released:
            return
        call, self._call = self._call, None
        if call is not None:
            self.service.api.abandon(call)
        self._release()
        self._status = status
        self._over((code, message, stacktrace))
        own = self._with_id([])
        error_id = self.service.refuse(self.exchange, status, code, message, own, **beside)
        if status >= 500:
            log.error(
                "{status} {error_id}: {method} {pattern} → {function}: {code}: {message}",
                status=status,
                error_id=error_id,
                method=self.exchange.method,
                pattern=self.route_text,
                function=self.entry.binding.function_id,
                code=code,
                message=message,
                **log_fields(self.context),
                # For programs that read the log, by OpenTelemetry's names.
                **{
                    "exception.type": code,
                    "exception.message": message,
                    "exception.stacktrace": stacktrace or "",
                },
            )

    def fail(self, status: int, code: str, message: str, **beside: Any) -> None:
        """For the coroutine: the request ends here."""
        self._fail(status, code, message, **beside)

    def failed(self, error: InvocationError) -> None:
        """For the coroutine: a function it asked failed."""
        self._function_failed(ErrorBody(error.code, error.message, error.stacktrace))

    def _crashed(self, failure: Failure) -> None:
        log.failure("serving a request failed", failure)
        self._fail(500, Code.INTERNAL_ERROR, "internal server error")

    # Ends ------------------------------------------------------------------------------

    @property
    def over(self) -> bool:
        """Whether the answer is decided or unwanted."""
        return self._released

    def overdue(self) -> None:
        """The time limit passed before the head was decided."""
        if self._resultless:
            self.no_writer()  # its wait is over as well
        message = f"no answer within {self.service.config.default_timeout} ms"
        self._fail(504, Code.INVOCATION_TIMEOUT, message)

    def waited_too_long(self) -> None:
        """No slot came free within the time limit."""
        self.service.forget_waiting(self)
        self._released = True
        self.exchange.client = None
        self.service.overloaded(self.exchange)

    def client_gone(self) -> None:
        """Client (of the exchange): nobody waits for the answer."""
        if not self._begun:
            if not self._released:
                self._released = True
                self.service.forget_waiting(self)
            return
        call, self._call = self._call, None
        if call is not None:
            self.service.api.abandon(call)
        response, self.response = self.response, None
        if not self._released or self._answer_started:
            self._status = self._status or CLIENT_GONE
            self._over((CLIENT_GONE_CODE, "the client closed its connection", None))
        if not self._released:
            self._release()
        if response is not None:
            response.reader_gone()
        if self._upload is not None:
            self._upload.break_off()

    def shut_down(self) -> None:
        """Client (of the exchange): the server stops."""
        if not self._begun:
            self.service.forget_waiting(self)
            self._released = True
            self.service.shutting_down(self.exchange)
        elif not self._released:
            call, self._call = self._call, None
            if call is not None:
                self.service.api.abandon(call)
            self._release()
            self._reported = True
            self.service.shutting_down(self.exchange)
        else:
            self.exchange.abort()
            self.client_gone()

    def _over(self, error: Error | None = None) -> None:
        """The request is over, once."""
        if not self._reported:
            self._reported = True
            self.service.figures.ended(self, self._status, error)

    def _release(self, *, keep_response: bool = False) -> None:
        """The head is decided: give back the slot, the timer and the channels."""
        self._released = True
        self._body = b"null"
        service = self.service
        service.deadlines.discard(self)
        if self._resultless:
            service.writer_waits.discard(self)
        channels = service.api.channels
        response = self.response
        if response is None:
            channels.withdraw(self._response_id)
        else:
            if keep_response:
                response.withdraw()
            else:
                self.response = None
                response.reader_gone()
        channel = self.request_body
        if channel is None:
            self._source = b""
            channels.withdraw(self._body_id)
        elif channel.reader_taken:
            channel.withdraw()
        else:
            self.request_body = None
            channel.close()
        service.next_waiting(self.route)


def _ended(call: Call, result: Raw | None, error: ErrorBody | None) -> None:
    """What ``start_call`` tells."""
    serving: Serving = call.requester
    try:
        serving.ended(result, error)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as problem:
        # Well-formed, or it would not be here, but nothing an answer can be made of.
        message = f"the function's result can't be used: {problem}"
        serving.fail(500, Code.SERIALIZATION_ERROR, message)

"""The SDK's exporters, made to say why they failed, and to leave the retrying to us.

An exporter's ``export`` answers success or failure and puts the reason into a log of its
own; and it waits and retries by itself, several seconds long, which would make the engine's
stop wait too.  Over HTTP a session of ours tells both what became of a request; over gRPC
retries are switched off, and the reason is taken from the exporter's log.

Nor do they look at what a collector answered to a request that it took (``answers``): the
session keeps it, and so does what stands before the exporter's gRPC stub.  There, and before
its HTTP client, a batch also gets what the exporter's encoder leaves out (``links``).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from threading import get_ident
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar
from urllib.parse import urlsplit

from iii.modules.observability.export.answers import Partial, Signal, of_message, of_response
from iii.modules.observability.export.lane import Refused

if TYPE_CHECKING:
    from requests import Response, Session

T = TypeVar("T")
Prepare = Callable[[list[T]], tuple[Any, int]]
Complete = Callable[[Any], Callable[[Any], None] | None]
"""Of a batch: what completes its encoded form, or None."""

#: Answers after which a collector may take the same request later, by the OTLP specification.
RETRYABLE_STATUSES = frozenset({429, 502, 503, 504})
RETRYABLE_CODES = frozenset(
    {
        "CANCELLED",
        "DEADLINE_EXCEEDED",
        "RESOURCE_EXHAUSTED",
        "ABORTED",
        "OUT_OF_RANGE",
        "UNAVAILABLE",
        "DATA_LOSS",
    }
)
PATHS: dict[str, str] = {
    "traces": "/v1/traces",
    "metrics": "/v1/metrics",
    "logs": "/v1/logs",
}


def grpc_endpoint(endpoint: str) -> str:
    """``endpoint`` with a scheme.

    :raises ValueError: it is no URL
    """
    url = endpoint if "://" in endpoint else f"http://{endpoint}"
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname)
        _ = parts.port
    except ValueError:
        usable = False
    if not usable:
        raise ValueError(f"endpoint {endpoint!r} is no http:// or https:// URL")
    return url.rstrip("/")


def http_endpoint(endpoint: str, signal: Signal) -> str:
    """Where a collector takes ``signal`` over HTTP: port 4318 instead of 4317, and its path."""
    parts = urlsplit(grpc_endpoint(endpoint))
    netloc = parts.netloc
    if parts.port == 4317:
        netloc = netloc[: -len("4317")] + "4318"
    path = parts.path.rstrip("/")
    for known in PATHS.values():
        path = path.removesuffix(known)
    return parts._replace(netloc=netloc, path=path + PATHS[signal]).geturl()


def shown(url: str) -> str:
    """``url`` for the log, without a password."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


#: What exporters call what they send with.
_CLIENT = "_client"


class Exporter(Protocol):
    """What all exporters of the SDK have in common."""

    def export(self, batch: Any, /) -> Any: ...

    def shutdown(self) -> None: ...


class HttpSender(Generic[T]):
    """An exporter over HTTP.

    :param build: makes it, with this session
    :param complete: what completes the encoded form of a batch; None: it is complete
    """

    def __init__(
        self,
        signal: Signal,
        target: str,
        prepare: Prepare[T],
        build: Callable[[Session], Exporter],
        complete: Complete | None = None,
    ) -> None:
        self.target = shown(target)
        self.prepare = prepare
        self._signal: Signal = signal
        self._session = judging_session()
        self._exporter = build(self._session)
        self._complete = complete
        self._client = None if complete is None else _stand_before_client(self._exporter)

    def send(self, request: Any) -> Partial | None:
        """Sender: send it."""
        session: Any = self._session
        session.refused = session.answer = None
        if self._client is not None and self._complete is not None:
            self._client.complete = self._complete(request)
        result = self._exporter.export(request)
        if session.refused is not None:
            raise session.refused
        if result.name != "SUCCESS":
            raise Refused("the exporter could not make a request of it", final=True)
        return None if session.answer is None else _said(self._signal, session.answer)

    def close(self) -> None:
        """Sender: close the connection."""
        self._exporter.shutdown()


class PostSender(Generic[T]):
    """Documents posted as they are.

    :param signal: what they are about
    :param timeout_s: of one request
    """

    def __init__(
        self,
        signal: Signal,
        target: str,
        prepare: Prepare[T],
        headers: Mapping[str, str],
        timeout_s: float,
    ) -> None:
        self.target = shown(target)
        self.prepare = prepare
        self._signal: Signal = signal
        self._session = judging_session()
        self._session.headers.update({"Content-Type": "application/json", **headers})
        self._url = target
        self._timeout_s = timeout_s

    def send(self, request: bytes) -> Partial | None:
        """Sender: send it."""
        response = self._session.request(
            "POST", self._url, data=request, timeout=self._timeout_s, allow_redirects=False
        )
        return _said(self._signal, response)

    def close(self) -> None:
        """Sender: close the connection."""
        self._session.close()


class GrpcSender(Generic[T]):
    """An exporter over gRPC that does not retry.

    :param code_type: ``grpc.StatusCode``
    :param complete: as of ``HttpSender``
    """

    def __init__(
        self,
        signal: Signal,
        target: str,
        prepare: Prepare[T],
        exporter: Exporter,
        code_type: type[Any],
        complete: Complete | None = None,
    ) -> None:
        self.target = shown(target)
        self.prepare = prepare
        self._signal: Signal = signal
        self._exporter = exporter
        self._heard = _heard(code_type)
        self._complete = complete
        self._calls = _Calls()
        _stand_before_stubs(exporter, self._calls)

    def send(self, request: Any) -> Partial | None:
        """Sender: send it."""
        self._heard.forget()
        calls = self._calls
        calls.answer = None
        calls.complete = None if self._complete is None else self._complete(request)
        if self._exporter.export(request).name != "SUCCESS":
            raise self._heard.refused()
        return None if calls.answer is None else of_message(self._signal, calls.answer)

    def close(self) -> None:
        """Sender: close the connection."""
        self._exporter.shutdown()


def judging_session() -> Session:
    """A session that raises ``Refused`` for everything but success, and remembers either."""
    import requests

    _hush(logging.getLogger("opentelemetry.exporter.otlp.proto.http"), logging.NullHandler())

    class JudgingSession(requests.Session):
        refused: Refused | None = None
        answer: Response | None = None

        def request(self, *args: Any, **named: Any) -> Response:
            try:
                response = super().request(*args, **named)
            except requests.RequestException as error:
                self.refused = Refused(str(error))
                raise self.refused from error
            if not 200 <= response.status_code < 300:
                self.refused = Refused(
                    f"{response.status_code} {response.reason}",
                    final=response.status_code not in RETRYABLE_STATUSES,
                    after_s=_seconds(response.headers.get("retry-after")),
                )
                raise self.refused
            self.answer = response
            return response

    return JudgingSession()


def _said(signal: Signal, response: Response) -> Partial | None:
    return of_response(signal, response.headers.get("content-type", ""), response.content)


class _Calls:
    """What passes between an exporter and its gRPC stubs.

    :ivar answer: to the last request
    :ivar complete: completes a request that is about to go
    """

    def __init__(self) -> None:
        self.answer: Any = None
        self.complete: Callable[[Any], None] | None = None


class _Stub:
    """Stands before a gRPC stub."""

    def __init__(self, stub: Any, calls: _Calls) -> None:
        self._stub = stub
        self._calls = calls

    def Export(self, *, request: Any, **named: Any) -> Any:
        """As the stub."""
        if self._calls.complete is not None:
            self._calls.complete(request)
        answer = self._calls.answer = self._stub.Export(request=request, **named)
        return answer


def _stand_before_stubs(exporter: Any, calls: _Calls) -> None:
    """Let an exporter, which makes stubs again and again, make ours.

    One of a later release that has these parts no more is left as it is.
    """
    make, client = getattr(exporter, "_stub", None), getattr(exporter, _CLIENT, None)
    if make is not None and client is not None:
        exporter._stub = lambda channel: _Stub(make(channel), calls)
        exporter._client = _Stub(client, calls)


class _Client:
    """Stands before what an exporter over HTTP sends encoded traces with.

    :ivar complete: completes a request that is about to go
    """

    def __init__(self, client: Any, request_type: type[Any]) -> None:
        self.complete: Callable[[Any], None] | None = None
        self._client = client
        self._request_type = request_type

    def export(self, encoded: bytes) -> Any:
        """As the client."""
        if self.complete is not None:
            request = self._request_type.FromString(encoded)
            self.complete(request)
            encoded = request.SerializePartialToString()
        return self._client.export(encoded)

    def shutdown(self) -> None:
        """As the client."""
        self._client.shutdown()


def _stand_before_client(exporter: Any) -> _Client | None:
    """Let an exporter of traces send through ours.

    One of a later release that has this part no more is left as it is.
    """
    from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

    client = getattr(exporter, _CLIENT, None)
    if client is None:
        return None
    ours = exporter._client = _Client(client, trace_service_pb2.ExportTraceServiceRequest)
    return ours


def quiet_grpc() -> Any:
    """``grpc``, which reads at its import whether it is to write to stderr by itself."""
    said = os.environ.get("GRPC_VERBOSITY")
    if said is None:
        os.environ["GRPC_VERBOSITY"] = "NONE"
    try:
        import grpc  # type: ignore[import-untyped]
    finally:
        if said is None:  # not for the engine's children
            del os.environ["GRPC_VERBOSITY"]
    return grpc


class _Heard(logging.Handler):
    """Listens to what the exporters over gRPC log, each thread for itself."""

    def __init__(self, code_type: type[Any]) -> None:
        super().__init__(logging.ERROR)
        self._code_type = code_type
        self._said: dict[int, Refused] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Handler: keep it."""
        given = record.args if isinstance(record.args, tuple) else ()
        codes = [arg.name for arg in given if isinstance(arg, self._code_type)]
        self._said[get_ident()] = Refused(
            record.getMessage(), final=bool(codes) and codes[0] not in RETRYABLE_CODES
        )

    def forget(self) -> None:
        """This thread is about to export."""
        self._said.pop(get_ident(), None)

    def refused(self) -> Refused:
        """What was heard in this thread."""
        return self._said.pop(get_ident(), None) or Refused("the exporter did not say why")


def _heard(code_type: type[Any]) -> _Heard:
    """The one listener."""
    logger = logging.getLogger("opentelemetry.exporter.otlp.proto.grpc.exporter")
    for handler in logger.handlers:
        if isinstance(handler, _Heard):
            return handler
    heard = _Heard(code_type)
    _hush(logger, heard)
    # A filter of repetitions, which would hide from one signal what another one's exporter
    # said just before.
    logger.filters.clear()
    return heard


def _hush(logger: logging.Logger, handler: logging.Handler) -> None:
    """``logger`` is heard by ``handler`` only: what there is to tell, the lane tells."""
    if not logger.handlers:
        logger.addHandler(handler)
    logger.propagate = False


def _seconds(text: str | None) -> float:
    """``Retry-After``, when it is a number; dates are rare, and the back-off does as well."""
    return float(text) if text is not None and text.isdecimal() else 0.0

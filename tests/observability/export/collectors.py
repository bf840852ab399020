"""Collectors of flesh and blood, over gRPC and HTTP, in threads of their own."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any

import grpc
from google.protobuf.json_format import MessageToJson
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2 as logs_pb
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2_grpc as logs_grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as metrics_pb
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2_grpc as metrics_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as trace_pb
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as trace_grpc
from twisted.internet import reactor
from twisted.internet.defer import Deferred

WAIT_S = 10


class Inbox:
    """What a collector took.

    :ivar taken: (signal or path, headers, request), in the order in which they came
    :ivar refusals: answers that are given first, instead of taking anything
    :ivar partial: how much of what it takes it says it rejected, and why; None: nothing
    :ivar open: cleared: requests hang
    """

    def __init__(self) -> None:
        self.taken: list[tuple[str, dict[str, str], Any]] = []
        self.refused = 0
        self.refusals: list[Any] = []
        self.partial: tuple[int, str] | None = None
        self.open = Event()
        self.open.set()
        self.hanging = 0
        self._waiters: list[tuple[Callable[[], bool], Deferred[None]]] = []

    def arrived(self, where: str, headers: dict[str, str], request: Any) -> Any:
        """In a thread: a request; what to refuse it with, or None."""
        if not self.open.is_set():
            self.hanging += 1
            self._tell()
            self.open.wait(WAIT_S)
            return None
        refusal = self.refusals.pop(0) if self.refusals else None
        if refusal is None:
            self.taken.append((where, headers, request))
        else:
            self.refused += 1
        self._tell()
        return refusal

    async def until(self, there: Callable[[], bool]) -> None:
        """Wait until ``there()``; it is asked after every request."""
        if not there():
            told: Deferred[None] = Deferred()
            self._waiters.append((there, told))
            await told.addTimeout(WAIT_S, reactor)  # type: ignore[arg-type]

    async def requests(self, count: int = 1) -> list[Any]:
        """The first ``count`` requests."""
        await self.until(lambda: len(self.taken) >= count)
        return [request for _, _, request in self.taken[:count]]

    def _tell(self) -> None:
        reactor.callFromThread(self._look)  # type: ignore[attr-defined]

    def _look(self) -> None:
        for waiter in list(self._waiters):
            there, told = waiter
            if there():
                self._waiters.remove(waiter)
                told.callback(None)


class GrpcCollector(Inbox):
    """Takes all three signals over gRPC.

    :param credentials: for TLS
    """

    def __init__(self, port: int = 0, credentials: grpc.ServerCredentials | None = None) -> None:
        super().__init__()
        self._server = grpc.server(ThreadPoolExecutor(4))
        for signal, add, answer in (
            (
                "traces",
                trace_grpc.add_TraceServiceServicer_to_server,
                trace_pb.ExportTraceServiceResponse,
            ),
            (
                "metrics",
                metrics_grpc.add_MetricsServiceServicer_to_server,
                metrics_pb.ExportMetricsServiceResponse,
            ),
            (
                "logs",
                logs_grpc.add_LogsServiceServicer_to_server,
                logs_pb.ExportLogsServiceResponse,
            ),
        ):
            add(_Servicer(self, signal, answer), self._server)
        address = f"127.0.0.1:{port}"
        if credentials is None:
            self.port = self._server.add_insecure_port(address)
        else:
            self.port = self._server.add_secure_port(address, credentials)
        scheme = "http" if credentials is None else "https"
        self.endpoint = f"{scheme}://localhost:{self.port}"
        self._server.start()

    def stop(self) -> None:
        """End it."""
        self.open.set()
        self._server.stop(None).wait(WAIT_S)


class _Servicer:
    def __init__(self, inbox: Inbox, signal: str, answer: Any) -> None:
        self._inbox = inbox
        self._signal = signal
        self._answer = answer

    def Export(self, request: Any, context: grpc.ServicerContext) -> Any:
        headers = dict(context.invocation_metadata())
        refusal = self._inbox.arrived(self._signal, headers, request)
        if refusal is not None:
            context.abort(refusal, "not now")
        return self._answer(**partial_success(self._signal, self._inbox.partial))


class HttpCollector(Inbox):
    """Takes everything over HTTP; a refusal is a status, or a status and headers."""

    def __init__(self, port: int = 0) -> None:
        super().__init__()
        inbox = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                refusal = inbox.arrived(self.path, headers, _decoded(self.path, headers, body))
                status, more = refusal if isinstance(refusal, tuple) else (refusal or 200, {})
                answer = b"" if refusal else inbox.answer(self.path, headers["content-type"])
                self.send_response(status)
                for name, value in more.items():
                    self.send_header(name, value)
                self.send_header("content-type", headers["content-type"])
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: Any) -> None:
                """Silently."""

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self.endpoint = f"http://127.0.0.1:{self.port}"
        Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def answer(self, path: str, content_type: str) -> bytes:
        """The body of a good answer."""
        if self.partial is None:
            return b""
        told = partial_success(path.removeprefix("/v1/"), self.partial)
        message = _ANSWERS[path](**told)
        if content_type == "application/json":
            return MessageToJson(message).encode()
        return bytes(message.SerializeToString())

    def stop(self) -> None:
        """End it."""
        self.open.set()
        self._server.shutdown()
        self._server.server_close()


_REJECTED = {
    "traces": "rejected_spans",
    "metrics": "rejected_data_points",
    "logs": "rejected_log_records",
}


def partial_success(signal: str, partial: tuple[int, str] | None) -> dict[str, Any]:
    """What an answer says of a request that was taken in part."""
    if partial is None:
        return {}
    count, reason = partial
    return {"partial_success": {_REJECTED[signal]: count, "error_message": reason}}


_ANSWERS = {
    "/v1/traces": trace_pb.ExportTraceServiceResponse,
    "/v1/metrics": metrics_pb.ExportMetricsServiceResponse,
    "/v1/logs": logs_pb.ExportLogsServiceResponse,
}
_REQUESTS = {
    "/v1/traces": trace_pb.ExportTraceServiceRequest,
    "/v1/metrics": metrics_pb.ExportMetricsServiceRequest,
    "/v1/logs": logs_pb.ExportLogsServiceRequest,
}


def _decoded(path: str, headers: dict[str, str], body: bytes) -> Any:
    if headers["content-type"] != "application/x-protobuf":
        return body
    return _REQUESTS[path].FromString(body)


def free_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
    return port


def attributes(pairs: Any) -> dict[str, Any]:
    """Attributes of a protobuf message as a dict."""
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}


def spans_of(request: Any) -> Iterator[Any]:
    """All spans of a request."""
    for resource in request.resource_spans:
        for scope in resource.scope_spans:
            yield from scope.spans

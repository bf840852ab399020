"""The yardstick: the engine one would write first.

A plain ``twisted.web`` resource, a plain Autobahn protocol, dictionaries, orjson
and uuid4.  It serves the part of the worker protocol that a benchmark needs:
functions, ``http`` triggers with fixed paths, invocations between workers.

It must stay free of tricks *and* free of handicaps: every factor that
``docs/performance.md`` reports is measured against this file.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any
from uuid import uuid4

import orjson
from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from twisted.internet import reactor
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

functions: dict[str, Worker] = {}
routes: dict[tuple[str, str], str] = {}
pending: dict[str, Worker | Request] = {}


class Worker(WebSocketServerProtocol):
    """One worker connection."""

    def onOpen(self) -> None:
        self.id = str(uuid4())
        self.send({"type": "workerregistered", "worker_id": self.id})

    def send(self, message: dict[str, Any]) -> None:
        self.sendMessage(orjson.dumps(message))

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        message = orjson.loads(payload)
        match message["type"]:
            case "invokefunction":
                self.invoke(message)
            case "invocationresult":
                self.result(message)
            case "registerfunction":
                functions[message["id"]] = self
            case "registertrigger":
                config = message["config"]
                path = "/" + config["api_path"].lstrip("/")
                routes[config.get("http_method", "GET"), path] = message["function_id"]

    def invoke(self, message: dict[str, Any]) -> None:
        owner = functions.get(message["function_id"])
        if owner is None:
            error = {"code": "function_not_found", "message": message["function_id"]}
            self.send({**message, "type": "invocationresult", "data": None, "error": error})
            return
        if isinstance(message["data"], dict):
            message["data"]["_caller_worker_id"] = self.id
        pending[message["invocation_id"]] = self
        owner.send(message)

    def result(self, message: dict[str, Any]) -> None:
        caller = pending.pop(message["invocation_id"], None)
        if isinstance(caller, Worker):
            caller.send(message)
        elif caller is not None:  # else the HTTP client has gone
            result = message["result"]
            caller.setResponseCode(result.get("status_code", 200))
            caller.setHeader(b"content-type", b"application/json")
            caller.write(orjson.dumps(result["body"]))
            caller.finish()


class Api(Resource):
    """All routes."""

    isLeaf = True

    def render(self, request: Request) -> int | bytes:
        method, path = request.method.decode(), request.path.decode()
        function_id = routes.get((method, path))
        if function_id is None:
            request.setResponseCode(404)
            return b""
        headers = request.requestHeaders.getAllRawHeaders()
        body = request.content.read()
        data = {
            "path": path,
            "method": method,
            "path_params": {},
            "query_params": {k.decode(): v[-1].decode() for k, v in request.args.items()},
            "headers": {k.decode().lower(): v[-1].decode() for k, v in headers},
            "body": orjson.loads(body) if body else None,
            "trigger": {"type": "http", "path": path, "method": method},
        }
        id = str(uuid4())
        pending[id] = request
        request.notifyFinish().addErrback(lambda _: pending.pop(id, None))
        message = {"type": "invokefunction", "invocation_id": id, "function_id": function_id}
        functions[function_id].send({**message, "data": data})
        return NOT_DONE_YET


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--ready-file", type=Path, required=True)
    factory = WebSocketServerFactory()
    factory.protocol = Worker
    workers = reactor.listenTCP(0, factory, interface="127.0.0.1")
    site = Site(Api())
    site.log = lambda request: None  # an access log nobody reads would be a handicap
    http = reactor.listenTCP(0, site, interface="127.0.0.1")
    ready = {"event": "ready", "worker": workers.getHost().port, "http": http.getHost().port}
    parser.parse_args().ready_file.write_bytes(orjson.dumps(ready))
    reactor.run()

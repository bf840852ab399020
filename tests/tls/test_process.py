"""An engine with TLS on every port, as a process."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import ssl
import time
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

from tests.process_case import LIMIT_S, Child, ProcessCase
from tests.support.certificates import Authority

TLS = "{cert: server.pem, key: server.key}"
CONFIG = f"""\
port: 0
tls: {TLS}
modules:
  - class: modules::api::RestApiModule
    config: {{port: 0, tls: {TLS}}}
  - class: modules::stream::StreamModule
    config:
      port: 0
      tls: {TLS}
      adapter:
        class: modules::stream::adapters::KvStore
        config: {{store_method: in_memory}}
  - class: modules::observability::OtelModule
    config: {{prometheus_port: any, tls: {TLS}}}
"""


class TlsProcessCase(ProcessCase):
    """A directory with certificates and a configuration."""

    def setUp(self) -> None:
        super().setUp()
        self.authority = Authority(self.directory)
        self.authority.issue()
        self.write("config.yaml", CONFIG)
        self.context = ssl.create_default_context(cafile=str(self.authority.path))

    def serial(self, port: int) -> str:
        """The serial number of the certificate that a new connection gets."""
        with (
            socket.create_connection(("127.0.0.1", port), LIMIT_S) as plain,
            self.context.wrap_socket(plain, server_hostname="localhost") as secured,
        ):
            certificate: Any = secured.getpeercert()
            return str(certificate["serialNumber"])

    def get(self, port: int, path: str) -> tuple[int, bytes]:
        """GET over HTTPS."""
        client = http.client.HTTPSConnection(
            "localhost", port, timeout=LIMIT_S, context=self.context
        )
        client.request("GET", path)
        answer = client.getresponse()
        content = answer.read()
        client.close()
        return answer.status, content

    def worker(self, port: int) -> ClientConnection:
        """A worker that has been greeted."""
        made = connect(f"wss://localhost:{port}", ssl=self.context, proxy=None)
        self.addCleanup(made.close)
        self.assertEqual(json.loads(made.recv(LIMIT_S))["type"], "workerregistered")
        return made

    def says(self, child: Child, text: str, times: int = 1) -> None:
        """Wait until the engine has said it so often."""
        ends = time.monotonic() + LIMIT_S
        while child.output.count(text) < times:
            self.assertLess(time.monotonic(), ends, child.output)
            time.sleep(0.01)


class EveryPort(TlsProcessCase):
    """All ports, and new certificates while they are open."""

    def test_every_port_has_tls_and_takes_new_certificates(self) -> None:
        child = self.start()
        ready = child.ready
        self.assertEqual(sorted(ready["tls"]), ["http", "metrics", "stream", "worker"])
        ports = [ready[name] for name in ready["tls"]]
        for line in (
            f"wss://localhost:{ready['worker']}",
            f"https://localhost:{ready['http']}",
            f"wss://localhost:{ready['stream']}",
            f"https://localhost:{ready['metrics']}/metrics",
            f"iii functions --url wss://localhost:{ready['worker']}",
        ):
            self.assertIn(line, child.output)
        self.assertEqual(self.get(ready["http"], "/nothing")[0], 404)
        self.assertEqual(self.get(ready["metrics"], "/healthz")[0], 200)
        status, text = self.get(ready["metrics"], "/metrics")
        self.assertEqual(status, 200)
        self.assertIn(b"iii_workers_active", text)
        with connect(f"wss://localhost:{ready['stream']}", ssl=self.context, proxy=None):
            pass
        worker = self.worker(ready["worker"])

        before = self.serial(ready["worker"])
        self.authority.issue()
        child.signal(signal.SIGHUP)
        self.says(child, "renewed, certificate for", len(ports))
        after = {self.serial(port) for port in ports}
        self.assertEqual(len(after), 1)
        self.assertNotIn(before, after)
        worker.send('{"type":"ping"}')
        self.assertEqual(json.loads(worker.recv(LIMIT_S))["type"], "pong")

        Path(self.directory / "server.key").write_text("oops")
        child.signal(signal.SIGHUP)
        self.says(child, "the certificate was not renewed", len(ports))
        self.assertIn("server.key is not PEM text", child.output)
        self.assertEqual({self.serial(port) for port in ports}, after)
        worker.send('{"type":"ping"}')
        self.assertEqual(json.loads(worker.recv(LIMIT_S))["type"], "pong")

        child.signal(signal.SIGTERM)
        self.assertEqual(child.wait(), 0)


class BadFiles(TlsProcessCase):
    """A file that is no good stops the start, and is told by ``iii check``."""

    def test_both_name_it(self) -> None:
        self.authority.issue("other")
        (self.directory / "other.key").replace(self.directory / "server.key")
        path = f"{self.directory}/server.key"
        started = self.iii()
        self.assertEqual(started.returncode, 1)
        self.assertIn(f"tls.key: {path} does not belong to the certificate", started.stderr)
        checked = self.iii("check")
        self.assertEqual(checked.returncode, 1)
        self.assertIn("config.yaml:2: wss://localhost:0: tls.key: " + path, checked.stderr)
        self.assertEqual(checked.stderr.count("does not belong"), 4)

"""nginx and Caddy of a test's own, on free ports, in directories that go away with them."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from unittest import SkipTest, TestCase

LIMIT_S = 15.0

_NGINX = """\
daemon off;
worker_processes 1;
error_log stderr warn;
pid {folder}/pid;
events {{ worker_connections 256; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  map $http_upgrade $connection_upgrade {{ default upgrade; "" close; }}
{servers}
}}
"""

_SERVER = """\
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://127.0.0.1:{upstream};
      proxy_http_version 1.1;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection $connection_upgrade;
      proxy_set_header Host $host;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_read_timeout 1h;
    }}
  }}
"""

_CADDY = """\
{
  admin off
  auto_https off
}
"""

_SITE = """\
https://:{port} {{
  bind 127.0.0.1
  tls {cert} {key}
  reverse_proxy 127.0.0.1:{upstream}
}}
"""


class Proxy:
    """A proxy that a test may kill and start again.

    :param upstreams: ports of 127.0.0.1 to forward to
    :ivar ports: where it listens for each of them
    """

    program: str

    def __init__(self, case: TestCase, upstreams: Sequence[int]) -> None:
        if shutil.which(self.program) is None:
            raise SkipTest(f"no {self.program} on this machine")
        holder = tempfile.TemporaryDirectory(prefix=f"iii-{self.program}-")
        case.addCleanup(holder.cleanup)
        self.folder = Path(holder.name)
        self.ports = [_free_port() for _ in upstreams]
        self._pairs = list(zip(self.ports, upstreams, strict=True))
        self._process: subprocess.Popen[bytes] | None = None
        case.addCleanup(self.kill)
        self.start()

    def command(self) -> Sequence[str]:
        """Write the configuration; what runs it."""
        raise NotImplementedError

    def start(self) -> None:
        """Start it, and wait until it listens."""
        command = self.command()
        home = {"HOME": str(self.folder), "XDG_DATA_HOME": str(self.folder)}
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, cwd=self.folder, env=os.environ | home
            )
        ends = time.monotonic() + LIMIT_S
        for port in self.ports:
            while not _answers(port):
                if self._process.poll() is not None or time.monotonic() > ends:
                    said = (self.folder / "log").read_text()
                    raise AssertionError(f"{self.program} does not start:\n{said}")
                time.sleep(0.02)

    def kill(self) -> None:
        """End it and every connection through it, at once."""
        process, self._process = self._process, None
        if process is not None:
            # A master that is killed leaves its workers; SIGTERM ends them at once, too.
            process.terminate()
            process.wait(LIMIT_S)


class Nginx(Proxy):
    """nginx, with WebSocket upgrades, the host and the client's address passed on."""

    program = "nginx"

    def command(self) -> Sequence[str]:
        """Proxy: a server for each port."""
        servers = "".join(_SERVER.format(port=port, upstream=to) for port, to in self._pairs)
        file = self.folder / "nginx.conf"
        file.write_text(_NGINX.format(folder=self.folder, servers=servers))
        return ("nginx", "-p", str(self.folder), "-c", str(file), "-e", "stderr")


class Caddy(Proxy):
    """Caddy, with TLS.

    :param certificate: the files of certificate and key
    """

    program = "caddy"

    def __init__(
        self, case: TestCase, upstreams: Sequence[int], certificate: tuple[Path, Path]
    ) -> None:
        self._certificate = certificate
        super().__init__(case, upstreams)

    def command(self) -> Sequence[str]:
        """Proxy: a site for each port."""
        cert, key = self._certificate
        sites = "".join(
            _SITE.format(port=port, upstream=to, cert=cert, key=key) for port, to in self._pairs
        )
        file = self.folder / "Caddyfile"
        file.write_text(_CADDY + sites)
        return ("caddy", "run", "--config", str(file), "--adapter", "caddyfile")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port: int = holder.getsockname()[1]
        return port


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), LIMIT_S).close()
    except OSError:
        return False
    return True

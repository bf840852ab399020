"""The images start: their Dockerfiles, carried out, and run as the README says.

    make test-image

Debian's base comes from debootstrap, once for a machine.  Not among the tests of `make
test`: it takes a minute or two, the network and root.
"""

from __future__ import annotations

import atexit
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import IO, ClassVar
from unittest import SkipTest, TestCase

from tests.image.container import LIMIT_S, Container
from tests.image.dockerfile import Builder, Image

ROOT = Path(__file__).resolve().parents[2]
BASE = "debian:bookworm-slim"
SUITE = "bookworm"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "iii-engine"

# The minimal configuration of the users' own documents.
MINIMAL = """\
modules:
  - class: modules::api::RestApiModule
    config:
      host: 127.0.0.1
      port: 3111
  - class: modules::observability::OtelModule
    config:
      enabled: false
      level: info
      format: default
"""
WORKER = """\
import asyncio
from iii import III

async def main():
    iii = III("ws://localhost:49134")

    async def greet(data):
        return {"hello": data["name"]}

    iii.register_function("greet", greet)
    await iii.connect()
    print(await iii.invoke("greet", {"name": "Ada"}))
    await iii.disconnect()

asyncio.run(main())
"""


GUARDED = """\
port: 49134
auth:
  tokens: [of-the-test]
modules:
  - class: modules::api::RestApiModule
    config: {port: 3111}
  - class: modules::stream::StreamModule
    config: {port: 3112, adapter: {class: kv, config: {store_method: in_memory}}}
"""
# Its argument is the certificate of Caddy's own authority.
THROUGH_CADDY = """\
import asyncio, json, socket, ssl, sys, urllib.request
from iii import III, InitOptions

resolve = socket.getaddrinfo
socket.getaddrinfo = lambda host, *more, **options: resolve("127.0.0.1", *more, **options)

async def main():
    options = InitOptions(token=sys.argv[2], ca=sys.argv[1])
    iii = III("wss://workers.localhost", options)

    async def greet(request):
        return {"status_code": 200, "body": {"secure": request["headers"]["x-forwarded-proto"]}}

    iii.register_function("greet", greet)
    iii.register_trigger("http", "greet", {"api_path": "greet", "http_method": "GET"})
    await iii.connect(10)
    await iii.invoke("engine::functions::list", {})
    trust = ssl.create_default_context(cafile=sys.argv[1])

    def get():
        with urllib.request.urlopen("https://localhost/greet", timeout=10, context=trust) as answer:
            return answer.read().decode()

    print(await asyncio.to_thread(get))
    await iii.disconnect()

asyncio.run(main())
"""


def base_root() -> Path:
    """Debian as its slim image has it, made once.

    :raises SkipTest: the machine can't
    """
    for program in ("debootstrap", "unshare", "nsenter"):
        if shutil.which(program) is None:
            raise SkipTest(f"{program} is not on this machine: apt-get install debootstrap")
    if os.geteuid() != 0:
        raise SkipTest("chroot and namespaces need root")
    root = CACHE / SUITE
    if not root.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(dir=CACHE))
        command = ["debootstrap", "--variant=minbase", SUITE, str(fresh)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            shutil.rmtree(fresh)
            raise AssertionError(f"debootstrap: {done.stdout[-2000:]}{done.stderr[-2000:]}")
        fresh.chmod(0o755)  # it will be a root directory
        fresh.rename(root)
    return root


def caddy_log(log: IO[bytes]) -> str:
    """What Caddy said, for the message of a failure."""
    log.seek(0)
    return log.read().decode(errors="replace")[-3000:]


@cache
def built(dockerfile: str) -> Image:
    """The image of a Dockerfile; built once for all tests."""
    base = base_root()
    work = Path(tempfile.mkdtemp(prefix="iii-image-"))
    atexit.register(shutil.rmtree, work)
    return Builder(ROOT, {BASE: base}, work).build(ROOT / dockerfile)


class ImageCase(TestCase):
    """Containers of one image."""

    dockerfile: ClassVar[str]
    timeout = 600

    def setUp(self) -> None:
        self.image = built(self.dockerfile)
        self.work = Path(tempfile.mkdtemp(prefix="iii-container-"))
        self.addCleanup(shutil.rmtree, self.work)
        self.work.chmod(0o755)

    def run_image(self, config: str | None = None, **options: str) -> Container:
        """A container, with a configuration of one's own or the image's."""
        mounts = {}
        if config is not None:
            file = self.work / "config.yaml"
            file.write_text(config)
            mounts["/app/config.yaml"] = file
        container = Container(self.image, self.work, mounts=mounts, environment=options)
        self.addCleanup(container.close)
        container.start()
        self.wait(container, lambda: "ready: {" in container.output)
        return container

    def wait(self, container: Container, met: Callable[[], bool]) -> None:
        """Until something is so, or the container ends."""
        until = time.monotonic() + LIMIT_S
        while not met():
            self.assertTrue(container.runs, f"the container ended\n{container.output}")
            self.assertLess(time.monotonic(), until, container.output)
            time.sleep(0.05)

    def beside(self, container: Container, code: str) -> str:
        """Run Python of this machine at the ports of the container."""
        done = container.beside(sys.executable, "-c", code, cwd=ROOT)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout


class Production(ImageCase):
    """`Dockerfile`: Python and the engine, and nothing else."""

    dockerfile = "Dockerfile"

    def test_it_runs_with_nothing_but_the_right_to_low_ports(self) -> None:
        """Issue 7, part 9: read-only root, /tmp in memory, not root, no rights left."""
        container = self.run_image()
        found = container.execute(
            "python",
            "-c",
            "import os, json\n"
            "lines = dict(l.split(':', 1) for l in open('/proc/1/status').read().splitlines())\n"
            "def writes(path):\n"
            "    try:\n"
            "        open(path, 'w').close()\n"
            "    except OSError:\n"
            "        return False\n"
            "    return True\n"
            "paths = ['/app/x', '/etc/x', '/opt/iii/x', '/tmp/x', '/app/data/x']\n"
            "print(json.dumps([lines['Uid'].split()[0], lines['CapEff'].strip(),\n"
            "    lines['NoNewPrivs'].strip(), [writes(p) for p in paths]]))",
        )
        self.assertEqual(found.returncode, 0, found.stderr)
        uid, rights, no_new, written = json.loads(found.stdout)
        self.assertEqual((uid, int(rights, 16), no_new), ("65532", 0, "1"))
        self.assertEqual(written, [False, False, False, True, True])

    def test_all_ports_that_it_exposes_answer(self) -> None:
        """Issue 7, part 9: 49134, 3111, 3112 and 9464, from outside the container."""
        container = self.run_image()
        code = (
            "import socket\n"
            f"for port in {self.image.ports!r}:\n"
            "    socket.create_connection(('127.0.0.1', port), 5).close()\n"
            "import urllib.request\n"
            "print(urllib.request.urlopen('http://127.0.0.1:9464/readyz').status)"
        )
        self.assertEqual(self.beside(container, code), "200\n")
        self.assertEqual(self.image.ports, [49134, 3111, 3112, 9464])

    def test_the_users_minimal_configuration_runs(self) -> None:
        """Seeds: `docker run -v ./config.yaml:/app/config.yaml:ro`."""
        container = self.run_image(MINIMAL)
        self.assertIn("hello", self.beside(container, WORKER))

    def test_it_works_behind_the_caddyfile(self) -> None:
        """Issue 7, part 9: TLS, WebSocket upgrade, the token; all three names."""
        if shutil.which("caddy") is None:
            raise SkipTest("caddy is not on this machine")
        container = self.run_image(GUARDED)
        # A certificate of the test has no business among those the machine trusts.
        text = (ROOT / "deploy" / "Caddyfile").read_text()
        file = self.work / "Caddyfile"
        file.write_text(text.replace("{\n", "{\n\tskip_install_trust\n", 1))
        names = {"III_DOMAIN": "localhost", "III_UPSTREAM": "127.0.0.1"}
        where = {"XDG_DATA_HOME": str(self.work), "XDG_CONFIG_HOME": str(self.work)}
        log = self.enterContext((self.work / "caddy.log").open("w+b"))
        caddy = container.alongside(
            *("caddy", "run", "--adapter", "caddyfile", "--config", str(file)),
            environment={**names, **where},
            log=log,
        )
        self.addCleanup(caddy.wait, LIMIT_S)
        self.addCleanup(caddy.terminate)
        trusted = self.work / "caddy" / "pki" / "authorities" / "local" / "root.crt"
        certificates = self.work / "caddy" / "certificates" / "local"
        self.wait(container, lambda: len(list(certificates.glob("*/*.crt"))) == 3)

        def worker(token: str) -> subprocess.CompletedProcess[str]:
            code = (sys.executable, "-c", THROUGH_CADDY, str(trusted), token)
            return container.beside(*code, cwd=ROOT)

        done = worker("of-the-test")
        self.assertEqual(done.stdout, '{"secure":"https"}\n', done.stderr + caddy_log(log))
        refused = worker("of-somebody-else")
        self.assertNotEqual(refused.returncode, 0)
        self.assertIn("token", refused.stderr)

    def test_it_is_healthy_and_stops_in_time(self) -> None:
        """Issue 7, part 9: the health check; SIGTERM ends process 1 with 0."""
        container = self.run_image()
        health = container.execute(*self.image.health)
        self.assertEqual(health.returncode, 0, health.stdout + health.stderr)
        began = time.monotonic()
        self.assertEqual(container.stop(), 0, container.output)
        self.assertLess(time.monotonic() - began, 10)

    def test_what_is_stored_outlives_the_container(self) -> None:
        """Issue 7, part 9: /app/data is a volume."""
        first = self.run_image()
        written = first.execute(
            *("iii", "trigger", "state::set"),
            *("scope=shop", "key=open", "value=true"),
        )
        self.assertEqual(written.returncode, 0, written.stderr)
        self.assertEqual(first.stop(), 0)
        second = self.run_image()
        read = second.execute("iii", "trigger", "state::get", "scope=shop", "key=open")
        self.assertEqual(json.loads(read.stdout), True)

    def test_there_is_no_shell(self) -> None:
        """Seeds: distroless runtime, no shell."""
        for place in ("bin/sh", "usr/bin/sh", "bin/bash", "usr/bin/apt-get", "usr/bin/dpkg"):
            self.assertFalse((self.image.root / place).exists(), place)

    def test_every_library_that_is_needed_is_there(self) -> None:
        """A missing library would be found by the first user of it, in production."""
        container = self.run_image()
        modules = (
            *("ssl", "sqlite3", "ctypes", "lzma", "bz2", "zlib", "uuid", "hashlib", "decimal"),
            *("zoneinfo", "multiprocessing", "xml.parsers.expat", "grpc", "cryptography"),
            *("hiredis", "msgspec", "httptools", "croniter", "treq"),
        )
        code = f"import importlib\nfor name in {modules!r}: importlib.import_module(name)"
        found = container.execute("python", "-c", code)
        self.assertEqual(found.returncode, 0, found.stderr)
        zone = "import zoneinfo; print(zoneinfo.ZoneInfo('Europe/Vienna'))"
        self.assertEqual(container.execute("python", "-c", zone).stdout, "Europe/Vienna\n")
        trust = "import ssl; print(len(ssl.create_default_context().get_ca_certs()) > 50)"
        self.assertEqual(container.execute("python", "-c", trust).stdout, "True\n")


class Debug(ImageCase):
    """`Dockerfile.debug`: the same with a shell."""

    dockerfile = "Dockerfile.debug"

    def test_it_runs_and_has_tools(self) -> None:
        """Seeds: `docker build -f Dockerfile.debug`."""
        container = self.run_image(MINIMAL)
        self.assertIn("hello", self.beside(container, WORKER))
        answer = container.execute("bash", "-c", "curl -s localhost:3111/nope && ps -p 1 -o comm=")
        self.assertIn("route_not_found", answer.stdout)
        self.assertIn("iii", answer.stdout)

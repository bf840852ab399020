"""Brokers that a suite needs: processes of their own on free ports, with an empty directory."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
from pathlib import Path
from time import monotonic, sleep
from typing import Self
from unittest import SkipTest

from benchmarks.processes import POLL_S, START_TIMEOUT_S, STOP_TIMEOUT_S, WORK, BenchmarkError
from tests.support import rabbitmq


class RedisServer:
    """``redis-server`` without persistence, or with ``options`` of its own.

    :ivar url: where it is, once it has started
    """

    def __init__(self, *options: str) -> None:
        self._options = options
        self.url = ""

    def __enter__(self) -> Self:
        program = shutil.which("redis-server")
        if program is None:
            raise BenchmarkError("redis-server is missing: apt-get install redis-server")
        WORK.mkdir(exist_ok=True)
        self._directory = Path(tempfile.mkdtemp(prefix="iii-redis-", dir=WORK))
        port = _free_port()
        self._process = subprocess.Popen(
            (
                *(program, "--port", str(port), "--bind", "127.0.0.1"),
                *("--dir", str(self._directory), "--save", "", "--appendonly", "no"),
                *self._options,
            ),
            stdout=subprocess.DEVNULL,
        )
        try:
            _wait(port)
        except BaseException:
            self.__exit__()
            raise
        self.url = f"redis://127.0.0.1:{port}"
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(STOP_TIMEOUT_S)
        shutil.rmtree(self._directory)


class RabbitServer:
    """RabbitMQ, as the tests start it.

    :ivar url: where it is, once it has started
    """

    def __init__(self) -> None:
        self.url = ""

    def __enter__(self) -> Self:
        try:
            self._server = rabbitmq.RabbitServer()
        except SkipTest as error:
            raise BenchmarkError(f"{error}: apt-get install rabbitmq-server") from error
        self.url = self._server.url
        return self

    def __exit__(self, *_: object) -> None:
        self._server.close()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port: int = holder.getsockname()[1]
        return port


def _wait(port: int) -> None:
    ends = monotonic() + START_TIMEOUT_S
    while monotonic() < ends:
        try:
            socket.create_connection(("127.0.0.1", port), 1.0).close()
        except OSError:
            sleep(POLL_S)
        else:
            return
    raise BenchmarkError(f"redis-server does not listen after {START_TIMEOUT_S:.0f} s")

"""A started program: its output, its end."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.sdks.engine import outside_environment

KILL_AFTER_S = 3.0


class Program:
    """One process whose output goes to a file the report can quote."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        folder: Path,
        log: Path,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self._env = dict(env or {})
        self._command = command
        self._folder = folder
        self._log = log
        self._process: asyncio.subprocess.Process | None = None

    async def start(self, engine_url: str) -> None:
        """Run it.  Old SDKs' telemetry dials the variables, not the client's address."""
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                cwd=self._folder,
                env=outside_environment(III_URL=engine_url, III_BRIDGE_URL=engine_url, **self._env),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    @property
    def output(self) -> str:
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    @property
    def code(self) -> int | None:
        return self._process.returncode if self._process else None

    async def says(self, pattern: str, limit_s: float) -> None:
        """Wait until the output contains ``pattern`` (a regular expression)."""
        deadline = asyncio.get_running_loop().time() + limit_s
        while not re.search(pattern, self.output):
            assert asyncio.get_running_loop().time() < deadline, (
                f"{self.name} did not print /{pattern}/ within {limit_s:.0f} s"
            )
            assert self.code is None, f"{self.name} ended with {self.code} before /{pattern}/"
            await asyncio.sleep(0.05)

    def terminate(self) -> None:
        """SIGTERM; see ``ends``."""
        assert self._process is not None
        self._process.terminate()

    async def ends(self, limit_s: float) -> int:
        assert self._process is not None
        async with asyncio.timeout(limit_s):
            return await self._process.wait()

    async def stop(self) -> None:
        """End it, whatever it is doing."""
        if self._process is None or self._process.returncode is not None:
            return
        self._process.terminate()
        try:
            async with asyncio.timeout(KILL_AFTER_S):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()

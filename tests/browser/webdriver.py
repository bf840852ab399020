"""Chromium, driven over the W3C WebDriver protocol: JSON over HTTP, no library needed.

Commands go to ``chromedriver``, which starts the browser.  One session has several tabs;
each command first switches to its own, so two tabs can be used side by side as long as
nobody drives them concurrently.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import re
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

START_LIMIT_S = 20.0
COMMAND_LIMIT_S = 30.0
KILL_AFTER_S = 5.0
_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
ENTER = "\ue007"

Json = dict[str, Any]


class BrowserFailed(Exception):
    """The browser or its driver refused a command; the message has its words."""


def missing() -> str:
    """What this machine lacks to run a browser; empty when nothing."""
    absent = [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]
    return f"no {' and no '.join(absent)} on PATH" if absent else ""


class Tab:
    """One tab."""

    def __init__(self, browser: Browser, handle: str) -> None:
        self._browser = browser
        self._handle = handle

    async def _command(self, method: str, path: str, body: Json | None = None) -> Any:
        await self._browser.command("POST", "/window", {"handle": self._handle})
        return await self._browser.command(method, path, body)

    async def open(self, url: str) -> None:
        await self._command("POST", "/url", {"url": url})

    async def run(self, script: str, *arguments: Any) -> Any:
        """The value of a JavaScript function body."""
        body = {"script": script, "args": list(arguments)}
        return await self._command("POST", "/execute/sync", body)

    async def _find(self, selector: str) -> str:
        body = {"using": "css selector", "value": selector}
        found: Json = await self._command("POST", "/element", body)
        element: str = found[_ELEMENT]
        return element

    async def click(self, selector: str) -> None:
        """As a user would: fails when something lies over it."""
        element = await self._find(selector)
        await self._browser.command("POST", f"/element/{element}/click", {})

    async def type(self, selector: str, text: str) -> None:
        element = await self._find(selector)
        await self._browser.command("POST", f"/element/{element}/value", {"text": text})

    async def complaints(self) -> list[str]:
        """What the page logged as an error since the last time somebody asked."""
        rows = await self._command("POST", "/se/log", {"type": "browser"})
        return [row["message"] for row in rows if row["level"] == "SEVERE"]


class Browser:
    """One session."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._session = ""

    async def command(self, method: str, path: str, body: Json | None = None) -> Any:
        where = f"/session/{self._session}{path}" if self._session else "/session"
        return await asyncio.to_thread(self._exchange, method, where, body)

    def _exchange(self, method: str, path: str, body: Json | None) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=COMMAND_LIMIT_S)
        try:
            content = None if body is None else json.dumps(body)
            connection.request(method, path, content, {"content-type": "application/json"})
            value = json.loads(connection.getresponse().read())["value"]
        finally:
            connection.close()
        if isinstance(value, dict) and "error" in value:
            raise BrowserFailed(f"{method} {path}: {value['error']}: {value['message'][:400]}")
        return value

    async def start(self, profile: Path) -> None:
        flags = [
            "--headless=new",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--window-size=1200,800",
            f"--user-data-dir={profile}",
        ]
        if os.geteuid() == 0:
            # Chromium does not run as root with its sandbox.
            flags.append("--no-sandbox")
        wanted = {
            "browserName": "chrome",
            "goog:chromeOptions": {"binary": shutil.which("chromium"), "args": flags},
            "goog:loggingPrefs": {"browser": "ALL"},
        }
        made = await self.command("POST", "", {"capabilities": {"alwaysMatch": wanted}})
        self._session = made["sessionId"]

    async def first_tab(self) -> Tab:
        return Tab(self, await self.command("GET", "/window"))

    async def new_tab(self) -> Tab:
        made = await self.command("POST", "/window/new", {"type": "tab"})
        return Tab(self, made["handle"])

    async def quit(self) -> None:
        if self._session:
            await self.command("DELETE", "")


@asynccontextmanager
async def chromium(log: Path) -> AsyncIterator[Browser]:
    """A browser with an empty profile, gone with everything it started at the end.

    :param log: where the driver writes
    """
    with (
        log.open("wb") as output,
        tempfile.TemporaryDirectory(prefix="iii-browser-", ignore_cleanup_errors=True) as profile,
    ):
        process = await asyncio.create_subprocess_exec(
            *("chromedriver", "--port=0"),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
        browser: Browser | None = None
        try:
            browser = Browser(await _port(process, log))
            await browser.start(Path(profile))
            yield browser
        finally:
            try:
                if browser is not None:
                    await browser.quit()
            finally:
                await _end(process)


def said(log: Path) -> str:
    return log.read_text(errors="replace")


async def _port(process: asyncio.subprocess.Process, log: Path) -> int:
    clock = asyncio.get_running_loop().time
    deadline = clock() + START_LIMIT_S
    while clock() < deadline:
        found = re.search(r"started successfully on port (\d+)", said(log))
        if found:
            return int(found[1])
        if process.returncode is not None:
            raise BrowserFailed(f"chromedriver ended with {process.returncode}")
        await asyncio.sleep(0.05)
    raise BrowserFailed(f"chromedriver is not ready after {START_LIMIT_S:.0f} s")


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.terminate()
    try:
        async with asyncio.timeout(KILL_AFTER_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()

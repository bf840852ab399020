"""The programs in ``examples/quickstart``, run as they are."""

from __future__ import annotations

import asyncio
import os
import runpy
import sys
from pathlib import Path
from typing import Any
from unittest.mock import patch

import iii
from iii.client.client import III
from tests.client.stub import ClientCase, Link

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "quickstart"


class QuickStart(ClientCase):
    """07 A2: the programs of the mission document, unchanged."""

    def load(self, name: str) -> dict[str, Any]:
        """Import a program; only its address is the stub's, and its log stays quiet."""
        with (
            patch.object(iii, "III", lambda url=None: III(self.stub.address)),
            patch("logging.basicConfig"),
        ):
            return runpy.run_path(str(EXAMPLES / name))

    async def run_example(self, name: str) -> Link:
        """Run its ``main()``."""
        program = self.load(name)
        self.main = asyncio.ensure_future(program["main"]())
        self.addAsyncCleanup(asyncio.wait, [self.main])
        self.addCleanup(self.main.cancel)
        return await self.stub.link()

    def routes(self, link: Link) -> list[tuple[str, str, str]]:
        frames = [frame for frame in link.frames if frame["type"] == "registertrigger"]
        return [
            (f["config"]["http_method"], f["config"]["api_path"], f["function_id"]) for f in frames
        ]

    async def result(self, link: Link, function_id: str, data: Any) -> Any:
        return (await link.invoke(function_id, data))["result"]

    async def test_add(self) -> None:
        """07.1: registers ``math.add`` and ``POST /add``; 5 and 3 are 8."""
        link = await self.run_example("add.py")
        await link.frame("registertrigger")
        self.assertEqual(self.routes(link), [("POST", "add", "math.add")])
        self.assertEqual(await self.result(link, "math.add", {"a": 5, "b": 3}), {"sum": 8})

    async def test_the_complete_example(self) -> None:
        """07.2: four routes; a greeting is made, read and deleted; Ctrl-C disconnects."""
        link = await self.run_example("greetings.py")
        await link.frame("registertrigger", 3)
        self.assertEqual(
            self.routes(link),
            [
                ("GET", "greet", "python.greet"),
                ("GET", "greetings", "python.list_greetings"),
                ("GET", "greetings/:name", "python.get_greeting"),
                ("DELETE", "greetings/:name", "python.delete_greeting"),
            ],
        )
        ada = {"name": "Ada"}
        for function_id, expected in (
            ("python.greet", {"greeting": "Hello, Ada!", "saved": True}),
            ("python.get_greeting", {"greeting": "Hello, Ada!"}),
            ("python.delete_greeting", {"deleted": True}),
            ("python.list_greetings", {"greetings": {}}),
        ):
            self.assertEqual(await self.result(link, function_id, ada), expected)
        self.main.cancel()
        self.assertEqual(await link.closed, 1000)

    async def test_a_caller(self) -> None:
        """``call.py`` prints the result and says goodbye."""
        program = self.load("call.py")
        with patch("builtins.print") as printed:
            calling = asyncio.ensure_future(program["main"](5.0, 3.0))
            link = await self.stub.link()
            frame = await link.frame("invokefunction")
            await link.say(
                type="invocationresult",
                invocation_id=frame["invocation_id"],
                result={"sum": frame["data"]["a"] + frame["data"]["b"]},
            )
            await calling
        printed.assert_called_once_with({"sum": 8.0})
        self.assertEqual(await link.closed, 1000)


FORGETFUL = """
import asyncio, sys
from iii import III

async def main():
    client = III()
    client.register_function("f", lambda data: "from a thread")
    await client.connect()
    await asyncio.get_running_loop().connect_read_pipe(lambda: done, sys.stdin)
    await done.closed

class Done(asyncio.Protocol):
    def connection_made(self, transport):
        self.closed = asyncio.get_running_loop().create_future()
    def connection_lost(self, error):
        self.closed.set_result(None)

done = Done()
asyncio.run(main())
"""


class Process(ClientCase):
    """07 A2: a client never keeps a process alive."""

    async def test_a_program_that_forgets_to_disconnect_ends(self) -> None:
        """When ``asyncio.run`` returns the process exits, idle handler threads or not."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            FORGETFUL,
            stdin=asyncio.subprocess.PIPE,
            cwd=EXAMPLES.parents[1],
            env=dict(os.environ, III_URL=self.stub.address),
        )
        link = await self.stub.link()
        self.assertEqual((await link.invoke("f"))["result"], "from a thread")
        process.stdin.close()
        async with asyncio.timeout(5):
            self.assertEqual(await process.wait(), 0)
        self.assertEqual(await link.closed, 1006)

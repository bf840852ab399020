"""``make run``: an engine and the demo worker, until Ctrl-C.

The engine runs ``config.yaml`` of the checkout.  ``III_PORT`` and ``III_HTTP_PORT``
choose other ports than 49134 and 3111; 0 takes free ones.

Both children get process groups of their own: a Ctrl-C of the terminal then only
reaches this program, which stops the worker first and the engine after it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).parents[2]
WORKER = Path(__file__).with_name("worker.py")
START_LIMIT_S = 30.0
POLL_S = 0.05


async def main() -> int:
    """Run both; returns the exit code."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with contextlib.AsyncExitStack() as stack:
        try:
            return await _demo(stack, stop)
        except RuntimeError as error:
            print(f"Error: {error}", file=sys.stderr)
            return 1


async def _demo(stack: contextlib.AsyncExitStack, stop: asyncio.Event) -> int:
    readable, writable = os.pipe()
    engine = await _spawn(
        stack, "-m", "iii", *_engine_arguments(), "--ready-fd", str(writable), pass_fds=(writable,)
    )
    os.close(writable)
    with os.fdopen(readable) as pipe:
        line = await asyncio.to_thread(pipe.readline)
    if not line:
        raise RuntimeError(f"the engine did not start (exit code {await engine.wait()})")
    ready = json.loads(line)
    worker = await _spawn(
        stack, str(WORKER), environ={"III_URL": f"ws://localhost:{ready['worker']}"}
    )
    url = f"http://localhost:{ready['http']}/greet?name=Ada"
    ended = asyncio.ensure_future(_first_end(engine, worker, stop))
    answering = asyncio.ensure_future(_answers(url))
    await asyncio.wait({ended, answering}, return_when=asyncio.FIRST_COMPLETED)
    if answering.done():
        answering.result()
        print(f"\nThe demo worker answers.  Try, in another terminal:\n\n  curl '{url}'\n")
        print("Ctrl-C stops both.", flush=True)
    answering.cancel()
    return await ended


def _engine_arguments() -> list[str]:
    arguments = ["--config", str(ROOT / "config.yaml")]
    if port := os.environ.get("III_PORT"):
        arguments += ["--port", port]
    return arguments


async def _spawn(
    stack: contextlib.AsyncExitStack,
    *arguments: str,
    environ: dict[str, str] | None = None,
    pass_fds: tuple[int, ...] = (),
) -> asyncio.subprocess.Process:
    """Start a Python program that is stopped when ``stack`` ends, the last one first."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *arguments,
        env=os.environ | (environ or {}),
        cwd=ROOT,
        pass_fds=pass_fds,
        start_new_session=True,
    )
    stack.push_async_callback(_stop, process)
    return process


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.terminate()
    await process.wait()


async def _first_end(
    engine: asyncio.subprocess.Process, worker: asyncio.subprocess.Process, stop: asyncio.Event
) -> int:
    """0 when asked to stop, 1 when a child ended by itself."""
    asked = asyncio.ensure_future(stop.wait())
    waits = {
        asked: "",
        asyncio.ensure_future(engine.wait()): "the engine",
        asyncio.ensure_future(worker.wait()): "the worker",
    }
    done, pending = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    for wait in pending:
        wait.cancel()
    if asked in done:
        return 0
    print(f"Error: {waits[done.pop()]} ended by itself", file=sys.stderr)
    return 1


async def _answers(url: str) -> None:
    """Return once the route answers.

    :raises RuntimeError: it does not within 30 s
    """
    for _ in range(int(START_LIMIT_S / POLL_S)):
        if await asyncio.to_thread(_ok, url):
            return
        await asyncio.sleep(POLL_S)
    raise RuntimeError(f"{url} does not answer")


def _ok(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))

"""What the checks of the scenario stand on: the stage, waiting, the list.

A check is a coroutine that is given the ``Stage`` and fails with an assertion; a
decorator (``listing``) puts it on the list of its file, in the order of the file.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from tests.sdks import web
from tests.sdks.engine import Engine
from tests.sdks.program import Program
from tests.sdks.proxy import Proxy
from tests.sdks.raw import RawWorker
from tests.sdks.releases import Release

SETTLE_LIMIT_S = 8.0
RECONNECT_LIMIT_S = 20.0


@dataclass
class Stage:
    """Everything a check may look at."""

    release: Release
    engine: Engine
    program: Program
    proxy: Proxy
    peer: Program
    peer_prefix: str
    raw: RawWorker
    received: list[Any] = field(default_factory=list)
    """What came to the raw worker's own function."""
    asked: list[Any] = field(default_factory=list)
    """What the raw worker was asked as a condition."""

    @property
    def prefix(self) -> str:
        return self.release.prefix

    @property
    def probe(self) -> str:
        """The raw worker's function ids start with this."""
        return f"probe-{self.prefix}"

    def id(self, name: str) -> str:
        return f"{self.prefix}::{name}"

    def peer_id(self, name: str) -> str:
        return f"{self.peer_prefix}::{name}"

    async def call(self, name: str, data: Any = None, limit_s: float = 10.0) -> Any:
        """Call a function of the program from the raw worker."""
        return await self.raw.call(self.id(name), {} if data is None else data, limit_s)

    async def peer_call(self, name: str, data: Any) -> Any:
        return await self.raw.call(self.peer_id(name), data)

    async def relay(self, function_id: str, data: Any) -> Any:
        """Have the program call something with its SDK; the value it got."""
        answer = await self.call("relay", {"function_id": function_id, "data": data})
        assert "error" not in answer, f"{function_id} answered the program {answer['error']}"
        return answer.get("value")

    async def relay_error(self, function_id: str, data: Any) -> str:
        """Have the program call something that fails; what its SDK says about it."""
        answer = await self.call("relay", {"function_id": function_id, "data": data})
        assert "error" in answer, f"{function_id} answered the program {answer!r}, not an error"
        return str(answer["error"])

    async def http(self, method: str, path: str, **options: Any) -> web.Reply:
        return await web.request(
            self.engine.ports.http, method, f"/{self.prefix}/{path}", **options
        )

    async def rows(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = (await self.raw.call("engine::workers::list", {}))["workers"]
        return rows

    async def routes(self) -> list[str]:
        """``METHOD path`` of every http trigger of the program, with repetitions."""
        answer = await self.raw.call("engine::triggers::list", {})
        return sorted(
            f"{row['config'].get('http_method')} {row['config'].get('api_path')}"
            for row in answer["triggers"]
            if row["function_id"].startswith(self.prefix + "::") and row["trigger_type"] == "http"
        )

    async def connect_raw(self) -> None:
        """Take the raw worker's place, also after a restart."""
        self.raw = await RawWorker.open(self.engine.url)
        self.received.clear()

        def take(data: Any) -> Any:
            self.received.append(data)
            return {"taken": data}

        await self.raw.register(f"{self.probe}::take", take)


async def eventually(
    attempt: Callable[[], Awaitable[Any]], what: str, limit_s: float = SETTLE_LIMIT_S
) -> Any:
    """Poll until ``attempt`` returns something true; its last words otherwise."""
    clock = asyncio.get_running_loop().time
    deadline = clock() + limit_s
    last: Any = None
    while clock() < deadline:
        try:
            async with asyncio.timeout(max(deadline - clock(), 0.1)):
                last = await attempt()
            if last:
                return last
        except (AssertionError, OSError, TimeoutError) as error:
            last = error
        await asyncio.sleep(0.1)
    raise AssertionError(f"not within {limit_s:.0f} s: {what}; last: {last!r}")


def same(found: Any, expected: Any) -> None:
    assert found == expected, f"expected {expected!r}, found {found!r}"


def without_caller(data: Any) -> Any:
    """Input without what the engine adds to calls from workers."""
    return {name: value for name, value in data.items() if name != "_caller_worker_id"}


@dataclass(frozen=True)
class Check:
    name: str
    needs: str | None
    run: Callable[[Stage], Awaitable[None]]


def listing(checks: list[Check]) -> Callable[..., Any]:
    """The decorator ``check(name, needs=None)`` that puts a coroutine on ``checks``."""

    def check(name: str, needs: str | None = None) -> Callable[[Any], Any]:
        def add(run: Callable[[Stage], Awaitable[None]]) -> Callable[[Stage], Awaitable[None]]:
            checks.append(Check(name, needs, run))
            return run

        return add

    return check

"""A worker without an SDK: the runner's own hand on the wire.

It speaks the plain messages of the protocol, keeps the last frames of both
directions for the report of a failed check, and is the judge where an SDK would
hide what arrived.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

FRAMES_KEPT = 24
FRAME_SHOWN_CHARS = 400
CALL_LIMIT_S = 10.0

Handler = Callable[[Any], Any]


@dataclass
class Answer:
    """An ``invocationresult`` as it came."""

    frame: dict[str, Any]

    @property
    def result(self) -> Any:
        return self.frame.get("result")

    @property
    def code(self) -> str | None:
        error = self.frame.get("error")
        return error["code"] if error else None

    @property
    def message(self) -> str:
        return str((self.frame.get("error") or {}).get("message", ""))


class RawWorker:
    """One connection to the worker port."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._waiting: dict[str, asyncio.Future[Answer]] = {}
        self._handlers: dict[str, Handler] = {}
        self._refusals: dict[str, asyncio.Future[dict[str, Any]]] = {}
        self.frames: deque[str] = deque(maxlen=FRAMES_KEPT)
        self._reader = asyncio.create_task(self._read())

    @classmethod
    async def open(cls, url: str) -> RawWorker:
        return cls(await connect(url, max_size=None))

    async def close(self) -> None:
        await self._socket.close()
        await self._reader

    async def _read(self) -> None:
        try:
            async for text in self._socket:
                self.frames.append("<- " + str(text)[:FRAME_SHOWN_CHARS])
                await self._received(json.loads(text))
        except ConnectionClosed:
            self.frames.append("<- (connection lost)")

    async def _received(self, frame: dict[str, Any]) -> None:
        kind = frame["type"]
        if kind == "invocationresult":
            waiting = self._waiting.pop(frame["invocation_id"], None)
            if waiting is not None and not waiting.done():
                waiting.set_result(Answer(frame))
        elif kind == "invokefunction":
            result = self._handlers[frame["function_id"]](frame["data"])
            await self.send(
                "invocationresult",
                invocation_id=frame["invocation_id"],
                function_id=frame["function_id"],
                result=result,
            )
        elif kind == "triggerregistrationresult":
            refusal = self._refusals.get(frame["id"])
            if refusal is not None and not refusal.done():
                refusal.set_result(frame)

    async def send(self, kind: str, **fields: Any) -> None:
        text = json.dumps({"type": kind, **fields})
        self.frames.append("-> " + text[:FRAME_SHOWN_CHARS])
        await self._socket.send(text)

    async def ask(
        self, function_id: str, data: Any, limit_s: float = CALL_LIMIT_S, **fields: Any
    ) -> Answer:
        """Call and wait, whatever the answer is; ``fields`` go into the message."""
        invocation_id = str(uuid.uuid4())
        waiting: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting[invocation_id] = waiting
        await self.send(
            "invokefunction",
            invocation_id=invocation_id,
            function_id=function_id,
            data=data,
            **fields,
        )
        async with asyncio.timeout(limit_s):
            return await waiting

    async def call(self, function_id: str, data: Any, limit_s: float = CALL_LIMIT_S) -> Any:
        """Call and return the value; an error is a failed check."""
        answer = await self.ask(function_id, data, limit_s)
        assert answer.code is None, f"{function_id} answered {answer.frame['error']}"
        return answer.result

    async def register(self, function_id: str, handler: Handler, **fields: Any) -> None:
        self._handlers[function_id] = handler
        await self.send("registerfunction", id=function_id, **fields)

    async def bind(self, kind: str, function_id: str, config: Any) -> str:
        """Register a trigger; returns its id."""
        trigger_id = str(uuid.uuid4())
        self._refusals[trigger_id] = asyncio.get_running_loop().create_future()
        await self.send(
            "registertrigger",
            id=trigger_id,
            trigger_type=kind,
            function_id=function_id,
            config=config,
        )
        return trigger_id

    async def refusal(self, trigger_id: str, limit_s: float = CALL_LIMIT_S) -> dict[str, Any]:
        """The engine's ``triggerregistrationresult`` for one of our triggers."""
        async with asyncio.timeout(limit_s):
            return await self._refusals[trigger_id]

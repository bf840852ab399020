"""The ``iii-bridge`` module: functions of another engine here, and of this one there.

``bridge.invoke`` calls any function of the other engine, ``forward`` gives one of them a
name here, ``expose`` gives one of ours a name there.  Payloads go through unread.
"""

from __future__ import annotations

import os
from typing import Any

from msgspec import Raw
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from iii.bridge import Incoming, Link
from iii.bridge.errors import collapsed
from iii.bridge.hops import MOST_HOPS, next_hop
from iii.bridge.payload import without_caller
from iii.engine import tracecontext
from iii.engine.inputs import InputError, Reader
from iii.engine.invocations import NULL, Call, ErrorBody
from iii.engine.module import Module, ModuleApi
from iii.engine.relayed import Ended
from iii.errors import Code, IIIError
from iii.modules.bridge.config import (
    LONGEST_TIMEOUT_MS,
    BridgeConfig,
    Expose,
    Forward,
    InvokeInput,
)

log = Logger()

#: What the other engine's lists show.
NAME = "iii-bridge-client"


class BridgeModule(Module):
    """Calls functions of another engine, and lets it call ours."""

    name = "iii-bridge"
    config = BridgeConfig

    def __init__(self, settings: BridgeConfig) -> None:
        super().__init__(settings)
        self._engine: ModuleApi
        self._link: Link | None = None
        self._reader = Reader(InvokeInput)

    def start(self, engine: ModuleApi) -> None:
        """Module: offer the functions on both sides, connect in the background.

        :raises StartError: the address makes no sense
        """
        settings: BridgeConfig = self.settings
        self._engine = engine
        remote = settings.remote(os.environ)
        link = self._link = Link(
            engine, remote, NAME, without="calls of its functions wait or fail", allow_self=True
        )
        engine.relay(
            "bridge.invoke",
            self._invoke,
            description="Call a function of the other engine",
            takes=InvokeInput,
        )
        engine.relay(
            "bridge.invoke_async",
            self._invoke_async,
            description="Call a function of the other engine without waiting for it",
            takes=InvokeInput,
        )
        for forward in settings.forward:
            self._forward(forward)
        if settings.service_id is not None:
            link.service(settings.service_id, settings.service_name or settings.service_id)
        exposed: set[str] = set()
        for expose in settings.expose:
            id = expose.remote_function or expose.local_function
            if id in exposed:
                log.warn("bridge: {id} is exposed twice, the last one counts", id=id)
            exposed.add(id)
            self._expose(id, expose)
        self._show(engine, link)
        link.start()

    @property
    def under_way(self) -> int:
        """Module: calls that the other engine has not answered."""
        return 0 if self._link is None else self._link.under_way

    def stop(self) -> Deferred[None] | None:
        """Module: say goodbye."""
        return None if self._link is None else self._link.stop()

    # Their functions here --------------------------------------------------------------

    def _invoke(self, call: Call, ended: Ended) -> None:
        """``bridge.invoke``."""
        asked = self._read(call)
        self._pass_on(call, ended, asked.function_id, asked.data, asked.timeout_ms)

    def _invoke_async(self, call: Call, ended: Ended) -> None:
        """``bridge.invoke_async``."""
        asked = self._read(call)
        assert self._link is not None
        self._link.send(
            asked.function_id,
            asked.data,
            traceparent=call.traceparent,
            baggage=self._baggage(call),
            metadata=call.metadata,
        )
        ended(call, None, None)

    def _forward(self, forward: Forward) -> None:
        id = forward.local_function
        if self._engine.offers(id):
            log.warn("bridge: {id} is there already: the forward of it takes its place", id=id)

        def relay(call: Call, ended: Ended) -> None:
            data = without_caller(call.data, call.caller)
            self._pass_on(call, ended, forward.remote_function, data, forward.timeout_ms)

        self._engine.relay(
            id, relay, description=f"{forward.remote_function} of the engine behind the bridge"
        )

    def _pass_on(
        self, call: Call, ended: Ended, function_id: str, data: Raw | bytes, timeout_ms: int
    ) -> None:
        assert self._link is not None
        self._link.start_call(
            function_id,
            data,
            _answered,
            (call, ended),
            timeout_s=min(timeout_ms, LONGEST_TIMEOUT_MS) / 1000,
            traceparent=call.traceparent,
            baggage=self._baggage(call),
            metadata=call.metadata,
        )

    def _baggage(self, call: Call) -> str | None:
        """What ``call`` travels with.

        :raises IIIError: it has been on its way for too long
        """
        hop, baggage = next_hop(self._engine, call)
        if hop > MOST_HOPS:
            text = f"{call.function_id} went from bridge to bridge {MOST_HOPS} times: it goes round"
            raise IIIError(Code.BRIDGE_ERROR, text)
        return baggage

    def _read(self, call: Call) -> InvokeInput:
        """The input of ``bridge.invoke``.

        :raises IIIError: it is none
        """
        try:
            return self._reader.read(bytes(call.data))
        except InputError as error:
            text = f"Failed to parse invoke input: {error.text}"
            raise IIIError(Code.DESERIALIZATION_ERROR, text) from error

    # Our functions there ---------------------------------------------------------------

    def _expose(self, id: str, expose: Expose) -> None:
        local, start = expose.local_function, self._engine.start_function

        def run(incoming: Incoming) -> None:
            start(
                local,
                incoming.data,
                _ran,
                incoming,
                traceparent=tracecontext.usable(incoming.traceparent),
                baggage=incoming.baggage,
                metadata=incoming.metadata,
            )

        assert self._link is not None
        self._link.offer(id, run)

    # Figures ---------------------------------------------------------------------------

    def _show(self, engine: ModuleApi, link: Link) -> None:
        where = (str(link.remote),)
        engine.instrument(
            "iii_bridge_connected",
            "gauge",
            "Whether there is a connection to the other engine",
            lambda: [(where, float(link.connected))],
            ("url",),
        )
        engine.instrument(
            "iii_bridge_calls_total",
            "counter",
            "Calls of functions of the other engine",
            lambda: [(where, float(link.started))],
            ("url",),
        )
        engine.instrument(
            "iii_bridge_failed_total",
            "counter",
            "Calls of functions of the other engine that failed",
            lambda: [(where, float(link.failed))],
            ("url",),
        )


def _answered(requester: tuple[Call, Ended], result: Raw | None, error: ErrorBody | None) -> None:
    """The other engine has answered, or did not."""
    call, ended = requester
    if error is not None:
        ended(call, None, collapsed(error))
    else:
        ended(call, NULL if result is None else result, None)


def _ran(call: Call, result: Raw | None, error: ErrorBody | None) -> None:
    """One of our functions ran for the other engine."""
    incoming: Any = call.requester
    incoming.answer(result, error)

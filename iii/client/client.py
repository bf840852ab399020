"""``III``: a worker, and a caller, of an engine.

Making one does nothing: no I/O, no loop.  What is registered is kept in tables
and sent on every connect, so registering before, between and after connections
is all the same.  The tables are the truth; the engine only ever gets copies.

Everything here may be called from any thread; what waits lives on the loop that
awaits it, the connection on the loop that called ``connect()``.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Callable, Coroutine, Generator
from typing import Any, TypeVar

import msgspec

from iii.client import discovery, messages
from iii.client.calls import Call, Calls, stopped
from iii.client.channels import (
    Channel,
    ChannelReader,
    ChannelWriter,
    StreamChannelRef,
    build_channel_url,
    end_of,
    revive,
)
from iii.client.connection import Connection, IIIConnectionState, StateCallback
from iii.client.context import current_trace
from iii.client.encode import MAX_MESSAGE_BYTES, decode, encode, result
from iii.client.errors import RegistrationRejectedError, UnwelcomeError, error_from_wire
from iii.client.handlers import Executor
from iii.client.messages import TriggerActionEnqueue, TriggerActionVoid
from iii.client.options import (
    InitOptions,
    ReconnectionConfig,
    checked_address,
    default_address,
    introduction,
    shown_address,
    upgrade_headers,
)
from iii.client.outbox import Frame, Outbox
from iii.client.registrations import Registrar
from iii.client.threads import Threads
from iii.client.triggers import ProvidedTypes
from iii.client.trust import Trust
from iii.errors import Code, InvocationError

logger = logging.getLogger("iii.client")

T = TypeVar("T")


class _Sent:
    """What ``invoke_async`` returns.  Awaiting it waits while too much is queued."""

    __slots__ = ("_room",)

    def __init__(self, room: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._room = room

    def __await__(self) -> Generator[Any, None, None]:
        return self._room().__await__()


class III(Registrar):
    """A client of an engine.

    :param url: the engine's address; default ``III_URL``, ``III_BRIDGE_URL``,
        ``ws://localhost:49134``
    :param options: everything else
    :param address: another name for ``url``
    """

    def __init__(
        self,
        url: str | None = None,
        options: InitOptions | None = None,
        *,
        address: str | None = None,
    ) -> None:
        self.options = options or InitOptions()
        self.address = checked_address(url or address or default_address())
        self.worker_id: str | None = None
        self._reattach_token: str | None = None
        self._disconnected = False
        self._failure: BaseException | None = None
        outbox = Outbox()
        self._calls = Calls(outbox)
        self._threads = Threads()
        self._executor = Executor(
            threads=self._threads,
            revive=lambda data: revive(data, self._end_of),
            send=self._send,
        )
        types = ProvidedTypes(call=self._executor.call, send=self._send)
        super().__init__(outbox, types)
        self._function_watch = discovery.FunctionWatch(self, self._executor.call)
        self._trust = Trust(self.options, secure=self.address.startswith("wss://"))
        self._connection = Connection(
            self.address,
            headers=lambda: upgrade_headers(self.options),
            trust=self._trust,
            reconnection=self.options.reconnection_config or ReconnectionConfig(),
            outbox=outbox,
            replay=self._replay,
            introduce=self._introduce,
            receive=self._receive,
            failed=self._give_up,
        )
        self._receivers: dict[type, Callable[[Any], None]] = {
            messages.Answer: self._calls.answer,
            messages.ProvideTrigger: types.provide,
            messages.WithdrawTrigger: types.withdraw,
            messages.WorkerRegistered: self._registered,
            messages.TriggerRefused: self._trigger_refused,
            messages.RegistrationRejected: self._rejected,
            messages.EngineError: self._refused,
            messages.Ping: lambda ping: self._send(encode(messages.Pong())),
            messages.Pong: lambda pong: None,
        }

    # -- connection -------------------------------------------------------------------

    async def connect(self, timeout: float | None = None) -> None:  # noqa: ASYNC109 (published name)
        """Connect, register everything, and return when that is written.

        An engine that is not there yet is waited for.

        :param timeout: seconds to wait here; the attempts go on behind
        :raises ConnectionError: when ``max_retries`` is used up; ``UnwelcomeError`` when the
            last attempt failed because of a token or TLS
        :raises TimeoutError: when ``timeout`` is over
        """
        self._start()
        try:
            async with asyncio.timeout(timeout):
                await self._connection.wait_connected()
        except TimeoutError:
            where = shown_address(self.address)
            raise TimeoutError(f"no connection to {where} within {timeout} s") from None

    async def disconnect(self, drain: float | None = None) -> None:
        """Write what is queued, say goodbye, and end all calls that still wait.

        A later ``connect()`` registers everything again.

        :param drain: seconds to let running handlers finish first
        """
        await self._on_connection_loop(self._disconnect(drain))

    shutdown = disconnect

    def get_connection_state(self) -> IIIConnectionState:
        """Where the client stands with its engine."""
        return self._connection.state

    def on_connection_state_change(self, callback: StateCallback) -> Callable[[], None]:
        """Call ``callback`` with the state, now and at each change.

        :return: ends it
        """
        return self._connection.listen(callback)

    # -- calls ------------------------------------------------------------------------

    async def invoke(
        self,
        function_id: str,
        data: Any = None,
        timeout: float | None = None,  # noqa: ASYNC109 (published name)
        *,
        action: TriggerActionEnqueue | TriggerActionVoid | None = None,
        metadata: Any = None,
        namespace: str | None = None,
    ) -> Any:
        """Call a function and return its result.

        :param timeout: seconds; default ``InitOptions.invocation_timeout_ms``
        :param action: ``TriggerAction.Enqueue(queue=…)`` or ``TriggerAction.Void()``
        :raises InvocationError: what the function or the engine says; ``IIITimeoutError``
            (a ``TimeoutError``) when the answer takes too long
        """
        raw = await self.invoke_raw(
            function_id, data, timeout, action=action, metadata=metadata, namespace=namespace
        )
        if raw is None:
            return None
        try:
            return result(raw)
        except ValueError as error:
            raise InvocationError(
                Code.DESERIALIZATION_ERROR,
                f"the result of {function_id} can't be read: {error}",
                function_id=function_id,
            ) from error

    async def invoke_raw(
        self,
        function_id: str,
        data: Any = None,
        timeout: float | None = None,  # noqa: ASYNC109 (as invoke)
        *,
        action: TriggerActionEnqueue | TriggerActionVoid | None = None,
        metadata: Any = None,
        namespace: str | None = None,
    ) -> msgspec.Raw | None:
        """Like ``invoke``, but the result stays JSON, byte for byte.

        :returns: None when the function returned nothing; ``null`` is a result
        """
        if isinstance(action, TriggerActionVoid):
            await self._invoke_async(function_id, data, action, metadata, namespace)
            return None
        if self._failure is not None:
            raise self._failed_call(function_id, None)
        if timeout is None:
            timeout = self.options.invocation_timeout_ms / 1000
        invocation_id = str(uuid.uuid4())
        frame = self._invocation(
            function_id, data, action, metadata, namespace, invocation_id=invocation_id
        )
        await self._connection.room()
        return await self._calls.run(function_id, invocation_id, frame, timeout_s=timeout)

    trigger = invoke
    call = invoke

    def invoke_async(
        self,
        function_id: str,
        data: Any = None,
        *,
        metadata: Any = None,
        namespace: str | None = None,
    ) -> _Sent:
        """Call a function and do not wait: neither for its result nor for its errors.

        The return value may be awaited, which waits only while too much is queued.
        """
        return self._invoke_async(function_id, data, None, metadata, namespace)

    trigger_void = invoke_async
    call_void = invoke_async

    async def create_channel(self, buffer_size: int | None = None) -> Channel:
        """Make a channel and return both its ends."""
        made = await self.invoke("engine::channels::create", {"buffer_size": buffer_size})
        writer = self._end_of(msgspec.convert(made["writer"], StreamChannelRef))
        reader = self._end_of(msgspec.convert(made["reader"], StreamChannelRef))
        assert isinstance(writer, ChannelWriter)
        assert isinstance(reader, ChannelReader)
        return Channel(writer, reader)

    # -- discovery --------------------------------------------------------------------

    async def list_functions(
        self, *, include_internal: bool = False
    ) -> list[discovery.FunctionInfo]:
        """All registered functions."""
        rows = await self._list("engine::functions::list", "functions", include_internal)
        return msgspec.convert(rows, list[discovery.FunctionInfo])

    async def list_workers(self) -> list[discovery.WorkerInfo]:
        """All connected workers."""
        rows = await self._list("engine::workers::list", "workers", False)
        return msgspec.convert(rows, list[discovery.WorkerInfo])

    async def list_triggers(self, *, include_internal: bool = False) -> list[discovery.TriggerInfo]:
        """All registered triggers."""
        rows = await self._list("engine::triggers::list", "triggers", include_internal)
        return msgspec.convert(rows, list[discovery.TriggerInfo])

    async def _list(self, function_id: str, key: str, include_internal: bool) -> Any:
        # The view is named: without it the shape of a list depends on the version the
        # caller's SDK announces.
        query = {"include_internal": include_internal, "view": "classic"}
        return (await self.invoke(function_id, query))[key]

    def on_functions_available(
        self, callback: Callable[[list[discovery.FunctionInfo]], object]
    ) -> Callable[[], None]:
        """Call ``callback`` with all functions whenever the set of functions changes.

        :return: ends it
        """
        return self._function_watch.add(callback)

    # -- inside -----------------------------------------------------------------------

    def _start(self) -> None:
        self._disconnected = False
        self._failure = None
        self._connection.start()

    async def _disconnect(self, drain: float | None) -> None:
        if drain is not None and self._connection.state is IIIConnectionState.CONNECTED:
            await self._drain(drain)
        self._disconnected = True
        await self._connection.close()
        self._calls.fail_all(stopped)
        lost = self._outbox.clear()
        if lost:
            logger.warning("disconnected with %d messages not sent", lost)
        self._threads.stop()
        self.worker_id = self._reattach_token = None

    async def _drain(self, limit_s: float) -> None:
        """Ask for no more work, then wait for the work that is there."""
        deadline = asyncio.get_running_loop().time() + limit_s
        try:
            await self.invoke("engine::workers::drain", {"timeout_ms": limit_s * 1000}, limit_s)
        except InvocationError as error:
            # An engine that can't drain a worker goes on sending: the deadline ends it.
            logger.debug("the engine did not drain this worker: %s", error)
        left = await self._executor.drain(deadline - asyncio.get_running_loop().time())
        if left:
            logger.warning("disconnecting with %d invocations still running", left)

    async def _on_connection_loop(self, work: Coroutine[Any, Any, T]) -> T:
        loop = self._connection.loop
        if loop is None or loop is asyncio.get_running_loop() or not loop.is_running():
            return await work
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, loop))

    def _send(self, data: bytes) -> None:
        if self._disconnected:
            logger.debug("an answer came after disconnect() and was dropped")
            return
        self._outbox.put(Frame(data))

    def _invoke_async(
        self,
        function_id: str,
        data: Any,
        action: TriggerActionVoid | None,
        metadata: Any,
        namespace: str | None,
    ) -> _Sent:
        frame = self._invocation(function_id, data, action, metadata, namespace)
        self._outbox.put(Frame(frame))
        return _Sent(self._connection.room)

    def _invocation(
        self,
        function_id: str,
        data: Any,
        action: TriggerActionEnqueue | TriggerActionVoid | None,
        metadata: Any,
        namespace: str | None,
        *,
        invocation_id: str | None = None,
    ) -> bytes:
        """The bytes of one call, or the local reason why there can't be any."""
        if not isinstance(function_id, str):
            raise TypeError(f"function_id must be str, got {type(function_id).__name__}")
        trace = current_trace.get()
        message = messages.InvokeFunction(
            function_id=function_id,
            data=data,
            invocation_id=invocation_id,
            traceparent=trace.traceparent,
            baggage=trace.baggage,
            action=action,
            metadata=metadata,
            namespace=namespace,
        )
        code, reason = Code.PAYLOAD_TOO_LARGE, f"the limit is {MAX_MESSAGE_BYTES} bytes"
        try:
            frame = encode(message)
            if len(frame) <= MAX_MESSAGE_BYTES:
                return frame
        except (TypeError, ValueError) as error:
            code, reason = Code.SERIALIZATION_ERROR, str(error)
        raise InvocationError(
            code,
            f"can't send the payload of {function_id}: {reason}",
            function_id=function_id,
            invocation_id=invocation_id,
        )

    def _end_of(self, ref: StreamChannelRef) -> ChannelReader | ChannelWriter:
        return end_of(ref, self._dial_channel, self._connection.loop or asyncio.get_running_loop())

    async def _dial_channel(self, ref: StreamChannelRef) -> Any:
        from iii.client.socket import dial_channel

        url = build_channel_url(self.address, ref)
        return await dial_channel(url, upgrade_headers(self.options), self._trust.context)

    # -- what the connection asks and tells --------------------------------------------

    def _replay(self) -> list[Frame]:
        """What every connection starts with, in the order the engine expects."""
        frames = []
        if self.worker_id and self._reattach_token:
            reattach = messages.Reattach(
                previous_worker_id=self.worker_id, reattach_token=self._reattach_token
            )
            frames.append(encode(reattach))
        return [Frame(frame, registration=True) for frame in [*frames, *self._registrations()]]

    def _introduce(self) -> bytes:
        return encode(
            messages.InvokeFunction(
                function_id="engine::workers::register",
                data=introduction(self.options),
                action=TriggerActionVoid(),
            )
        )

    def _receive(self, frame: bytes) -> None:
        try:
            message = decode(frame)
        except ValueError as error:
            # Engines of other releases say things this client does not know.
            logger.debug("ignored a frame of %d bytes: %s", len(frame), error)
            return
        if isinstance(message, messages.Invocation):
            function = self._functions.get(message.function_id)
            # Looking for references costs a walk through the payload; most have none.
            self._executor.run(message, function, has_refs=b'"access_key"' in frame)
        else:
            self._receivers[type(message)](message)

    def _registered(self, message: messages.WorkerRegistered) -> None:
        self.worker_id = message.worker_id
        self._reattach_token = message.reattach_token

    def _trigger_refused(self, message: messages.TriggerRefused) -> None:
        if message.error:
            error = error_from_wire(
                message.error, function_id=message.function_id, invocation_id=message.id
            )
            logger.error(
                "Trigger registration failed for '%s' (%s): %s",
                message.id,
                message.trigger_type,
                error.message,
            )

    def _rejected(self, message: messages.RegistrationRejected) -> None:
        if message.code == Code.FUNCTION_NAMESPACE_CONFLICT:
            logger.error(
                "function %s is refused: worker %s has it",
                message.function_id,
                message.owner_worker_id,
            )
            return
        self._connection.give_up(
            RegistrationRejectedError(
                message.code,
                namespace=message.namespace,
                worker_name=message.worker_name,
                owner_worker_id=message.owner_worker_id,
            )
        )

    def _refused(self, message: messages.EngineError) -> None:
        error = error_from_wire(message.error, function_id="", invocation_id="")
        if error.code == Code.AUTH_ERROR:
            self._connection.refused(
                UnwelcomeError(f"the engine refuses this client: {error.message}")
            )
        else:
            logger.error("the engine refuses this worker: %s", error)

    def _give_up(self, error: BaseException) -> None:
        self._failure = error
        self._calls.fail_all(lambda call: self._failed_call(call.function_id, call))

    def _failed_call(self, function_id: str, call: Call | None) -> BaseException:
        if isinstance(self._failure, RegistrationRejectedError):
            return self._failure
        unwelcome = isinstance(self._failure, UnwelcomeError)
        return InvocationError(
            Code.AUTH_ERROR if unwelcome else Code.SHUTDOWN,
            str(self._failure),
            function_id=function_id,
            invocation_id=call.invocation_id if call else None,
        )


def init(address: str | None = None, options: InitOptions | None = None) -> III:
    """Make a client and connect it in the background.

    :raises RuntimeError: outside a running event loop
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        raise RuntimeError("init() requires an active asyncio event loop") from None
    client = III(address, options)
    client._start()
    return client

"""A connection to another engine that is made again for as long as somebody wants it.

To the other engine it is a worker like any other.  An engine that can't be reached
disturbs nobody here: calls wait for it as long as their callers do.

The first thing an engine says is which worker we are to it.  A worker of that id in our
own engine means that we talk to ourselves: an address that was left at its default, usually.
A link that may not do so (``allow_self``) then refuses every call, because an answer would be
asked for again and again.

More than one engine in between: ``iii.bridge.hops``, ``iii.bridge.circles``.
"""

from __future__ import annotations

import os
import platform
import socket
from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Raw
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from iii import __version__
from iii.bridge.address import Remote
from iii.bridge.calls import DEFAULT_TIMEOUT_S, Calls, Done
from iii.bridge.errors import exception
from iii.bridge.offers import OfferedTrigger, Offers, Run
from iii.bridge.socket import Socket, SocketFactory
from iii.dialling import retry_delay_s
from iii.engine.clock import Timer
from iii.engine.ids import next_id
from iii.engine.invocations import ErrorBody, as_raw
from iii.engine.module import ModuleApi
from iii.errors import IIIError, StartError
from iii.wire import messages as m
from iii.wire.codec import encode, error_body, shortened

log = Logger()

CONNECT_LIMIT_S = 10.0
PING_EVERY_S = 20.0
SILENCE_LIMIT_S = 60.0
#: How long a goodbye may take.
LEAVE_S = 1.0
#: Engines say at once who we are; one that doesn't is used all the same.
HELLO_LIMIT_S = 2.0
#: What the other engine's lists show.
RUNTIME = "iii-engine"
REGISTER_WORKER = "engine::workers::register"


class Refused(msgspec.Struct, tag_field="type", tag="error"):
    """engine -> worker.  It does not let us in; it closes next."""

    error: Raw = m.ABSENT


_decode = msgspec.json.Decoder(
    m.InvocationResult
    | m.InvokeFunction
    | m.WorkerRegistered
    | m.TriggerRegistrationResult
    | m.RegistrationRejected
    | m.RegisterTrigger
    | m.UnregisterTrigger
    | m.Ping
    | m.Pong
    | Refused
).decode


class Link:
    """One connection to another engine.

    :param name: what the other engine calls us, e.g. ``iii-state-bridge``
    :param without: what does not work while there is no connection, for the log
    :param allow_self: calls go on when the other engine is this one
    :ivar is_self: it is
    """

    def __init__(
        self,
        engine: ModuleApi,
        remote: Remote,
        name: str,
        *,
        without: str,
        allow_self: bool = False,
    ) -> None:
        self._engine = engine
        self._clock = engine.clock
        self.remote = remote
        self.name = name
        self._without = without
        self._allow_self = allow_self
        self.is_self = False
        self._calls = Calls(engine.clock, str(remote))
        self._offers = Offers(str(remote))
        self._on_connected: list[Callable[[], None]] = []
        self._factory = SocketFactory(engine, remote, self)
        self._socket: Socket | None = None
        self._greeted = False
        self._previous: m.WorkerRegistered | None = None
        self._attempt: Deferred[Any] | None = None
        self._failures = 0
        self._outage_told = False
        self._timers: dict[str, Timer] = {}
        self._wanted = False
        self._left: Deferred[None] | None = None

    # Life ------------------------------------------------------------------------------

    def start(self) -> None:
        """Connect in the background, and again whenever it is necessary.

        :raises StartError: a file of certificates can't be used
        """
        if self.remote.secure:
            self.remote.tls()
        self._wanted = True
        self._connect()

    def stop(self) -> Deferred[None]:
        """Say goodbye; what is under way fails."""
        self._wanted = False
        self._calls.stop()
        self._offers.send = None
        for name in list(self._timers):
            self._cancel(name)
        if self._attempt is not None:
            self._attempt.cancel()
        left: Deferred[None] = Deferred()
        socket_ = self._socket
        if socket_ is None:
            left.callback(None)
            return left
        self._left = left
        self._timer("leave", LEAVE_S, lambda: socket_.end("the goodbye took too long"))
        socket_.leave()
        return left

    @property
    def connected(self) -> bool:
        """Whether calls are sent at once."""
        return self._calls.send is not None

    @property
    def started(self) -> int:
        """How many calls were made."""
        return self._calls.started

    @property
    def failed(self) -> int:
        """How many of them failed."""
        return self._calls.failed

    @property
    def under_way(self) -> int:
        """Calls without an answer."""
        return len(self._calls)

    def on_connected(self, connected: Callable[[], None]) -> None:
        """Call ``connected()`` whenever the other engine was found (again)."""
        self._on_connected.append(connected)

    # Calls -----------------------------------------------------------------------------

    def start_call(
        self, function_id: str, data: Raw | bytes, done: Done, requester: Any = None, **how: Any
    ) -> None:
        """Call a function over there: ``done(requester, result, error)``; see ``Calls.start``.

        An absent result is None, null is ``Raw``.
        """
        self._calls.start(function_id, data, done, requester, **how)

    def call(
        self, function_id: str, data: Any, *, timeout_s: float = DEFAULT_TIMEOUT_S, **how: Any
    ) -> Deferred[Raw | None]:
        """Call a function over there and wait; the Deferred fails with a ``BridgeError`` or
        ``RemoteError``.
        """
        answer: Deferred[Raw | None] = Deferred()
        self._calls.start(function_id, as_raw(data), _settle, answer, timeout_s=timeout_s, **how)
        return answer

    def send(self, function_id: str, data: Any, **how: Any) -> None:
        """Call a function over there; nobody waits.

        :raises BridgeError: too much waits already, or the other engine is this one
        """
        self._calls.start(function_id, as_raw(data), None, **how)

    # Registrations ---------------------------------------------------------------------

    def service(self, id: str, name: str) -> None:
        """A label for what is offered."""
        self._offers.service(id, name)

    def offer(self, id: str, run: Run, description: str | None = None) -> None:
        """Run calls of ``id`` that come from over there."""
        self._offers.function(id, run, description)

    def withdraw(self, id: str) -> None:
        """Offer ``id`` no more."""
        self._offers.withdraw(id)

    def trigger(
        self,
        type: str,
        function_id: str,
        config: Any,
        refused: Callable[[ErrorBody], None] | None = None,
    ) -> str:
        """Have ``function_id``, which is offered, called by a trigger over there; its id."""
        id = next_id()
        self._offers.trigger(OfferedTrigger(id, type, function_id, config, refused))
        return id

    def end_trigger(self, id: str) -> None:
        """Not any more."""
        self._offers.end_trigger(id)

    # The connection: Socket's owner ----------------------------------------------------

    def socket_open(self, socket: Socket) -> None:
        """Owner: the upgrade was accepted; now it has to say who we are."""
        self._cancel("limit")
        if not self._wanted:
            socket.leave()
            return
        self._timer("hello", HELLO_LIMIT_S, self._greet)
        self._timer("watch", PING_EVERY_S, self._watch)

    def socket_received(self, payload: bytes) -> None:
        """Owner: one message."""
        try:
            message = _decode(payload)
        except (msgspec.MsgspecError, RecursionError) as error:
            if payload.strip():
                log.debug(
                    "{remote}: a message is ignored: {error}",
                    remote=str(self.remote),
                    error=shortened(str(error)),
                )
            return
        if isinstance(message, m.InvocationResult):
            self._answered(message)
        elif isinstance(message, m.InvokeFunction):
            self._offers.invoked(message, self._now())
        elif isinstance(message, m.Ping):
            self._now().send(encode(m.Pong()))
        elif isinstance(message, m.WorkerRegistered):
            self._greet(message)
        elif isinstance(message, m.TriggerRegistrationResult):
            refusal = error_body(message.error)
            if refusal is not None:
                self._offers.trigger_refused(message.id, refusal)
        elif isinstance(message, m.RegistrationRejected | Refused):
            self._refused(message)

    def socket_ended(self, socket: Socket, reason: str) -> None:
        """Owner: the connection is over."""
        if socket is not self._socket:
            return
        self._socket = None
        self._offers.send = None
        for name in ("limit", "hello", "watch", "leave", "refused"):
            self._cancel(name)
        if self._left is not None:
            left, self._left = self._left, None
            left.callback(None)
        if not self._wanted:
            return
        if self._greeted:
            self._greeted = False
            if self._calls.refusal is None:
                self._calls.lost()
        self._again(reason)

    # Connecting ------------------------------------------------------------------------

    def _connect(self) -> None:
        try:
            endpoint = self.remote.endpoint(self._engine.reactor, CONNECT_LIMIT_S)
        except StartError as error:
            # Its files were there at the start.
            self._again(error.message)
            return
        attempt = self._attempt = endpoint.connect(self._factory)
        self._timer("limit", CONNECT_LIMIT_S, self._too_slow)
        attempt.addCallbacks(self._reached, self._not_reached)

    def _reached(self, socket: Any) -> None:
        self._attempt = None
        # TLS wraps the protocol; what the factory made is what we want.
        self._socket = getattr(socket, "wrappedProtocol", socket)

    def _not_reached(self, failure: Failure) -> None:
        self._attempt = None
        self._cancel("limit")
        if self._wanted:
            slow = failure.check(CancelledError) is not None
            self._again(
                f"no answer within {CONNECT_LIMIT_S:g} s" if slow else failure.getErrorMessage()
            )

    def _too_slow(self) -> None:
        """Neither connected nor upgraded in time."""
        if self._attempt is not None:
            self._attempt.cancel()
        elif self._socket is not None:
            self._socket.end(f"no upgrade within {CONNECT_LIMIT_S:g} s")

    def _again(self, reason: str) -> None:
        if not self._outage_told:
            self._outage_told = True
            log.warn(
                "{name}: not connected to {remote} ({reason}): {without}; it is tried again",
                name=self.name,
                remote=str(self.remote),
                reason=reason,
                without=self._without,
            )
        delay_s = retry_delay_s(self._failures)
        self._failures += 1
        self._timer("retry", delay_s, self._connect)

    def _greet(self, hello: m.WorkerRegistered | None = None) -> None:
        """Say everything again, then what has waited.

        :param hello: who we are over there; None: it does not say
        """
        if self._socket is None or self._socket.outbox is None:
            return
        self._cancel("hello")
        known = self._previous
        if hello is not None:
            self._previous = hello
            self.is_self = self._engine.worker(hello.worker_id) is not None
            if self.is_self and not self._talk_to_myself():
                self._greeted = True
                return
        if self._greeted:
            return
        self._greeted = True
        self._failures = 0
        send = self._socket.send
        if known is not None and hello is not None:
            send(encode(m.Reattach(known.worker_id, known.reattach_token)))
        for message in self._offers.messages():
            send(encode(message))
        self._offers.send = send
        self._calls.refusal = None
        self._calls.connected(send)
        self._calls.start(REGISTER_WORKER, as_raw(_about(self.name)), None)
        log.info("{name}: connected to {remote}", name=self.name, remote=str(self.remote))
        self._outage_told = False
        for connected in self._on_connected:
            connected()

    def _talk_to_myself(self) -> bool:
        """The other engine is this one; whether that may be."""
        if not self._allow_self:
            self.refuse(f"{self.remote} is this engine itself")
            return False
        log.error(
            "{name}: {remote} is this engine itself: calls over it come back here. Set the "
            "address of another one",
            name=self.name,
            remote=str(self.remote),
        )
        return True

    def refuse(self, why: str, *, retry_s: float | None = None) -> None:
        """Until the next connection every call fails at once.

        :param retry_s: when there is to be one; None: not because of this
        """
        log.error("{name}: {why}: every call over it is refused", name=self.name, why=why)
        self._calls.refuse(why)
        socket = self._socket
        if retry_s is not None and socket is not None:
            self._timer("refused", retry_s, lambda: socket.end(why))

    def _now(self) -> Socket:
        """The connection that a message came on."""
        assert self._socket is not None
        return self._socket

    # What it says ----------------------------------------------------------------------

    def _answered(self, message: m.InvocationResult) -> None:
        if message.invocation_id is None:
            return
        error = None if message.error is m.ABSENT else error_body(message.error)
        result = None if error is not None or message.result is m.ABSENT else message.result
        self._calls.answered(message.invocation_id, result, error)

    def _refused(self, message: m.RegistrationRejected | Refused) -> None:
        if isinstance(message, Refused):
            error = error_body(message.error)
            why = "no reason given" if error is None else f"{error.code}: {error.message}"
        else:
            what = message.function_id or f"the name {self.name}"
            why = f"{message.code}: {what} belongs to another worker"
        log.error(
            "{name}: {remote} refused: {why}", name=self.name, remote=str(self.remote), why=why
        )

    # Signs of life ---------------------------------------------------------------------

    def _watch(self) -> None:
        """A connection whose other end vanished without a word is ended."""
        socket = self._socket
        if socket is None:
            return
        if self._clock.monotonic() - socket.heard_at >= SILENCE_LIMIT_S:
            socket.end(f"silent for {SILENCE_LIMIT_S:g} s")
            return
        socket.sendPing()
        self._timer("watch", PING_EVERY_S, self._watch)

    # Timers ----------------------------------------------------------------------------

    def _timer(self, name: str, delay_s: float, function: Callable[[], None]) -> None:
        self._cancel(name)
        self._timers[name] = self._clock.call_later(delay_s, function)

    def _cancel(self, name: str) -> None:
        timer = self._timers.pop(name, None)
        if timer is not None and timer.active():
            timer.cancel()


def _settle(answer: Deferred[Raw | None], result: Raw | None, error: ErrorBody | None) -> None:
    if error is None:
        answer.callback(result)
    else:
        problem: IIIError = exception(error)
        answer.errback(problem)


def _about(name: str) -> dict[str, Any]:
    """What the other engine's lists show of us.

    Not the process: two engines behind one address may have equal numbers, and would be
    taken for one that reconnected.
    """
    return {
        "name": name,
        "runtime": RUNTIME,
        "version": __version__,
        "os": f"{platform.system().lower()} {platform.release()} ({platform.machine()})",
        "description": f"bridge of the engine {socket.gethostname()}:{os.getpid()}",
    }

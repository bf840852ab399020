"""Calls of the other engine's functions: those that wait to be sent, and for an answer.

While there is no connection calls wait, in order, for as long as their callers do; how
many and how much is bounded.  A connection that ends takes the calls with it that were
sent on it: nobody knows whether they were run, so their callers are told at once.

``done`` is told the outcome exactly once.  An error that is a ``LinkFailure`` is ours, any
other is the other engine's answer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec import Raw

from iii.bridge.errors import NOT_CONNECTED_TEXT, TIMED_OUT_TEXT, LinkFailure, exception, failure
from iii.engine.clock import Clock, Deadlines, Timer
from iii.engine.ids import next_id
from iii.engine.invocations import ErrorBody
from iii.wire.codec import encode

DEFAULT_TIMEOUT_S = 30.0
#: What waits for a connection; further calls are refused.
MAX_WAITING_CALLS = 10_000
MAX_WAITING_BYTES = 64 * 1024 * 1024
#: So many time limits have a shared timer; calls with another one have their own.
SHARED_LIMITS = 32

Done = Callable[[Any, Raw | None, ErrorBody | None], None]
"""``done(requester, result, error)``."""

_CALL = b'{"type":"invokefunction","invocation_id":"'
_VOID = b'{"type":"invokefunction"'
_FUNCTION = b',"function_id":'


class Sent:
    """One call whose answer somebody waits for."""

    __slots__ = ("deadlines", "done", "id", "requester", "timer")

    def __init__(self, id: str, done: Done, requester: Any) -> None:
        self.id = id
        self.done = done
        self.requester = requester
        self.deadlines: Deadlines[Sent] | None = None
        self.timer: Timer | None = None


class Calls:
    """The calls of one link.

    :param describe: the other engine, for messages
    :ivar send: takes a message, while there is a connection; None: they wait
    :ivar refusal: why every call fails at once; None: none does
    """

    def __init__(self, clock: Clock, describe: str) -> None:
        self._clock = clock
        self._describe = describe
        self._sent: dict[str, Sent] = {}
        # A call that nobody waits for is held under an object of its own.
        self._held: dict[object, bytes] = {}
        self._held_bytes = 0
        self._limits: dict[float, Deadlines[Sent]] = {}
        self.send: Callable[[bytes], None] | None = None
        self.refusal: LinkFailure | None = None
        self.started = self.failed = 0

    def __len__(self) -> int:
        """Calls without an answer, and those that wait to be sent."""
        return len(self._sent) + sum(1 for key in self._held if not isinstance(key, Sent))

    def start(
        self,
        function_id: str,
        data: Raw | bytes,
        done: Done | None,
        requester: Any = None,
        *,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        traceparent: str | None = None,
        baggage: str | None = None,
        metadata: Raw | None = None,
        action: Raw | None = None,
    ) -> None:
        """Call a function over there.

        :param done: told the outcome, perhaps at once; None: nobody waits for one
        :param timeout_s: how long it waits, for a connection and for the answer together
        :param action: how it is to be run, e.g. ``{"type": "enqueue", …}``
        :raises BridgeError: nobody waits, and it can't be sent
        """
        self.started += 1
        if self.refusal is not None:
            self._refuse(self.refusal, done, requester)
            return
        if done is None:
            parts = [_VOID, _FUNCTION, encode(function_id)]
        else:
            id = next_id()
            parts = [_CALL, id.encode(), b'"', _FUNCTION, encode(function_id)]
        if traceparent is not None:
            parts += (b',"traceparent":', encode(traceparent))
        if baggage is not None:
            parts += (b',"baggage":', encode(baggage))
        if metadata is not None:
            parts += (b',"metadata":', metadata)
        if action is not None:
            parts += (b',"action":', action)
        # The data last: a receiver that looks for it need not look through it.
        parts += (b',"data":', data, b"}")
        payload = b"".join(parts)
        send = self.send
        if send is None and not self._room(len(payload)):
            waiting = failure(f"{len(self._held)} calls wait for a connection to {self._describe}")
            self._refuse(waiting, done, requester)
            return
        key: object = None
        if done is not None:
            sent = self._sent[id] = key = Sent(id, done, requester)
            self._limit(sent, timeout_s)
        if send is not None:
            send(payload)
        else:
            self._held[key or object()] = payload
            self._held_bytes += len(payload)

    def answered(self, id: str, result: Raw | None, error: ErrorBody | None) -> None:
        """The other engine has answered; what nobody waits for any more is dropped."""
        sent = self._sent.pop(id, None)
        if sent is not None:
            self._stop_waiting(sent)
            self._end(sent, result, error)

    def connected(self, send: Callable[[bytes], None]) -> None:
        """There is a connection: send what has waited."""
        self.send = send
        held, self._held = self._held, {}
        self._held_bytes = 0
        for payload in held.values():
            send(payload)

    def lost(self) -> None:
        """The connection is gone, and with it what was sent on it."""
        self.send = None
        gone = [sent for sent in self._sent.values() if sent not in self._held]
        for sent in gone:
            del self._sent[sent.id]
        self._fail(gone, failure(NOT_CONNECTED_TEXT))

    def refuse(self, why: str) -> None:
        """From now on every call fails at once, and so do those under way."""
        self.refusal = failure(why)
        self.send = None
        self._held.clear()
        self._held_bytes = 0
        gone, self._sent = list(self._sent.values()), {}
        self._fail(gone, self.refusal)

    def stop(self) -> None:
        """The engine stops."""
        self.refuse(NOT_CONNECTED_TEXT)
        for deadlines in self._limits.values():
            deadlines.stop()

    # Inside ----------------------------------------------------------------------------

    def _room(self, size: int) -> bool:
        return len(self._held) < MAX_WAITING_CALLS and self._held_bytes + size <= MAX_WAITING_BYTES

    def _refuse(self, why: LinkFailure, done: Done | None, requester: Any) -> None:
        self.failed += 1
        if done is None:
            raise exception(why)
        done(requester, None, why)

    def _fail(self, gone: list[Sent], why: LinkFailure) -> None:
        for sent in gone:
            self._stop_waiting(sent)
        for sent in gone:
            self._end(sent, None, why)

    def _end(self, sent: Sent, result: Raw | None, error: ErrorBody | None) -> None:
        if error is not None:
            self.failed += 1
        sent.done(sent.requester, result, error)

    def _limit(self, sent: Sent, timeout_s: float) -> None:
        deadlines = self._limits.get(timeout_s)
        if deadlines is None:
            if len(self._limits) >= SHARED_LIMITS:
                sent.timer = self._clock.call_later(timeout_s, self._overdue, sent)
                return
            deadlines = self._limits[timeout_s] = Deadlines(self._clock, timeout_s, self._overdue)
        sent.deadlines = deadlines
        deadlines.add(sent)

    def _stop_waiting(self, sent: Sent) -> None:
        if sent.deadlines is not None:
            sent.deadlines.discard(sent)
        elif sent.timer is not None and sent.timer.active():
            sent.timer.cancel()

    def _overdue(self, sent: Sent) -> None:
        if self._sent.pop(sent.id, None) is None:
            return
        payload = self._held.pop(sent, None)
        if payload is not None:
            self._held_bytes -= len(payload)
        self._end(sent, None, failure(TIMED_OUT_TEXT))

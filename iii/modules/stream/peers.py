"""Other engines whose streams are kept here, through a bridge.

A *peer* is a worker connection with a function ``stream::bridge::on_pub::…``: an engine whose
stream module has the adapter ``bridge``.  Peers publish what they do on the topic
``stream.events`` and hear there what others do.  What they can't know is what happens here
without them; so, while there is a peer,

* every event that no peer caused is published on that topic as well; one that a peer caused
  is not, for that peer publishes it itself;
* an event of a program's own (``stream::send``) that a peer publishes goes to the subscribers
  here.  Not to the triggers: the peer has fired its own.

Engines of the original do neither, and miss those events.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Raw
from twisted.logger import Logger
from twisted.python.failure import Failure

from iii.engine.invocations import Call
from iii.engine.module import ModuleApi
from iii.engine.relayed import Ended
from iii.modules.stream.events import Told

log = Logger()

LISTENER = "stream::bridge::on_pub::"
TOPIC = "stream.events"
#: Our own ear on the topic.
HEAR = "engine::stream::hear_peers"
#: Own events that were published and not heard yet; of more than these the oldest are forgotten.
MAX_OWN_EVENTS = 10_000

_kind_of = msgspec.json.Decoder(dict[str, Any]).decode


class Peers:
    """The peers of a stream module.

    :param heard: gives an event to the subscribers here: the envelope, read and as it came
    :ivar there: whether there is one
    """

    def __init__(self, engine: ModuleApi, heard: Callable[[Told, bytes], None]) -> None:
        self._engine = engine
        self._heard = heard
        self._listeners: set[str] = set()
        self._trigger: str | None = None
        self._asking = False
        self._own: dict[bytes, int] = {}
        self.there = False

    def start(self) -> None:
        """Look out for them."""
        self._engine.relay(HEAR, self._hear)
        self._engine.watch_functions(LISTENER, self._seen)

    def stop(self) -> None:
        """Don't listen to them any more."""
        trigger, self._trigger = self._trigger, None
        if trigger is not None:
            self._engine.invoke("engine::unregister_trigger", {"id": trigger}).addErrback(_kept)

    def tell(self, payload: bytes, *, custom: bool, call: Call) -> None:
        """``call`` made something happen here.

        :param custom: it is an event of a program's own
        """
        if self._is_peer(call.caller):
            return
        if custom and self._trigger is not None:
            self._remember(payload)
        message = {"topic": TOPIC, "data": Raw(payload)}
        self._engine.invoke("publish", message).addErrback(self._unpublished, payload)

    # Inside ----------------------------------------------------------------------------

    def _seen(self, id: str, appeared: bool) -> None:
        if appeared:
            self._listeners.add(id)
        else:
            self._listeners.discard(id)
        self.there = bool(self._listeners)
        if self.there and self._trigger is None and not self._asking:
            self._asking = True
            wanted = {"trigger_type": "subscribe", "function_id": HEAR, "config": {"topic": TOPIC}}
            asking = self._engine.invoke("engine::register_trigger", wanted)
            asking.addCallbacks(self._listening, self._deaf)

    def _listening(self, answer: Raw | None) -> None:
        self._asking = False
        self._trigger = msgspec.json.decode(answer or b"{}", type=dict[str, str])["id"]

    def _deaf(self, failure: Failure) -> None:
        self._asking = False
        log.warn(
            "streams are kept here for another engine, but its stream::send does not reach the "
            "subscribers here: {reason}",
            reason=failure.getErrorMessage(),
        )

    def _is_peer(self, caller: str | None) -> bool:
        worker = None if caller is None else self._engine.worker(caller)
        return worker is not None and any(id.startswith(LISTENER) for _, id in worker.functions)

    def _remember(self, payload: bytes) -> None:
        self._own[payload] = self._own.get(payload, 0) + 1
        if len(self._own) > MAX_OWN_EVENTS:
            del self._own[next(iter(self._own))]

    def _unpublished(self, failure: Failure, payload: bytes) -> None:
        self._own.pop(payload, None)
        log.warn("other engines miss an event of a stream: {reason}", reason=failure.value)

    def _hear(self, call: Call, ended: Ended) -> None:
        """Somebody published on the topic."""
        payload = bytes(call.data)
        count = self._own.pop(payload, 0)
        if count > 1:
            self._own[payload] = count - 1
        if not count:
            self._pass_on(payload)
        ended(call, None, None)

    def _pass_on(self, payload: bytes) -> None:
        try:
            told = msgspec.json.decode(payload, type=Told)
            kind = _kind_of(told.event).get("type")
        except (msgspec.MsgspecError, RecursionError) as error:
            log.debug(
                "what was published on {topic} is no event: {error}", topic=TOPIC, error=error
            )
            return
        if kind == "event":
            self._heard(told, payload)


def _kept(failure: Failure) -> None:
    log.warn("the trigger on {topic} is left: {reason}", topic=TOPIC, reason=failure.value)

"""Who hears of a message: topics and their subscribers.

A message goes to every trigger of exactly its topic, and to each in the order of
publishing.  A function inside the engine runs while a message is being handed out and
may publish the next one (a trigger may even call ``publish``): that one waits until the
first has gone to everybody, or some would hear of the second before the first.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import msgspec
from twisted.internet.defer import Deferred

from iii.engine.bindings import Binding
from iii.engine.clock import Clock
from iii.engine.fanout import Fanout
from iii.engine.invocations import Call
from iii.engine.native import Empty
from iii.engine.tally import Tally
from iii.engine.tracecontext import trace_id, usable
from iii.engine.watching.taps import Taps, now, shown
from iii.errors import Code, IIIError, RegistrationError
from iii.modules.pubsub.adapter import Message, PubSubAdapter
from iii.modules.pubsub.rates import Rates
from iii.modules.pubsub.shapes import PublishInput, TopicFigures, TopicRow

NO_TOPIC = "Topic is not set"


class Topics:
    """All topics, and the provider of ``subscribe`` triggers.

    :param adapter: carries messages
    :param fanout: takes them to the functions
    :ivar published: topic → how many messages came from here
    """

    def __init__(self, adapter: PubSubAdapter, fanout: Fanout, clock: Clock) -> None:
        self._adapter = adapter
        self._fanout = fanout
        self.published = Tally()
        self._rates = Rates(clock)
        # topic → binding → condition
        self._subscribers: dict[str, dict[Binding, str | None]] = {}
        self._topics: dict[Binding, str] = {}
        self._received: deque[Message] = deque()
        self._handing_out = False
        self._clock = clock
        #: who looks on, without subscribing
        self.watched = Taps(self._watched, self._unwatched)

    # Subscribing -----------------------------------------------------------------------

    def add(self, binding: Binding) -> None:
        """Provider: ``binding`` wants to hear.

        :raises RegistrationError: it names no topic
        """
        topic, condition = _wish(binding)
        is_first = topic not in self._subscribers and topic not in self.watched
        self._topics[binding] = topic
        self._subscribers.setdefault(topic, {})[binding] = condition
        if is_first:
            self._adapter.subscribe(topic)

    def remove(self, binding: Binding) -> None:
        """Provider: it doesn't any more.  Everybody else does."""
        topic = self._topics.pop(binding, None)
        if topic is not None:
            subscribers = self._subscribers[topic]
            del subscribers[binding]
            if not subscribers:
                del self._subscribers[topic]
                if topic not in self.watched:
                    self._adapter.unsubscribe(topic)
        self._fanout.forget(binding)

    def _watched(self, topic: str) -> None:
        if topic not in self._subscribers:
            self._adapter.subscribe(topic)

    def _unwatched(self, topic: str) -> None:
        if topic not in self._subscribers:
            self._adapter.unsubscribe(topic)

    def rows(self, _: Empty) -> list[TopicRow]:
        """``engine::pubsub::list_topics``: topics with subscribers, by name."""
        return [
            TopicRow(topic, self._adapter.kind, sum(len(b.registrations) for b in subscribers))
            for topic, subscribers in sorted(self._subscribers.items())
        ]

    def figures(self, _: Empty) -> list[TopicFigures]:
        """``engine::pubsub::topics``: topics with subscribers or messages, by name."""
        published = {labels[0]: count for labels, count in self.published}
        rows = []
        for topic in sorted(self._subscribers.keys() | published.keys()):
            subscribers = self._subscribers.get(topic, {})
            rows.append(
                TopicFigures(
                    topic,
                    self._adapter.kind,
                    sum(len(binding.registrations) for binding in subscribers),
                    sorted({binding.function_id for binding in subscribers}),
                    published.get(topic, 0),
                    self._rates.per_second(topic),
                )
            )
        return rows

    # Publishing ------------------------------------------------------------------------

    def publish(self, said: PublishInput, call: Call) -> Deferred[None] | None:
        """``publish``: send a message.

        :raises IIIError: no topic, or the adapter can't send it
        """
        if not said.topic:
            raise IIIError(Code.TOPIC_NOT_SET, NO_TOPIC)
        # A copy: what waits for a slow subscriber must not keep the whole input.
        data = said.data.copy()
        message = Message(said.topic, data, call.traceparent, call.baggage)
        sending = self._adapter.publish(message)
        if sending is not None:
            return sending.addCallback(self._sent, said.topic)
        self._sent(None, said.topic)
        return None

    def _sent(self, _: None, topic: str) -> None:
        self.published.add(topic)
        self._rates.add(topic)

    def received(self, message: Message) -> None:
        """The adapter has ``message``: hand it to the subscribers of its topic."""
        self._received.append(message)
        if self._handing_out:
            return
        self._handing_out = True
        try:
            while self._received:
                self._hand_out(self._received.popleft())
        finally:
            self._handing_out = False

    def _hand_out(self, message: Message) -> None:
        if self.watched and message.topic in self.watched:
            self.watched.tell(message.topic, self._event(message))
        subscribers = self._subscribers.get(message.topic)
        if subscribers is None:
            return
        # A copy: what a delivery sets off may add and remove triggers.
        for binding, condition in list(subscribers.items()):
            if binding in subscribers:
                self._fanout.deliver(
                    binding, condition, message.data, message.traceparent, message.baggage
                )

    def _event(self, message: Message) -> dict[str, Any]:
        context = _trace(message.traceparent)
        return {
            "topic": message.topic,
            "trace_id": context,
            **now(self._clock),
            **shown(message.data),
        }


def _trace(context: str | None) -> str | None:
    context = usable(context)
    return None if context is None else trace_id(context)


class _Config(msgspec.Struct):
    """A trigger's configuration as it came; wrong types were never refused."""

    topic: Any = None
    condition_function_id: Any = None


def _wish(binding: Binding) -> tuple[str, str | None]:
    """Topic and condition of a trigger."""
    try:
        config = msgspec.json.decode(binding.config, type=_Config)
    except msgspec.ValidationError:  # no object
        config = _Config()
    topic, condition = config.topic, config.condition_function_id
    if not isinstance(topic, str) or not topic:
        raise RegistrationError(Code.TRIGGER_REGISTRATION_FAILED, NO_TOPIC)
    return topic, condition if isinstance(condition, str) and condition else None

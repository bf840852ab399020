"""Spans as they come, for whoever follows the streams ``iii:devtools:*``.

They are sent by calling ``stream::send``, as anybody might.  Who follows which stream is
the stream module's secret; as long as nobody follows any, no span is looked at.  What is
sent makes no spans (``own``).
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
from msgspec import Raw
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from iii.engine.clock import Timer
from iii.engine.instruments import Value
from iii.modules.observability.hub import Hub, RawRecord
from iii.modules.observability.model import Span
from iii.modules.observability.own import OwnTraces
from iii.modules.observability.spans import items as of
from iii.modules.observability.spans.items import Item
from iii.modules.observability.spans.pace import Pace
from iii.modules.observability.spans.shapes import row_of

log = Logger()

SEND = "stream::send"
#: Spans without a parent; all spans; those of the trace that is the group.
ROWS = "iii:devtools:trace-rows"
ALL = "iii:devtools:all-spans"
TRACE = "iii:devtools:trace-spans"
EVERYBODY = "all"

#: What says how many subscriptions clients of streams have.
SUBSCRIPTIONS = "iii_stream_subscriptions"
#: Those to streams of ours: its label ``recordings``.
RECORDINGS = ("true",)
#: How often that is asked.
LOOK_S = 1.0
#: How long spans are gathered.
GATHER_S = 0.3
#: So many of them at most; the rest is not sent.
MAX_LIVE_ITEMS = 1_000
#: One event has no more spans than this.
MAX_EVENT_SPANS = 100


class LiveSpans:
    """Sends spans to streams.

    :param own: traces that nobody is told of
    """

    def __init__(self, hub: Hub, own: OwnTraces) -> None:
        self._hub = hub
        self._engine = hub.engine
        self._own = own
        self._listening = False
        self._stopped = False
        self._gathered: list[Item] = []
        self._look_timer: Timer | None = None
        self._send_timer: Timer | None = None
        self._sending = False
        self._failing = False

    def start(self) -> None:
        """Part: look from time to time whether anybody follows streams."""
        if self._hub.settings.traced:
            self._look_later()

    def stop(self) -> None:
        """Part: send nothing more."""
        self._stopped = True
        self._listen(False)
        for timer in (self._look_timer, self._send_timer):
            if timer is not None and timer.active():
                timer.cancel()

    # Whether anybody follows -----------------------------------------------------------

    def _look_later(self) -> None:
        self._look_timer = self._engine.clock.call_later(LOOK_S, self._look)

    def _look(self) -> None:
        looking = Deferred.fromCoroutine(self._look_now())
        looking.addErrback(self._could_not_look)
        looking.addCallback(lambda _: None if self._stopped else self._look_later())

    async def _look_now(self) -> None:
        followed = self._engine.offers(SEND) and await self._subscriptions() > 0
        if followed is not self._listening and not self._stopped:
            self._listen(followed)

    async def _subscriptions(self) -> float:
        for instrument in self._engine.instruments:
            if instrument.name == SUBSCRIPTIONS:
                samples = await instrument.samples()
                return sum(_number(value) for labels, value in samples if labels == RECORDINGS)
        return 0

    def _could_not_look(self, failure: Failure) -> None:
        log.failure("no live spans: {name} can't be read", failure, name=SUBSCRIPTIONS)
        self._listen(False)

    def _listen(self, wanted: bool) -> None:
        self._listening = wanted
        hub = self._hub
        if wanted:
            hub.flush()  # what was before is not live
            hub.on_records(self._recorded, soon=True)
            hub.on_ingested(self._ingested)
        else:
            hub.forget(self._recorded)
            hub.forget(self._ingested)
            self._gathered.clear()

    # Spans -----------------------------------------------------------------------------

    def _recorded(self, records: list[RawRecord]) -> None:
        self._gather(records)

    def _ingested(self, spans: list[Span]) -> None:
        live = self._hub.settings.live_spans
        owns = self._own.owns
        self._gather(
            [span for span in spans if (live or not span.pending) and not owns(span.trace_id)]
        )

    def _gather(self, items: list[RawRecord] | list[Span]) -> None:
        room = MAX_LIVE_ITEMS - len(self._gathered)
        self._gathered += items[:room]
        if len(items) > room:
            self._hub.drop("live.too_many", len(items) - room)
        if self._gathered and self._send_timer is None and not self._sending:
            self._send_timer = self._engine.clock.call_later(GATHER_S, self._send)

    def _send(self) -> None:
        self._send_timer = None
        self._sending = True
        items, self._gathered = self._gathered, []
        sending = Deferred.fromCoroutine(self._send_all(items))
        sending.addErrback(lambda failure: log.failure("live spans are lost", failure))
        sending.addCallback(self._sent)

    def _sent(self, _: None) -> None:
        self._sending = False
        if not self._stopped:
            self._gather([])

    async def _send_all(self, items: list[Item]) -> None:
        pace = Pace(self._engine.clock)
        maker = self._hub.maker
        everything: list[bytes] = []
        rows: list[bytes] = []
        traces: dict[str, list[bytes]] = {}
        for item in items:
            await pace.keep()
            internal = of.is_internal(item, maker)
            for span in [item] if isinstance(item, Span) else maker.spans(item):
                row = msgspec.json.encode(row_of(span))
                everything.append(row)
                traces.setdefault(span.trace_id, []).append(row)
                if span.parent_span_id is None and not internal:
                    rows.append(row)
        audiences = [(ALL, EVERYBODY, everything), (ROWS, EVERYBODY, rows)]
        audiences += [(TRACE, trace_id, own) for trace_id, own in traces.items()]
        for stream, group, spans in audiences:
            for some in _portions(spans):
                await pace.keep()
                if self._stopped:
                    return
                self._send_event(stream, group, some)

    def _send_event(self, stream: str, group: str, spans: list[bytes]) -> None:
        event = {
            "stream_name": stream,
            "group_id": group,
            "type": "spans",
            "data": Raw(b'{"spans":[%b]}' % b",".join(spans)),
        }
        sent = self._engine.invoke(SEND, event, traceparent=self._own.context())
        sent.addCallbacks(self._went_well, self._failed)

    def _went_well(self, _: Raw | None) -> None:
        self._failing = False

    def _failed(self, failure: Failure) -> None:
        self._hub.drop("live.not_sent")
        if not self._failing and not self._stopped:
            log.warn("live spans can't be sent: {why}", why=failure.getErrorMessage())
        self._failing = True


def _portions(spans: list[bytes]) -> Iterator[list[bytes]]:
    for first in range(0, len(spans), MAX_EVENT_SPANS):
        yield spans[first : first + MAX_EVENT_SPANS]


def _number(value: Value) -> float:
    return value if isinstance(value, int | float) else value.count

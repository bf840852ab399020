"""Trigger type ``trace``: which traces have something new, told to functions.

Spans are looked at as they come, and what they are about is told together a little later.
What a handler does makes no spans (``own``), so it is not told of its own calls.  Nothing
is looked at while there is no trigger.
"""

from __future__ import annotations

import msgspec
from msgspec import Raw, Struct

from iii.engine.bindings import Binding
from iii.engine.clock import Timer
from iii.engine.fanout import Fanout
from iii.engine.filters import Concerned, Filter, FilteredTriggers
from iii.engine.inputs import Reader
from iii.modules.observability.hub import Hub, RawRecord
from iii.modules.observability.model import Span
from iii.modules.observability.own import OwnTraces
from iii.modules.observability.spans import items as of

#: How long news are gathered.
GATHER_S = 0.3
#: A trigger is told of so many traces at once; more are told without waiting.
MAX_TOLD_TRACES = 1_000


class TraceTrigger(Struct):
    """The ``config`` of a ``trace`` trigger.  None: any.  Case does not matter."""

    service_name: str | None = None
    status: str | None = None
    condition_function_id: str | None = None


class TraceEvent(Struct):
    """What a ``trace`` trigger hands to its function."""

    trace_ids: list[str]


class TraceTriggers(FilteredTriggers):
    """The provider of ``trace`` triggers: they filter for service and status.

    :param own: traces that nobody is told of
    """

    reader = Reader(TraceTrigger)
    refusal = "Failed to parse trigger config"

    def __init__(self, hub: Hub, own: OwnTraces) -> None:
        super().__init__(Fanout(hub.engine, "trace"), enabled=hub.settings.traced)
        self._hub = hub
        self._own = own
        self._bindings: set[Binding] = set()
        # Who, after which condition, is to be told of which traces.
        self._news: dict[tuple[Binding, str | None], dict[str, None]] = {}
        self._timer: Timer | None = None

    def start(self) -> None:
        """Part: provide the trigger type."""
        self._hub.engine.trigger_type(
            "trace",
            self,
            description="Spans of a trace were recorded",
            trigger_schema=TraceTrigger,
        )

    def stop(self) -> None:
        """Part: tell nobody any more."""
        self._listen(False)
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._fanout.stop()

    # Triggers --------------------------------------------------------------------------

    def wanted(self, config: TraceTrigger) -> Filter:
        """FilteredTriggers: an empty text is none."""
        service, status = config.service_name, config.status
        return (service.lower() if service else None, status.lower() if status else None)

    def add(self, binding: Binding) -> None:
        """Provider: ``binding`` wants to know.

        :raises RegistrationError: its configuration is wrong
        """
        super().add(binding)
        if not self._bindings:
            self._listen(True)
        self._bindings.add(binding)

    def remove(self, binding: Binding) -> None:
        """Provider: it doesn't any more."""
        super().remove(binding)
        self._bindings.discard(binding)
        self._news = {who: traces for who, traces in self._news.items() if who[0] is not binding}
        if not self._bindings:
            self._listen(False)

    def _listen(self, wanted: bool) -> None:
        hub = self._hub
        if wanted:
            hub.flush()  # what was before the trigger is no news
            hub.on_records(self._recorded, soon=True)
            hub.on_ingested(self._ingested)
        else:
            hub.forget(self._recorded)
            hub.forget(self._ingested)

    # Spans -----------------------------------------------------------------------------

    def _recorded(self, records: list[RawRecord]) -> None:
        self._look_at(records)

    def _ingested(self, spans: list[Span]) -> None:
        self._look_at([span for span in spans if not span.pending])

    def _look_at(self, items: list[RawRecord] | list[Span]) -> None:
        """See who wants to know of ``items``."""
        maker = self._hub.maker
        # Whoever wants one span of a service with a status wants all of them.
        concerned: dict[tuple[str, str], Concerned] = {}
        for item in items:
            kind = (of.service(item, maker), of.status(item))
            if kind not in concerned:
                concerned[kind] = self.concerned(kind[0].lower(), kind[1])
            if not concerned[kind]:
                continue
            trace = of.trace_of(item)
            if not self._own.owns(trace) and not of.is_internal(item, maker):
                self._tell(concerned[kind], trace)

    def _tell(self, concerned: Concerned, trace: str) -> None:
        for who in concerned:
            traces = self._news.setdefault(who, {})
            traces[trace] = None
            if len(traces) >= MAX_TOLD_TRACES:
                self._deliver(who)
        if self._news and self._timer is None:
            self._timer = self._hub.engine.clock.call_later(GATHER_S, self._deliver_all)

    def _deliver_all(self) -> None:
        self._timer = None
        for who in list(self._news):
            self._deliver(who)

    def _deliver(self, who: tuple[Binding, str | None]) -> None:
        traces = self._news.pop(who, None)
        if traces is None:
            return  # a delivery before this one has removed the trigger
        payload = Raw(msgspec.json.encode(TraceEvent(list(traces))))
        self._fanout.deliver(*who, payload, self._own.context())

"""Who wants to know what happens in a stream: the trigger type ``stream``.

How they are found: ``iii.engine.filters``.
"""

from __future__ import annotations

from msgspec import Raw

from iii.engine.filters import Concerned, Filter, FilteredTriggers
from iii.engine.inputs import Reader
from iii.engine.invocations import Call
from iii.engine.tracecontext import unsampled, usable
from iii.modules.stream.shapes import StreamTrigger

#: Streams of what the engine records: what follows from them must not become part of them.
RECORDINGS = "iii:devtools:"


class StreamTriggers(FilteredTriggers):
    """The provider of ``stream`` triggers: they filter for stream, group and item.

    An event of a whole group has no item, and no filter for one matches it.
    """

    reader = Reader(StreamTrigger)
    refusal = "Failed to deserialize stream trigger"

    def wanted(self, config: StreamTrigger) -> Filter:
        """FilteredTriggers: an empty text means any."""
        return (config.stream_name or None, config.group_id or None, config.item_id or None)

    def tell(self, concerned: Concerned, stream: str, payload: Raw, call: Call) -> None:
        """Tell who is concerned of what ``call`` did to ``stream``."""
        if not stream.startswith(RECORDINGS):
            self._fanout.spread(concerned, payload, call.traceparent, call.baggage)
            return
        context = usable(call.traceparent)
        self._fanout.spread(concerned, payload, None if context is None else unsampled(context))

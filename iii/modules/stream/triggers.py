"""Who wants to know what happens in a stream: the trigger type ``stream``.

How they are found: ``iii.engine.filters``.
"""

from __future__ import annotations

from iii.engine.filters import Filter, FilteredTriggers
from iii.engine.inputs import Reader
from iii.modules.stream.shapes import StreamTrigger


class StreamTriggers(FilteredTriggers):
    """The provider of ``stream`` triggers: they filter for stream, group and item.

    An event of a whole group has no item, and no filter for one matches it.
    """

    reader = Reader(StreamTrigger)
    refusal = "Failed to deserialize stream trigger"

    def wanted(self, config: StreamTrigger) -> Filter:
        """FilteredTriggers: an empty text means any."""
        return (config.stream_name or None, config.group_id or None, config.item_id or None)

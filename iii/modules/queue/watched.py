"""Topics of the queues: ``queues``, all of them, and ``queue:<name>``, one.

They are counted anew soon after something happened in a queue, and now and then, because
other engines may work on the same broker.
"""

from __future__ import annotations

from msgspec import to_builtins

from iii.engine.module import ModuleApi
from iii.engine.watching.feeds import Feed, Outlet, Source
from iii.engine.watching.rowsource import LOOK_S, Row, RowSource
from iii.modules.queue.adapter import NotSupported
from iii.modules.queue.admin import Admin
from iii.modules.queue.figures import Figures
from iii.modules.queue.shapes import Stats, TopicInput

#: All queues are counted at most that often.
COUNT_S = 1.0
#: Of more queues than this only the names are told.
MAX_COUNTED = 200

_FIELDS = frozenset(("name", "broker_type", "subscriber_count", *Stats.__struct_fields__))


class Watched:
    """Lets the queues be watched."""

    def __init__(self, engine: ModuleApi, admin: Admin, figures: Figures) -> None:
        self._clock = engine.clock
        self._admin = admin
        self._figures = figures

    def offer(self, engine: ModuleApi) -> None:
        """Offer the topics."""
        engine.feed("queues", Feed(self._all, _FIELDS))
        engine.feed("queue", Feed(self._one, _FIELDS, "name"))

    def _all(self, argument: str, outlet: Outlet) -> Source:
        return self._source(outlet, None)

    def _one(self, argument: str, outlet: Outlet) -> Source:
        return self._source(outlet, argument)

    def _source(self, outlet: Outlet, name: str | None) -> Source:
        async def read() -> list[Row]:
            listed = await self._admin.list_topics(TopicInput())
            rows: list[Row] = to_builtins(listed)
            if name is not None:
                rows = [row for row in rows if row["name"] == name] or [{"name": name}]
            for number, row in enumerate(rows):
                if number < MAX_COUNTED:
                    row |= await self._counts(row["name"])
                    await self._clock.pause()
            return rows

        source = RowSource(
            outlet,
            self._clock,
            "name",
            read,
            every_s=LOOK_S,
            changes_s=COUNT_S,
            closed=lambda: self._figures.unlisten(source.changed),
        )
        self._figures.listen(source.changed)
        return source

    async def _counts(self, name: str) -> Row:
        try:
            stats: Row = to_builtins(await self._admin.topic_stats(TopicInput(topic=name)))
        except NotSupported:
            return {}
        return stats

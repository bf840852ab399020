"""A process that stores spans without a pause, until it is killed (``test_keeping``)."""

from __future__ import annotations

import sys
from itertools import count

from twisted.internet import reactor
from twisted.internet.defer import Deferred

from iii.engine.core import Engine
from iii.engine.module import ModuleApi
from iii.modules.observability.archive.archive import Archive
from iii.modules.observability.beyond import Query
from iii.modules.observability.config import ObservabilityConfig, TraceStorage, settings_of
from iii.modules.observability.hub import Hub
from tests.observability.archive.cases import span


async def main(directory: str) -> None:
    """Store spans, and say how many are in the file."""
    api = ModuleApi(Engine(reactor), "iii-observability")
    hub = Hub(api, settings_of(ObservabilityConfig(), {}))
    archive = Archive(hub, TraceStorage(directory=directory), {})
    archive.start()
    for number in count():
        hub.add_spans([span(f"{number:x}-{n:x}") for n in range(500)])
        found = await archive.find(Query(limit=0))
        print(found.total, flush=True)


if __name__ == "__main__":
    Deferred.fromCoroutine(main(sys.argv[1])).addErrback(lambda failure: failure.printTraceback())
    reactor.run()  # type: ignore[attr-defined]

"""Long searches let others have their turn, whatever these do to the store."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
from twisted.internet import task
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from iii.engine.clock import Clock
from iii.engine.core import Engine
from iii.engine.module import ModuleApi
from iii.modules.observability.config import ObservabilityConfig, settings_of
from iii.modules.observability.hub import Hub
from iii.modules.observability.spans.functions import TraceFunctions
from iii.modules.observability.spans.pace import SLICE_S
from iii.modules.observability.spans.shapes import GroupByInput, ListInput, TreeInput
from iii.modules.observability.spans.store import SpanStore
from tests.observability.spans.cases import TRACE, span

SPANS = 5_000


class Turns(task.Clock):
    """Time that stands still, and a turn is what was to be done when it began."""

    def turn(self) -> None:
        """One turn of the reactor."""
        calls, self.calls = self.calls, []
        for call in calls:
            call.func(*call.args)


class Slices(SynchronousTestCase):
    """05 "better" 15: a search of a full store does not stop the engine."""

    def setUp(self) -> None:
        self.time = Turns()
        self.now = 0.0
        clock = Clock(self.time, wall=lambda: 0.0, monotonic=self.tick)
        api = ModuleApi(Engine(self.time, clock=clock), "iii-observability")
        self.hub = Hub(api, settings_of(ObservabilityConfig(memory_max_spans=SPANS), {}))
        self.store = SpanStore(self.hub)
        self.functions = TraceFunctions(self.hub, self.store)
        self.hub.start()
        self.store.start()
        self.fill("old")

    def tick(self) -> float:
        """Every look at the clock takes a while."""
        self.now += SLICE_S / 4
        return self.now

    def fill(self, name: str) -> None:
        """As many spans as there is room for."""
        self.hub.add_spans(
            [span(f"{name}{n}", at_ms=n, attributes=[("k", name)]) for n in range(SPANS)]
        )

    def turns_of(self, searching: Deferred[Any]) -> int:
        """How often others have their turn."""
        turns = 0
        while not searching.called:
            turns += 1
            self.time.turn()
        return turns

    def searches(self) -> Iterator[Deferred[Any]]:
        """One of each kind, begun when it is asked for."""
        functions = self.functions
        yield Deferred.fromCoroutine(functions.list(ListInput(name="span")))
        yield Deferred.fromCoroutine(
            functions.list(ListInput(attributes=[["k", "old"]], search_all_spans=True))
        )
        yield Deferred.fromCoroutine(functions.tree(TreeInput(TRACE)))
        yield Deferred.fromCoroutine(functions.group_by(GroupByInput("k")))

    def test_others_have_their_turn(self) -> None:
        for searching in self.searches():
            self.assertNoResult(searching)
            self.assertGreater(self.turns_of(searching), 4)
            self.successResultOf(searching)

    def test_searches_survive_a_store_that_is_cleared(self) -> None:
        searches = list(self.searches())
        self.time.turn()
        self.store.clear()
        for searching in searches:
            self.turns_of(searching)
            self.successResultOf(searching)

        listing = Deferred.fromCoroutine(self.functions.list(ListInput()))
        self.turns_of(listing)
        self.assertEqual(msgspec.json.decode(bytes(self.successResultOf(listing)))["total"], 0)

    def test_searches_survive_a_store_that_is_filled_anew(self) -> None:
        searches = list(self.searches())
        self.time.turn()
        self.fill("new")
        for searching in searches:
            self.turns_of(searching)
            self.successResultOf(searching)

        listing = Deferred.fromCoroutine(self.functions.list(ListInput(name="old")))
        self.turns_of(listing)
        self.assertEqual(msgspec.json.decode(bytes(self.successResultOf(listing)))["total"], 0)

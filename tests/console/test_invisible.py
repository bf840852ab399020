"""Whoever looks at the engine does not find himself there."""

from __future__ import annotations

from typing import Any

from iii.modules.console.calls import ROUTES
from tests.console.cases import CRON, HTTP, PUBSUB, QUEUE, STATE, STREAM, ConsoleCase
from tests.support.probes import probe


class Invisible(ConsoleCase):
    """Looks are neither counted nor traced."""

    def calls(self) -> dict[str, int]:
        """Function → how often it was called."""
        counts = self.engine.engine.invocations.counts
        return {id: known.started for id, known in counts if known.started}

    @probe("06.27")
    async def test_looks_add_nothing(self) -> None:
        """Every ``GET`` of the interface, and the lists that are asked with ``POST``."""
        await self.serve(STATE, STREAM, QUEUE, PUBSUB, CRON, HTTP)
        worker = await self.here("f")
        everything = {"include_internal": True}
        before = self.calls()
        spans = (await worker.call("engine::traces::list", everything))["total"]

        for route in ROUTES:
            if not route.does:
                await self.send(route.method, f"/_console/{route.path.replace(':', '')}", b"{}")
        await self.get("/api/config")
        await self.get("/readyz")

        self.assertEqual(self.calls(), {**before, "engine::traces::list": 1})
        traced = await worker.call("engine::traces::list", {**everything, "limit": 1000})
        names = [row["name"] for row in traced["spans"]]
        self.assertEqual(traced["total"], spans + 1, names)
        metrics: Any = await worker.call("engine::metrics::snapshot")
        self.assertEqual(metrics["invocations"]["total"], sum(self.calls().values()))

    async def test_what_is_done_is_seen(self) -> None:
        """A function that is called through the console was called."""
        await self.serve(STATE)
        worker = await self.here("f", "heard")
        await worker.trigger("state", "heard", {})

        await self.ok("/_console/states/g/item", {"key": "k", "value": 1})
        await worker.answer("heard")
        await worker.settled()

        calls = self.calls()
        self.assertEqual((calls["state::set"], calls["heard"]), (1, 1))

    async def test_a_look_at_what_is_not_there(self) -> None:
        """It is no call of an unknown function either."""
        await self.serve()
        before = self.calls()
        await self.refused(502, "/_console/queues", method="GET")
        self.assertEqual(self.calls(), before)

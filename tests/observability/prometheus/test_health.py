"""``/healthz`` and ``/readyz`` (08 §7)."""

from __future__ import annotations

from iii.modules.observability.prometheus.health import alive, readiness
from tests.observability.prometheus.cases import PrometheusCase


class Health(PrometheusCase):
    """On the metrics port."""

    async def test_a_running_engine_is_alive(self) -> None:
        answer = await self.ask("/healthz")
        self.assertEqual((answer.status, answer.json), (200, {"status": "ok"}))
        self.assertEqual(answer.headers["content-type"], "application/json")

    async def test_ready_when_nothing_is_missing(self) -> None:
        answer = await self.ask("/readyz")
        self.assertEqual((answer.status, answer.json), (200, {"status": "ok"}))

    async def test_what_is_missing_is_listed(self) -> None:
        self.not_ready[:] = ["iii-queue", "iii-http"]
        answer = await self.ask("/readyz")
        self.assertEqual(answer.status, 503)
        self.assertEqual(
            answer.json, {"status": "unavailable", "not_ready": ["iii-queue", "iii-http"]}
        )
        self.assertEqual((await self.ask("/healthz")).status, 200)

    def test_other_servers_may_give_the_same_answers(self) -> None:
        self.assertEqual(alive(), (200, {"status": "ok"}))
        self.assertEqual(readiness([]), (200, {"status": "ok"}))
        self.assertEqual(readiness(["x"])[0], 503)

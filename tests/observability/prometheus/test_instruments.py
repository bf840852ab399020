"""What modules measure, on ``/metrics``."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import TestCase

from iii.engine.callcounts import Durations
from iii.engine.module import ModuleApi
from iii.modules.observability.prometheus.figures import (
    MAX_LABEL_SETS,
    Distribution,
    capped,
)
from iii.modules.observability.prometheus.readings import READ_LIMIT_S, Readings
from tests.observability.prometheus.cases import PrometheusCase, Warnings, still_engine


class Instruments(PrometheusCase):
    """05 A10: useful additions under our own names."""

    def show(self, name: str, kind: Any, read: Any, *labels: str) -> None:
        """A module measures something."""
        ModuleApi(self.engine, "iii-queue").instrument(
            name, kind, f"What {name} says", read, labels
        )

    async def test_gauges_counters_and_histograms(self) -> None:
        durations = Durations()
        for seconds in (0.003, 0.3, 30):
            durations.add(seconds)
        self.show("iii_queue_depth", "gauge", lambda: [(("mail",), 3)], "queue")
        self.show("iii_pushes", "counter", lambda: iter([((), 4)]))
        self.show("iii_wait_seconds", "histogram", lambda: [(("a",), durations)], "queue")
        seen = await self.scrape()
        self.assertEqual(seen.all("iii_queue_depth"), [({"queue": "mail"}, 3)])
        self.assertEqual(seen.value("iii_pushes_total"), 4)
        self.assertEqual(seen.value("iii_wait_seconds_bucket", queue="a", le="0.5"), 2)
        self.assertEqual(seen.value("iii_wait_seconds_count", queue="a"), 3)
        self.assertEqual(seen.value("iii_wait_seconds_sum", queue="a"), 30.303)

    async def test_a_module_may_take_its_time(self) -> None:
        """A Deferred, or a coroutine."""

        async def later() -> list[Any]:
            await self.pause(0)
            return [((), 2)]

        self.show("a", "gauge", lambda: succeed([((), 1)]))
        self.show("b", "gauge", later)
        seen = await self.scrape()
        self.assertEqual((seen.value("a"), seen.value("b")), (1, 2))

    async def test_one_that_fails_is_left_out_and_told_once_each_time_it_begins(self) -> None:
        warnings = Warnings(self)
        answers: list[Any] = [ValueError("no store"), ValueError("no store"), 5, KeyError("x")]

        def read() -> list[Any]:
            answer = answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return [((), answer)]

        self.show("a", "gauge", read)
        self.show("b", "gauge", lambda: [((), 1)])
        values = []
        for _ in range(4):
            seen = await self.scrape()
            values.append((seen.value("a"), seen.value("b")))
        self.assertEqual(values, [(None, 1), (None, 1), (5, 1), (None, 1)])
        self.assertEqual(len(warnings.texts), 2)
        self.assertIn("metric a could not be read", warnings.texts[0])
        self.assertIn("no store", warnings.texts[0])

    async def test_samples_of_the_wrong_form_are_left_out(self) -> None:
        warnings = Warnings(self)
        self.show("a", "gauge", lambda: [(("x", "y"), 1)], "one_label")
        self.show("b", "histogram", lambda: [((), 1)])
        self.show("c", "gauge", lambda: [((), Durations())])
        self.show("d", "gauge", lambda: None)
        self.show("e", "gauge", lambda: [((), 1)])
        seen = await self.scrape()
        self.assertEqual(seen.value("e"), 1)
        self.assertEqual([text.split()[1] for text in warnings.texts], ["d", "a", "b", "c"])

    async def test_label_sets_beyond_the_limit_are_added_up(self) -> None:
        """05 A10: one more, ``__other__``."""
        count = MAX_LABEL_SETS + 10
        self.show("n", "counter", lambda: [((str(i),), 2) for i in range(count)], "x")
        seen = await self.scrape()
        self.assertEqual(len(seen.all("n_total")), MAX_LABEL_SETS + 1)
        self.assertEqual(seen.value("n_total", x="__other__"), 20)

    def test_histograms_are_added_bucket_by_bucket(self) -> None:
        one = Distribution((1.0,), [2, 3], 7.0)
        rows = list(capped((({"x": str(i)}, one) for i in range(4)), limit=2))
        self.assertEqual(rows[2:], [({"x": "__other__"}, Distribution((1.0,), [4, 6], 14.0))])

    async def test_the_engines_names_are_the_engines(self) -> None:
        warnings = Warnings(self)
        self.show("iii_workers_active", "gauge", lambda: [((), 77)])
        seen = await self.scrape()
        self.assertEqual(seen.value("iii_workers_active"), 0)
        self.assertIn("iii_workers_active", warnings.texts[0])


class Patience(TestCase):
    """Nobody holds up a scrape for long."""

    def test_one_that_does_not_answer_is_left_out(self) -> None:
        warnings = Warnings(self)
        engine, time = still_engine()
        api = ModuleApi(engine, "iii-queue")
        never: Deferred[list[Any]] = Deferred()
        api.instrument("slow", "gauge", "Never", lambda: never)
        api.instrument("fast", "gauge", "At once", lambda: [((), 1)])
        reading = Deferred.fromCoroutine(Readings(api).read())
        time.advance(READ_LIMIT_S - 0.1)
        self.assertFalse(reading.called)
        time.advance(0.1)
        figures = self.successResultOf(reading)
        self.assertEqual([figure.name for figure in figures], ["fast"])
        [warning] = warnings.texts
        self.assertIn("metric slow could not be read", warning)
        self.assertEqual(time.getDelayedCalls(), [])

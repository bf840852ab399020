from __future__ import annotations

from typing import Any

from iii.engine.callcounts import BOUNDS_S, Durations
from iii.errors import Code, InvocationError
from iii.modules.observability.model import HistogramPoint, Metric, NumberPoint
from tests.observability.export.cases import T0, ExportCase
from tests.observability.export.collectors import Inbox, attributes


def gauge(**fields: Any) -> Metric:
    """A gauge of a worker."""
    given: dict[str, Any] = {
        "name": "iii.worker.memory.rss",
        "type": "gauge",
        "points": [NumberPoint(73.5, [("worker.id", "w1")], T0)],
        "service_name": "orders",
        "received_ns": T0,
        "resource": {"service.name": "orders"},
        **fields,
    }
    return Metric(**given)


class MetricsCase(ExportCase):
    async def sent(self, inbox: Inbox, name: str) -> tuple[Any, Any, Any]:
        """The metric called ``name``, its resource and its scope."""
        found: list[tuple[Any, Any, Any]] = []

        def there() -> bool:
            found[:] = [
                (metric, resource.resource, scope.scope)
                for _, _, request in inbox.taken
                for resource in request.resource_metrics
                for scope in resource.scope_metrics
                for metric in scope.metrics
                if metric.name == name
            ]
            return bool(found)

        await inbox.until(there)
        return found[-1]

    def after_a_minute(self) -> None:
        """The instruments are read; the lane sends what that gave after its second."""
        self.timers.advance(60)
        self.timers.advance(1)


class OfWorkers(MetricsCase):
    """What workers sent goes on under their own name, whatever the protocol."""

    async def check(self, inbox: Inbox, hub: Any) -> None:
        histogram = HistogramPoint(
            count=3,
            sum=1.5,
            bucket_counts=[1, 2],
            explicit_bounds=[0.5],
            attributes=[("k", "v")],
            timestamp_ns=T0 + 1,
            min=0.1,
            max=0.9,
            start_ns=T0,
        )
        number = [NumberPoint(42, [("k", "v")], T0 + 1, T0)]
        hub.add_metrics(
            [
                gauge(scope_name="iii-sdk", scope_version="1", description="RSS", unit="bytes"),
                gauge(name="orders", type="counter", points=number, delta=True),
                gauge(name="open", type="updowncounter", points=number),
                gauge(name="took", type="histogram", points=[histogram]),
                gauge(name="other", resource={"service.name": "pay", "host.name": "h"}),
            ]
        )
        self.timers.advance(1)

        metric, resource, scope = await self.sent(inbox, "iii.worker.memory.rss")
        self.assertEqual(attributes(resource.attributes), {"service.name": "orders"})
        self.assertEqual((scope.name, scope.version), ("iii-sdk", "1"))
        self.assertEqual((metric.description, metric.unit), ("RSS", "bytes"))
        (point,) = metric.gauge.data_points
        self.assertEqual((point.as_double, point.time_unix_nano), (73.5, T0))
        self.assertEqual(attributes(point.attributes), {"worker.id": "w1"})

        counter = (await self.sent(inbox, "orders"))[0].sum
        self.assertEqual((counter.aggregation_temporality, counter.is_monotonic), (1, True))
        self.assertEqual(counter.data_points[0].as_int, 42)
        self.assertEqual(counter.data_points[0].start_time_unix_nano, T0)

        up_and_down = (await self.sent(inbox, "open"))[0].sum
        self.assertEqual(
            (up_and_down.aggregation_temporality, up_and_down.is_monotonic), (2, False)
        )

        took = (await self.sent(inbox, "took"))[0].histogram
        self.assertEqual(took.aggregation_temporality, 2)
        (point,) = took.data_points
        self.assertEqual((point.count, point.sum, point.min, point.max), (3, 1.5, 0.1, 0.9))
        self.assertEqual((list(point.bucket_counts), list(point.explicit_bounds)), ([1, 2], [0.5]))

        _, resource, _ = await self.sent(inbox, "other")
        expected = {"service.name": "pay", "host.name": "h"}
        self.assertEqual(attributes(resource.attributes), expected)

    async def test_over_grpc(self) -> None:
        collector = self.grpc()
        hub = self.exports(metrics_exporter="otlp", endpoint=collector.endpoint)
        await self.check(collector, hub)
        self.assertEqual(collector.taken[0][0], "metrics")

    async def test_over_http(self) -> None:
        collector = self.http()
        environ = {"OTEL_EXPORTER_OTLP_METRICS_PROTOCOL": "http/protobuf"}
        hub = self.exports(environ, metrics_exporter="both", endpoint=collector.endpoint)
        await self.check(collector, hub)
        self.assertEqual(collector.taken[0][0], "/v1/metrics")


class OfTheEngine(MetricsCase):
    async def test_calls_are_counted_by_function_and_outcome(self) -> None:
        collector = self.grpc()
        hub = self.exports(
            metrics_exporter="otlp", endpoint=collector.endpoint, service_name="shop"
        )
        hub.engine.function("fine", lambda _: None)
        hub.engine.function("broken", self.broken)
        await hub.engine.invoke("fine", {})
        await hub.engine.invoke("fine", {})
        await self.assertFailure(hub.engine.invoke("broken", {}), InvocationError)
        self.after_a_minute()

        metric, resource, scope = await self.sent(collector, "iii.invocations.total")
        self.assertEqual(attributes(resource.attributes)["service.name"], "shop")
        self.assertEqual(scope.name, "iii")
        self.assertEqual(metric.unit, "invocations")
        self.assertEqual((metric.sum.aggregation_temporality, metric.sum.is_monotonic), (2, True))
        counted = {
            (labels["function_id"], labels["status"]): point.as_int
            for point in metric.sum.data_points
            if (labels := attributes(point.attributes))
        }
        self.assertEqual(counted, {("fine", "ok"): 2, ("broken", "error"): 1})
        (start,) = {point.start_time_unix_nano for point in metric.sum.data_points}
        self.assertEqual(start, T0)

        took = (await self.sent(collector, "iii.invocation.duration"))[0]
        self.assertEqual(took.unit, "s")
        point = next(
            point
            for point in took.histogram.data_points
            if attributes(point.attributes) == {"function_id": "fine", "status": "ok"}
        )
        self.assertEqual(point.count, 2)
        self.assertEqual(list(point.explicit_bounds), list(BOUNDS_S))
        self.assertEqual(sum(point.bucket_counts), 2)

        errors = (await self.sent(collector, "iii.invocation.errors.total"))[0]
        (point,) = errors.sum.data_points
        self.assertEqual(attributes(point.attributes)["function_id"], "broken")
        self.assertEqual(point.as_int, 1)

    def broken(self, _: Any) -> None:
        raise InvocationError(Code.INVOCATION_FAILED, "no")

    async def test_workers_functions_and_losses_are_told(self) -> None:
        collector = self.grpc()
        hub = self.exports(metrics_exporter="otlp", endpoint=collector.endpoint)
        hub.drop("spans.queue_full", 3)
        self.after_a_minute()

        for name in ("iii.workers.active", "iii.functions", "iii.workers.by_status"):
            metric, _, _ = await self.sent(collector, name)
            self.assertTrue(metric.HasField("gauge"), name)
        for name in ("iii.workers.spawns.total", "iii.workers.deaths.total"):
            metric, _, _ = await self.sent(collector, name)
            self.assertTrue(metric.sum.is_monotonic, name)
        by_status = (await self.sent(collector, "iii.workers.by_status"))[0].gauge.data_points
        self.assertEqual(
            {attributes(point.attributes)["status"]: point.as_int for point in by_status},
            {"connected": 0, "available": 0, "busy": 0, "disconnected": 0},
        )
        functions = (await self.sent(collector, "iii.functions"))[0].gauge.data_points[0]
        self.assertEqual(functions.as_int, hub.engine.census().functions)
        (lost,) = (await self.sent(collector, "iii.telemetry.dropped.total"))[0].sum.data_points
        self.assertEqual(attributes(lost.attributes), {"what": "spans.queue_full"})
        self.assertEqual(lost.as_int, 3)

    async def test_what_modules_measure_goes_along_and_a_broken_one_does_not_stop_it(self) -> None:
        collector = self.grpc()
        hub = self.exports(metrics_exporter="otlp", endpoint=collector.endpoint)
        durations = Durations()
        durations.add(0.3)

        def broken() -> Any:
            raise RuntimeError("unreadable")

        async def later() -> Any:
            return [(("GET",), durations)]

        hub.engine.instrument("iii_broken", "gauge", "Never", broken)
        hub.engine.instrument("iii_depth", "gauge", "Depth", lambda: [(("q",), 7)], ("queue",))
        hub.engine.instrument("iii_seconds", "histogram", "Time", later, ("method",))
        self.after_a_minute()

        depth = (await self.sent(collector, "iii_depth"))[0]
        self.assertEqual(depth.description, "Depth")
        (point,) = depth.gauge.data_points
        self.assertEqual((attributes(point.attributes), point.as_int), ({"queue": "q"}, 7))
        (point,) = (await self.sent(collector, "iii_seconds"))[0].histogram.data_points
        self.assertEqual((attributes(point.attributes), point.count), ({"method": "GET"}, 1))
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    async def test_the_last_reading_goes_out_at_the_stop(self) -> None:
        collector = self.grpc()
        hub = self.exports(metrics_exporter="otlp", endpoint=collector.endpoint)
        hub.engine.function("fine", lambda _: None)
        await hub.engine.invoke("fine", {})

        await self.stop()

        await self.sent(collector, "iii.invocations.total")
        self.assertEqual(hub.dropped, {})

    async def test_every_minute_again(self) -> None:
        collector = self.grpc()
        self.exports(metrics_exporter="otlp", endpoint=collector.endpoint)
        for minute in range(1, 4):
            self.after_a_minute()
            await collector.until(
                lambda n=minute: self.count(collector, "iii.workers.active") == n  # type: ignore[misc]
            )

    def count(self, inbox: Inbox, name: str) -> int:
        """How often a metric was sent."""
        return sum(
            metric.name == name
            for _, _, request in inbox.taken
            for resource in request.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        )

    async def test_not_while_its_metrics_are_off_but_those_of_workers_still_are(self) -> None:
        collector = self.grpc()
        hub = self.exports(
            metrics_exporter="otlp", metrics_enabled=False, endpoint=collector.endpoint
        )
        self.after_a_minute()
        hub.add_metrics([gauge()])
        await self.stop()
        self.assertEqual(self.count(collector, "iii.workers.active"), 0)
        self.assertEqual(self.count(collector, "iii.worker.memory.rss"), 1)

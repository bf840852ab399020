"""Frames as the SDKs of each language send them, recorded by what the specification says."""

from __future__ import annotations

from iii.modules.observability.model import Event, HistogramPoint, Link, NumberPoint
from tests.observability.ingest.cases import EPOCH_NS, IngestCase
from tests.support.probes import probe

SECOND = 1_000_000_000


class Node(IngestCase):
    """Times are decimal text, severities have no text."""

    def test_traces(self) -> None:
        """A failed call with an event and a link, and a call of its own."""
        self.golden("node-traces")

        call, fetch = self.heard.spans
        self.assertEqual(call.trace_id, "5b8efff798038103d269b633813fc60c")
        self.assertEqual(call.span_id, "eee19b7ec3c1b174")
        self.assertIsNone(call.parent_span_id)
        self.assertEqual((call.name, call.kind), ("call orders::create", "server"))
        self.assertEqual((call.start_ns, call.end_ns), (EPOCH_NS, EPOCH_NS + 120_000_000))
        self.assertEqual((call.status, call.status_description), ("error", "boom"))
        self.assertEqual(
            call.attributes,
            [("faas.trigger", "other"), ("items", "3"), ("total", "12.5"), ("gift", "false")],
        )
        self.assertEqual(
            call.events,
            [Event("exception", EPOCH_NS + 100_000_000, [("exception.message", "boom")])],
        )
        self.assertEqual(
            call.links, [Link("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331", "", [])]
        )
        self.assertEqual(call.flags, 257)
        self.assertEqual((call.scope_name, call.scope_version), ("iii-node-sdk", "0.10.0"))
        self.assertEqual(call.service_name, "orders")
        self.assertEqual(
            call.resource,
            {
                "service.name": "orders",
                "service.instance.id": "1d0c",
                "process.pid": "4711",
                "process.command_args": '["node","index.js"]',
            },
        )
        self.assertEqual((fetch.kind, fetch.status), ("client", "ok"))
        self.assertEqual(fetch.parent_span_id, "eee19b7ec3c1b174")

    def test_metrics(self) -> None:
        """A gauge, and a counter that counts from point to point."""
        self.golden("node-metrics")

        rss, orders = self.heard.metrics
        self.assertEqual(
            (rss.name, rss.type, rss.unit), ("iii.worker.memory.rss", "gauge", "bytes")
        )
        self.assertEqual(rss.description, "Resident set size")
        self.assertEqual(
            rss.points,
            [NumberPoint(73400320.0, [("worker.id", "w-1")], EPOCH_NS + 60 * SECOND, EPOCH_NS)],
        )
        self.assertFalse(rss.delta)
        self.assertEqual(rss.received_ns, EPOCH_NS)
        self.assertEqual(rss.resource, {"service.name": "orders"})
        self.assertEqual((orders.type, orders.delta), ("counter", True))
        self.assertEqual([point.value for point in orders.points], [12.0])

    def test_logs(self) -> None:
        """The text of a severity comes from its number, colours go."""
        self.golden("node-logs")

        (record,) = self.heard.logs
        self.assertEqual((record.severity_number, record.severity_text), (17, "ERROR"))
        self.assertEqual(record.body, "payment refused")
        self.assertEqual(record.attributes, {"code": 51, "again": True})
        self.assertEqual(record.trace_id, "5b8efff798038103d269b633813fc60c")
        self.assertEqual(record.span_id, "eee19b7ec3c1b174")
        self.assertEqual(
            (record.timestamp_ns, record.observed_ns), (EPOCH_NS, EPOCH_NS + 1_000_000)
        )
        self.assertEqual(record.service_name, "pay")
        self.assertEqual(record.resource, {"service.name": "pay", "process.pid": "4711"})
        self.assertEqual(record.scope_name, "iii-node-sdk")


class Python(IngestCase):
    """The scope has no version, whole numbers are text, some numbers are none."""

    @probe("05.10", "05.11")
    def test_traces(self) -> None:
        """A parent of zeros is none, a version that is null too, ``NaN`` is text."""
        self.golden("python-traces")

        (call,) = self.heard.spans
        self.assertIsNone(call.parent_span_id)
        self.assertEqual((call.scope_name, call.scope_version), ("iii-python-sdk", None))
        self.assertEqual(
            call.attributes, [("attempt", "2"), ("ratio", "NaN"), ("to", '["a@example.org",7]')]
        )
        self.assertEqual((call.status, call.status_description), ("unset", None))
        self.assertEqual((call.links, call.events, call.flags), ([], [], None))
        self.assertEqual(self.hub.dropped, {})

    @probe("05.12", "05.13")
    def test_metrics(self) -> None:
        """Points that are no number go, and a summary; everything else stays."""
        self.golden("python-metrics")

        jobs, load = self.heard.metrics
        self.assertEqual((jobs.name, jobs.type, jobs.delta), ("jobs.open", "updowncounter", False))
        self.assertEqual([point.value for point in jobs.points], [42.0])
        self.assertEqual((jobs.description, jobs.unit), ("", ""))
        self.assertEqual((load.name, load.type), ("load", "gauge"))
        self.assertEqual([point.value for point in load.points], [0.5])
        self.assertEqual(self.hub.dropped, {"points.unreadable": 2, "metrics.unsupported": 1})

    def test_logs(self) -> None:
        """Ids of zeros are none."""
        self.golden("python-logs")

        (record,) = self.heard.logs
        self.assertEqual((record.severity_number, record.severity_text), (13, "WARN"))
        self.assertEqual((record.trace_id, record.span_id), (None, None))
        self.assertEqual(record.attributes, {"function_name": "mail::send", "seconds": 2.5})
        self.assertEqual((record.scope_name, record.scope_version), ("iii-python-sdk", None))


class Rust(IngestCase):
    """Times are numbers."""

    def test_traces(self) -> None:
        """Nested values are JSON text; a span that has just begun is passed on as it is."""
        self.golden("rust-traces")

        call, resize = self.heard.spans
        self.assertEqual(call.start_ns, EPOCH_NS + 2 * SECOND)
        self.assertEqual(call.trace_state, "vendor=1")
        self.assertEqual(
            call.attributes, [("width", "640"), ("meta", '{"fmt":"png"}'), ("hash", "c0ffee")]
        )
        self.assertFalse(call.pending)
        self.assertTrue(resize.pending)
        self.assertEqual((resize.kind, resize.duration_ns), ("client", 0))

    def test_metrics(self) -> None:
        """A histogram."""
        self.golden("rust-metrics")

        (metric,) = self.heard.metrics
        self.assertEqual((metric.type, metric.unit), ("histogram", "ms"))
        self.assertEqual(
            metric.points,
            [
                HistogramPoint(
                    3,
                    6.5,
                    [1, 2, 0],
                    [1.0, 5.0],
                    [("format", "png")],
                    EPOCH_NS + 60 * SECOND,
                    0.5,
                    4.0,
                    EPOCH_NS,
                )
            ],
        )

    def test_logs(self) -> None:
        """A body that is an object is its JSON; a record without a time has that of 0."""
        self.golden("rust-logs")

        (record,) = self.heard.logs
        self.assertEqual(record.body, '{"done":3,"left":[]}')
        self.assertEqual(record.severity_text, "INFO")
        self.assertEqual((record.timestamp_ns, record.observed_ns), (0, EPOCH_NS + 2 * SECOND))
        self.assertEqual((record.trace_id, record.span_id), (None, None))

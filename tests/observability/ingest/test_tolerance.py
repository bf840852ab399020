"""What is accepted of each field, and what is lost when it makes no sense."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET

from iii.modules.observability.config import ObservabilityConfig
from iii.modules.observability.ingest.losses import REPORT_EVERY_S
from tests.observability.ingest.cases import (
    EPOCH_NS,
    FRAMES,
    IngestCase,
    attribute,
    frame,
    resource,
    span,
)
from tests.support.probes import probe


def point(**fields: Any) -> dict[str, Any]:
    """A gauge with one point."""
    return {"gauge": {"dataPoints": [fields]}}


class Spans(IngestCase):
    """05 A4.2."""

    @probe("05.9")
    def test_times_are_numbers_or_text(self) -> None:
        """Both in one frame."""
        start, end = EPOCH_NS + 5, EPOCH_NS + 7
        self.send(
            "OTLP",
            span(startTimeUnixNano=start, endTimeUnixNano=str(end)),
            span(startTimeUnixNano=str(start), endTimeUnixNano=end),
        )
        self.assertEqual([(s.start_ns, s.end_ns) for s in self.heard.spans], [(start, end)] * 2)

    def test_a_time_with_an_exponent_is_a_number_too(self) -> None:
        """JavaScript's ``1.76e18``."""
        self.receive("OTLP", frame("OTLP", span()).replace(str(EPOCH_NS).encode(), b"1.76e18"))
        self.assertEqual(self.heard.spans[0].start_ns, EPOCH_NS)

    def test_without_a_beginning_it_is_a_moment(self) -> None:
        """Never one of 56 years."""
        self.assertEqual(self.span(startTimeUnixNano=None).duration_ns, 0)
        begun = self.span(startTimeUnixNano=None, endTimeUnixNano=None)
        self.assertEqual((begun.start_ns, begun.pending), (EPOCH_NS, True))

    def test_kinds(self) -> None:
        """By number, by name, by attribute, else internal."""
        server = [attribute("otel.kind", stringValue="SERVER")]
        for said, meant in {
            (1, None): "internal",
            (4, None): "producer",
            ("SPAN_KIND_CONSUMER", None): "consumer",
            (None, "x"): "server",
            (0, "x"): "server",
            (3, "x"): "client",
            (None, None): "internal",
            (77, None): "internal",
        }.items():
            kind, otel = said
            made = self.span(kind=kind, attributes=server if otel else None)
            self.assertEqual(made.kind, meant, said)

    def test_statuses(self) -> None:
        """By number or name; unset when it is neither, or missing."""
        for status, meant in (
            (None, ("unset", None)),
            ({}, ("unset", None)),
            ({"code": 1, "message": ""}, ("ok", None)),
            ({"code": "STATUS_CODE_ERROR", "message": "x"}, ("error", "x")),
            ({"code": 9}, ("unset", None)),
        ):
            made = self.span(status=status)
            self.assertEqual((made.status, made.status_description), meant)

    def test_parents(self) -> None:
        """Missing, empty or nothing but zeros: none."""
        for said, meant in ((None, None), ("", None), ("0" * 16, None), ("0a", "0a")):
            self.assertEqual(self.span(parentSpanId=said).parent_span_id, meant)

    def test_attribute_values(self) -> None:
        """All of them are text."""
        values: list[tuple[dict[str, Any] | None, str]] = [
            ({"stringValue": "é"}, "é"),
            ({"stringValue": ""}, ""),
            ({"intValue": 5}, "5"),
            ({"intValue": "-5"}, "-5"),
            ({"doubleValue": 2}, "2"),
            ({"doubleValue": 2.5}, "2.5"),
            ({"doubleValue": "Infinity"}, "Infinity"),
            ({"boolValue": True}, "true"),
            (
                {"arrayValue": {"values": [{"intValue": "1"}, {"boolValue": False}, {}]}},
                "[1,false,null]",
            ),
            ({"arrayValue": {}}, "[]"),
            ({"kvlistValue": {"values": [attribute("a", doubleValue=0.5)]}}, '{"a":0.5}'),
            ({"bytesValue": "AQID"}, "AQID"),
            ({}, ""),
            (None, ""),
        ]
        made = self.span(
            attributes=[{"key": f"k{n}", "value": value} for n, (value, _) in enumerate(values)]
        )
        self.assertEqual([text for _, text in made.attributes], [text for _, text in values])

    def test_flags_of_links(self) -> None:
        """What are none cost no span."""
        for said, meant in ((0x301, 0x301), (0, UNSET), (None, UNSET), ("1", UNSET), (-1, UNSET)):
            made = self.span(links=[{"traceId": "a", "spanId": "b", "flags": said}])
            self.assertEqual([link.flags for link in made.links], [meant], said)

    def test_null_means_absent(self) -> None:
        """Of everything that may be absent."""
        self.receive(
            "OTLP",
            b'{"resourceSpans":[{"resource":null,"scopeSpans":[{"scope":null,"spans":[{"traceId":'
            b'"a","spanId":"b","name":"n","parentSpanId":null,"kind":null,"attributes":null,'
            b'"startTimeUnixNano":1,"endTimeUnixNano":2,"events":null,"links":null,"status":null,'
            b'"flags":null,"traceState":null}]},{"scope":null,"spans":null}]},{"scopeSpans":null}]}',
        )
        (made,) = self.heard.spans
        self.assertEqual((made.service_name, made.resource, made.scope_name), ("unknown", {}, None))
        self.assertEqual(self.hub.dropped, {})

    def test_without_an_id_or_a_name_it_alone_is_lost(self) -> None:
        """05 "Where we must be better" 7."""
        self.send(
            "OTLP",
            span(traceId=None),
            span(name="first"),
            span(spanId=""),
            span(name=None),
            span(name="last"),
        )
        self.assertEqual([s.name for s in self.heard.spans], ["first", "last"])
        self.assertEqual(self.hub.dropped, {"spans.unreadable": 3})

    def test_impossible_times_cost_the_span(self) -> None:
        """They would overflow where they are kept."""
        for time in (-1, 2**63, "soon", 10**400, True, [1]):
            self.send("OTLP", span(startTimeUnixNano=time), span())
            self.assertEqual(len(self.heard.spans), 1, time)
            self.heard.spans.clear()

    def test_one_resource_is_kept_once(self) -> None:
        """Hundreds of spans share it."""
        self.send("OTLP", span(), span(), resource=resource("a"))
        first, second = self.heard.spans
        self.assertIs(first.resource, second.resource)


class Metrics(IngestCase):
    """05 A4.3."""

    def test_values_of_points(self) -> None:
        """Whole or not, numbers or text."""
        for value, meant in (
            ({"asInt": "42"}, 42.0),
            ({"asInt": 42}, 42.0),
            ({"asDouble": 1}, 1.0),
            ({"asDouble": "0.25"}, 0.25),
            ({"asDouble": 0, "asInt": None}, 0.0),
        ):
            self.assertEqual(self.metric(**point(**value)).points[0].value, meant)

    def test_a_point_without_a_time_has_that_of_its_frame(self) -> None:
        """And no beginning."""
        (made,) = self.metric(**point(asInt=1)).points
        self.assertEqual((made.timestamp_ns, made.start_ns), (EPOCH_NS, 0))

    def test_bad_points_are_lost_alone(self) -> None:
        """Whatever is wrong with them."""
        bad: list[Any] = [
            {},
            {"asDouble": "NaN"},
            {"asInt": "x"},
            {"asInt": 10**400},
            {"asInt": [1]},
            {"asInt": 1, "timeUnixNano": -1},
            {"asInt": 1, "attributes": 5},
            7,
            None,
        ]
        points = [one for each in bad for one in (each, {"asInt": 1})]
        made = self.metric(gauge={"dataPoints": points})
        self.assertEqual(len(made.points), len(bad))
        self.assertEqual(self.hub.dropped, {"points.unreadable": len(bad)})

    def test_points_of_which_one_is_no_json(self) -> None:
        """``NaN`` costs a point, not its histogram."""
        good = b'{"count":"1","sum":2,"bucketCounts":["1"],"explicitBounds":[]}'
        self.send(
            "MTRC",
            b'{"name":"h","histogram":{"dataPoints":[%s,%s]}}' % (good, good.replace(b"2", b"NaN")),
        )
        (metric,) = self.heard.metrics
        self.assertEqual([p.count for p in metric.points], [1])

    def test_a_metric_without_points_is_none(self) -> None:
        """There is nothing to keep."""
        self.send("MTRC", {"name": "m", **point()}, {"name": "n", "gauge": {}})
        self.assertEqual(self.heard.metrics, [])
        self.assertEqual(self.hub.dropped, {"points.unreadable": 1})

    def test_histograms(self) -> None:
        """Without buckets is fine; with buckets that don't fit the bounds is not."""
        made = self.metric(histogram={"dataPoints": [{"count": 2, "sum": 3}]}).points[0]
        self.assertEqual((made.bucket_counts, made.explicit_bounds), ([], []))
        self.assertEqual((made.min, made.max), (None, None))
        for counts, bounds in (([1], [1]), ([1, 2, 3], [1]), ([], [1]), ([-1], [])):
            self.send(
                "MTRC",
                {
                    "name": "h",
                    "histogram": {
                        "dataPoints": [
                            {"count": 1, "bucketCounts": counts, "explicitBounds": bounds}
                        ]
                    },
                },
            )
        self.assertEqual(self.heard.metrics, [])

    def test_temporality(self) -> None:
        """1 counts from point to point."""
        for said, delta in ((1, True), ("AGGREGATION_TEMPORALITY_DELTA", True), (2, False)):
            body = {"dataPoints": [{"asInt": 1}], "aggregationTemporality": said}
            self.assertEqual(self.metric(sum=body).delta, delta)

    def test_metrics_that_are_none_are_lost_alone(self) -> None:
        """A name is all a metric must have."""
        gauge = point(asInt=1)
        self.send("MTRC", gauge, {"name": 5, **gauge}, 5, "m", {"name": "m", **gauge})
        self.assertEqual([m.name for m in self.heard.metrics], ["m"])
        self.assertEqual(self.hub.dropped, {"metrics.unreadable": 4})


class Logs(IngestCase):
    """05 A4.4."""

    def test_severities(self) -> None:
        """The text is as sent, or comes from the number; and the number from the text."""
        for number, text, meant in (
            (1, None, (1, "TRACE")),
            (8, None, (8, "DEBUG")),
            (12, "", (12, "INFO")),
            (14, None, (14, "WARN")),
            (17, "CRITICAL", (17, "CRITICAL")),
            ("24", None, (24, "FATAL")),
            ("SEVERITY_NUMBER_WARN", None, (13, "WARN")),
            (None, "Error", (17, "Error")),
            (None, None, (0, "")),
            (99, None, (0, "")),
        ):
            made = self.log(severityNumber=number, severityText=text)
            self.assertEqual((made.severity_number, made.severity_text), meant)

    def test_a_time_that_makes_no_sense_does_not_cost_the_record(self) -> None:
        for time in (2**70, str(2**70), -1, "soon"):
            self.assertEqual(self.log(timeUnixNano=time).timestamp_ns, 0)

    def test_bodies(self) -> None:
        """Any value is text."""
        for body, text in (
            ({"stringValue": "a\x1b[1;31mb\x1b[0mc"}, "abc"),
            ({"stringValue": "\x1b]8;;http://x\x07link\x1b]8;;\x1b\\"}, "link"),
            ({"intValue": "5"}, "5"),
            ({"boolValue": True}, "true"),
            ({"kvlistValue": {"values": [attribute("a", stringValue="b")]}}, '{"a":"b"}'),
            (None, ""),
        ):
            self.assertEqual(self.log(body=body).body, text)

    def test_attributes_are_json(self) -> None:
        """A whole number as text is a number again, unless it is too large for one."""
        made = self.log(
            attributes=[
                attribute("int", intValue="7"),
                attribute("large", intValue=str(2**70)),
                attribute("none"),
                attribute("nan", doubleValue="NaN"),
                attribute("list", arrayValue={"values": [{"doubleValue": 1.5}]}),
                attribute("object", kvlistValue={"values": [attribute("a", intValue=1)]}),
            ]
        )
        self.assertEqual(
            made.attributes,
            {
                "int": 7,
                "large": str(2**70),
                "none": None,
                "nan": "NaN",
                "list": [1.5],
                "object": {"a": 1},
            },
        )

    def test_a_record_may_be_empty(self) -> None:
        """It has the time of its frame then."""
        made = self.log()
        self.assertEqual((made.timestamp_ns, made.observed_ns), (0, EPOCH_NS))
        self.assertEqual(made.service_name, "unknown")

    def test_nesting_has_a_bound(self) -> None:
        """What is nested deeper is lost, not the record after it."""
        deep: Any = {"intValue": 1}
        for _ in range(200):
            deep = {"arrayValue": {"values": [deep]}}
        self.send("LOGS", {"body": deep}, {"body": {"stringValue": "next"}})
        self.assertEqual([record.body for record in self.heard.logs], ["next"])


class Text(IngestCase):
    """Text that is none."""

    def test_bytes_that_are_no_utf8_are_replaced(self) -> None:
        """In the one item that has them."""
        whole = frame("OTLP", span(name="bad?"), span(name="good"), resource=resource("s"))
        self.receive("OTLP", whole.replace(b"bad?", b"bad\xff"))
        self.assertEqual([s.name for s in self.heard.spans], ["bad\ufffd", "good"])
        self.assertEqual(self.heard.spans[0].service_name, "s")

    def test_half_a_surrogate_pair_is_replaced(self) -> None:
        """It could not be written again."""
        self.receive("OTLP", frame("OTLP", span(name="X")).replace(b"X", b"\\ud83d"))
        self.assertEqual(self.heard.spans[0].name, "\ufffd")


class Secrets(IngestCase):
    """05 "Where we must be better" 21."""

    config = ObservabilityConfig(redact=["Password"])

    def test_values_of_secret_keys_are_not_kept(self) -> None:
        """Wherever they are, in whatever case."""
        secret = attribute("PASSWORD", stringValue="hunter2")
        nested = attribute("n", kvlistValue={"values": [secret]})
        self.send(
            "OTLP",
            span(
                attributes=[secret, nested],
                events=[{"name": "e", "attributes": [secret]}],
                links=[{"traceId": "a", "spanId": "b", "attributes": [secret]}],
            ),
            resource=resource("s", secret),
        )
        self.send("LOGS", {"attributes": [secret, nested]}, resource=resource("s", secret))
        self.send("MTRC", {"name": "m", **point(asInt=1, attributes=[secret])})
        self.assertEqual(len(self.heard.spans + self.heard.logs), 2)
        everything = repr((self.heard.spans, self.heard.logs, self.heard.metrics))
        self.assertNotIn("hunter2", everything)
        self.assertEqual(everything.count("[REDACTED]"), 9)


class WholeFrames(IngestCase):
    """Frames that are none."""

    @probe("05.8")
    def test_what_is_no_document_is_told_of(self) -> None:
        """Nothing else happens; the kinds are told of separately."""
        bad = (
            b"",
            b"not json",
            b"{}",
            b"[]",
            b"\xff",
            b'{"resourceSpans":null}',
            b'{"a":',
            b"\x00",
        )
        for payload in bad:
            for kind in ("OTLP", "MTRC", "LOGS"):
                self.receive(kind, payload)
        self.assertEqual(self.hub.dropped, {"frames.unreadable": 3 * len(bad)})
        self.assertEqual([line.split()[0] for line in self.told], ["OTLP", "MTRC", "LOGS"])

    def test_losses_are_told_of_once_a_minute(self) -> None:
        """With their number."""
        for _ in range(3):
            self.send("OTLP", 5, resource=resource("orders"))
        self.assertEqual(len(self.told), 1)
        self.timers.advance(REPORT_EVERY_S)
        self.send("OTLP", 5, resource=resource("orders"))
        self.assertEqual(len(self.told), 2)
        self.assertIn("OTLP telemetry of orders: Expected `object`", self.told[1])
        self.assertIn("counted as spans.unreadable", self.told[1])
        self.assertIn("(3 lost since the last such line)", self.told[1])

    def test_what_is_in_the_wrong_place_is_told_of(self) -> None:
        """And passed over."""
        self.receive(
            "OTLP",
            b'{"resourceSpans":[5,{"scopeSpans":"x"},{"scopeSpans":[[],{"spans":{}},{"spans":[%s]}]}]}'
            % frame("OTLP", span())[
                len(b'{"resourceSpans":[{"scopeSpans":[{"spans":[') : -len(b"]}]}]}")
            ],
        )
        self.assertEqual(len(self.heard.spans), 1)
        self.assertEqual(self.hub.dropped, {"spans.misplaced": 4})

    def test_a_resource_that_is_none_costs_nothing_else(self) -> None:
        """The service is unknown then."""
        self.send("OTLP", span(), resource={"attributes": 5})
        self.assertEqual([s.service_name for s in self.heard.spans], ["unknown"])
        self.assertEqual(self.hub.dropped, {"resources.unreadable": 1})

    def test_a_resource_that_is_too_deep_costs_nothing_else(self) -> None:
        """Whether the frame is read as a whole or not."""
        deep: Any = {"intValue": 1}
        for _ in range(50):
            deep = {"arrayValue": {"values": [deep]}}
        for n, items in enumerate(([span()], [span(), 5]), 1):
            self.send("OTLP", *items, resource=resource("s", {"key": "deep", "value": deep}))
            self.assertEqual(len(self.heard.spans), n)
            self.assertEqual(self.hub.dropped["resources.unreadable"], n)

    def test_the_first_items_of_half_a_frame_are_kept(self) -> None:
        """The rest is one loss."""
        whole = (FRAMES / "node-traces.json").read_bytes()
        self.receive("OTLP", whole[: whole.index(b'"name":"fetch"')])
        self.assertEqual([s.name for s in self.heard.spans], ["call orders::create"])
        self.assertEqual(self.hub.dropped, {"frames.unreadable": 1})


class SwitchedOff(IngestCase):
    """05 A1.2: ``enabled: false``."""

    config = ObservabilityConfig(enabled=False)

    def test_spans_are_not_wanted_logs_and_metrics_are(self) -> None:
        """Log triggers and the metrics of workers depend on them."""
        for name in ("node-traces", "node-metrics", "node-logs"):
            self.golden(name)
        self.assertEqual(self.heard.spans, [])
        self.assertEqual((len(self.heard.metrics), len(self.heard.logs)), (2, 1))
        self.assertEqual(self.hub.dropped, {})


class WithoutLogs(IngestCase):
    """``logs_enabled: false``."""

    config = ObservabilityConfig(logs_enabled=False)

    def test_logs_are_not_wanted(self) -> None:
        """Spans are."""
        self.golden("node-logs")
        self.golden("node-traces")
        self.assertEqual((len(self.heard.logs), len(self.heard.spans)), (0, 2))

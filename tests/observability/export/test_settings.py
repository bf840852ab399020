from __future__ import annotations

from twisted.trial.unittest import TestCase

from iii.modules.observability.config import ObservabilityConfig, Settings, settings_of
from iii.modules.observability.export.senders import grpc_endpoint, http_endpoint, shown


def settings(environ: dict[str, str] | None = None, **config: object) -> Settings:
    """What holds with this configuration and these variables."""
    return settings_of(ObservabilityConfig(**config), environ or {})  # type: ignore[arg-type]


class FromTheEnvironment(TestCase):
    """A2, A15 0.19.4: what variables say about exporting."""

    def test_nothing_said_nothing_sent(self) -> None:
        given = settings()
        self.assertEqual(
            (given.exporter, given.metrics_exporter, given.logs_exporter), ("memory",) * 3
        )
        self.assertEqual(given.endpoint, "http://localhost:4317")
        self.assertEqual((given.traces_protocol, given.metrics_protocol), ("grpc", "grpc"))
        self.assertEqual((given.logs_batch_size, given.logs_flush_interval_ms), (100, 5000))

    def test_exporters(self) -> None:
        given = settings(
            {
                "OTEL_EXPORTER_TYPE": "both",
                "OTEL_METRICS_EXPORTER": "OTLP",
                "OTEL_LOGS_EXPORTER": "otlp",
                "OTEL_EXPORTER_OTLP_ENDPOINT": "https://collector:4317",
            }
        )
        self.assertEqual(
            (given.exporter, given.metrics_exporter, given.logs_exporter), ("both", "otlp", "otlp")
        )
        self.assertEqual(given.endpoint, "https://collector:4317")

    def test_a_file_wins(self) -> None:
        environ = {"OTEL_EXPORTER_TYPE": "otlp", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://env:1"}
        given = settings(environ, exporter="memory", endpoint="http://file:2")
        self.assertEqual((given.exporter, given.endpoint), ("memory", "http://file:2"))

    def test_protocols(self) -> None:
        both = settings({"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"})
        self.assertEqual(both.traces_protocol, "http/protobuf")
        self.assertEqual(both.metrics_protocol, "http/protobuf")
        one = settings(
            {
                "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
                "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL": "grpc",
            }
        )
        self.assertEqual((one.traces_protocol, one.metrics_protocol), ("http/protobuf", "grpc"))
        self.assertEqual(
            settings({"OTEL_EXPORTER_OTLP_PROTOCOL": "carrier-pigeon"}).traces_protocol, "grpc"
        )

    def test_headers(self) -> None:
        given = settings({"OTEL_EXPORTER_OTLP_HEADERS": "Authorization=Basic%20eDp5, x-b = c=d"})
        self.assertEqual(given.headers, {"Authorization": "Basic eDp5", "x-b": "c=d"})
        self.assertEqual(given.logs_headers, given.headers)
        given = settings(
            {"OTEL_EXPORTER_OTLP_HEADERS": "a=1", "OTEL_EXPORTER_OTLP_LOGS_HEADERS": "b=2"}
        )
        self.assertEqual((given.headers, given.logs_headers), ({"a": "1"}, {"b": "2"}))

    def test_batches_of_logs(self) -> None:
        given = settings({"OTEL_LOGS_BATCH_SIZE": "7", "OTEL_LOGS_FLUSH_INTERVAL_MS": "100"})
        self.assertEqual((given.logs_batch_size, given.logs_flush_interval_ms), (7, 100))
        given = settings({"OTEL_LOGS_BATCH_SIZE": "0", "OTEL_LOGS_FLUSH_INTERVAL_MS": "99"})
        self.assertEqual((given.logs_batch_size, given.logs_flush_interval_ms), (100, 5000))


class Endpoints(TestCase):
    def test_over_http_the_port_is_4318_and_the_path_says_what_it_is(self) -> None:
        for endpoint, expected in (
            ("http://localhost:4317", "http://localhost:4318/v1/logs"),
            ("http://localhost:4318/", "http://localhost:4318/v1/logs"),
            ("https://collector", "https://collector/v1/logs"),
            ("https://collector:9999/otlp/", "https://collector:9999/otlp/v1/logs"),
            ("http://collector:4318/v1/logs", "http://collector:4318/v1/logs"),
            ("http://collector:4318/v1/traces", "http://collector:4318/v1/logs"),
            ("http://me:pw@[::1]:4317", "http://me:pw@[::1]:4318/v1/logs"),
            ("collector:4317", "http://collector:4318/v1/logs"),
        ):
            self.assertEqual(http_endpoint(endpoint, "logs"), expected)

    def test_over_grpc_it_stays_as_it_is(self) -> None:
        for endpoint, expected in (
            ("http://localhost:4317", "http://localhost:4317"),
            ("https://collector:443/", "https://collector:443"),
            ("collector:4317", "http://collector:4317"),
        ):
            self.assertEqual(grpc_endpoint(endpoint), expected)

    def test_a_password_is_not_shown(self) -> None:
        self.assertEqual(shown("http://me:pw@[::1]:4318/v1/logs"), "http://[::1]:4318/v1/logs")

    def test_what_is_no_url_is_refused(self) -> None:
        for endpoint in ("ftp://collector", "http://", "http://host:port", "", "http://[::1"):
            with self.assertRaisesRegex(ValueError, "is no http:// or https:// URL"):
                grpc_endpoint(endpoint)

"""Configurations of published samples."""

from __future__ import annotations

from iii import config
from iii.catalogue import load_class
from iii.modules.observability.config import ObservabilityConfig, settings_of
from tests.config_case import ConfigCase


class Published(ConfigCase):
    """05 A2.1: values that the reference removed, and quoted numbers."""

    def test_a_sample_configuration_loads(self) -> None:
        """05.47: quoted port, exporter ``both``, worker metrics, ``log_level``."""
        loaded = self.load(
            "modules:\n"
            "  - class: modules::observability::OtelModule\n"
            "    config:\n"
            "      enabled: ${OTEL_ENABLED:true}\n"
            "      metrics_enabled: ${OTEL_METRICS_ENABLED:true}\n"
            "      metrics_exporter: ${OTEL_METRICS_EXPORTER:both}\n"
            '      prometheus_port: "9464"\n'
            "      log_level: info\n"
            "      worker_metrics:\n"
            "        enabled: true\n"
            "        collection_interval_seconds: 5\n"
            "        history_size: 60\n"
        )
        [entry] = [entry for entry in loaded.entries if entry.name == "iii-observability"]
        module = load_class(entry.module)
        block = config.check_config(entry, ObservabilityConfig, coerce=module.coerce_strings)
        self.assertEqual(loaded.warnings, [])
        self.assertEqual(entry.warnings, [])
        settings = settings_of(block, {})
        self.assertEqual((settings.prometheus_port, settings.metrics_exporter), (9464, "both"))
        self.assertEqual(settings.directives, "info")

    def test_the_port_may_come_from_the_environment(self) -> None:
        """05 A2: ``PROMETHEUS_PORT``, behind the file."""
        environ = {"PROMETHEUS_PORT": "9999"}
        self.assertEqual(settings_of(ObservabilityConfig(), environ).prometheus_port, 9999)
        file = ObservabilityConfig(prometheus_port=1234)
        self.assertEqual(settings_of(file, environ).prometheus_port, 1234)
        self.assertEqual(settings_of(ObservabilityConfig(), {}).prometheus_port, 9464)

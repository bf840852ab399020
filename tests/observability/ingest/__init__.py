"""Tests of the telemetry frames."""

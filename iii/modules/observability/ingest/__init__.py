"""Telemetry frames of the SDKs."""

from iii.modules.observability.ingest.part import Ingest

__all__ = ["Ingest"]

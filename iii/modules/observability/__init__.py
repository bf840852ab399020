"""Logs, traces and metrics of the engine (``modules::observability::OtelModule``)."""

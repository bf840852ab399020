"""Sending everything on by OTLP."""

from iii.modules.observability.export.exports import Exports

__all__ = ["Exports"]

"""Tests of ``iii.modules.observability.metrics``."""

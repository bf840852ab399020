"""Tests of ``iii.engine``: registries, calls, channels, discovery."""

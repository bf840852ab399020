"""Tests of ``iii.modules.http_functions``."""

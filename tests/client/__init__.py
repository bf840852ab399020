"""Tests of the Python client, against a stub engine that records frames."""

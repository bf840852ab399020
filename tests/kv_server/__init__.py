"""Tests of the KV server module."""

"""Tests of the stream module."""

"""Tests of the archive of traces."""

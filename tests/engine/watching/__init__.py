"""Tests of iii.engine.watching."""

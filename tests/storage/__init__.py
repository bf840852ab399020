"""Tests of iii.storage."""

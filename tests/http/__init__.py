"""Tests of the HTTP module: 02 part A."""

"""Engines linked to engines."""

"""Metrics of workers, roll-ups, alerts."""

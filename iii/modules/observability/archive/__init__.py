"""Traces on disk: they outlive a restart, within a size and an age."""

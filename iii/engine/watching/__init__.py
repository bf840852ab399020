"""Watching an engine: topics that tell of every change, for consoles here and elsewhere."""

"""Engines and workers that are restarted while they are used."""

"""The acceptance probes of the specification, under their numbers."""

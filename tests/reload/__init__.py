"""Another configuration while the engine runs."""

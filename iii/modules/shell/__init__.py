"""Programs that run with the engine, and start over when files change."""

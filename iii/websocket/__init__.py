"""WebSocket servers: the worker port's, and those of modules."""

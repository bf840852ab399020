"""The endpoint for Prometheus, health, and what is deployed beside it."""

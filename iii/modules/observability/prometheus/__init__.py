"""The endpoint for Prometheus, and health."""

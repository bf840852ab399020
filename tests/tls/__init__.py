"""TLS on every port, and browsers (docs/security.md)."""

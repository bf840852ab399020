"""How messages get from publishers to subscribers."""

"""The state module."""

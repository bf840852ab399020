"""Adapters on a real Redis, each test with a server of its own."""

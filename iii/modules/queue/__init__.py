"""Queues: work that is kept until somebody has done it."""

"""The pub/sub module (03 §2)."""

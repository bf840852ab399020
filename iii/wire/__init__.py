"""The worker port: messages, frames, connections."""

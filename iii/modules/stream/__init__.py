"""Streams: groups of items that clients follow over WebSocket, live."""

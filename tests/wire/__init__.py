"""The worker port's wire layer: frames, the way out, connections, bad input."""

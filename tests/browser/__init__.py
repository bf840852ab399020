"""``examples/live-board`` in a real browser against a real engine (``make test-browser``).

See README.md in this folder.  Nothing here is collected by ``trial``.
"""

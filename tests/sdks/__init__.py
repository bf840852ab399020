"""Programs of every published ``iii-sdk`` against our engine (``make test-sdks``).

See README.md in this folder.  Nothing here is collected by ``trial``.
"""

"""Tests of the exporters."""

import os

# Before anything imports grpc: it writes to stderr whenever a collector of a test ends.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

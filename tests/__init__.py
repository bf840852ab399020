"""All tests.  Engines inside the test process open no port for Prometheus unless told to."""

import os

from tests.support.ports import hold_default_ports

os.environ.setdefault("PROMETHEUS_PORT", "0")
hold_default_ports()

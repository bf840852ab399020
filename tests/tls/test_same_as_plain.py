"""The tests of the plain worker port, over TLS."""

from __future__ import annotations

from tests.probes import test_calls, test_channels
from tests.tls.cases import OverTls
from tests.wire import test_backpressure, test_bad_input, test_connection


class Calls(OverTls, test_calls.Calls):
    """Calls of workers."""


class Channels(OverTls, test_channels.Channels):
    """Channels."""


class NonReader(OverTls, test_backpressure.NonReader):
    """A worker that does not read."""


class Forever(OverTls, test_backpressure.Forever):
    """What never moves is dropped."""


class BadInput(OverTls, test_bad_input.BadInput):
    """What no worker should send."""


class KeepAlive(OverTls, test_connection.KeepAlive):
    """Pings, and silence."""


class Endings(OverTls, test_connection.Endings):
    """The end of a connection."""

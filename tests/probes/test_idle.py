"""An engine that nobody uses (01.65)."""

from __future__ import annotations

from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from iii.engine import corefunctions
from iii.engine.clock import Clock
from iii.engine.core import Engine
from iii.wire.listener import WorkerListener
from tests.support.probes import probe


class Idle(SynchronousTestCase):
    """Nobody is called home."""

    @probe("01.65")
    def test_an_idle_engine_connects_to_nobody(self) -> None:
        """01.65 shortened: five minutes of its own time, no outbound connection."""
        reactor = MemoryReactorClock()
        engine = Engine(reactor, clock=Clock.virtual(reactor))
        corefunctions.install(engine)
        engine.start()
        listener = WorkerListener(engine, host="127.0.0.1", port=49134)
        listener.listen()
        reactor.pump([1.0] * 300)
        self.assertEqual(reactor.tcpClients + reactor.sslClients + reactor.unixClients, [])
        self.assertEqual(len(reactor.tcpServers), 1)
        listener.factory.stop()
        engine.stop()
        self.assertEqual(reactor.getDelayedCalls(), [])

"""``iii.reactor``: the same events as Twisted's epoll reactor, without the log context."""

from __future__ import annotations

import json
import select
import subprocess
import sys
from unittest import TestCase, skipUnless

PROGRAM = """
import json
from iii.reactor import install
reactor = install()
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Factory, Protocol
from twisted.logger import globalLogBeginner

seen = {"reactor": type(reactor).__name__, "again": install() is reactor, "failures": 0}

def observe(event):
    seen["failures"] += "log_failure" in event or bool(event.get("isError"))

class Echo(Protocol):
    def dataReceived(self, data):
        if data == b"fail":
            raise RuntimeError("on purpose")
        self.transport.write(data)

class Client(Protocol):
    def __init__(self, say):
        self.say = say
    def connectionMade(self):
        self.transport.write(self.say)
    def dataReceived(self, data):
        seen["echo"] = data.decode()
        self.transport.loseConnection()
    def connectionLost(self, reason):
        seen.setdefault("lost", []).append(self.say.decode())
        if len(seen["lost"]) == 2:
            reactor.stop()

globalLogBeginner.beginLoggingTo([observe], redirectStandardIO=False)
port = reactor.listenTCP(0, Factory.forProtocol(Echo), interface="127.0.0.1")
for say in (b"hello", b"fail"):
    endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", port.getHost().port)
    connectProtocol(endpoint, Client(say))
reactor.callLater(20, reactor.stop)
reactor.run()
print(json.dumps(seen))
"""


@skipUnless(hasattr(select, "epoll"), "no epoll on this system")
class PlainReactor(TestCase):
    """It leans on Twisted's insides, so a new Twisted must pass this."""

    def test_it_reads_writes_and_survives_a_protocols_failure(self) -> None:
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM], capture_output=True, timeout=60, check=True
        )
        seen = json.loads(done.stdout)
        self.assertEqual(seen["reactor"], "PlainEPollReactor")
        self.assertTrue(seen["again"])
        self.assertEqual(seen["echo"], "hello")
        self.assertEqual(sorted(seen["lost"]), ["fail", "hello"])
        self.assertEqual(seen["failures"], 1)

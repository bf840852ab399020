"""An echo server on the engine's own frame path, for WebSocket conformance suites.

::

    python fuzz/echo_server.py 9001        # port 0 takes a free one
    listening on ws://127.0.0.1:9001

It echoes text and binary messages up to 16 MiB, whole or fragmented, and does not
take up permessage-deflate.  The class is ``FastFrames``, as the engine uses it.
"""

from __future__ import annotations

import sys
from typing import Any

from autobahn.twisted.websocket import WebSocketServerFactory
from twisted.internet import reactor

from iii.websocket.frames import FastFrames

MESSAGE_BYTES = 16 * 1024 * 1024
SPARE_BYTES = 4096


class Echo(FastFrames):
    """Sends every message back as it came."""

    def frame_received(self, payload: bytes, is_binary: bool) -> None:
        """FastFrames: one message."""
        self.sendMessage(payload, isBinary=is_binary)

    def dropConnection(self, abort: bool = False) -> None:
        """Autobahn: end TCP; a reset after both closed could overtake the close frame."""
        super().dropConnection(abort and not self.wasClean)


def factory() -> Any:
    """The engine's options (``iii.websocket.server``), with room for 16 MiB messages."""
    made = WebSocketServerFactory()
    made.protocol = Echo
    made.noisy = False
    made.setProtocolOptions(
        versions=[13],
        maxFramePayloadSize=MESSAGE_BYTES + SPARE_BYTES,
        maxMessagePayloadSize=MESSAGE_BYTES + SPARE_BYTES,
        openHandshakeTimeout=10,
        closeHandshakeTimeout=2,
        failByDrop=False,
        echoCloseCodeReason=True,
        perMessageCompressionAccept=lambda offers: None,
        webStatus=False,
        tcpNoDelay=True,
    )
    return made


def main(arguments: list[str]) -> int:
    """Serve until interrupted."""
    if len(arguments) != 1 or not arguments[0].isdigit():
        print("usage: python fuzz/echo_server.py PORT", file=sys.stderr)
        return 2
    listening = reactor.listenTCP(int(arguments[0]), factory(), interface="127.0.0.1")  # type: ignore[attr-defined]
    print(f"listening on ws://127.0.0.1:{listening.getHost().port}", flush=True)
    reactor.run()  # type: ignore[attr-defined]
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

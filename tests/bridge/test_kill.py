"""The engine behind is a process that is killed (04.58)."""

from __future__ import annotations

from typing import Any

import msgspec
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.process_case import Child, ProcessCase

QUIET = {"class": "iii-observability", "config": {"prometheus_port": 0}}
LIMIT_S = 10


class Client:
    """A worker, as far as a call needs one."""

    def __init__(self, port: int) -> None:
        self._socket: ClientConnection = connect(f"ws://127.0.0.1:{port}")
        self._count = 0

    def call(self, function_id: str, data: Any = None) -> dict[str, Any]:
        """The answer to a call."""
        self._count += 1
        id = f"{self._count:032x}"
        call = {"type": "invokefunction", "invocation_id": id, "function_id": function_id}
        self._socket.send(msgspec.json.encode({**call, "data": data}).decode())
        while True:
            message: dict[str, Any] = msgspec.json.decode(self._socket.recv(LIMIT_S))
            if message["type"] == "invocationresult":
                return message

    def close(self) -> None:
        """Leave."""
        try:
            self._socket.close()
        except ConnectionClosed:
            return


class Killed(ProcessCase):
    """Without a goodbye."""

    def engine(self, name: str, *modules: dict[str, Any], port: int = 0) -> Child:
        """Start one."""
        config = {"port": port, "modules": [QUIET, *modules]}
        self.write(f"{name}.yaml", msgspec.json.encode(config).decode())
        return self.start("-c", f"{name}.yaml", III_IN_MEMORY="1")

    def client(self, child: Child) -> Client:
        """A worker of it."""
        client = Client(child.ready["worker"])
        self.addCleanup(client.close)
        return client

    def test_it_is_killed_and_comes_back(self) -> None:
        behind = self.engine("behind", {"class": "iii-state"})
        port = behind.ready["worker"]
        bridge = {
            "class": "iii-bridge",
            "config": {
                "url": f"ws://127.0.0.1:{port}",
                "expose": [{"local_function": "engine::workers::list", "remote_function": "list"}],
            },
        }
        front = self.client(self.engine("front", bridge))
        asked = {"function_id": "state::list_groups", "data": {}}
        self.assertEqual(front.call("bridge.invoke", asked)["result"], {"groups": []})

        behind.kill()
        # It waits for the engine instead of failing.
        again = self.engine("behind", {"class": "iii-state"}, port=port)
        self.assertEqual(front.call("bridge.invoke", asked)["result"], {"groups": []})
        self.assertIn("workers", self.client(again).call("list")["result"])

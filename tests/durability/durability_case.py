"""A case with engines that keep state, streams and KV in the test's directory."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

from tests.durability.link import Link
from tests.process_case import Child, ProcessCase

DATA = "data"
FILES = {"state": "state.sqlite", "stream": "stream.sqlite", "kv": "kv_server.sqlite"}


class DurabilityCase(ProcessCase):
    """Engines on one data directory, one after the other."""

    def setUp(self) -> None:
        super().setUp()
        self.links: list[Link] = []

    def configure(self, **settings: dict[str, Any]) -> None:
        """Write ``config.yaml``.

        :param settings: keys of the stores ``state``, ``stream`` and ``kv``
        """
        stores = {
            name: {"file_path": f"./{DATA}/{name}", **settings.get(name, {})} for name in FILES
        }
        modules = [
            {"class": "modules::state::StateModule", "config": _adapter("state", stores["state"])},
            {
                "class": "modules::stream::StreamModule",
                "config": {"port": 0, **_adapter("stream", stores["stream"])},
            },
            {"class": "modules::kv_server::KvServer", "config": stores["kv"]},
        ]
        self.write("config.yaml", json.dumps({"port": 0, "modules": modules}))

    def file(self, store: str) -> Path:
        """Where a store's file is by default."""
        return self.directory / DATA / store / FILES[store]

    def link(self, engine: Child) -> Link:
        """A worker connection."""
        link = Link(engine.ready["worker"])
        self.links.append(link)
        self.addCleanup(link.close)
        return link

    def end(self, engine: Child, number: signal.Signals) -> None:
        """Send a signal and wait until it has ended, as it should."""
        # A stop would wait for workers that don't answer its goodbye.
        for link in self.links:
            link.close()
        engine.signal(number)
        expected = 0 if number == signal.SIGTERM else -number
        self.assertEqual(engine.wait(), expected, engine.output)

    def set(self, link: Link, key: str, value: Any, scope: str = "s") -> Any:
        """``state::set``."""
        return link.call("state::set", {"scope": scope, "key": key, "value": value})

    def get(self, link: Link, key: str, scope: str = "s") -> Any:
        """``state::get``."""
        return link.call("state::get", {"scope": scope, "key": key})

    def delete(self, link: Link, key: str, scope: str = "s") -> Any:
        """``state::delete``."""
        return link.call("state::delete", {"scope": scope, "key": key})


def _adapter(module: str, config: dict[str, Any]) -> dict[str, Any]:
    return {"adapter": {"class": f"modules::{module}::adapters::KvStore", "config": config}}

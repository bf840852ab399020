"""What the console says about itself and its engine: ``/api/config``, ``/healthz``, ``/readyz``."""

from __future__ import annotations

from typing import Any

import msgspec

from iii._version import __version__
from iii.errors import IIIError
from iii.modules.console.asking import NULL, Answer
from iii.modules.console.backend import Backend, NotConnected, TooLate
from iii.modules.console.config import ConsoleConfig

QUICK_S = 5.0
LOCAL = "127.0.0.1"
#: Feature → a function that every engine with it has.
FEATURES = {
    "traces": "engine::traces::list",
    "logs": "engine::logs::list",
    "metrics": "engine::metrics::list",
    "queues": "engine::queue::list_topics",
    "state": "state::get",
    "streams": "stream::list_all",
    "pubsub": "publish",
    "cron": "engine::cron::list",
    "http": "engine::http::routes",
    "channels": "engine::channels::list",
}


class Facts:
    """Answers them.

    :ivar port: where the console listens
    """

    def __init__(self, engine: Backend, config: ConsoleConfig) -> None:
        self._engine = engine
        self._config = config
        self.port = config.port

    async def alive(self) -> Answer:
        """``/healthz``: there is an answer, so the process runs."""
        return Answer(b'{"status":"ok"}')

    async def readiness(self) -> Answer:
        """``/readyz``: 503 names what does not serve."""
        instance = await self.instance()
        waiting = ["the engine"] if instance is None else instance["not_ready"]
        if waiting:
            body = {"status": "unavailable", "not_ready": waiting}
            return Answer(msgspec.json.encode(body), status=503)
        return Answer(b'{"status":"ok"}')

    async def config(self) -> Answer:
        """``/api/config``."""
        config = self._config
        instance = await self.instance()
        endpoints: dict[str, Any] = {} if instance is None else instance["endpoints"]
        http, stream = endpoints.get("http"), endpoints.get("stream")
        features = await self._features()
        body = {
            "engineHost": self._place("http", http)[0],
            "enginePort": self._place("http", http)[1],
            "wsPort": self._place("stream", stream)[1],
            "consolePort": self.port,
            "version": __version__,
            "enableFlow": config.enable_flow,
            "basePath": config.base,
            "authRequired": bool(config.token),
            "readOnly": config.read_only,
            "features": {name: id in features for name, id in FEATURES.items()},
            "instance": None
            if instance is None
            else {name: instance[name] for name in ("id", "started_at_ms", "version")},
        }
        return Answer(msgspec.json.encode(body))

    async def instance(self) -> dict[str, Any] | None:
        """``engine::instance::info``; None: nobody answers."""
        try:
            found = await self._engine.ask("engine::instance::info", None, QUICK_S)
        except (IIIError, NotConnected, TooLate):
            return None
        instance: dict[str, Any] | None = msgspec.json.decode(NULL if found is None else found)
        return instance

    def _place(self, name: str, endpoint: dict[str, Any] | None) -> tuple[str, int | None]:
        if endpoint is None:
            return LOCAL, None
        return self._engine.place(name, endpoint["host"], endpoint["port"])

    async def _features(self) -> set[str]:
        wanted = {"function_ids": list(FEATURES.values())}
        try:
            found = await self._engine.ask("engine::functions::info", wanted, QUICK_S)
        except (IIIError, NotConnected, TooLate):
            return set()
        rows = msgspec.json.decode(NULL if found is None else found)["functions"]
        return {row["function_id"] for row in rows if "error" not in row}

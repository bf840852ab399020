"""What the engine tells of itself, its configuration and its modules."""

from __future__ import annotations

from typing import Any
from unittest import TestCase as PlainTestCase

import msgspec
from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from iii.catalogue import Catalogue
from iii.masking import masked
from iii.service import EngineService, with_module, with_port
from iii.showing import Showing
from iii.testing import in_process
from tests.config_case import ConfigCase
from tests.support.engine_case import RawWorker
from tests.support.rawsocket import open_socket

TEXT = """\
port: 0
auth:
  tokens: [hunter2]
modules:
  - class: modules::api::RestApiModule
    config:
      port: 0
      cors:
        allowed_origins: ["*"]
  - class: modules::state::StateModule
    config:
      adapter:
        class: modules::state::adapters::RedisAdapter
        config:
          redis_url: redis://user:hunter2@127.0.0.1:1/0
"""


class Masking(PlainTestCase):
    """``masked``."""

    def test_secrets_go_and_the_rest_stays(self) -> None:
        shown = masked(
            {
                "port": 1,
                "api_key": "x",
                "tokens": [{"name": "ci", "token": "x"}, "y"],
                "password": "",
                "token": None,
                "url": "redis://u:p@h/0?password=x",
                "deep": {"Client_Secret": {"a": ["x", 7]}},
                "keep": True,
            }
        )
        self.assertEqual(
            shown,
            {
                "port": 1,
                "api_key": "***",
                "tokens": [{"name": "***", "token": "***"}, "***"],
                "password": "",
                "token": None,
                "url": "redis://***@h/0?password=***",
                "deep": {"Client_Secret": {"a": ["***", "***"]}},
                "keep": True,
            },
        )


class Shown(ConfigCase):
    """``engine::config::get``, of a service that need not run."""

    def shown(self, text: str, environ: dict[str, str] | None = None) -> Any:
        """The answer."""
        service = EngineService(reactor, self.load(text, environ), environ={})
        return msgspec.to_builtins(Showing(service).config())

    def test_every_value_says_where_it_is_from(self) -> None:
        shown = self.shown(TEXT, {"III_HOST": "10.0.0.7"})

        self.assertEqual(shown["source"], str(self.path))
        http, state = shown["modules"][:2]
        self.assertEqual(http["source"], f"{self.path}:5")
        self.assertEqual(http["config"]["cors"]["allowed_origins"], ["*"])
        sources = http["sources"]
        self.assertEqual(sources["port"], f"{self.path}:7")
        self.assertEqual(sources["cors.allowed_origins"], f"{self.path}:9")
        self.assertEqual((sources["host"], sources["default_timeout"]), ("III_HOST", "default"))
        self.assertEqual(http["config"]["default_timeout"], 30_000)
        self.assertEqual(
            (state["adapter"], state["sources"]["adapter.config.redis_url"]),
            ("redis", f"{self.path}:14"),
        )

    def test_nothing_secret_is_in_it(self) -> None:
        self.assertNotIn("hunter2", str(self.shown(TEXT)))

    def test_what_the_engine_chose(self) -> None:
        service = EngineService(reactor, with_port(self.load("port: 0\n"), 0), environ={})
        rows = {row.name: row for row in Showing(service).config().modules}
        self.assertEqual(rows["iii-observability"].sources["prometheus_port"], "engine")
        self.assertEqual(rows["iii-observability"].source, "default")

    def test_a_module_that_the_command_line_adds(self) -> None:
        """Once."""
        loaded = self.load("port: 0\n", {"III_HOST": "10.0.0.7"})
        once = with_module(loaded, Catalogue(), "iii-console")
        entry = once.entries[-1]
        self.assertEqual((entry.name, entry.config), ("iii-console", {"host": "10.0.0.7"}))
        self.assertIs(with_module(once, Catalogue(), "iii-console"), once)


class Restricted(TestCase):
    """Workers that may not do everything."""

    async def test_they_are_told_nothing(self) -> None:
        """Whatever is exposed to them."""
        listener = {
            "name": "iii-worker-manager",
            "config": {"port": 0, "rbac": {"expose_functions": ['match("*")']}},
        }
        engine = await in_process(reactor, {"workers": [listener]})
        self.addCleanup(engine.stop)
        socket = await open_socket(engine.ready["worker"])
        self.addCleanup(socket.drop)
        guest = RawWorker(socket, await socket.next_message())
        for function_id, data in (
            ("engine::instance::info", {}),
            ("engine::config::get", {}),
            ("engine::modules::list", {}),
            ("engine::channels::list", {}),
            ("engine::workers::disconnect", {"worker_id": guest.id}),
        ):
            for said in (data, data | {"_caller_worker_id": "x"}):
                error = await guest.error_of(function_id, said)
                self.assertEqual(error["code"], "FORBIDDEN", function_id)
        # With an input that has no room for the name of who asks.
        error = await guest.error_of("engine::config::get", None)
        self.assertEqual(error["code"], "FORBIDDEN")

"""01 §18.14: a bad file changes nothing and says why."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from tests.process_case import taken_port
from tests.reload.reload_case import DemoModule, ReloadCase, demo

SEQUENCE = "expected the node content, but found '<stream end>' (while parsing a flow node)"
PORT = 'expected an integer or null, found the string "x"'


class BadFiles(ReloadCase):
    """What is wrong with a file is found before anything is touched."""

    async def assert_refused(self, text: str, *reasons: str) -> None:
        """This text as the file: nothing happens, and the log says why."""
        self.path.write_text(text)
        await self.engine.service.reload()
        self.assertEqual(self.diary, [])
        said = [line for line in self.log if "not reloaded" in line]
        prefix = "configuration not reloaded, the running one stays: "
        self.assertEqual(said, [f"{prefix}{reason}" for reason in reasons])
        self.assertEqual(self.metric("iii_config_last_reload_successful"), {(): 0.0})
        self.log.clear()

    async def test_the_log_has_file_line_and_reason(self) -> None:
        await self.start(demo("a"))
        path = self.path
        await self.assert_refused("port: [", f"{path}:1: {SEQUENCE} (column 8)")
        await self.assert_refused("port: x", f"{path}:1: port: {PORT}")
        await self.assert_refused(
            "port: 0\nmodules:\n  - class: nope::X", f"{path}:3: Unknown module class: nope::X"
        )
        await self.assert_refused(
            "modules:\n  - class: iii-http\n    config:\n      port: true\n      host: 7\n",
            f"{path}:4: modules[0].config.port (iii-http): expected an integer, found true",
            f"{path}:5: modules[0].config.host (iii-http): "
            "expected a string or null, found the number 7",
        )
        await self.assert_refused(
            "modules:\n  - class: iii-state\n    config:\n      adapter: {class: nope}\n",
            f"{path}:4: modules[0].config.adapter (iii-state): Adapter factory 'nope' not found. "
            "Available: [kv, redis, bridge]",
        )
        await self.assert_refused(
            "port: ${NO_SUCH_VAR}",
            f"{path}:1: Environment variable 'NO_SUCH_VAR' not set and no default provided",
        )
        self.path.unlink()
        await self.engine.service.reload()
        self.assertIn(f"Config file not found: '{path.absolute()}'", self.log[-1])
        self.assertEqual(self.metric("iii_config_reloads_total")[("failed",)], 7)

    async def test_trouble_is_shown_until_the_file_is_right_again(self) -> None:
        await self.start(demo("a"), {"name": "iii-observability"})
        worker = await self.worker()
        self.path.write_text("port: x")
        await self.engine.service.reload()
        health = await worker.call("engine::health::check")
        self.assertEqual(health["status"], "degraded")
        shown = health["components"]["configuration"]
        self.assertEqual(shown["status"], "degraded")
        self.assertIn("expected an integer", shown["details"]["reason"])
        await self.reload(demo("a"), {"name": "iii-observability"})
        health = await worker.call("engine::health::check")
        self.assertEqual(health["status"], "healthy")
        self.assertNotIn("configuration", health["components"])
        self.assertEqual(self.metric("iii_config_last_reload_successful"), {(): 1.0})


class FailedStarts(ReloadCase):
    """A module that does not start puts back everything that was there before."""

    async def test_everything_is_as_before(self) -> None:
        await self.start(demo("a", answer=1), demo("b", answer=1), demo("c", answer=1))
        worker = await self.worker("t::f")
        triggers = [await worker.trigger(f"{name}-type", "t::f") for name in "abc"]
        self.diary  # noqa: B018
        await self.reload(demo("a", answer=2), demo("b", answer=2, fails=True))
        self.assertEqual(
            self.diary,
            [
                *("closing c", "stop c", "closing b", "stop b", "closing a", "stop a"),
                *("start a", f"bind a {triggers[0]}"),
                "start b",
                *("closing b", "stop b"),
                *("closing a", "stop a"),
                *("start a", f"bind a {triggers[0]}"),
                *("start b", f"bind b {triggers[1]}"),
                *("start c", f"bind c {triggers[2]}"),
            ],
        )
        for name in "abc":
            self.assertEqual(await worker.call(f"{name}::ask"), [1, None])
        self.assertEqual(
            [line for line in self.log if "not reloaded" in line],
            [
                "configuration not reloaded, the running one stays: "
                "failed to initialize module 'test::Demo': it does not want to"
            ],
        )
        self.assertEqual(self.engine.engine.not_ready(), [])
        # The next one is compared with what runs.
        await self.reload(demo("a", answer=1), demo("b", answer=1), demo("c", answer=1))
        self.assertEqual(self.diary, [])

    async def test_a_taken_port(self) -> None:
        await self.start({"name": "iii-http", "config": {"port": 0}})
        before = self.engine.ready["http"]
        port = taken_port(self)  # type: ignore[arg-type]
        await self.reload({"name": "iii-http", "config": {"port": port}})
        self.assertEqual(self.engine.engine.not_ready(), [])
        self.assertIn("http", self.engine.ready)
        self.assertNotEqual(self.engine.ready["http"], port)
        self.assertTrue(before)

    async def test_what_can_not_be_put_back_is_tried_again(self) -> None:
        await self.start(demo("a", answer=1))
        DemoModule.slow_start = Deferred()
        self.write(demo("a", answer=2))
        reloaded = self.engine.service.reload()
        await self.eventually(lambda: "start a" in DemoModule.diary)
        DemoModule.slow_start.errback(OSError("the disk is away"))
        await reloaded
        self.assertEqual(self.engine.engine.not_ready(), ["demo"])
        said = [line for line in self.log if "putting back" in line]
        self.assertEqual(len(said), 1)
        self.assertIn("test::Demo starts again failed", said[0])
        DemoModule.slow_start = None
        await self.reload(demo("a", answer=1))
        self.assertEqual(self.engine.engine.not_ready(), [])
        worker = await self.worker()
        self.assertEqual(await worker.call("a::ask"), [1, None])

    async def test_a_stop_in_the_middle(self) -> None:
        """The engine stops at once, and everything that was started is stopped."""
        await self.start(demo("a", answer=1), demo("b"))
        DemoModule.slow_start = Deferred()
        self.write(demo("a", answer=2), demo("b"))
        reloaded = self.engine.service.reload()
        await self.eventually(lambda: "start a" in DemoModule.diary)
        await self.engine.destroy()
        await reloaded
        self.assertEqual(
            self.diary,
            [
                *("closing a", "stop a", "start a"),
                *("closing b", "closing a"),
                *("stop a", "stop b"),
            ],
        )

    async def test_a_stop_while_a_module_stops(self) -> None:
        """What it has begun is not called off: it may be writing."""
        await self.start(demo("a"), demo("b"))
        DemoModule.slow_stop = Deferred()
        self.write(demo("b"))
        reloaded = self.engine.service.reload()
        await self.eventually(lambda: "stop a" in DemoModule.diary)
        destroyed = self.engine.destroy()
        await reloaded
        DemoModule.slow_stop.callback(None)
        DemoModule.slow_stop = None
        await destroyed
        self.assertEqual(
            self.diary,
            ["closing a", "stop a", "closing a", "closing b", "stopped a", "stop b"],
        )
        self.assertEqual([line for line in self.log if "left behind" in line], [])

    async def test_a_fault_of_a_module_is_told_like_any_other(self) -> None:
        await self.start(demo("a", answer=1), demo("b"))
        await self.reload(demo("a", answer=1, live=2), demo("b", breaks=True))
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.assertIn("a fault of its own", self.engine.engine.troubles["configuration"])
        self.assertEqual(self.metric("iii_config_reloads_total")[("failed",)], 1)
        worker = await self.worker()
        self.assertEqual(await worker.call("a::ask"), [1, None])

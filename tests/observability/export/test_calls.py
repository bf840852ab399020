from __future__ import annotations

import subprocess
import sys

from iii.engine.module import ModuleApi
from iii.modules.observability.config import ObservabilityConfig, settings_of
from iii.modules.observability.export.exports import Exports
from iii.modules.observability.hub import Hub
from tests.observability.export.collectors import free_port
from tests.support.engine_case import EngineCase


class CollectorDown(EngineCase):
    async def test_calls_do_not_notice(self) -> None:
        """05.51: collector on ``endpoint`` down: invocations unaffected."""
        config = ObservabilityConfig(
            exporter="otlp",
            metrics_exporter="otlp",
            logs_exporter="otlp",
            endpoint=f"http://127.0.0.1:{free_port()}",
        )
        hub = Hub(ModuleApi(self.engine, "iii-observability"), settings_of(config, {}))
        hub.start()
        exports = Exports(hub)
        exports.start()
        worker = await self.worker("orders::create")
        caller = await self.worker()
        for number in range(300):
            call = caller.invoke("orders::create", {"n": number})
            await worker.answer("orders::create", result={"n": number})
            answer = await caller.result_of(call)
            self.assertEqual(answer["result"], {"n": number})

        await exports.stop()
        hub.stop()
        self.assertGreaterEqual(hub.dropped["export.traces.stopped"], 600)


class Imports(EngineCase):
    async def test_the_sdk_is_not_imported_before_something_is_sent(self) -> None:
        """It costs memory and time that only those should pay who export."""
        code = (
            "import sys, iii.modules.observability.export\n"
            "print([name for name in sys.modules"
            " if name.partition('.')[0] in ('opentelemetry', 'grpc', 'requests', 'google')])"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)  # noqa: ASYNC221
        self.assertEqual(done.stdout.strip(), "[]", done.stderr)

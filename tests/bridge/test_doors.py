"""Links through doors that are guarded: tokens and TLS."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from tests.bridge.cases import BridgeCase, Running, bridge_entry
from tests.bridge.test_state import state_entry
from tests.support.certificates import Authority


class Tokens(BridgeCase):
    """The other engine asks for a token."""

    async def setUp(self) -> None:
        await super().setUp()
        self.owner = await self.start(
            {"class": "modules::state::StateModule"}, auth={"tokens": ["s3cret-s3cret-s3cret"]}
        )

    async def test_the_right_one(self) -> None:
        running = await self.bridge(self.owner.url, token="s3cret-s3cret-s3cret")
        caller = await self.worker(running)
        asked = {"function_id": "state::list_groups", "data": {}}
        self.assertEqual(await caller.call("bridge.invoke", asked), {"groups": []})

    async def test_none_and_a_wrong_one(self) -> None:
        for token in ({}, {"token": "wrong-wrong-wrong-wrong"}):
            self.lines.clear()
            running = await self.start(bridge_entry(self.owner.url, **token))
            await self.eventually(lambda: self.said("iii-bridge-client: not connected to"))
            caller = await self.worker(running)
            asked = {"function_id": "state::list_groups", "timeout_ms": 20}
            error = await caller.error_of("bridge.invoke", asked)
            self.assertEqual(error["message"], "invocation timed out")
            await running.stop()
        self.assertEqual(self.said("wrong-wrong"), [])

    async def test_an_adapter_has_one_too(self) -> None:
        entry = state_entry(self.owner.url)
        entry["config"]["adapter"]["config"]["token"] = "s3cret-s3cret-s3cret"
        running = await self.start(entry)
        caller = await self.worker(running)
        self.assertEqual(await caller.call("state::list_groups"), {"groups": []})


class Certificates(BridgeCase):
    """The other engine's worker port has TLS."""

    async def setUp(self) -> None:
        await super().setUp()
        self.authority = Authority(_directory())
        cert, key = self.authority.issue()
        self.tls: dict[str, Any] = {"cert": str(cert), "key": str(key)}

    async def caller(self, owner: Running, **settings: Any) -> Any:
        """A worker of an engine with a bridge to ``owner``."""
        url = f"wss://localhost:{owner.port}"
        return await self.worker(await self.bridge(url, **settings))

    async def test_an_authority_of_one_s_own(self) -> None:
        owner = await self.start(tls=self.tls)
        caller = await self.caller(owner, ca=str(self.authority.path))
        asked = {"function_id": "engine::workers::list", "data": {}}
        rows = (await caller.call("bridge.invoke", asked))["workers"]
        self.assertEqual([row["name"] for row in rows], ["iii-bridge-client"])

    async def test_large_payloads(self) -> None:
        owner = await self.start(tls=self.tls)
        caller = await self.caller(
            owner, ca=str(self.authority.path), expose=[{"local_function": "echo"}]
        )
        await self.offered(owner, "echo")
        large = "x" * 3_000_000
        asked = {"function_id": "echo", "data": large}
        caller.send("registerfunction", id="echo")
        id = caller.invoke("bridge.invoke", asked)
        call = await caller.invoked("echo")
        caller.reply(call, result=call["data"])
        self.assertEqual((await caller.result_of(id))["result"], large)

    async def test_one_that_nobody_trusts(self) -> None:
        owner = await self.start(tls=self.tls)
        await self.start(bridge_entry(f"wss://localhost:{owner.port}"))
        await self.eventually(lambda: self.said("not connected to"))
        [line] = self.said("iii-bridge-client: not connected to")
        self.assertIn("certificate verify failed", line)

    async def test_a_certificate_of_our_own(self) -> None:
        owner = await self.start(tls={**self.tls, "client_ca": str(self.authority.path)})
        cert, key = self.authority.issue("client")
        caller = await self.caller(owner, ca=str(self.authority.path), cert=str(cert), key=str(key))
        asked = {"function_id": "engine::workers::list", "data": {}}
        self.assertIn("workers", await caller.call("bridge.invoke", asked))


def _directory() -> Path:
    """An empty one, gone with the test run's."""
    return Path(tempfile.mkdtemp(dir=".")).absolute()

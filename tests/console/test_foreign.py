"""The known console program: a worker that registers its functions and routes here.

``Foreign`` registers everything the program does, recorded from its documentation: the
functions ``engine::console::…`` and a route ``_console/…`` for each.
"""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.defer import Deferred

from tests.console.cases import CRON, QUEUE, STATE, STREAM, ConsoleCase
from tests.console.test_interface import SHAPES
from tests.http.support import Response
from tests.observability.module_case import otel
from tests.support.engine_case import RawWorker
from tests.support.probes import probe

HTTP = {
    "class": "modules::api::RestApiModule",
    "config": {"cors": {"allowed_origins": ["http://127.0.0.1:3113"], "allowed_methods": ["GET"]}},
}
#: What it registers: method, path, name of the function.
ROUTES = (
    ("GET", "status", "status"),
    ("GET", "health", "health"),
    ("GET", "functions", "functions"),
    ("GET", "triggers", "triggers"),
    ("GET", "trigger-types", "trigger_types"),
    ("GET", "workers", "workers"),
    ("GET", "adapters", "adapters"),
    ("GET", "alerts", "alerts_list"),
    ("GET", "sampling/rules", "sampling_rules"),
    ("POST", "otel/logs", "otel_logs_list"),
    ("POST", "otel/logs/clear", "otel_logs_clear"),
    ("POST", "otel/traces", "otel_traces_list"),
    ("POST", "otel/traces/clear", "otel_traces_clear"),
    ("POST", "otel/traces/tree", "otel_traces_tree"),
    ("POST", "metrics/detailed", "metrics_detailed"),
    ("POST", "rollups", "rollups_list"),
    ("GET", "states/groups", "state_groups_list"),
    ("POST", "states/group", "state_group_items"),
    ("POST", "states/:group/item", "state_item_set"),
    ("DELETE", "states/:group/item/:key", "state_item_delete"),
    ("GET", "streams/list", "streams_list"),
    ("GET", "flows/config/:flow_id", "flow_config_get"),
    ("POST", "flows/config/:flow_id", "flow_config_save"),
    ("POST", "cron/trigger", "cron_trigger"),
    ("POST", "invoke", "invoke"),
    ("GET", "queues", "queues_list"),
    ("GET", "queues/:topic", "queue_detail"),
    ("POST", "queues/:topic/publish", "queue_publish"),
    ("GET", "dlq", "dlq_list"),
    ("POST", "dlq/:topic/messages", "dlq_messages"),
    ("POST", "dlq/:topic/redrive", "dlq_redrive"),
    ("POST", "dlq/:topic/messages/:id/redrive", "dlq_redrive_message"),
    ("DELETE", "dlq/:topic/messages/:id/discard", "dlq_discard_message"),
)


class Foreign(ConsoleCase):
    """The program against an engine without our console."""

    async def program(self, *modules: Any) -> RawWorker:
        """An engine, and the program connected to it."""
        self.engine = await self.start(otel(), HTTP, *modules)
        program = await self.worker(self.engine)
        for method, path, name in ROUTES:
            id = f"engine::console::{name}"
            program.send("registerfunction", id=id)
            config = {"api_path": f"_console/{path}", "http_method": method}
            program.send(
                "registertrigger", id=id, trigger_type="http", function_id=id, config=config
            )
        await program.settled()
        self.assertEqual(program.inbox, [])
        return program

    async def api(self, method: str, path: str, **headers: str) -> Response:
        """A request to the engine's HTTP port."""
        return await self.send(method, path, port=self.engine.ready["http"], **headers)

    @probe("06.1", "06.2")
    async def test_its_functions_answer(self) -> None:
        """With headers as an empty list."""
        program = await self.program()
        asked = Deferred.fromCoroutine(self.api("GET", "/_console/health"))
        envelope = {"status_code": 200, "headers": [], "body": {"status": "healthy"}}
        await program.answer("engine::console::health", result=envelope)
        answer = await asked
        self.assertEqual((answer.status, answer.json), (200, {"status": "healthy"}))
        self.assertEqual(answer.headers["content-type"], "application/json")

    @probe("06.3", "06.4")
    async def test_parameters(self) -> None:
        """Those of the path are as they came (02 A3.2)."""
        program = await self.program()
        asked = Deferred.fromCoroutine(self.api("DELETE", "/_console/states/g%20h/item/k"))
        call = await program.answer("engine::console::state_item_delete")
        params = call["data"]["path_params"]
        self.assertEqual((params["group"], params["key"]), ("g%20h", "k"))
        await asked
        path = "/_console/functions?include_internal=true"
        asked = Deferred.fromCoroutine(self.api("GET", path))
        call = await program.answer("engine::console::functions")
        self.assertEqual(call["data"]["query_params"]["include_internal"], "true")
        await asked

    @probe("06.5")
    async def test_all_of_it_is_registered(self) -> None:
        """And what it asks the engine has the keys it reads."""
        program = await self.program(STATE, STREAM, QUEUE, CRON)
        await self.here("f")
        listed = await program.call("engine::triggers::list", {"include_internal": True})
        self.assertEqual(
            {row["id"] for row in listed["triggers"]},
            {f"engine::console::{name}" for _, _, name in ROUTES},
        )
        plain = (await program.call("engine::functions::list"))["functions"]
        self.assertEqual([r["function_id"] for r in plain if "console" in r["function_id"]], [])
        self.assertIn("f", [row["function_id"] for row in plain])
        self.assertEqual({s[1].partition("?")[0] for s in SHAPES} - {"functions/f"}, self.paths())

    def paths(self) -> set[str]:
        """The paths of the program, as our interface is tried with them."""
        names = {":group": "g", ":flow_id": "f", ":topic": "t", ":id": "x"}
        found = set()
        for _, path, name in ROUTES:
            if name in ("cron_trigger", "invoke", "state_item_delete"):
                continue  # these have tests of their own
            for parameter, value in names.items():
                path = path.replace(parameter, value)
            found.add(path)
        return found

    @probe("06.6")
    async def test_its_pages_may_read(self) -> None:
        await self.program()
        origin = "http://127.0.0.1:3113"
        answer = await self.api(
            "OPTIONS", "/_console/functions", origin=origin, access_control_request_method="GET"
        )
        self.assertLess(answer.status, 300)
        self.assertEqual(answer.headers["access-control-allow-origin"], origin)

    @probe("06.7")
    async def test_it_goes_with_its_routes(self) -> None:
        program = await self.program()
        program.socket.drop()
        await program.socket.ended()

        async def gone() -> bool:
            return (await self.api("GET", "/_console/health")).status == 404

        await self.eventually(gone)

    @probe("06.8")
    async def test_what_lists_look_like(self) -> None:
        """``stream``, and a bare array."""
        program = await self.program(STREAM, QUEUE)
        streams = await program.call("stream::list_all", {})
        self.assertEqual(streams["stream"], [])
        topics = await program.call("engine::queue::list_topics", {})
        self.assertIsInstance(topics, list)
        self.assertIsInstance(json.dumps(topics), str)

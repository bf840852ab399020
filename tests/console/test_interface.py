"""The interface that pages of the known console use, on the console's own port."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from iii.modules.console.calls import ROUTES
from tests.console.cases import CRON, HTTP, PUBSUB, QUEUE, STATE, STREAM, ConsoleCase
from tests.support.probes import probe

#: Method, path, body → the keys of the answer.
SHAPES: tuple[tuple[str, str, Any, set[str]], ...] = (
    ("GET", "status", None, {"workers", "functions", "status", "metrics_available"}),
    ("GET", "health", None, {"status", "components", "timestamp", "version"}),
    ("GET", "functions?include_internal=true", None, {"functions"}),
    ("GET", "functions/f", None, {"function_id", "worker_name"}),
    ("GET", "triggers?include_internal=false", None, {"triggers"}),
    ("GET", "trigger-types", None, {"trigger_types"}),
    ("GET", "workers", None, {"workers", "timestamp"}),
    ("GET", "adapters", None, {"adapters", "count"}),
    ("GET", "alerts", None, {"alerts", "firing_count", "timestamp"}),
    ("GET", "sampling/rules", None, {"traces", "logs", "timestamp"}),
    ("POST", "otel/logs", {"limit": 5}, {"logs", "total", "timestamp"}),
    ("POST", "otel/logs/clear", {}, {"success"}),
    ("POST", "otel/traces", {}, {"spans", "total", "offset", "limit"}),
    ("POST", "otel/traces/tree", {"trace_id": "0" * 31 + "2"}, {"roots"}),
    ("POST", "otel/traces/clear", {}, {"success"}),
    ("POST", "metrics/detailed", {}, {"engine_metrics", "sdk_metrics", "timestamp"}),
    ("POST", "rollups", {}, {"rollups"}),
    ("GET", "states/groups", None, {"groups", "count"}),
    ("POST", "states/group", {"scope": "g"}, {"items", "count"}),
    ("POST", "states/g/item", {"key": "k", "value": 1}, {"old_value", "new_value"}),
    ("GET", "streams/list", None, {"streams", "count", "websocket_port"}),
    ("GET", "flows/config/f", None, {"id", "config"}),
    ("POST", "flows/config/f", {"config": {}}, {"message"}),
    ("GET", "queues", None, {"queues"}),
    ("GET", "queues/t", None, {"topic", "stats"}),
    ("POST", "queues/t/publish", {"data": {}}, {"message", "topic"}),
    ("GET", "dlq", None, {"topics"}),
    ("POST", "dlq/t/messages", {}, {"topic", "messages"}),
    ("POST", "dlq/t/redrive", {}, {"queue", "redriven"}),
    ("POST", "dlq/t/messages/x/redrive", {}, {"queue", "redriven"}),
    ("DELETE", "dlq/t/messages/x/discard", None, {"queue", "message_id"}),
)


class Overview(ConsoleCase):
    """What there is."""

    @probe("06.11")
    async def test_status_counts_and_the_console_is_not_among_the_functions(self) -> None:
        await self.serve()
        worker = await self.here("f")
        listed = await worker.call("engine::functions::list", {"include_internal": True})
        ids = {row["function_id"] for row in listed["functions"]}

        status = await self.ok("/_console/status")

        self.assertEqual(
            status,
            {
                "workers": 1,
                "functions": len(ids),
                "status": "running",
                "metrics_available": True,
            },
        )
        self.assertEqual([id for id in ids if "console" in id], [])
        names = {row["name"] for row in (await worker.call("engine::workers::list"))["workers"]}
        self.assertNotIn("iii-console", names)

    @probe("06.12", "06.21")
    async def test_every_path_answers_with_its_keys(self) -> None:
        """Under both prefixes; the metrics that nobody provided before, too."""
        await self.serve(STATE, STREAM, QUEUE, PUBSUB, CRON, HTTP)
        await self.here("f")
        ours = (
            ("GET", "metrics", None, {"timestamp", "invocations", "memory_rss", "connections"}),
            ("GET", "metrics/history?seconds=60", None, {"history", "count"}),
        )
        for prefix in ("/_console/", "/api/engine/_console/"):
            for method, path, body, keys in (*SHAPES, *ours):
                with self.subTest(prefix + path):
                    answer = await self.ok(prefix + path, body, method)
                    self.assertLessEqual(keys, answer.keys())

    async def test_functions_are_internal_or_not(self) -> None:
        """System functions only when they are asked for, and marked then."""
        await self.serve()
        await self.here("f")

        plain = (await self.ok("/_console/functions"))["functions"]
        everything = (await self.ok("/_console/functions?include_internal=true"))["functions"]

        self.assertEqual([row["function_id"] for row in plain], ["f"])
        marked = {row["function_id"] for row in everything if row.get("internal")}
        self.assertEqual(marked, {r["function_id"] for r in everything} - {"f"})

    async def test_workers_have_the_fields_that_pages_read(self) -> None:
        await self.serve()
        worker = await self.here("f")
        await worker.describe(name="billing", runtime="python", version="0.9.0")

        (row,) = (await self.ok("/_console/workers"))["workers"]

        self.assertEqual(
            (row["name"], row["runtime"], row["functions"]), ("billing", "python", ["f"])
        )
        wanted = {"id", "os", "ip_address", "status", "connected_at_ms", "function_count"}
        self.assertLessEqual(wanted | {"active_invocations", "latest_metrics"}, row.keys())

    async def test_adapters_are_the_real_modules(self) -> None:
        await self.serve(STATE, CRON)
        worker = await self.here("f")
        await worker.trigger("cron", "f", {"expression": "0 0 0 * * *"})

        rows = {row["id"]: row for row in (await self.ok("/_console/adapters"))["adapters"]}

        self.assertEqual(
            (rows["iii-state"]["type"], rows["iii-state"]["adapter"]), ("module", "kv")
        )
        self.assertEqual((rows["cron"]["type"], rows["cron"]["count"]), ("trigger", 1))
        self.assertEqual((rows["workers"]["type"], rows["workers"]["count"]), ("worker_pool", 1))

    async def test_trigger_types_are_the_known_and_the_used(self) -> None:
        await self.serve(HTTP)
        types = (await self.ok("/_console/trigger-types"))["trigger_types"]
        self.assertEqual(types, sorted(types))
        self.assertLessEqual({"api", "http", "state", "engine::functions-available"}, set(types))

    async def test_unknown_paths_and_methods(self) -> None:
        await self.serve()
        self.assertIn("nope", await self.refused(404, "/_console/nope", method="GET"))
        answer = await self.post("/_console/status", {})
        self.assertEqual((answer.status, answer.headers["allow"]), (405, "GET"))

    async def test_no_two_routes_are_alike(self) -> None:
        """Or one of them is never reached."""
        known = [(route.method, route.path) for route in ROUTES]
        self.assertEqual(len(known), len(set(known)))

    async def test_times_are_there_for_browsers(self) -> None:
        """Nanoseconds as text and milliseconds, beside the number that a browser rounds."""
        await self.serve()
        worker = await self.here()
        await worker.call("engine::log::info", {"message": 'odd "x_unix_nano":1 text'})

        logs = (await self.ok("/_console/otel/logs", {}))["logs"]
        (row,) = [row for row in logs if row["body"].startswith("odd")]

        ns = row["timestamp_unix_nano_str"]
        self.assertEqual(int(ns), row["timestamp_unix_nano"])
        self.assertAlmostEqual(row["timestamp_ms"], int(ns) / 1e6, places=2)
        self.assertEqual(row["body"], 'odd "x_unix_nano":1 text')


class Invoke(ConsoleCase):
    """Calling functions."""

    @probe("06.13")
    async def test_the_result_and_the_errors(self) -> None:
        await self.serve()
        worker = await self.here("f")

        asked = self.later(self.ok("/_console/invoke", {"function_id": "f", "input": {"a": 1}}))
        data = await self.answering(worker, "f", result={"b": 2})

        self.assertEqual((data["a"], await asked), (1, {"b": 2}))
        error = await self.refused(502, "/_console/invoke", {"function_id": "nix"})
        self.assertIn("function_not_found", error)
        error = await self.refused(500, "/_console/invoke", {"input": {}})
        self.assertEqual(error, "Handler error: Missing function_id in request")

    async def test_an_absent_input_is_an_empty_object(self) -> None:
        await self.serve()
        worker = await self.here("f")
        asked = self.later(self.post("/_console/invoke", {"function_id": "f"}))
        self.assertEqual(await self.answering(worker, "f"), {})
        answer = await asked
        self.assertEqual((answer.status, answer.body), (200, b"null"))

    @probe("06.14")
    async def test_a_slow_function(self) -> None:
        time = await self.serve_later()
        worker = await self.here("f")
        asked = self.later(self.refused(504, "/_console/invoke", {"function_id": "f"}))
        await worker.invoked("f")

        time.advance(29.9)
        self.assertFalse(asked.called)
        time.advance(0.2)

        self.assertEqual(await asked, "Invocation timed out")

    async def test_a_body_that_is_no_object(self) -> None:
        await self.serve()
        for body in (b"{", b"[1]", b'"x"', b"{" * 5000):
            answer = await self.send("POST", "/_console/invoke", body)
            self.assertEqual(answer.status, 400, body[:20])
            self.assertIn("request body", answer.json["error"])

    @probe("06.15")
    async def test_cron(self) -> None:
        await self.serve(CRON, STATE)
        worker = await self.here("f")
        cron = await worker.trigger("cron", "f", {"expression": "0 0 0 * * *"})
        other = await worker.trigger("state", "f", {})

        asked = self.later(self.ok("/_console/cron/trigger", {"trigger_id": cron}))
        data = await self.answering(worker, "f", result=7)

        said = {key: data[key] for key in ("manual", "source", "job_id", "trigger")}
        self.assertEqual(
            said, {"manual": True, "source": "console", "job_id": cron, "trigger": "cron"}
        )
        self.assertTrue(data["scheduled_time"].isdigit())
        self.assertEqual(await asked, {"trigger_id": cron, "function_id": "f", "result": 7})
        error = await self.refused(500, "/_console/cron/trigger", {"trigger_id": "x"})
        self.assertIn("Cron trigger 'x' not found", error)
        error = await self.refused(500, "/_console/cron/trigger", {"trigger_id": other})
        self.assertIn(f"Trigger '{other}' is not a cron trigger", error)

    def later(self, asked: Any) -> Deferred[Any]:
        """A request whose answer is waited for later."""
        return Deferred.fromCoroutine(asked)


class States(ConsoleCase):
    """State and flows."""

    @probe("06.16")
    async def test_items(self) -> None:
        await self.serve(STATE)
        await self.ok("/_console/states/g/item", {"key": "k", "value": {"x": 1}})
        await self.ok("/_console/states/g%2Fh/item", {"key": "a/b", "value": None})

        group = await self.ok("/_console/states/group", {"scope": "g"})
        self.assertEqual((group["items"], group["keys"], group["count"]), ([{"x": 1}], ["k"], 1))
        groups = await self.ok("/_console/states/groups")
        self.assertEqual(groups["groups"], [{"id": "g", "count": 1}, {"id": "g/h", "count": 1}])

        await self.ok("/_console/states/g/item/k", method="DELETE")
        await self.ok("/_console/states/g%2Fh/item/a%2Fb", method="DELETE")
        self.assertEqual((await self.ok("/_console/states/groups"))["count"], 0)
        error = await self.refused(500, "/_console/states/g/item", {"value": 1})
        self.assertIn("Missing key in request body", error)
        error = await self.refused(500, "/_console/states/g/item", {"key": "k"})
        self.assertIn("Missing value in request body", error)

    @probe("06.17")
    async def test_flows(self) -> None:
        await self.serve(STATE)
        for bad in ("..%2Fx", "../x", "..", "a%20b", "%E4"):
            answer = await self.get(f"/_console/flows/config/{bad}")
            self.assertGreaterEqual(answer.status, 400, bad)
            self.assertIn("error", answer.json)
        path = "/_console/flows/config/flow-1"
        self.assertEqual(await self.ok(path), {"id": "flow-1", "config": {}})

        saved = await self.ok(path, {"config": {"n": [1, 2]}})

        self.assertEqual(saved, {"message": "Flow config saved successfully"})
        kept = {"id": "flow-1", "config": {"n": [1, 2]}}
        self.assertEqual(await self.ok(path), kept)
        worker = await self.here()
        asked = {"scope": "__console.flowConfigs", "key": "flow-1"}
        self.assertEqual(await worker.call("state::get", asked), kept)


class Queues(ConsoleCase):
    """Queues, dead letters, events."""

    @probe("06.18")
    async def test_publishing(self) -> None:
        await self.serve(QUEUE)
        worker = await self.here("f")
        await worker.trigger("queue", "f", {"topic": "t"})

        await self.ok("/_console/queues/t/publish", {"data": {"n": 1}})

        self.assertEqual((await self.answering(worker, "f"))["n"], 1)
        self.assertIn("depth", (await self.ok("/_console/queues/t"))["stats"])
        (row,) = [q for q in (await self.ok("/_console/queues"))["queues"] if q["name"] == "t"]
        self.assertEqual((row["broker_type"], row["subscriber_count"]), ("builtin", 1))

    async def dead(self, count: int) -> None:
        """So many messages of topic ``t`` die."""
        worker = await self.here("f")
        await worker.trigger("queue", "f", {"topic": "t", "queue_config": {"maxRetries": 0}})
        for number in range(count):
            await self.ok("/_console/queues/t/publish", {"data": {"n": number}})
            await worker.answer("f", error={"code": "boom", "message": "no"})

        async def all_dead() -> bool:
            stats = (await self.ok("/_console/queues/t"))["stats"]
            return bool(stats["dlq_depth"] == count)

        await self.eventually(all_dead)
        await worker.call("engine::queue::pause", {"topic": "t"})

    async def letters(self) -> list[dict[str, Any]]:
        """The dead letters of ``t``."""
        rows: list[dict[str, Any]] = (await self.ok("/_console/dlq/t/messages", {}))["messages"]
        return rows

    @probe("06.19")
    async def test_dead_letters(self) -> None:
        await self.serve(QUEUE)
        await self.dead(3)

        (row,) = [r for r in (await self.ok("/_console/dlq"))["topics"] if r["topic"] == "t"]
        self.assertEqual(row["message_count"], 3)
        letters = await self.letters()
        fields = {"id", "payload", "error", "failed_at", "retries", "size_bytes"}
        self.assertLessEqual(fields, letters[0].keys())

        discard = f"/_console/dlq/t/messages/{letters[0]['id']}/discard"
        await self.ok(discard, method="DELETE")
        self.assertEqual([r["id"] for r in await self.letters()], [r["id"] for r in letters[1:]])
        one = f"/_console/dlq/t/messages/{letters[1]['id']}/redrive"
        self.assertEqual((await self.ok(one, {}))["redriven"], 1)
        self.assertEqual((await self.ok("/_console/dlq/t/redrive", {}))["redriven"], 1)
        self.assertEqual(await self.letters(), [])

    async def test_bulk_and_edited(self) -> None:
        """By ids, with what was not found; one with another payload."""
        await self.serve(QUEUE)
        await self.dead(3)
        first, second, third = [row["id"] for row in await self.letters()]

        done = await self.ok("/_console/dlq/t/bulk", {"ids": [first, "x"], "action": "discard"})
        self.assertEqual(done, {"done": 1, "missing": ["x"]})
        edit = f"/_console/dlq/t/messages/{second}/edit-redrive"
        await self.ok(edit, {"payload": {"n": "mended"}})
        again = await self.refused(404, edit, {"payload": 1})
        self.assertIn("not found", again)
        self.assertEqual([row["id"] for row in await self.letters()], [third])
        waiting = (await self.ok("/_console/queues/t/messages"))["messages"]
        self.assertEqual([row["payload"] for row in waiting], [{"n": "mended"}])
        self.assertIn("Missing ids", await self.refused(500, "/_console/dlq/t/bulk", {}))

    @probe("06.26")
    async def test_a_look_takes_nothing(self) -> None:
        """Nor counts as an attempt; then the queue is emptied by hand."""
        await self.serve(QUEUE)
        worker = await self.here("f")
        await worker.trigger("queue", "f", {"topic": "t"})
        await self.ok("/_console/queues/t/pause", {})
        for number in range(3):
            await self.ok("/_console/queues/t/publish", {"data": number})

        for _ in range(2):
            rows = (await self.ok("/_console/queues/t/messages?limit=10"))["messages"]
            self.assertEqual(
                [(r["payload"], r["attempts"]) for r in rows], [(0, 0), (1, 0), (2, 0)]
            )
        stats = (await self.ok("/_console/queues/t"))["stats"]
        self.assertEqual((stats["depth"], stats["paused"]), (3, True))
        self.assertEqual(await self.ok("/_console/queues/t/purge", {}), {"purged": 3})
        self.assertEqual(await self.ok("/_console/queues/t/resume", {}), {"paused": False})

    async def test_moving(self) -> None:
        await self.serve(QUEUE)
        worker = await self.here("f")
        for topic in ("t", "u"):
            await worker.trigger("queue", "f", {"topic": topic})
            await self.ok(f"/_console/queues/{topic}/pause", {})
        await self.ok("/_console/queues/t/publish", {"data": 1})

        self.assertEqual(await self.ok("/_console/queues/t/move", {"to": "u"}), {"moved": 1})
        self.assertIn("Missing to", await self.refused(500, "/_console/queues/t/move", {}))

    @probe("06.20")
    async def test_emitting(self) -> None:
        """To whoever subscribed, of whatever kind."""
        await self.serve(PUBSUB, QUEUE)
        worker = await self.here("heard", "worked")
        await worker.trigger("subscribe", "heard", {"topic": "t"})

        answer = await self.ok("/_console/emit", {"topic": "t", "data": {"n": 1}})
        self.assertEqual((answer["kinds"], answer["subscribers"]), (["pubsub"], 1))
        self.assertEqual((await self.answering(worker, "heard"))["n"], 1)

        await worker.trigger("queue", "worked", {"topic": "t"})
        events = (await self.ok("/_console/events"))["topics"]
        self.assertEqual(
            events,
            [
                {"topic": "t", "kind": "pubsub", "subscribers": 1},
                {"topic": "t", "kind": "queue", "subscribers": 1},
            ],
        )
        answer = await self.ok("/_console/emit", {"topic": "t", "data": {"n": 2}})
        self.assertEqual(answer["kinds"], ["pubsub", "queue"])
        self.assertEqual((await self.answering(worker, "heard"))["n"], 2)
        self.assertEqual((await self.answering(worker, "worked"))["n"], 2)
        self.assertIn("Missing topic", await self.refused(500, "/_console/emit", {"data": 1}))
        self.assertIn(
            "kind", await self.refused(400, "/_console/emit", {"topic": "t", "kind": "x"})
        )

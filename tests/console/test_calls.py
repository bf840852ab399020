"""The calls that only our console has."""

from __future__ import annotations

import json
from typing import Any

import msgspec
from msgspec import Raw
from twisted.internet.defer import Deferred

from iii.modules.console.asking import Asked
from iii.modules.console.calls import telemetry
from tests.console.cases import CRON, HTTP, PUBSUB, STATE, STREAM, ConsoleCase, console
from tests.observability.module_case import TRACE, TRACEPARENT, otel
from tests.support.rawsocket import CLOSE, open_socket


class Busy:
    """An engine with five log records, and another after each look."""

    def __init__(self) -> None:
        self.times = [n * 10**9 for n in range(5)]

    async def ask(self, function_id: str, data: Any = None, timeout_s: float = 1) -> Raw:
        """Backend: ``engine::logs::list``."""
        end_ns = data.get("end_time", 10**12) * 10**6
        found = [ns for ns in reversed(self.times) if ns <= end_ns]
        page = found[data["offset"] :][: data["limit"]]
        self.times.append(self.times[-1] + 10**9)
        return Raw(msgspec.json.encode({"logs": [{"timestamp_unix_nano": ns} for ns in page]}))

    act = ask

    def place(self, name: str, host: str | None, port: int) -> tuple[str, int]:
        """Backend: nobody asks."""
        return "", 0


class Functions(ConsoleCase):
    """How functions do."""

    async def test_stats(self) -> None:
        """Of one, with a point for every ten seconds; of all, the most called first."""
        time = await self.serve_later()
        worker = await self.here("f", "g")
        for outcome in ({"result": 1}, {"result": 1}, {"error": {"code": "boom", "message": "x"}}):
            id = worker.invoke("f", {})
            await worker.answer("f", **outcome)
            await worker.result_of(id)
        time.advance(10)
        worker.invoke("g", {})
        await worker.invoked("g")

        one = await self.ok("/_console/functions/f/stats?seconds=60")

        self.assertEqual((one["count"], one["errors"], one["in_flight"]), (3, 1, 0))
        self.assertAlmostEqual(one["error_rate"], 1 / 3)
        self.assertAlmostEqual(one["rate_per_second"], 3 / one["seconds"])
        self.assertEqual(one["error_codes"], {"boom": 1})
        self.assertEqual([w["worker_id"] for w in one["workers"]], [worker.id])
        self.assertEqual([point["count"] for point in one["series"]], [3, 0])
        self.assertEqual((await self.ok("/_console/functions/g/stats"))["in_flight"], 1)
        rows = (await self.ok("/_console/stats/functions"))["functions"]
        self.assertEqual(rows[0]["function_id"], "f")

    async def test_history(self) -> None:
        time = await self.serve_later()
        await self.here("f")
        time.advance(10)
        time.advance(10)
        time.advance(10)

        history = await self.ok("/_console/metrics/history?seconds=15")

        self.assertEqual(history["count"], 2)
        last = history["history"][-1]
        self.assertEqual((last["workers"]["active"], last["connections"]), (1, 1))
        self.assertGreater(last["memory_rss"], 1_000_000)
        bad = await self.get("/_console/metrics/history?seconds=x")
        self.assertEqual(bad.status, 400)


class Workers(ConsoleCase):
    """Connections."""

    async def test_disconnect(self) -> None:
        """With 1012, after which every SDK comes back."""
        await self.serve()
        worker = await self.here("f")

        await self.ok(f"/_console/workers/{worker.id}/disconnect", {})

        frame = await worker.socket.next_frame()
        self.assertEqual((frame.opcode, frame.close_code), (CLOSE, 1012))
        error = await self.refused(502, "/_console/workers/nobody/disconnect", {})
        self.assertIn("worker_not_found", error)

    async def test_channels(self) -> None:
        await self.serve()
        worker = await self.here()
        made = await worker.call("engine::channels::create")
        key = made["writer"]["access_key"]
        id = made["writer"]["channel_id"]
        path = f"/ws/channels/{id}?key={key}&dir=write"
        socket = await open_socket(self.engine.ready["worker"], path)
        self.addCleanup(socket.drop)
        socket.binary(b"12345")

        async def arrived() -> Any:
            (row,) = (await self.ok("/_console/channels"))["channels"]
            return row if row["bytes"] else None

        row = await self.eventually(arrived)
        self.assertEqual((row["channel_id"], row["bytes"], row["direction"]), (id, 5, "read"))
        self.assertEqual((row["waiting_frames"], row["peers"]["reader"]), (1, None))
        self.assertIn("127.0.0.1", row["peers"]["writer"])
        self.assertNotIn(key, json.dumps(row))


class Triggers(ConsoleCase):
    """Routes, schedules, topics."""

    async def test_routes(self) -> None:
        await self.serve(HTTP)
        worker = await self.here("f", "ask")
        config = {"api_path": "users/:id", "http_method": "PUT", "condition_function_id": "ask"}
        trigger = await worker.trigger("http", "f", config)
        asked = self.send("PUT", "/users/1", b"{}", port=self.engine.ready["http"])

        answer = Deferred.fromCoroutine(asked)
        await worker.answer("ask", result=True)
        await worker.answer("f", result={"status_code": 503, "body": {}})
        await answer

        (row,) = (await self.ok("/_console/http/routes"))["routes"]

        wanted = {
            "method": "PUT",
            "path": "/users/:id",
            "function_id": "f",
            "condition_function_id": "ask",
            "trigger_ids": [trigger],
            "count": 1,
            "errors": 1,
            "last_status": 503,
        }
        self.assertLessEqual(wanted.items(), row.items())
        self.assertGreater(row["p95_ms"], 0)
        self.assertEqual((await self.ok("/_console/http/routes?search=nix"))["routes"], [])

    async def test_cron(self) -> None:
        """The next runs, and the last ones with what came of them."""
        await self.serve(CRON)
        worker = await self.here("f")
        id = await worker.trigger("cron", "f", {"expression": "0 0 9 * * *"})
        for outcome in ({"result": 1}, {"error": {"code": "boom", "message": "no"}}):
            self.assertTrue((await self.ok(f"/_console/cron/{id}/run", {}))["started"])
            await worker.answer("f", **outcome)
            await worker.settled()

        (job,) = (await self.ok("/_console/cron"))["jobs"]

        self.assertEqual(len(job["next_runs"]), 5)
        runs = [(run["status"], run["error"], run["by_hand"]) for run in job["recent_runs"]]
        self.assertEqual(runs, [("error", "boom: no", True), ("ok", None, True)])
        self.assertGreater(job["recent_runs"][0]["duration_ms"], 0)

    async def test_pubsub(self) -> None:
        await self.serve(PUBSUB)
        worker = await self.here("f")
        await worker.trigger("subscribe", "f", {"topic": "a/b"})

        await self.ok("/_console/pubsub/a%2Fb/publish", {"data": {"n": 1}})

        self.assertEqual((await self.answering(worker, "f"))["n"], 1)
        (row,) = (await self.ok("/_console/pubsub"))["topics"]
        self.assertEqual((row["name"], row["functions"], row["published"]), ("a/b", ["f"], 1))
        self.assertGreater(row["rate_per_second"], 0)


class Values(ConsoleCase):
    """State and streams with their keys."""

    async def test_state_entries(self) -> None:
        """By prefix, a page at a time."""
        await self.serve(STATE)
        for number in range(5):
            await self.ok("/_console/states/g/item", {"key": f"a{number}", "value": number})
        await self.ok("/_console/states/g/item", {"key": "b", "value": "long"})

        page = await self.ok("/_console/states/g?prefix=a&limit=3")
        rest = await self.ok(f"/_console/states/g?prefix=a&limit=3&cursor={page['next_cursor']}")

        found = [entry["key"] for entry in page["entries"] + rest["entries"]]
        self.assertEqual(found, ["a0", "a1", "a2", "a3", "a4"])
        self.assertIsNone(rest["next_cursor"])
        self.assertEqual(page["total"], 6)
        (row,) = (await self.ok("/_console/states/g?prefix=b"))["entries"]
        self.assertEqual(row, {"key": "b", "value": "long", "size_bytes": 6})
        error = await self.refused(502, "/_console/states/g?cursor=x", method="GET")
        self.assertIn("INVALID_CURSOR", error)

    async def test_stream_items(self) -> None:
        await self.serve(STREAM)
        path = "/_console/streams/chat/room%2F1/items"
        await self.ok(f"{path}/m1", {"data": {"text": "hi"}}, "PUT")

        listed = await self.ok("/_console/streams/list")
        self.assertEqual(listed["websocket_port"], self.engine.ready["stream"])
        (stream,) = listed["streams"]
        self.assertEqual(
            (stream["id"], stream["groups"], stream["type"]), ("chat", ["room/1"], "user")
        )
        items = await self.ok(path)
        self.assertEqual(items["items"], [{"id": "m1", "data": {"text": "hi"}, "size_bytes": 13}])
        await self.ok(f"{path}/m1", None, "DELETE")
        self.assertEqual((await self.ok(path))["total"], 0)
        self.assertIn("Missing data", await self.refused(500, f"{path}/m1", {}, "PUT"))


class Telemetry(ConsoleCase):
    """Alerts and exports."""

    async def test_silence(self) -> None:
        """The alert stands, and does nothing."""
        rule = {
            "name": "many",
            "metric": "iii.invocations.total",
            "threshold": 0,
            "operator": ">=",
            "cooldown_seconds": 0,
            "action": {"type": "function", "path": "page"},
        }

        self.engine = await self.start(otel(alerts=[rule]), console())
        worker = await self.here("page")
        await self.ok("/_console/alerts/evaluate", {})
        await worker.answer("page")

        await self.ok("/_console/alerts/many/silence", {"seconds": 60})
        again = await self.ok("/_console/alerts/evaluate", {})

        self.assertEqual(again["triggered_alerts"], [])
        (alert,) = (await self.ok("/_console/alerts"))["alerts"]
        self.assertTrue(alert["firing"])
        self.assertGreater(alert["silenced_until"], alert["last_evaluated"])
        await self.ok("/_console/alerts/many/silence", {"seconds": 0})
        spoken = await self.ok("/_console/alerts/evaluate", {})
        self.assertEqual([row["name"] for row in spoken["triggered_alerts"]], ["many"])
        await worker.answer("page")
        self.assertIn(
            "not found", await self.refused(502, "/_console/alerts/x/silence", {"seconds": 1})
        )

    async def test_a_trace_as_otlp(self) -> None:
        await self.serve()
        worker = await self.here("f")
        id = worker.invoke("f", {"n": 1}, traceparent=TRACEPARENT)
        await worker.answer("f", error={"code": "boom", "message": "no"})
        await worker.result_of(id)

        answer = await self.get(f"/_console/export/traces/{TRACE}")

        self.assertEqual(answer.status, 200)
        self.assertIn(f"trace-{TRACE}.json", answer.headers["content-disposition"])
        spans = [
            span
            for resource in answer.json["resourceSpans"]
            for scope in resource["scopeSpans"]
            for span in scope["spans"]
        ]
        self.assertEqual({span["traceId"] for span in spans}, {TRACE})
        self.assertIn(2, {span["status"]["code"] for span in spans})
        self.assertTrue(all(int(span["endTimeUnixNano"]) for span in spans))
        self.assertEqual((await self.get("/_console/export/traces/none")).status, 404)

    async def test_what_is_logged_meanwhile_moves_no_page(self) -> None:
        """Pages begin with the newest, and the newest are others a moment later."""
        self.patch(telemetry, "EXPORT_PAGE", 2)
        answer = await telemetry.export_logs(Asked(Busy(), {}, {}, b""))
        times = [json.loads(line)["timestamp_unix_nano"] for line in answer.body.splitlines()]
        self.assertEqual(times, [n * 10**9 for n in range(5)])

    async def test_logs_a_line_each(self) -> None:
        await self.serve()
        worker = await self.here()
        for number in range(3):
            await worker.call("engine::log::warn", {"message": f"line {number}"})
        self.patch(telemetry, "EXPORT_PAGE", 2)

        answer = await self.get("/_console/export/logs?severity_min=13")

        self.assertEqual(answer.headers["content-type"], "application/x-ndjson")
        self.assertEqual(answer.headers["x-complete"], "true")
        bodies = [json.loads(line)["body"] for line in answer.body.splitlines()]
        self.assertEqual(bodies, ["line 0", "line 1", "line 2"])

        self.patch(telemetry, "EXPORT_BYTES", len(answer.body) - 1)
        cut = await self.get("/_console/export/logs?severity_min=13")
        bodies = [json.loads(line)["body"] for line in cut.body.splitlines()]
        self.assertEqual((cut.headers["x-complete"], bodies), ("false", ["line 1", "line 2"]))


class Configuration(ConsoleCase):
    """What runs, and why."""

    async def test_modules(self) -> None:
        await self.serve(STATE, HTTP)
        found = await self.ok("/_console/modules")
        rows = {row["name"]: row for row in found["modules"]}
        self.assertEqual(
            (rows["iii-state"]["status"], rows["iii-state"]["adapter"]), ("running", "kv")
        )
        self.assertEqual(rows["iii-http"]["endpoint"]["port"], self.engine.ready["http"])
        self.assertEqual(found["health"]["status"], "healthy")

    async def test_too_large_an_answer_is_refused(self) -> None:
        """A function may return what it likes; a browser tab may not choke on it."""
        await self.serve()
        worker = await self.here("f")

        asked = Deferred.fromCoroutine(self.refused(502, "/_console/invoke", {"function_id": "f"}))
        await worker.answer("f", result="x" * 6_000_000)
        self.assertIn("payload_too_large", await asked)

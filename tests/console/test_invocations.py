"""Calls that were made: found, read, made again, called off."""

from __future__ import annotations

from typing import Any

from tests.console.cases import HTTP, QUEUE, console
from tests.console.page_case import PageCase
from tests.observability.module_case import otel
from tests.support.engine_case import RawWorker
from tests.support.probes import probe


class InvocationCase(PageCase):
    """Calls of a worker, and the console's list of them."""

    async def called(self, worker: RawWorker, function_id: str, data: Any, **outcome: Any) -> str:
        """A call from ``worker`` to itself that is over; its id."""
        id = worker.invoke(function_id, data)
        await worker.answer(function_id, **outcome)
        await worker.result_of(id)
        return id

    async def listed(self, **query: str) -> list[dict[str, Any]]:
        """The console's list."""
        asked = "&".join(f"{name}={value}" for name, value in query.items())
        found: list[dict[str, Any]] = (await self.ok(f"/_console/invocations?{asked}"))[
            "invocations"
        ]
        return found


class Invocations(InvocationCase):
    """``invocations…``."""

    @probe("06.25")
    async def test_a_failed_call_is_found_and_replayed(self) -> None:
        await self.serve()
        worker = await self.here("shop::pay")
        error = {"code": "card_declined", "message": "no money", "stacktrace": "at pay.ts:3"}
        await self.called(worker, "shop::pay", {"order": 7}, error=error)

        (row,) = await self.listed(function_id="shop::pay")
        self.assertEqual(row["status"], "error")
        self.assertEqual(row["error"], {"code": "card_declined", "message": "no money"})
        self.assertEqual(len(row["trace_id"]), 32)
        self.assertEqual(row["worker_id"], worker.id)
        self.assertEqual(row["caller_worker_id"], worker.id)
        self.assertIn('"order":7', row["payload_preview"])
        self.assertGreaterEqual(row["duration_ms"], 0)

        detail = await self.ok(f"/_console/invocations/{row['invocation_id']}")
        self.assertEqual(detail["payload"]["order"], 7)
        self.assertEqual(detail["error"]["stacktrace"], "at pay.ts:3")

        again = await self.ok(f"/_console/invocations/{row['invocation_id']}/replay", {})
        self.assertNotEqual(again["invocation_id"], row["invocation_id"])
        data = await self.answering(worker, "shop::pay", result={"paid": True})
        self.assertEqual(data["order"], 7)

        newest = (await self.listed(function_id="shop::pay"))[0]
        self.assertEqual(newest["invocation_id"], again["invocation_id"])
        self.assertEqual(newest["status"], "ok")
        self.assertEqual(newest["replay_of"], row["invocation_id"])
        self.assertEqual(newest["trigger_type"], "replay")

    async def test_an_edited_replay(self) -> None:
        await self.serve()
        worker = await self.here("f")
        await self.called(worker, "f", {"n": 1}, result=1)
        (row,) = await self.listed()

        body = {"input": {"n": 2}}
        await self.ok(f"/_console/invocations/{row['invocation_id']}/replay", body)

        self.assertEqual(await self.answering(worker, "f", result=2), {"n": 2})

    async def test_calls_under_way_come_first_and_can_be_called_off(self) -> None:
        await self.serve()
        worker = await self.here("f", "slow")
        await self.called(worker, "f", {}, result=1)
        id = worker.invoke("slow", {"n": 1})
        await worker.invoked("slow")

        rows = await self.listed()
        self.assertEqual(
            [(row["function_id"], row["status"]) for row in rows],
            [("slow", "pending"), ("f", "ok")],
        )
        self.assertEqual([row["status"] for row in await self.listed(state="pending")], ["pending"])
        self.assertEqual([row["status"] for row in await self.listed(state="recent")], ["ok"])
        detail = await self.ok(f"/_console/invocations/{rows[0]['invocation_id']}")
        self.assertEqual((detail["status"], detail["payload"]["n"]), ("pending", 1))

        done = await self.ok(f"/_console/invocations/{rows[0]['invocation_id']}/cancel", {})
        self.assertTrue(done["cancelled"])
        self.assertEqual((await worker.result_of(id))["error"]["code"], "invocation_stopped")

    async def test_filters(self) -> None:
        await self.serve(HTTP, QUEUE)
        worker = await self.here("a", "b")
        await worker.trigger("queue", "b", {"topic": "t"})
        await self.called(worker, "a", {}, result=1)
        failed = await self.called(worker, "a", {}, error={"code": "broken", "message": "no Bolt"})
        await worker.call("enqueue", {"topic": "t", "data": 1})
        await worker.answer("b", result=1)
        await worker.settled()

        by_trigger = await self.listed(trigger_type="queue")
        self.assertEqual([row["function_id"] for row in by_trigger], ["b"])
        self.assertEqual(by_trigger[0]["caller_worker_id"], None)
        for query in (
            {"status": "error"},
            {"error_code": "broken"},
            {"search": "bolt"},
            {"search": (await self.listed(status="error"))[0]["invocation_id"]},
            {"trace_id": (await self.listed(status="error"))[0]["trace_id"]},
        ):
            rows = await self.listed(**query)
            self.assertEqual([row["status"] for row in rows], ["error"], (query, failed))
        self.assertEqual(await self.listed(min_duration_ms="100000"), [])
        self.assertEqual(len(await self.listed(limit="1", offset="1")), 1)
        self.assertEqual(len(await self.listed(worker_id=worker.id)), 3)

    async def test_what_is_secret_is_not_shown_but_replayed(self) -> None:
        await self.serve()
        worker = await self.here("login")
        sent = {"user": "ada", "Password": "hunter2", "deep": [{"api_key": "k"}]}
        await self.called(worker, "login", sent, result={"access_token": "t", "ok": True})

        (row,) = await self.listed()
        detail = await self.ok(f"/_console/invocations/{row['invocation_id']}")
        shown = str(row) + str(detail)
        self.assertEqual(detail["payload"]["user"], "ada")
        self.assertEqual(detail["payload"]["Password"], "[REDACTED]")
        self.assertEqual(detail["result"], {"access_token": "[REDACTED]", "ok": True})
        self.assertNotIn("hunter2", shown)

        await self.ok(f"/_console/invocations/{row['invocation_id']}/replay", {})
        data = await self.answering(worker, "login", result=1)
        self.assertEqual(data["Password"], "hunter2")

    async def test_the_configured_list_of_secrets_counts(self) -> None:
        self.engine = await self.start(otel(redact=["iban"]), console())
        worker = await self.here("f")
        await self.called(worker, "f", {"iban": "DE1", "password": "p"}, result=1)

        (row,) = await self.listed()
        detail = await self.ok(f"/_console/invocations/{row['invocation_id']}")
        self.assertEqual(
            (detail["payload"]["iban"], detail["payload"]["password"]), ("[REDACTED]", "p")
        )

    async def test_of_a_long_input_the_beginning_is_kept(self) -> None:
        await self.serve()
        worker = await self.here("f")
        await self.called(worker, "f", {"text": "x" * 100_000}, result="y" * 100_000)

        (row,) = await self.listed()
        detail = await self.ok(f"/_console/invocations/{row['invocation_id']}")
        self.assertEqual(len(detail["payload_beginning"]), 64 * 1024)
        self.assertNotIn("payload", detail)
        self.assertEqual(detail["result_bytes"], 100_002)
        self.assertFalse(detail["replayable"])
        text = await self.refused(502, f"/_console/invocations/{row['invocation_id']}/replay", {})
        self.assertIn("INVALID_ARGUMENTS", text)
        path = f"/_console/invocations/{row['invocation_id']}/replay"
        await self.ok(path, {"input": {"text": "short"}})

    async def test_pages_hear_of_calls(self) -> None:
        await self.serve()
        worker = await self.here("f")
        page = await self.page()
        await page.watch("invocations", filter={"status": "error"})

        await self.called(worker, "f", {}, result=1)
        await self.called(worker, "f", {}, error={"code": "broken", "message": "m"})

        told = await page.next(id="s", event="add")
        self.assertEqual([row["error"]["code"] for row in told["items"]], ["broken"])

    async def test_the_engines_own_functions_and_looks_are_not_kept(self) -> None:
        await self.serve()
        worker = await self.here("f")
        await worker.call("engine::functions::list")
        await self.ok("/_console/status")

        self.assertEqual(await self.listed(), [])

    async def test_forgetting(self) -> None:
        await self.serve()
        worker = await self.here("f")
        await self.called(worker, "f", {}, result=1)

        self.assertEqual((await self.ok("/_console/invocations/clear", {}))["cleared"], 1)
        self.assertEqual(await self.listed(), [])
        self.assertIn("NOT_FOUND", await self.refused(502, "/_console/invocations/x", method="GET"))

    async def test_without_a_console_nothing_is_kept(self) -> None:
        self.engine = await self.start(otel())
        worker = await self.here("f")
        await self.called(worker, "f", {}, result=1)
        self.assertEqual(
            (await worker.error_of("engine::invocations::list"))["code"], "not_supported"
        )

    async def test_read_only(self) -> None:
        await self.serve(read_only=True)
        worker = await self.here("f")
        await self.called(worker, "f", {}, result=1)
        (row,) = await self.listed()
        for path in ("replay", "cancel"):
            await self.refused(403, f"/_console/invocations/{row['invocation_id']}/{path}", {})
        await self.refused(403, "/_console/invocations/clear", {})


class Protocol(InvocationCase):
    """What goes over a worker's connection."""

    async def test_off_until_it_is_asked_for(self) -> None:
        await self.serve()
        worker = await self.here("f")
        path = f"/_console/workers/{worker.id}/protocol"
        before = await self.ok(path)
        self.assertEqual((before["recording"], before["messages"]), (False, []))

        await self.ok(path, {"record": True})
        await self.called(worker, "f", {"a": 1, "password": "p"}, result={"text": "x" * 5_000})
        shown = await self.ok(path)
        self.assertEqual(
            [(row["direction"], row["type"]) for row in shown["messages"]],
            [
                ("in", "invokefunction"),
                ("out", "invokefunction"),
                ("in", "invocationresult"),
                ("out", "invocationresult"),
            ],
        )
        self.assertIn('"a":1', shown["messages"][0]["body"])
        self.assertNotIn('"p"', shown["messages"][0]["body"])
        long = shown["messages"][3]
        self.assertEqual((len(long["body"]), long["cut"]), (2_048, True))

        await self.ok(path, {"record": False})
        await self.called(worker, "f", {}, result=1)
        self.assertEqual((await self.ok(path))["messages"], [])

    async def test_the_last_200_are_kept(self) -> None:
        await self.serve()
        worker = await self.here("f")
        path = f"/_console/workers/{worker.id}/protocol"
        await self.ok(path, {"record": True})
        for _ in range(120):
            worker.send("ping")
        await worker.settled()

        messages = (await self.ok(path))["messages"]
        self.assertEqual(len(messages), 200)
        self.assertEqual(messages[-1]["number"], 242)

    async def test_a_page_that_watches_it_switches_it_on(self) -> None:
        await self.serve()
        worker = await self.here("f")
        page = await self.page()
        await page.watch(f"protocol:{worker.id}")

        worker.send("ping")
        row = await page.item(lambda row: row["type"] == "pong")
        self.assertEqual(row["direction"], "out")

    async def test_it_is_off_again_when_nobody_watches(self) -> None:
        time = await self.serve_later()
        worker = await self.here()
        page = await self.page()
        path = f"/_console/workers/{worker.id}/protocol"
        await page.watch(f"protocol:{worker.id}")
        self.assertTrue((await self.ok(path))["recording"])

        page.socket.drop()
        await self.until(lambda: not len(self.core.watched))
        time.advance(5)

        self.assertFalse((await self.ok(path))["recording"])

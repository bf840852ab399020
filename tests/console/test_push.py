"""The push channel: what pages hear, and what that costs."""

from __future__ import annotations

from typing import Any

from tests.console.cases import PUBSUB, QUEUE, STATE, STREAM, console
from tests.console.page_case import PageCase
from tests.observability.module_case import otel
from tests.support.probes import probe


class Topics(PageCase):
    """What is pushed."""

    @probe("06.22")
    async def test_a_log_line_arrives(self) -> None:
        await self.serve()
        worker = await self.here()
        page = await self.page()
        await page.watch("logs")

        await worker.call("engine::log::info", {"message": "hello from here"})

        row = await page.item(lambda row: row["body"] == "hello from here")
        self.assertEqual(row["severity_text"], "INFO")
        self.assertIsInstance(row["timestamp_unix_nano_str"], str)

    @probe("06.23")
    async def test_a_worker_comes_and_goes(self) -> None:
        await self.serve()
        page = await self.page()
        await page.watch("workers")
        before = await page.next(id="s", event="snapshot")
        self.assertEqual(before["items"], [])

        worker = await self.here()
        worker.socket.drop()

        added = await page.next(id="s", event="add")
        self.assertEqual([row["id"] for row in added["items"]], [worker.id])
        gone = await page.next(id="s", event="remove")
        self.assertEqual(gone["items"], [{"id": worker.id}])
        self.assertGreater(gone["seq"], added["seq"])

    async def test_functions_and_triggers(self) -> None:
        await self.serve(PUBSUB)
        page = await self.page()
        await page.watch("functions", "f")
        await page.watch("triggers", "t")
        listed = await page.next(id="f", event="snapshot")
        self.assertIn("publish", {row["function_id"] for row in listed["items"]})
        self.assertEqual((await page.next(id="t", event="snapshot"))["items"], [])

        worker = await self.here("shop::order")
        await worker.trigger("subscribe", "shop::order", {"topic": "orders"}, id="t1")
        await page.item(lambda row: row["function_id"] == "shop::order", id="f")
        await page.item(lambda row: row["id"] == "t1", id="t")

        worker.socket.drop()
        gone = await page.next(id="f", event="remove")
        self.assertEqual(gone["items"], [{"key": "default/shop::order"}])
        self.assertEqual((await page.next(id="t", event="remove"))["items"], [{"id": "t1"}])

    async def test_messages_of_a_topic_without_subscribers(self) -> None:
        await self.serve(PUBSUB)
        worker = await self.here()
        page = await self.page()
        await page.watch("pubsub:news")

        await worker.call("publish", {"topic": "other", "data": 1})
        await worker.call("publish", {"topic": "news", "data": {"n": 2}})

        told = await page.next(id="s", event="add")
        self.assertEqual([row["data"] for row in told["items"]], [{"n": 2}])

    async def test_writes_of_a_scope(self) -> None:
        await self.serve(STATE)
        worker = await self.here()
        page = await self.page()
        await page.watch("state:users")

        await worker.call("state::set", {"scope": "users", "key": "k", "value": 1})
        await worker.call("state::delete", {"scope": "users", "key": "k"})

        rows: list[dict[str, Any]] = []
        while len(rows) < 2:
            rows += (await page.next(id="s", event="add"))["items"]
        self.assertEqual(
            [(row["event_type"], row["key"], row["old_value"], row["new_value"]) for row in rows],
            [("state:created", "k", None, 1), ("state:deleted", "k", 1, None)],
        )

    async def test_items_of_a_group(self) -> None:
        await self.serve(STREAM)
        worker = await self.here()
        page = await self.page()
        await page.watch("stream:chat/room:1")

        item = {"stream_name": "chat", "group_id": "room:1", "item_id": "m1", "data": {"t": "hi"}}
        await worker.call("stream::set", item)

        row = await page.item(lambda row: row["id"] == "m1")
        self.assertEqual(row["event"], {"type": "create", "data": {"t": "hi"}})

    async def test_depths_of_queues(self) -> None:
        await self.serve(QUEUE)
        worker = await self.here("mail::send")
        await worker.trigger("queue", "mail::send", {"topic": "mail"})
        page = await self.page()
        await page.watch("queues", "all")
        await page.watch("queue:mail", "one")
        for id in ("all", "one"):
            before = await page.next(id=id, event="snapshot")
            depths = {row["name"]: row["depth"] for row in before["items"]}
            self.assertEqual(depths["mail"], 0)

        await worker.call("enqueue", {"topic": "mail", "data": {}})

        for id in ("all", "one"):
            row = await page.item(lambda row: row["name"] == "mail", "update", id)
            self.assertEqual((row["depth"], row["active"]), (1, 1))

    async def test_traces_and_one_of_them(self) -> None:
        await self.serve()
        worker = await self.here("f")
        page = await self.page()
        trace = "5b8efff798038103d269b633813fc60c"
        await page.watch("traces", "roots")
        await page.watch(f"trace:{trace}", "one")

        parent = f"00-{trace}-eee19b7ec3c1b174-01"
        for context in ({}, {"traceparent": parent}):
            id = worker.invoke("f", {}, **context)
            await worker.answer("f", result=1)
            await worker.result_of(id)

        root = await page.item(lambda row: "f" in row["name"], id="roots")
        self.assertNotEqual(root["trace_id"], trace)
        self.assertEqual(root["start_time_unix_nano_str"], str(root["start_time_unix_nano"]))
        told = await page.next(id="one", event="add")
        self.assertEqual({row["trace_id"] for row in told["items"]}, {trace})
        self.assertEqual(len(told["items"]), 2)

    async def test_figures_and_alerts(self) -> None:
        rule = {"name": "busy", "metric": "iii.invocations.total", "operator": ">", "threshold": 0}
        self.engine = await self.start(otel(alerts=[rule]), console())
        worker = await self.here("f")
        page = await self.page()
        await page.watch("metrics", "m")
        figures = await page.next(id="m", event="snapshot")
        self.assertIn("invocations", figures["items"][0])
        await page.watch("alerts", "a")
        await page.next(id="a", event="snapshot")

        id = worker.invoke("f")
        await worker.answer("f", result=1)
        await worker.result_of(id)
        await worker.call("engine::alerts::evaluate")

        await page.item(lambda row: row["name"] == "busy" and row["firing"], "update", "a")


class Subscriptions(PageCase):
    """How it is pushed."""

    async def test_a_topic_that_is_none_and_a_filter_that_makes_no_sense(self) -> None:
        await self.serve()
        page = await self.page()

        for topic, filter, code in (
            ("weather", None, "NOT_FOUND"),
            ("logs:all", None, "INVALID_ARGUMENTS"),
            ("trace", None, "INVALID_ARGUMENTS"),
            ("trace:xyz", None, "INVALID_ARGUMENTS"),
            ("protocol:nobody", None, "worker_not_found"),
            ("logs", {"colour": "red"}, "INVALID_ARGUMENTS"),
            ("logs", {"body": {"like": "x"}}, "INVALID_ARGUMENTS"),
            ("logs", {"severity_number": {"min": "x"}}, "INVALID_ARGUMENTS"),
        ):
            page.send(op="subscribe", id="s", topic=topic, filter=filter)
            told = await page.next(id="s", event="error")
            self.assertEqual(told["error"]["code"], code, (topic, filter, told))
        page.send(op="dance")
        await page.next(event="error")
        page.socket.text("no json")
        await page.next(event="error")

    async def test_a_filter_lets_through_what_fits(self) -> None:
        await self.serve()
        worker = await self.here()
        page = await self.page()
        wanted = {"severity_number": {"min": 13}, "attributes.order": ["a", "b"]}
        await page.watch("logs", filter=wanted)

        for level, text, order in (
            ("info", "calm", "a"),
            ("warn", "other", "c"),
            ("error", "this", "b"),
        ):
            data = {"message": text, "data": {"order": order}}
            await worker.call(f"engine::log::{level}", data)

        told = await page.next(id="s", event="add")
        self.assertEqual([row["body"] for row in told["items"]], ["this"])

    async def test_what_was_missed_while_the_page_was_away_is_told_when_it_is_back(self) -> None:
        await self.serve()
        worker = await self.here()
        first = await self.page()
        await first.watch("logs")
        await worker.call("engine::log::info", {"message": "one"})
        heard = await first.next(id="s", event="add")

        first.socket.drop()
        await worker.call("engine::log::info", {"message": "two"})
        second = await self.page()
        await second.watch("logs", since=heard["seq"])

        await second.item(lambda row: row["body"] == "two")

    async def test_who_comes_back_too_late_hears_of_the_gap(self) -> None:
        await self.serve()
        page = await self.page()
        await page.watch("logs", since=17)
        told = await page.next(id="s")
        self.assertEqual((told["event"], told["dropped"]), ("gap", None))

    async def test_nothing_more_after_unsubscribing(self) -> None:
        await self.serve()
        worker = await self.here()
        page = await self.page()
        await page.watch("logs")
        page.send(op="unsubscribe", id="s")
        await page.watch("logs", "other")

        await worker.call("engine::log::info", {"message": "hello"})

        await page.item(lambda row: row["body"] == "hello", id="other")
        self.assertEqual([told for told in page.told if told.get("id") == "s"], [])

    async def test_a_closed_page_watches_nothing_any_more(self) -> None:
        time = await self.serve_later()
        page = await self.page()
        await page.watch("logs")
        await page.watch("workers", "w")
        sessions = self.core.watched
        self.assertEqual(sessions.topics, ["logs", "workers"])

        page.socket.drop()
        await self.until(lambda: not len(sessions))
        time.advance(5)

        self.assertEqual(sessions.topics, [])

    @probe("06.24")
    async def test_who_does_not_read_costs_little_and_hears_of_the_gap(self) -> None:
        await self.serve()
        worker = await self.here()
        page = await self.page()
        await page.watch("logs")
        sessions = self.core.watched
        page.socket.pause()

        for number in range(5_000):
            fields = {"message": f"line {number} " + "x" * 1_000}
            worker.send("invokefunction", function_id="engine::log::info", data=fields)
            if number % 500 == 499:
                await worker.settled()
                held = sum(known.waiting_bytes for known in sessions.sessions)
                self.assertLess(held, 4 * 1024 * 1024)
        await worker.settled()
        page.socket.resume()

        told = await page.next(id="s", event="gap")
        self.assertGreater(told["dropped"], 0)
        await worker.call("engine::log::info", {"message": "the end"})
        await page.item(lambda row: row["body"] == "the end")

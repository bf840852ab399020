"""Queues that another engine keeps (03 §1.11)."""

from __future__ import annotations

from typing import Any

from tests.bridge.cases import BridgeCase, FakeEngine, Running
from tests.support.engine_case import RawWorker

QUEUES = {"mail": {"concurrency": 2}}


def queue_entry(url: str | None = None) -> dict[str, Any]:
    """Queues, perhaps behind a bridge, in a configuration."""
    config: dict[str, Any] = {"queue_configs": QUEUES}
    if url is not None:
        name = "modules::queue::adapters::Bridge"
        config["adapter"] = {"class": name, "config": {"bridge_url": url}}
    return {"class": "modules::queue::QueueModule", "config": config}


class QueueCase(BridgeCase):
    """One engine keeps the queues, another has a bridge to it."""

    async def setUp(self) -> None:
        await super().setUp()
        self.owner = await self.start(queue_entry())
        self.user = await self.linked(self.owner.url)
        self.here = await self.worker(self.user, "hook")
        self.there = await self.worker(self.owner, "hook")

    async def linked(self, url: str) -> Running:
        """An engine whose queues are kept over there."""
        self.lines.clear()
        running = await self.start(queue_entry(url))
        await self.eventually(lambda: self.said("iii-queue-bridge: connected"))
        return running

    async def subscribed(self, worker: RawWorker, kind: str = "queue", **config: Any) -> None:
        """``hook`` of a worker gets the messages of topic ``t``, as the owner knows."""
        before = self.owner.engine.triggers.count_by_type().get(kind, 0)
        await worker.trigger(kind, "hook", {"topic": "t", **config})
        counted = self.owner.engine.triggers.count_by_type
        await self.eventually(lambda: counted().get(kind, 0) == before + 1)

    async def publish(self, worker: RawWorker, data: Any, **job: Any) -> Any:
        """``iii::durable::publish``."""
        return await worker.call("iii::durable::publish", {"topic": "t", "data": data, **job})


class Topics(QueueCase):
    """Messages from one engine to the other."""

    async def test_published_here_and_handled_there(self) -> None:
        await self.subscribed(self.there)
        self.assertIsNone(await self.publish(self.here, {"n": 1}))
        call = await self.there.answer("hook")
        self.assertEqual(call["data"], {"n": 1})

    async def test_published_there_and_handled_here(self) -> None:
        await self.subscribed(self.here)
        context = f"00-{'a' * 32}-{'b' * 16}-01"
        id = self.there.invoke(
            "enqueue", {"topic": "t", "data": [1]}, traceparent=context, baggage="x=1"
        )
        await self.there.result_of(id)
        call = await self.here.answer("hook")
        self.assertEqual(call["data"], [1])
        self.assertEqual(call["traceparent"][3:35], "a" * 32)
        self.assertIn("x=1", call["baggage"])
        self.assertNotIn("on_message", call["baggage"])
        await self.depth(0)

    async def depth(self, expected: int) -> None:
        """How many messages the topic has over there."""

        async def stats() -> Any:
            return await self.there.call("engine::queue::topic_stats", {"topic": "t"})

        for _ in range(200):
            if (await stats())["depth"] == expected:
                return
            await self.pause(0.01)
        self.fail(f"{await stats()}")

    async def test_a_failure_is_retried_over_there_and_ends_in_its_dead_letters(self) -> None:
        config = {"maxRetries": 1, "backoffDelayMs": 1}
        await self.subscribed(self.here, queue_config=config)
        await self.publish(self.here, 1)
        for _ in range(2):
            error = {"code": "X", "message": "no"}
            await self.here.answer("hook", error=error)
        dead: list[Any] = []
        for _ in range(100):
            dead = await self.there.call("engine::queue::dlq_messages", {"topic": "t"})
            if dead:
                break
            await self.pause(0.01)
        self.assertEqual((dead[0]["code"], dead[0]["retries"]), ("X", 2))
        [seen] = await self.here.call("engine::queue::dlq_messages", {"topic": "t"})
        self.assertEqual((seen["id"], seen["payload"], seen["code"]), (dead[0]["id"], 1, "X"))
        answer = await self.here.call(
            "iii::queue::redrive_message", {"queue": "t", "message_id": seen["id"]}
        )
        self.assertEqual(answer["redriven"], 1)
        await self.here.answer("hook")
        answer = await self.here.call("iii::queue::redrive", {"queue": "t"})
        self.assertEqual(answer["redriven"], 0)

    async def test_groups_of_both_engines_get_a_copy_each(self) -> None:
        other = await self.worker(self.owner, "other")
        await other.trigger("durable:subscriber", "other", {"topic": "t"})
        await self.subscribed(self.here, "durable:subscriber")
        await self.publish(self.there, 1)
        self.assertEqual((await other.answer("other"))["data"], 1)
        self.assertEqual((await self.here.answer("hook"))["data"], 1)

    async def test_a_durable_group_keeps_messages_while_the_engine_is_away(self) -> None:
        await self.subscribed(self.here, "durable:subscriber")
        await self.user.stop()
        await self.publish(self.there, 1)
        again = await self.linked(self.owner.url)
        worker = await self.worker(again, "hook")
        await worker.trigger("durable:subscriber", "hook", {"topic": "t"})
        self.assertEqual((await worker.answer("hook"))["data"], 1)

    async def test_unsubscribing_ends_the_group_over_there(self) -> None:
        id = await self.here.trigger("durable:subscriber", "hook", {"topic": "t"})
        counted = self.owner.engine.triggers.count_by_type
        await self.eventually(lambda: counted().get("durable:subscriber"))
        self.here.send("unregistertrigger", id=id)
        await self.eventually(lambda: not counted().get("durable:subscriber"))

    async def test_a_worker_that_goes_and_comes_costs_no_attempt(self) -> None:
        await self.subscribed(self.here, queue_config={"maxRetries": 0})
        await self.publish(self.there, 1)
        await self.here.invoked("hook")
        await self.here.leave()
        back = await self.worker(self.user, "hook")
        await back.trigger("queue", "hook", {"topic": "t"})
        self.assertEqual((await back.answer("hook"))["data"], 1)
        self.assertEqual(await self.there.call("engine::queue::dlq_messages", {"topic": "t"}), [])

    async def test_another_worker_takes_over_from_one_that_goes(self) -> None:
        await self.subscribed(self.here, queue_config={"maxRetries": 0})
        other = await self.worker(self.user, "hook")
        await other.trigger("queue", "hook", {"topic": "t"})
        await self.publish(self.there, 1)
        await self.eventually(lambda: self.here.socket.frames or other.socket.frames)
        gone, left = (self.here, other) if self.here.socket.frames else (other, self.here)
        await gone.invoked("hook")
        await gone.leave()
        self.assertEqual((await left.answer("hook"))["data"], 1)

    async def test_while_nobody_here_can_run_them_they_go_to_others(self) -> None:
        await self.subscribed(self.here)
        gone = self.user.engine
        await self.here.leave()
        await self.eventually(lambda: gone.functions.get("hook") is None)
        await self.publish(self.there, 1)
        await self.subscribed(self.there)
        await self.publish(self.there, 2)
        self.assertEqual((await self.there.answer("hook"))["data"], 2)
        back = await self.worker(self.user, "hook")
        await back.trigger("queue", "hook", {"topic": "t"})
        self.assertEqual((await back.answer("hook"))["data"], 1)

    async def test_receipts_delays_and_keys_are_those_of_the_other_engine(self) -> None:
        receipt = await self.publish(self.here, 1, delay_ms=60_000, idempotency_key="k")
        self.assertEqual(receipt["duplicate"], False)
        again = await self.publish(self.here, 1, delay_ms=60_000, idempotency_key="k")
        self.assertEqual(again, {**receipt, "duplicate": True})
        [row] = await self.here.call("engine::queue::scheduled", {"topic": "t"})
        self.assertEqual((row["id"], row["state"]), (receipt["messageReceiptId"], "delayed"))
        stats = await self.here.call("engine::queue::topic_stats", {"topic": "t"})
        self.assertEqual(stats["delayed"], 1)
        id = receipt["messageReceiptId"]
        moved = await self.here.call(
            "engine::queue::reschedule", {"id": id, "deliver_at": 9 * 10**13}
        )
        self.assertEqual(moved, {"changed": True})
        self.assertEqual(
            await self.here.call("engine::queue::cancel", {"id": id}), {"cancelled": True}
        )
        self.assertFalse((await self.here.call("engine::queue::cancel", {"id": id}))["cancelled"])

    async def test_a_group_of_ours_is_one_of_the_groups_over_there(self) -> None:
        other = await self.worker(self.owner, "other")
        await other.trigger("durable:subscriber", "other", {"topic": "t"})
        await self.subscribed(self.here, "durable:subscriber")
        await self.here.call("engine::queue::pause", {"topic": "t::hook"})
        await self.publish(self.here, 1)
        self.assertEqual((await other.answer("other"))["data"], 1)
        for topic in ("t", "t::hook"):
            stats = await self.here.call("engine::queue::topic_stats", {"topic": topic})
            self.assertEqual((stats["waiting"], stats["paused"]), (1, True), topic)
        await self.here.call("engine::queue::resume", {"topic": "t::hook"})
        self.assertEqual((await self.here.answer("hook"))["data"], 1)

    async def test_a_topic_nobody_listens_to_is_listed(self) -> None:
        await self.publish(self.here, 1)
        rows = await self.here.call("engine::queue::list_topics", {})
        self.assertIn({"name": "t", "broker_type": "bridge", "subscriber_count": 0}, rows)
        rows = await self.here.call("engine::queue::dlq_topics", {})
        self.assertIn({"topic": "t", "broker_type": "bridge", "message_count": 0}, rows)

    async def test_pause_resume_and_purge(self) -> None:
        await self.subscribed(self.here)
        await self.here.call("engine::queue::pause", {"topic": "t"})
        await self.publish(self.here, 1)
        self.assertEqual(
            await self.here.call("engine::queue::purge", {"topic": "t"}), {"purged": 1}
        )
        await self.publish(self.here, 2)
        await self.here.call("engine::queue::resume", {"topic": "t"})
        self.assertEqual((await self.here.answer("hook"))["data"], 2)


class Named(QueueCase):
    """Named queues are worked off where they are."""

    async def test_a_call_on_a_named_queue(self) -> None:
        id = self.here.invoke("hook", {"a": 1}, action={"type": "enqueue", "queue": "mail"})
        answer = await self.here.result_of(id)
        self.assertIn("messageReceiptId", answer["result"])
        call = await self.there.answer("hook")
        self.assertEqual(call["data"]["a"], 1)
        self.assertEqual(self.here.inbox, [])


class Originals(BridgeCase):
    """Engines of the original, of each dialect."""

    async def user(self, **answers: Any) -> tuple[RawWorker, FakeEngine]:
        """A worker of an engine whose queues are kept by a fake."""
        fake = await self.fake(answers={id.replace("__", "::"): a for id, a in answers.items()})
        user = await self.start(queue_entry(fake.url))
        await self.eventually(lambda: self.said("iii-queue-bridge: connected"))
        return await self.worker(user, "hook"), fake

    async def test_either_publish_function(self) -> None:
        for function in ("iii__durable__publish", "enqueue"):
            self.lines.clear()
            caller, fake = await self.user(**{function: {}})
            for _ in range(2):
                await caller.call("enqueue", {"topic": "t", "data": 1})
            asked = fake.got("invokefunction", function_id=function.replace("__", "::"))
            self.assertEqual([m["data"] for m in asked], 2 * [{"topic": "t", "data": 1}])
            tried = fake.got("invokefunction", function_id="iii::durable::publish")
            self.assertEqual(len(tried), 2 if function != "enqueue" else 1)

    async def test_what_it_does_not_know_is_refused(self) -> None:
        caller, _ = await self.user(iii__durable__publish={})
        asked = {"topic": "t", "data": 1, "delay_ms": 5}
        error = await caller.error_of("enqueue", asked)
        self.assertIn("has no delays", error["message"])
        error = await caller.error_of("engine::queue::dlq_messages", {"topic": "t"})
        self.assertIn("does not support DLQ operations", error["message"])

    async def test_its_error_is_the_caller_s(self) -> None:
        error = {"error": {"code": "topic_not_set", "message": "no"}}
        caller, _ = await self.user(iii__durable__publish=error)
        said = await caller.error_of("enqueue", {"topic": "t", "data": 1})
        self.assertEqual(said["code"], "enqueue_error")
        self.assertIn("remote error (topic_not_set): no", said["message"])

    async def test_one_group_for_all_before_011(self) -> None:
        caller, fake = await self.user()
        await caller.trigger("durable:subscriber", "hook", {"topic": "t"})
        await self.eventually(lambda: fake.got("registertrigger"))
        [asked] = fake.got("registertrigger")
        self.assertEqual(asked["trigger_type"], "durable:subscriber")
        self.assertTrue(asked["function_id"].startswith("queue::bridge::on_message::"))
        error = {"code": "trigger_type_not_found", "message": "Trigger type not found"}
        refusal = {"type": "triggerregistrationresult", "id": asked["id"], "error": error}
        fake.links[0].say({**refusal, "trigger_type": "", "function_id": ""})
        await self.eventually(lambda: fake.got("registertrigger", trigger_type="queue"))
        [again] = fake.got("registertrigger", trigger_type="queue")
        self.assertEqual(again["config"], {"topic": "t"})
        call = {"invocation_id": "1", "function_id": again["function_id"], "data": 5}
        fake.links[0].say({"type": "invokefunction", **call})
        self.assertEqual((await caller.answer("hook"))["data"], 5)
        await self.eventually(lambda: fake.got("invocationresult"))

    async def test_away_means_not_accepted(self) -> None:
        caller, fake = await self.user(iii__durable__publish=None)
        id = caller.invoke("enqueue", {"topic": "t", "data": 1})
        await self.eventually(
            lambda: fake.got("invokefunction", function_id="iii::durable::publish")
        )
        await fake.stop()
        error = (await caller.result_of(id))["error"]
        self.assertEqual(error["code"], "enqueue_error")
        self.assertIn("iii is not connected", error["message"])

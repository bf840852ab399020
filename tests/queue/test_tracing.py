"""Spans of messages (05 A8): from the worker that puts one to the function that gets it."""

from __future__ import annotations

from typing import Any

from iii.modules.queue.spans import delivered_baggage
from iii.storage.store import StoreError
from tests.queue.cases import QueueCase
from tests.support.engine_case import Message, RawWorker
from tests.support.recording import Recording

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331-01"
UNSAMPLED = f"00-{TRACE}-b7ad6b7169203331-00"


class TracedCase(QueueCase):
    """Everything is recorded; the caller's own span is ``PARENT``."""

    queues = {"mail": {"max_retries": 2, "backoff_ms": 1000}}

    def prepare(self) -> None:
        """QueueCase: and record."""
        super().prepare()
        self.recording = Recording(self.engine)

    async def put(self, function_id: str = "send", **more: Any) -> None:
        """Put a call on ``mail``."""
        action = {"type": "enqueue", "queue": "mail"}
        await self.caller.call(function_id, {"to": 1}, action=action, **more)
        await self.idle()

    async def tell(self, **more: Any) -> None:
        """Publish on the topic ``orders``."""
        await self.caller.call("enqueue", {"topic": "orders", "data": 1}, **more)
        await self.idle()

    async def attempt(self, worker: RawWorker, **outcome: Any) -> Message:
        """Answer the call that is there."""
        [call] = await self.calls(worker)
        worker.reply(call, **(outcome or {"result": None}))
        await worker.settled()
        return call


class NamedQueues(TracedCase):
    """``enqueue f → queue``, then ``fn_queue queue`` with the call inside."""

    async def test_from_the_worker_to_the_call(self) -> None:
        worker = await self.worker("send")
        await self.put(traceparent=PARENT)
        call = await self.attempt(worker)
        self.assertEqual(
            self.recording.tree(TRACE),
            ["enqueue send → mail", "  fn_queue mail", "    call send"],
        )
        self.assertEqual(self.recording.one("enqueue send → mail").parent, PARENT)
        self.assertEqual(self.recording.one("call send").context, call["traceparent"])

    async def test_what_the_spans_say(self) -> None:
        worker = await self.worker("send")
        receipt = await self.enqueue("mail", "send", 1)
        await self.attempt(worker)
        enqueued = self.recording.one("enqueue send → mail")
        self.assertEqual((enqueued.kind, enqueued.ok), ("producer", True))
        self.assertEqual(
            enqueued.attributes,
            {
                "function_id": "send",
                "queue": "mail",
                "messaging.system": "iii-queue",
                "messaging.destination.name": "mail",
                "messaging.operation.type": "publish",
            },
        )
        delivered = self.recording.one("fn_queue mail")
        self.assertEqual((delivered.kind, delivered.ok, delivered.error), ("consumer", True, None))
        self.assertEqual(
            delivered.attributes,
            {
                "function_id": "send",
                "queue": "mail",
                "attempt": 0,
                "delivery_id": receipt,
                "messaging.system": "iii-queue",
                "messaging.destination.name": "mail",
                "messaging.operation.type": "process",
                "iii.tag.kind": "queue.process",
                "iii.tag.display_name": "queue(mail) send",
            },
        )

    async def test_without_a_parent_the_message_begins_a_trace(self) -> None:
        worker = await self.worker("send")
        await self.put()
        await self.attempt(worker)
        enqueued = self.recording.one("enqueue send → mail")
        self.assertIsNone(enqueued.parent)
        self.assertEqual(
            self.recording.tree(enqueued.trace),
            ["enqueue send → mail", "  fn_queue mail", "    call send"],
        )

    async def test_called_as_a_function_it_belongs_to_the_call(self) -> None:
        worker = await self.worker("send")
        asked = {"queue": "mail", "function_id": "send", "data": 1}
        await self.caller.call("engine::queue::enqueue", asked)
        await self.idle()
        await self.attempt(worker)
        self.assertEqual(
            self.recording.tree(self.recording.one("fn_queue mail").trace),
            [
                "handle_invocation engine::queue::enqueue",
                "  call engine::queue::enqueue",
                "    enqueue send → mail",
                "      fn_queue mail",
                "        call send",
            ],
        )

    async def test_every_attempt_is_a_span_of_the_same_trace(self) -> None:
        worker = await self.worker("send")
        await self.put(traceparent=PARENT)
        first = await self.attempt(
            worker, error={"code": "oops", "message": "no", "stacktrace": "at"}
        )
        await self.advance(10)
        second = await self.attempt(worker)
        self.assertNotEqual(first["traceparent"], second["traceparent"])
        self.assertEqual(
            self.recording.tree(TRACE),
            [
                "enqueue send → mail",
                "  fn_queue mail",
                "    call send",
                "  fn_queue mail",
                "    call send",
            ],
        )
        failed, handled = self.recording.named("fn_queue mail")
        self.assertEqual((failed.ok, failed.error), (False, ("oops", "no", "at")))
        self.assertEqual((handled.ok, handled.error), (True, None))
        self.assertEqual([s.attributes["attempt"] for s in (failed, handled)], [0, 1])

    async def test_an_attempt_that_takes_too_long_has_failed(self) -> None:
        await self.worker("send")
        await self.caller.call(
            "queue::define", {"queue": "quick", "config": {"dispatch_timeout_ms": 1000}}
        )
        await self.enqueue("quick", "send", 1)
        await self.idle()
        await self.advance(2)
        span = self.recording.one("fn_queue quick")
        assert span.error is not None
        self.assertEqual((span.ok, span.error[0]), (False, "invocation_timeout"))

    async def test_it_is_the_same_trace_after_a_restart(self) -> None:
        await self.put(traceparent=PARENT)
        before = self.recording.one("enqueue send → mail")
        await self.restart()
        worker = await self.worker("send")
        await self.attempt(worker)
        self.assertEqual(self.recording.one("fn_queue mail").parent, before.context)

    async def test_what_is_not_recorded_stays_so(self) -> None:
        worker = await self.worker("send")
        await self.put(traceparent=UNSAMPLED)
        call = await self.attempt(worker)
        self.assertEqual(self.recording.tree(TRACE), [])
        self.assertEqual(call["traceparent"][:36], UNSAMPLED[:36])
        self.assertNotEqual(call["traceparent"], UNSAMPLED)
        self.assertTrue(call["traceparent"].endswith("-00"))


class Topics(TracedCase):
    """``publish topic``, then ``queue topic`` for each group."""

    async def test_from_the_publisher_to_every_group(self) -> None:
        one = await self.subscriber("one", "orders", "durable:subscriber")
        two = await self.subscriber("two", "orders", "durable:subscriber")
        await self.tell(traceparent=PARENT)
        await self.attempt(one)
        await self.attempt(two)
        self.assertEqual(
            self.recording.tree(TRACE),
            [
                "handle_invocation enqueue",
                "  call enqueue",
                "    publish orders",
                "      queue orders",
                "        call one",
                "      queue orders",
                "        call two",
            ],
        )

    async def test_what_the_spans_say(self) -> None:
        worker = await self.subscriber("one", "orders")
        receipt = (await self.publish("orders", 1, receipt=True))["messageReceiptId"]
        await self.attempt(worker)
        published = self.recording.one("publish orders")
        self.assertEqual((published.kind, published.ok), ("producer", True))
        self.assertEqual(
            published.attributes,
            {
                "messaging.system": "iii-queue",
                "messaging.destination.name": "orders",
                "messaging.operation.type": "publish",
                "baggage.topic": "orders",
            },
        )
        delivered = self.recording.one("queue orders")
        self.assertEqual((delivered.kind, delivered.ok), ("consumer", True))
        self.assertEqual(
            delivered.attributes,
            {
                "function_id": "one",
                "queue": "orders",
                "attempt": 0,
                "job_id": receipt,
                "messaging.system": "iii-queue",
                "messaging.destination.name": "orders",
                "messaging.operation.type": "process",
                "baggage.queue": "orders",
            },
        )

    async def test_the_condition_is_asked_within_the_attempt(self) -> None:
        worker = await self.subscriber("one", "orders", condition_function_id="check")
        await worker.register("check")
        await self.tell(traceparent=PARENT)
        await self.attempt(worker, result=True)
        await self.idle()
        await self.attempt(worker)
        [line] = [i for i, s in enumerate(self.recording.tree(TRACE)) if "queue orders" in s]
        self.assertEqual(
            self.recording.tree(TRACE)[line:],
            ["      queue orders", "        call check", "        call one"],
        )

    async def test_a_message_that_is_not_kept_is_told_in_its_span(self) -> None:
        self.module.adapter.put = _refuses
        error = await self.caller.error_of("enqueue", {"topic": "orders", "data": 1})
        span = self.recording.one("publish orders")
        self.assertEqual((span.ok, span.error), (False, (error["code"], error["message"], None)))


class Baggage(TracedCase):
    """03 §5, 0.19.0 and 0.21.3: what a function gets of the baggage of its message."""

    async def test_it_names_the_target_and_leaves_out_what_was_said_about_the_producer(
        self,
    ) -> None:
        worker = await self.worker("send")
        await self.put(
            baggage="tenant=a;p=1, iii.tag.kind=x,iii.function.id=other , iii.tag.hidden=true"
            ",iii.tag.display_name=y,iii.session.id=7"
        )
        call = await self.attempt(worker)
        self.assertEqual(call["baggage"], "tenant=a;p=1,iii.session.id=7,iii.function.id=send")

    async def test_a_subscriber_is_named_too(self) -> None:
        worker = await self.subscriber("one", "orders")
        await self.tell()
        self.assertEqual((await self.attempt(worker))["baggage"], "iii.function.id=one")

    def test_an_id_is_written_so_that_it_can_be_read(self) -> None:
        rows = (
            (None, "a::b", "iii.function.id=a::b"),
            ("", "a b,c", "iii.function.id=a%20b%2Cc"),
            ("k=v", "ü", "k=v,iii.function.id=%C3%BC"),
        )
        for baggage, function_id, expected in rows:
            self.assertEqual(delivered_baggage(baggage, function_id), expected)


class Off(QueueCase):
    """05 A8.1: without tracing everything goes through as it is."""

    queues = {"mail": {}}

    async def test_what_came_is_delivered(self) -> None:
        worker = await self.worker("send")
        action = {"type": "enqueue", "queue": "mail"}
        for context in ({"traceparent": PARENT, "baggage": "iii.tag.kind=x"}, {}):
            await self.caller.call("send", 1, action=action, **context)
            [call] = await self.calls(worker)
            self.assertEqual({k: v for k, v in call.items() if k in _CONTEXT}, context)
            worker.reply(call, result=None)

    async def test_a_direct_call_keeps_the_context_in_its_input_and_no_other(self) -> None:
        """``engine::queue::enqueue`` called by a worker, as before tracing."""
        worker = await self.worker("send")
        asked = {"queue": "mail", "function_id": "send", "data": 1}
        await self.caller.call("engine::queue::enqueue", asked, traceparent=PARENT)
        [call] = await self.calls(worker)
        self.assertNotIn("traceparent", call)


_CONTEXT = ("traceparent", "baggage")


async def _refuses(new: Any, once: Any = None) -> Any:
    raise StoreError("disk_full", "the disk is full")

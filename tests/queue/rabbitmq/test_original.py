"""What engines of the original put on the broker and read from it (03 §1.10)."""

from __future__ import annotations

import json

from iii.modules.queue.names import named
from tests.queue.contract.rabbitmq import RabbitMQ
from tests.queue.rabbitmq.cases import Beside, RabbitCase
from tests.support.probes import probe

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class NamedQueues(RabbitCase):
    """03 §1.10: exchanges, queues, bodies, headers."""

    queues = {
        "mail": {"max_retries": 2, "backoff_ms": 200},
        "other": {"max_retries": 1, "backoff_ms": 40, "backoff": "exponential"},
    }

    async def setUp(self) -> None:
        await super().setUp()
        topology = self.node.module.adapter._topology

        async def there() -> bool:
            return bool(topology.is_ready(named("mail")))

        await self.until(there, "the queue and its bindings")

    @probe("03.47")
    async def test_the_six_objects(self) -> None:
        """With these arguments and no others."""
        main, client = self.named("mail"), self.beside()
        for exchange in (main, f"{main}::retry", f"{main}::dlq"):
            self.assertTrue(client.exchange(exchange, "direct"))
            self.assertFalse(client.exchange(exchange, "fanout"))
        back = {"x-dead-letter-exchange": main, "x-dead-letter-routing-key": "mail"}
        dead = {"x-dead-letter-exchange": f"{main}::dlq"}
        self.assertTrue(client.queue(f"{main}.queue", **dead))
        self.assertTrue(client.queue(f"{main}::retry.queue", **back, **{"x-message-ttl": 200}))
        self.assertTrue(client.queue(f"{main}::dlq.queue"))
        self.assertFalse(client.queue(f"{main}::retry.queue", **back, **{"x-message-ttl": 201}))
        for exchange, queue in (
            (main, f"{main}.queue"),
            (f"{main}::retry", f"{main}::retry.queue"),
            (f"{main}::dlq", f"{main}::dlq.queue"),
        ):
            await self.admin("pause", queue="mail")
            client.publish(exchange, "mail", b"1", {"function_id": "f"})
            found = client.get(queue) or client.get(f"{main}.queue")
            self.assertIsNotNone(found, queue)

    @probe("03.47")
    async def test_what_we_put_the_original_can_read(self) -> None:
        """The payload; its receipt; the target and the trace in headers."""
        await self.admin("pause", queue="mail")
        action = {"type": "enqueue", "queue": "mail"}
        result = await self.call("f", {"a": 1}, action=action, traceparent=TRACE, baggage="k=v")
        found = self.beside().get(f"{self.named('mail')}.queue")
        assert found is not None
        properties, body = found
        self.assertEqual(json.loads(body), {"a": 1})
        self.assertEqual(properties.message_id, result["messageReceiptId"])
        self.assertEqual(
            (properties.content_type, properties.delivery_mode), ("application/json", 2)
        )
        headers = properties.headers
        self.assertEqual((headers["function_id"], headers["baggage"]), ("f", "k=v"))
        self.assertEqual(headers["traceparent"].split("-")[1], TRACE.split("-")[1])
        self.assertNotIn("x-attempt", headers)

    async def test_what_the_original_puts_we_run(self) -> None:
        """Attempts that were made elsewhere count."""
        client = self.beside()
        worker = await self.worker("f")
        headers = {"function_id": "f", "traceparent": TRACE, "x-attempt": 2}
        client.publish(self.named("mail"), "mail", b'{"a":1}', headers, message_id="m1")
        [call] = await self.take(worker)
        self.assertEqual(call["data"], {"a": 1})
        self.assertEqual(call["traceparent"].split("-")[1], TRACE.split("-")[1])
        worker.reply(call, error={"code": "oops", "message": "no"})
        [letter] = await self.dead("mail", 1)
        self.assertEqual((letter["id"], letter["retries"]), ("m1", 3))

    @probe("03.48")
    async def test_flat_retries_and_a_raw_dead_letter(self) -> None:
        """Three calls, 200 ms apart; the payload as it was in the DLQ."""
        worker = await self.worker("f")
        receipt = await self.enqueue("mail", "f", {"to": "x"})
        gaps = await self.gaps_ms(worker, 3)
        for gap_ms in gaps:
            self.assertGreaterEqual(gap_ms, 199)
            self.assertLessEqual(gap_ms, 1500)
        await self.dead("mail", 1)
        found = self.beside().get(f"{self.named('mail')}::dlq.queue")
        assert found is not None
        self.assertEqual(json.loads(found[1]), {"to": "x"})
        self.assertEqual(found[0].message_id, receipt)
        await self.idle(worker)

    async def test_dead_letters_of_the_original(self) -> None:
        """They have no history; one without an id gets one from its body."""
        client = self.beside()
        dead = f"{self.named('mail')}::dlq.queue"
        client.publish("", dead, b'{"n":1}', {"function_id": "f", "x-attempt": 2}, message_id="m1")
        client.publish("", dead, b'{"n":2}', {"function_id": "f"})
        last, first = await self.dead("mail", 2)
        self.assertEqual((first["id"], first["retries"], first["payload"]), ("m1", 3, {"n": 1}))
        self.assertIn("Function f exhausted retries", first["error"])
        self.assertRegex(last["id"], "^dlq-[0-9a-f]{16}$")
        worker = await self.worker("f")
        asked = {"queue": "mail", "message_id": last["id"]}
        self.assertEqual((await self.call("iii::queue::redrive_message", asked))["redriven"], 1)
        self.assertEqual(await self.handled(worker), [{"n": 2}])
        await self.dead("mail", 1)

    async def test_what_nobody_can_read_is_dead_at_once(self) -> None:
        """And the messages behind it go on (03 §6.10)."""
        client = self.beside()
        worker = await self.worker("f")
        client.publish(self.named("mail"), "mail", b"\xff{", {"function_id": "f"}, message_id="m1")
        client.publish(self.named("mail"), "mail", b"1", message_id="m2")
        await self.enqueue("mail", "f", 3)
        self.assertEqual(await self.handled(worker), [3])
        letters = await self.dead("mail", 2)
        self.assertEqual({letter["id"] for letter in letters}, {"m1", "m2"})
        self.assertEqual({letter["code"] for letter in letters}, {"deserialization_error"})


class Prepared(RabbitMQ):
    """A broker on which others have been before."""

    def before(self) -> None:
        """RabbitMQ: a retry queue with another time, an exchange of another type."""
        client = Beside(self.broker.url, self.prefix)
        main = f"{self.prefix}.__fn_queue::mail"
        back = {"x-dead-letter-exchange": main, "x-dead-letter-routing-key": "mail"}
        client.exchange(main, "direct")
        client.queue(f"{main}::retry.queue", **back, **{"x-message-ttl": 5})
        client.exchange(f"{self.prefix}.t.exchange", "fanout")
        client.close()


class OtherArguments(RabbitCase):
    """03 §1.10: what is there otherwise is used as it is; the start never fails for it."""

    backend_class = Prepared
    queues = {"mail": {"max_retries": 1, "backoff_ms": 100}}

    async def test_a_retry_queue_with_another_time(self) -> None:
        """The back-off is the configured one all the same."""
        worker = await self.worker("f")
        await self.enqueue("mail", "f", 1)
        [gap_ms] = (await self.gaps_ms(worker, 2))[:1]
        self.assertGreaterEqual(gap_ms, 99)

    async def test_a_fanout_exchange(self) -> None:
        """Of a newer release: both kinds of groups get their copies."""
        one = await self.subscriber("f", "t", "durable:subscriber")
        other = await self.subscriber("g", "t")
        await self.publish("t", 1)
        self.assertEqual(await self.handled(one), [1])
        self.assertEqual(await self.handled(other), [1])


class Topics(RabbitCase):
    """03 §1.10: the older layout for ``queue``, the newer one for ``durable:subscriber``."""

    settings = {"max_attempts": 2}

    async def test_a_message_of_the_original(self) -> None:
        """Through the exchange; its header says how often it was tried."""
        client, prefix = self.beside(), self.backend.prefix
        worker = await self.subscriber("f", "t")
        await self.publish("t", 0)
        self.assertEqual(await self.handled(worker), [0])
        body = {
            "id": "j1",
            "topic": "t",
            "data": {"a": 1},
            "attempts_made": 0,
            "max_attempts": 3,
            "created_at": 1_760_000_000_000,
            "traceparent": TRACE,
            "baggage": None,
        }
        headers = {
            "x-iii-job-id": "j1",
            "x-iii-attempts": 1,
            "x-iii-max-attempts": 3,
            "x-iii-created-at": "1760000000000",
        }
        client.publish(f"{prefix}.t.exchange", "t", json.dumps(body).encode(), headers)
        [call] = await self.take(worker)
        self.assertEqual(call["data"], {"a": 1})
        worker.reply(call, error={"code": "oops", "message": "no"})
        [letter] = await self.dead("t", 1)
        self.assertEqual((letter["id"], letter["retries"]), ("j1", 2))
        self.assertEqual(letter["created_at_ms"], 1_760_000_000_000)

    async def test_what_the_original_reads(self) -> None:
        """Body and headers; the queue of a function."""
        worker = await self.subscriber("f", "t", "durable:subscriber")
        await self.publish("t", 0)
        await self.handled(worker)
        await self.admin("pause", topic="t")
        receipt = await self.receipt("t", {"a": [1]})
        found = self.beside().get(f"{self.backend.prefix}.t.f.queue")
        assert found is not None
        properties, body = found
        job = json.loads(body)
        self.assertEqual((job["id"], job["topic"], job["data"]), (receipt, "t", {"a": [1]}))
        self.assertEqual((job["attempts_made"], job["max_attempts"]), (0, 2))
        self.assertIsInstance(job["created_at"], int)
        self.assertEqual(properties.headers["x-iii-job-id"], receipt)
        self.assertEqual(properties.headers["x-iii-attempts"], 0)
        self.assertEqual(properties.headers["x-iii-created-at"], str(job["created_at"]))

    async def test_a_dead_letter_of_the_original(self) -> None:
        """Its text is wrapped in quotes; the message is found in it all the same."""
        await self.subscriber("f", "t")
        await self.publish("t", 0)
        job = {"id": "j1", "topic": "t", "data": 5, "attempts_made": 3, "max_attempts": 3}
        error = '"Job processing error: ErrorBody { code: \\"boom\\", message: \\"no\\" }"'
        body = {"job": job, "error": error, "exhausted_at": 1_760_000_000_000}
        dead = f"{self.backend.prefix}.t.dlq"
        self.beside().publish("", dead, json.dumps(body).encode())
        [letter] = await self.dead("t", 1)
        self.assertEqual((letter["id"], letter["payload"], letter["retries"]), ("j1", 5, 3))
        self.assertEqual((letter["code"], letter["failed_at"]), ("boom", 1_760_000_000))
        self.assertIn('message: "no"', letter["error"])

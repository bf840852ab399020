"""Addresses, frames, names, waits: without a broker."""

from __future__ import annotations

from unittest import TestCase

import pika.frame
import pika.spec
from hypothesis import given, settings
from hypothesis import strategies as st

from iii.errors import StartError
from iii.modules.queue.adapters.rabbitmq.names import Names
from iii.modules.queue.adapters.rabbitmq.post import LONGEST_WAIT_MS, SHORTEST_WAIT_MS, step_ms
from iii.modules.queue.names import QueueName, named, topic
from iii.rabbitmq import Properties, parse_url
from iii.rabbitmq.frames import content, publish_method

SHORT = st.text(max_size=60)


class Addresses(TestCase):
    """``amqp_url``."""

    def test_all_of_it(self) -> None:
        """User, password, port and virtual host, percent-decoded; none of it secret in a text."""
        address = parse_url("amqp://us%40er:p%2Fw@broker:5673/my%2Fhost")
        self.assertEqual((address.username, address.password), ("us@er", "p/w"))
        self.assertEqual((address.host, address.port, address.vhost), ("broker", 5673, "my/host"))
        self.assertNotIn("p/w", f"{address} {address!r}")
        self.assertNotIn("us@er", f"{address} {address!r}")

    def test_defaults(self) -> None:
        """Those of AMQP."""
        address = parse_url("amqp://localhost")
        self.assertEqual((address.port, address.vhost), (5672, "/"))
        self.assertEqual((address.username, address.password), ("guest", "guest"))
        self.assertEqual(parse_url("amqps://h/").port, 5671)

    def test_what_is_refused(self) -> None:
        """Without repeating it."""
        for url in ("http://u:secret@h", "amqp://u:secret@h:x", "amqp://u:secret@h/a/b"):
            with self.assertRaises(StartError) as caught:
                parse_url(url)
            self.assertNotIn("secret", str(caught.exception))


class Frames(TestCase):
    """What we write, pika reads."""

    @settings(max_examples=60, deadline=None)
    @given(
        SHORT,
        SHORT,
        st.binary(max_size=300),
        st.dictionaries(
            SHORT, st.one_of(st.text(max_size=300), st.integers(-(2**40), 2**40)), max_size=4
        ),
        st.none() | st.integers(0, 255),
    )
    def test_a_message(
        self, exchange: str, key: str, body: bytes, headers: dict[str, str | int], prio: int | None
    ) -> None:
        """In as many frames as it takes."""
        properties = Properties("id", headers, prio)
        data = publish_method(7, exchange, key) + content(7, properties.encoded(), body, 64)
        size, frame = pika.frame.decode_frame(data)
        self.assertEqual((frame.method.exchange, frame.method.routing_key), (exchange, key))
        self.assertTrue(frame.method.mandatory)
        data = data[size:]
        size, frame = pika.frame.decode_frame(data)
        self.assertEqual(frame.body_size, len(body))
        found = frame.properties
        self.assertEqual((found.message_id, found.delivery_mode), ("id", 2))
        self.assertEqual((found.headers or {}, found.priority), (headers, prio))
        data = data[size:]
        read = b""
        while data:
            size, frame = pika.frame.decode_frame(data)
            self.assertEqual(frame.channel_number, 7)
            self.assertLessEqual(size, 64)
            read += frame.fragment
            data = data[size:]
        self.assertEqual(read, body)

    def test_a_name_that_is_too_long(self) -> None:
        """Is refused before it is sent."""
        with self.assertRaises(ValueError):
            publish_method(1, "x" * 256, "")

    def test_counts_are_unsigned(self) -> None:
        """The original reads no other ones."""
        self.assertIn(
            b"\x09x-attempti\x00\x00\x00\x02", Properties("m", {"x-attempt": 2}).encoded()
        )


class Places(TestCase):
    """03 §1.10: names."""

    def test_the_original_s(self) -> None:
        """Topics, functions, namespaces, named queues."""
        names = Names("iii")
        self.assertEqual(names.place(topic("t")).queue, "iii.t.queue")
        self.assertEqual(names.place(topic("t")).dead, "iii.t.dlq")
        group = names.place(QueueName("group", "t", "f"))
        self.assertEqual((group.queue, group.dead), ("iii.t.f.queue", "iii.t.f.dlq"))
        self.assertEqual(group.exchange, "iii.t.exchange")
        spaced = names.place(QueueName("group", "t@x", "f\\", "blue"))
        self.assertEqual(spaced.queue, "iii.t\\@x.f\\\\@blue.queue")
        mail = names.place(named("mail"))
        self.assertEqual((mail.exchange, mail.key), ("iii.__fn_queue::mail", "mail"))
        self.assertEqual(mail.wait(500), "iii.__fn_queue::mail::retry.500.queue")

    @given(st.integers(0, 2**45))
    def test_steps(self, wait_ms: int) -> None:
        """Never too long but for the shortest, never less than half of what is left."""
        step = step_ms(wait_ms)
        if wait_ms > SHORTEST_WAIT_MS:
            self.assertLessEqual(step, wait_ms)
            self.assertGreater(2 * step, min(wait_ms, LONGEST_WAIT_MS))

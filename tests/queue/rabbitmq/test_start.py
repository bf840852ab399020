"""The broker is not there at the start, or does not want us."""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from iii.engine.core import Engine
from iii.engine.module import ModuleApi
from iii.errors import StartError
from iii.modules.queue.adapters.rabbitmq import RabbitAdapter
from iii.modules.queue.adapters.rabbitmq.config import RabbitQueueConfig
from tests.support.rabbitmq import broker, unique_prefix


class Start(TestCase):
    """The engine does not start, and says why; nothing is left behind."""

    timeout = 90

    async def refused(self, url: str) -> StartError:
        """Start the adapter; its error."""
        adapter = RabbitAdapter(RabbitQueueConfig(amqp_url=url, prefix=unique_prefix()))
        stores: dict[str, Any] = {}
        try:
            await adapter.start(ModuleApi(Engine(reactor), "iii-queue"), stores)
        except StartError as error:
            return error
        finally:
            adapter.closing()
            await adapter.stop()
        raise AssertionError("it started")

    async def test_nobody_is_there(self) -> None:
        """``rabbitmq_unavailable``, with the address and without the password."""
        with socket.socket() as holder:  # bound, and nobody listens
            holder.bind(("127.0.0.1", 0))
            port = holder.getsockname()[1]
            error = await self.refused(f"amqp://me:secret@127.0.0.1:{port}")
        self.assertEqual(error.code, "rabbitmq_unavailable")
        self.assertIn("Failed to connect to RabbitMQ at amqp://127.0.0.1:", error.message)
        self.assertNotIn("secret", error.message)

    async def test_a_wrong_password(self) -> None:
        """``rabbitmq_error``."""
        port = broker().port
        error = await self.refused(f"amqp://guest:wrong@127.0.0.1:{port}")
        self.assertEqual(error.code, "rabbitmq_error", error)
        self.assertIn("ACCESS_REFUSED", error.message)
        self.assertNotIn("wrong", error.message)

    async def test_no_such_virtual_host(self) -> None:
        """The same."""
        port = broker().port
        error = await self.refused(f"amqp://guest:guest@127.0.0.1:{port}/nowhere")
        self.assertEqual(error.code, "rabbitmq_error", error)

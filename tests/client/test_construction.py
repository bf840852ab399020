"""Making a client: addresses, options, environment."""

from __future__ import annotations

import os
from unittest import TestCase
from unittest.mock import patch

from iii import III, IIIConnectionState, InitOptions, init
from iii.client.options import introduction, upgrade_headers
from tests.client.stub import ClientCase


def environment(**variables: str) -> object:
    return patch.dict(os.environ, variables, clear=True)


class Construction(TestCase):
    """07 A2: making a client does no I/O and needs no loop."""

    def test_needs_no_loop_and_connects_nowhere(self) -> None:
        """07.3: ``III(url)`` at import time, with no event loop, does nothing."""
        with patch("socket.socket", side_effect=AssertionError("I/O")):
            client = III("ws://127.0.0.1:1")
        self.assertIs(client.get_connection_state(), IIIConnectionState.DISCONNECTED)

    def test_registering_needs_no_loop_either(self) -> None:
        """07 A2: registrations are plain calls, allowed before there is a loop."""
        client = III("ws://127.0.0.1:1")
        self.assertEqual(client.register_function("f", len).id, "f")
        client.register_trigger(type="http", function_id="f", config={})
        client.invoke_async("f", {})

    def test_the_default_address(self) -> None:
        """07.4: nothing set, ``III_BRIDGE_URL``, ``III_URL``: the later wins."""
        for variables, expected in (
            ({}, "ws://localhost:49134"),
            ({"III_BRIDGE_URL": "ws://h:1"}, "ws://h:1"),
            ({"III_BRIDGE_URL": "ws://h:1", "III_URL": "ws://h:2"}, "ws://h:2"),
        ):
            with self.subTest(variables), environment(**variables):
                self.assertEqual(III().address, expected)

    def test_an_argument_wins_over_the_environment(self) -> None:
        """07 A2: an explicit argument always wins."""
        with environment(III_URL="ws://h:2"):
            self.assertEqual(III("ws://h:3").address, "ws://h:3")

    def test_three_ways_to_say_the_address(self) -> None:
        """07.5: ``address=``, ``url=`` and positional are the same."""
        clients = III("ws://h:1"), III(url="ws://h:1"), III(address="ws://h:1")
        self.assertEqual({client.address for client in clients}, {"ws://h:1"})

    def test_an_address_that_can_never_work_is_refused(self) -> None:
        """Not a WebSocket address: said at once, not by retrying for ever."""
        with self.assertRaisesRegex(ValueError, "must start with ws://"):
            III("http://localhost:49134")

    def test_a_blank_namespace_is_refused(self) -> None:
        """07 A5: ``namespace`` may be left out, not be blank."""
        with self.assertRaisesRegex(ValueError, "namespace"):
            InitOptions(namespace="  ")

    def test_who_the_worker_says_it_is(self) -> None:
        """07 A6.1: the introduction; ``III_WORKER_NAME`` wins over the option."""
        options = InitOptions(worker_name="mine", worker_description="adds", namespace="shop")
        with environment(III_WORKER_NAME="theirs", LANG="en_US.UTF-8", III_ISOLATION="vm"):
            about = introduction(options)
        self.assertEqual(about["name"], "theirs")
        self.assertEqual(about["runtime"], "python")
        self.assertEqual(about["pid"], os.getpid())
        self.assertEqual(about["description"], "adds")
        self.assertEqual(about["namespace"], "shop")
        self.assertEqual(about["isolation"], "vm")
        self.assertEqual(
            about["telemetry"],
            {"language": "en_US", "project_name": None, "framework": "iii-py"},
        )
        self.assertRegex(about["os"], r"^\S+ \S+ \(\S+\)$")

    def test_what_is_not_set_is_not_said(self) -> None:
        """07 A6.1: ``description`` and ``namespace`` only when set; the name is host and pid."""
        with environment():
            about = introduction(InitOptions())
        self.assertNotIn("description", about)
        self.assertNotIn("namespace", about)
        self.assertRegex(about["name"], rf":{os.getpid()}$")

    def test_the_token_becomes_a_header(self) -> None:
        """07 A14: ``III_TOKEN``, unless the caller set an Authorization header."""
        with environment(III_TOKEN="s3cret"):
            self.assertEqual(upgrade_headers(InitOptions()), {"Authorization": "Bearer s3cret"})
            own = InitOptions(headers={"authorization": "Basic x"})
            self.assertEqual(upgrade_headers(own), {"authorization": "Basic x"})

    def test_init_outside_a_loop(self) -> None:
        """07.42: ``init`` without a running loop says what is missing."""
        with self.assertRaisesRegex(RuntimeError, "active asyncio event loop"):
            init("ws://x")


class Upgrade(ClientCase):
    """What a client says while connecting."""

    async def test_init_connects_in_the_background(self) -> None:
        """07 A4.1: inside a loop ``init`` returns at once and connects."""
        client = init(self.stub.address)
        self.addAsyncCleanup(client.disconnect)
        self.assertIs(client.get_connection_state(), IIIConnectionState.DISCONNECTED)
        await self.stub.link()
        await client.connect()
        self.assertEqual(len(self.stub.links), 1)

    async def test_headers_are_sent_with_the_upgrade(self) -> None:
        """07 A14: the ``headers`` option; compression is not offered."""
        _, link = await self.connected(headers={"X-Shop": "7"})
        self.assertEqual(link.headers["X-Shop"], "7")
        self.assertTrue(link.headers["User-Agent"].startswith("iii-python/"))
        self.assertNotIn("Sec-WebSocket-Extensions", link.headers)

    async def test_one_socket_only(self) -> None:
        """07.44: connecting and calling open no second socket."""
        client, link = await self.connected()
        client.invoke_async("f", {})
        await link.frame("invokefunction")
        self.assertEqual((self.stub.attempts, self.stub.channels), (1, []))

    async def test_no_proxy_to_this_machine(self) -> None:
        """A proxy of the environment is not asked for an engine on the loopback address."""
        with patch.dict(os.environ, {"http_proxy": "http://127.0.0.1:1", "no_proxy": ""}):
            client, _ = await self.connected()
        self.assertIs(client.get_connection_state(), IIIConnectionState.CONNECTED)

"""``iii.net``: where a taken port is reported."""

from __future__ import annotations

import os
import socket
from unittest import TestCase

from twisted.internet import reactor
from twisted.internet.protocol import Factory

from iii.errors import Code, StartError
from iii.net import holder, is_loopback, listen, show_address


class Addresses(TestCase):
    """Which hosts stay on the machine, and how addresses are written."""

    def test_loopback(self) -> None:
        for host in (None, "localhost", "127.0.0.1", "127.3.2.1", "::1"):
            self.assertTrue(is_loopback(host), host)
        for host in ("0.0.0.0", "::", "192.0.2.1", "example.org"):
            self.assertFalse(is_loopback(host), host)

    def test_an_ipv6_address_gets_brackets(self) -> None:
        self.assertEqual(show_address("::1", 80), "[::1]:80")
        self.assertEqual(show_address("127.0.0.1", 80), "127.0.0.1:80")


class TakenPort(TestCase):
    """08 §7: a taken port names the port, the setting and the process."""

    def setUp(self) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(self.socket.close)
        self.port = self.socket.getsockname()[1]

    def test_the_process_is_named(self) -> None:
        self.assertIn(f"process {os.getpid()} (", holder(self.port) or "")

    def test_nobody_listens(self) -> None:
        self.socket.close()
        self.assertIsNone(holder(self.port))

    def test_the_error_says_all_three(self) -> None:
        with self.assertRaises(StartError) as caught:
            listen(reactor, Factory(), "127.0.0.1", self.port, "the setting 'port' of x")
        self.assertEqual(caught.exception.code, Code.ADDRESS_IN_USE)
        for part in (
            f"address 127.0.0.1:{self.port} is already in use",
            f"process {os.getpid()}",
            "the setting 'port' of x",
        ):
            self.assertIn(part, caught.exception.message)

"""How many requests are made at once, and what they hold."""

from __future__ import annotations

from unittest import mock

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from iii.errors import InvocationError
from iii.modules.http_functions import slots as module
from iii.modules.http_functions.slots import Room, Slots


class Turns(SynchronousTestCase):
    """Two at once per host, three in all."""

    def setUp(self) -> None:
        self.slots = Slots(total=3, per_host=2)
        self.order: list[str] = []

    def enter(self, host: str, name: str = "") -> Deferred[None]:
        """Ask for a slot; ``name`` is noted when it comes."""
        entered = Deferred.fromCoroutine(self.slots.enter(host))
        entered.addCallback(lambda _: self.order.append(name))
        return entered

    def test_more_wait_until_one_is_free(self) -> None:
        for name in ("1", "2", "3", "4"):
            self.enter("a", name)
        self.assertEqual((self.order, self.slots.waiting), (["1", "2"], 2))
        self.slots.leave("a")
        self.assertEqual((self.order, self.slots.waiting), (["1", "2", "3"], 1))

    def test_a_host_that_waits_does_not_hold_up_others(self) -> None:
        for name in ("1", "2", "3"):
            self.enter("a", name)
        self.enter("b", "b")
        self.assertEqual(self.order, ["1", "2", "b"])

    def test_hosts_take_turns_when_all_slots_are_taken(self) -> None:
        for host, name in (("a", "1"), ("a", "2"), ("b", "b1")):
            self.enter(host, name)
        for host, name in (("a", "3"), ("a", "4"), ("c", "c1"), ("c", "c2")):
            self.enter(host, name)
        self.slots.leave("a")
        self.slots.leave("a")
        self.assertEqual(self.order[3:], ["3", "c1"])
        self.slots.leave("b")
        self.slots.leave("c")
        self.assertEqual(self.order[5:], ["4", "c2"])

    def test_who_gives_up_is_passed_over(self) -> None:
        self.enter("a", "1")
        self.enter("a", "2")
        given_up = self.enter("a", "3")
        self.enter("a", "4")
        given_up.cancel()
        self.failureResultOf(given_up, CancelledError)
        self.slots.leave("a")
        self.assertEqual((self.order, self.slots.waiting), (["1", "2", "4"], 0))

    def test_too_many_are_refused(self) -> None:
        with mock.patch.object(module, "MAX_WAITING", 1):
            for name in ("1", "2", "3"):
                self.enter("a", name)
            refused = self.failureResultOf(self.enter("a"), InvocationError)
        self.assertEqual(refused.value.code, "overloaded")

    def test_nothing_is_left_when_all_have_left(self) -> None:
        for host in "abcabcabc":
            self.enter(host)
        while self.slots.running:
            self.slots.leave(next(iter(self.slots._busy)))
        self.assertEqual((self.slots._busy, self.slots._queues, self.slots.waiting), ({}, {}, 0))


class Bytes(SynchronousTestCase):
    """Room."""

    def test_what_is_given_back_can_be_taken_again(self) -> None:
        room = Room(10)
        self.assertTrue(room.take(8))
        self.assertFalse(room.take(3))
        room.give_back(8)
        self.assertTrue(room.take(10))

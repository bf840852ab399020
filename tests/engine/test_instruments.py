"""Figures of modules under one name."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from iii.engine.callcounts import Durations
from iii.engine.instruments import Instrument, Instruments, Kind, Sample


class Joined(SynchronousTestCase):
    """A module that is loaded twice names the same instruments twice."""

    def setUp(self) -> None:
        self.all = Instruments()

    def add(self, read: Any, *labels: str, name: str = "n", kind: Kind = "counter") -> Instrument:
        """A module measures something."""
        instrument = Instrument(name, kind, "What it says", labels, read)
        self.all.add(instrument)
        return instrument

    def read(self, name: str = "n") -> list[Sample]:
        """What whoever shows it gets."""
        (instrument,) = [each for each in self.all if each.name == name]
        return self.successResultOf(Deferred.fromCoroutine(instrument.samples()))

    def test_the_samples_of_both_are_shown(self) -> None:
        self.add(lambda: [(("ws://a",), 1)], "url")
        self.add(lambda: iter([(("ws://b",), 2)]), "url")
        self.assertEqual(self.read(), [(("ws://a",), 1), (("ws://b",), 2)])

    def test_equal_labels_are_added_up(self) -> None:
        """Whatever way they are told in."""

        async def later() -> list[Sample]:
            return [((), 3.0)]

        self.add(lambda: [((), 1)])
        self.add(lambda: succeed([((), 2)]))
        self.add(later)
        self.assertEqual(self.read(), [((), 6)])

    def test_histograms_are_added_bucket_by_bucket(self) -> None:
        one, other = Durations(), Durations()
        one.add(0.001)
        other.add(0.001)
        other.add(100)
        self.add(lambda: [((), one)], kind="histogram")
        self.add(lambda: [((), other)], kind="histogram")
        ((_, both),) = self.read()
        assert isinstance(both, Durations)
        self.assertEqual((both.buckets[0], both.buckets[-1], both.count), (2, 1, 3))
        self.assertAlmostEqual(both.seconds, 100.002)
        self.assertEqual((one.count, other.count), (1, 2))

    def test_one_that_goes_takes_only_its_own(self) -> None:
        first = self.add(lambda: [((), 1)])
        last = self.add(lambda: [((), 2)])
        self.all.remove(last)
        self.assertEqual(self.read(), [((), 1)])
        self.all.remove(first)
        self.assertEqual(list(self.all), [])

    def test_what_cannot_be_one_is_not_mixed(self) -> None:
        """The last one is shown."""
        self.add(lambda: [((), 1)])
        self.add(lambda: [((), 2)], kind="gauge")
        self.assertEqual(self.read(), [((), 2)])
        self.add(lambda: [(("x",), 3)], "label", kind="gauge")
        self.assertEqual(self.read(), [(("x",), 3)])

    def test_one_that_fails_fails_all(self) -> None:
        """A counter that is told in part looks like one that began anew."""

        def fails() -> list[Sample]:
            raise ValueError("no store")

        self.add(lambda: [((), 1)])
        self.add(fails)
        (instrument,) = self.all
        self.failureResultOf(Deferred.fromCoroutine(instrument.samples()), ValueError)

    def test_numbers_and_histograms_are_not_added(self) -> None:
        self.add(lambda: [((), 1)])
        self.add(lambda: [((), Durations())])
        (instrument,) = self.all
        self.failureResultOf(Deferred.fromCoroutine(instrument.samples()), TypeError)

    def test_each_name_is_there_once_in_order(self) -> None:
        for name in ("a", "b", "a", "c"):
            self.add(lambda: [((), 1)], name=name)
        self.assertEqual([each.name for each in self.all], ["a", "b", "c"])

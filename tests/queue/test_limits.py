"""Token buckets."""

from __future__ import annotations

from twisted.trial.unittest import TestCase

from iii.modules.queue.limits import Buckets, RateLimit


class Tokens(TestCase):
    """A bucket fills evenly and never overflows."""

    def test_a_full_bucket_then_one_at_a_time(self) -> None:
        buckets = Buckets(RateLimit(count=3, per_ms=1_500))
        self.assertEqual([buckets.take("", 0) for _ in range(4)], [True, True, True, False])
        self.assertAlmostEqual(buckets.wait_s("", 0), 0.5)
        self.assertFalse(buckets.take("", 0.49))
        self.assertTrue(buckets.take("", 0.5))
        self.assertFalse(buckets.take("", 0.9))

    def test_holds_no_more_than_its_count(self) -> None:
        buckets = Buckets(RateLimit(count=2, per_ms=10))
        self.assertEqual([buckets.take("", 100) for _ in range(3)], [True, True, False])
        self.assertEqual([buckets.take("", 900) for _ in range(3)], [True, True, False])

    def test_after_waiting_as_long_as_it_says_there_is_a_token(self) -> None:
        for count, per_ms in ((7, 1_000), (3, 10), (1, 3_600_000), (333, 1_001)):
            buckets = Buckets(RateLimit(count=count, per_ms=per_ms))
            now = 1e6
            for _ in range(1_000):
                if not buckets.take("", now):
                    now += buckets.wait_s("", now)
                    self.assertTrue(buckets.take("", now), (count, per_ms, now))

    def test_never_more_than_the_rate(self) -> None:
        buckets = Buckets(RateLimit(count=10, per_ms=1_000))
        taken = sum(buckets.take("", tick / 1_000) for tick in range(10_000))
        self.assertIn(taken, (109, 110))

    def test_each_key_has_its_own(self) -> None:
        buckets = Buckets(RateLimit(count=1, per_ms=1_000, key_field="k"))
        self.assertTrue(buckets.take("a", 0))
        self.assertTrue(buckets.take("b", 0))
        self.assertFalse(buckets.take("a", 0))

    def test_full_ones_are_forgotten(self) -> None:
        buckets = Buckets(RateLimit(count=1, per_ms=100, key_field="k"))
        for number in range(50_000):
            self.assertTrue(buckets.take(f"k{number}", number / 1_000))
        self.assertLess(len(buckets._buckets), 2_500)

    def test_a_token_may_be_given_back(self) -> None:
        buckets = Buckets(RateLimit(count=1, per_ms=60_000))
        self.assertTrue(buckets.take("", 0))
        buckets.give_back("")
        buckets.give_back("")
        self.assertEqual([buckets.take("", 0) for _ in range(2)], [True, False])

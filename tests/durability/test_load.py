"""The account itself: what it lets pass and what it finds."""

from __future__ import annotations

from random import Random
from typing import Any
from unittest import TestCase

from tests.durability.link import MISSING
from tests.durability.load import Cell, Counter, Write


class FakeLink:
    """Sends nothing and answers reads with ``found``."""

    def __init__(self) -> None:
        self.found: Any = MISSING
        self.sent: list[tuple[str, dict[str, Any]]] = []

    def send(self, function_id: str, data: dict[str, Any]) -> str:
        self.sent.append((function_id, data))
        return str(len(self.sent))

    def call(self, function_id: str, data: dict[str, Any]) -> Any:
        return self.found


class Account(TestCase):
    """08 §1: "its last acknowledged value or a later sent one"."""

    def setUp(self) -> None:
        self.link = FakeLink()
        self.cell = Cell("stream", "g", "i")
        self.writes = [self.write(number) for number in range(3)]

    def write(self, number: int) -> Write:
        return self.cell.write(self.link, Random(1), number)[1]

    def value(self, number: int) -> Any:
        return self.link.sent[number][1]["data"]

    def problems(self, found: Any) -> list[str]:
        self.link.found = found
        return list(self.cell.check(self.link))

    def test_an_acknowledged_value_must_be_there(self) -> None:
        self.writes[0].kept = True
        (problem,) = self.problems(MISSING)
        self.assertRegex(problem, r"^stream g/i: holds nothing, acknowledged was .*0.* \(2 later")

    def test_a_later_value_may_be_there_instead(self) -> None:
        self.writes[0].kept = True
        for number in range(3):
            writes = list(self.cell.writes)
            self.assertEqual(self.problems(self.value(number)), [])
            self.cell.writes = writes

    def test_an_older_value_than_the_acknowledged_one_is_a_loss(self) -> None:
        self.writes[1].kept = True
        self.assertEqual(len(self.problems(self.value(0))), 1)

    def test_a_refused_value_must_not_be_there(self) -> None:
        self.writes[0].kept = self.writes[1].refused = True
        self.assertEqual(len(self.problems(self.value(1))), 1)

    def test_an_answer_with_another_value_is_told(self) -> None:
        self.writes[0].kept, self.writes[0].told = True, {"number": 7}
        (problem,) = self.problems(self.value(0))
        self.assertIn("told {'number': 7}", problem)

    def test_the_next_round_goes_on_from_what_was_found(self) -> None:
        self.assertEqual(self.problems(self.value(2)), [])
        self.assertEqual(self.cell.allowed(), [self.value(2)])
        self.assertEqual(len(self.problems(MISSING)), 1)

    def test_an_update_changes_what_is_there(self) -> None:
        cell = Cell("state", "s", "k")
        chance = Random(3)
        values = []
        for number in range(50):
            cell.write(self.link, chance, number)[1].kept = True
            values.append(cell.allowed()[0])
        kinds = {function_id for function_id, _ in self.link.sent[3:]}
        self.assertEqual(kinds, {"state::set", "state::update", "state::delete"})
        self.assertIn(MISSING, values)
        for (function_id, data), value in zip(self.link.sent[3:], values, strict=True):
            if function_id == "state::update":
                self.assertEqual(value["number"], data["ops"][0]["value"])


class SharedCounter(TestCase):
    """08 §1: every acknowledged increment counts once."""

    def setUp(self) -> None:
        self.link = FakeLink()
        self.counter = Counter("c")
        kept, refused, open_ = (
            self.counter.write(self.link, Random(1), number)[1] for number in range(3)
        )
        kept.kept, kept.told = True, {"n": 1}
        refused.refused = True
        self.open = open_

    def problems(self, found: Any) -> list[str]:
        writes = list(self.counter.writes)
        self.link.found = found
        problems = list(self.counter.check(self.link))
        self.counter = Counter("c")
        self.counter.writes = writes
        return problems

    def test_what_is_open_may_count_and_what_was_refused_may_not(self) -> None:
        for found, problems in ((MISSING, 1), ({"n": 0}, 1), ({"n": 1}, 0), ({"n": 2}, 0)):
            self.assertEqual(len(self.problems(found)), problems, found)
        self.assertEqual(self.problems({"n": 3}), ["counter c: 3, due were 1 to 2"])

    def test_two_writers_are_never_told_the_same_number(self) -> None:
        self.open.kept, self.open.told = True, {"n": 1}
        self.assertEqual(len(self.problems({"n": 2})), 1)

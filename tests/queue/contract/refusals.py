"""What an adapter can't do it says: ``not_supported``, and nothing is kept."""

from __future__ import annotations

from typing import Any

from tests.queue.contract import backend as can
from tests.queue.contract.case import ContractCase

LATER_MS = 3_600_000

#: Ability → what needs it: a function and its input.
ASKED: tuple[tuple[str, str, dict[str, Any]], ...] = (
    (can.DELAY, "enqueue", {"topic": "t", "data": 1, "delay_ms": LATER_MS}),
    (can.TTL, "enqueue", {"topic": "t", "data": 1, "ttl_ms": LATER_MS}),
    (can.PRIORITY, "enqueue", {"topic": "t", "data": 1, "priority": 9}),
    (can.IDEMPOTENCY, "enqueue", {"topic": "t", "data": 1, "idempotency_key": "k"}),
    (can.CANCEL, "engine::queue::cancel", {"id": "x"}),
    (can.RESCHEDULE, "engine::queue::run_now", {"id": "x"}),
    (can.RESCHEDULE, "engine::queue::reschedule", {"id": "x", "deliver_at": LATER_MS}),
    (can.SCHEDULED, "engine::queue::scheduled", {"topic": "t"}),
    (can.ACTIVE, "engine::queue::messages", {"topic": "t", "state": "active"}),
    (can.MESSAGES, "engine::queue::messages", {"topic": "t", "state": "waiting"}),
    (can.PAUSE, "engine::queue::pause", {"topic": "t"}),
    (can.PURGE, "engine::queue::purge", {"topic": "t"}),
    (can.MOVE, "engine::queue::move", {"from": "t", "to": "u"}),
    (
        can.REPLACING,
        "engine::queue::dlq_bulk",
        {"topic": "t", "action": "redrive", "ids": ["x"], "payload": 1},
    ),
    (
        can.FILTERS,
        "engine::queue::dlq_bulk",
        {"topic": "t", "action": "discard", "error_code": "x"},
    ),
    (
        can.FIFO_GROUPS,
        "queue::define",
        {"queue": "q", "config": {"type": "fifo", "message_group_field": "g"}},
    ),
    (can.KEYS, "queue::define", {"queue": "q", "config": {"concurrency_key": "k"}}),
    (
        can.RATES,
        "queue::define",
        {"queue": "q", "config": {"rate_limit": {"count": 1, "per_ms": 1000}}},
    ),
)


class Refusals(ContractCase):
    """08 §3: the embedded adapter and Redis can do all of it; others say what they can't."""

    async def test_what_is_not_there_is_refused(self) -> None:
        """With the adapter's name in the text."""
        for ability, function, asked in ASKED:
            if ability not in self.backend.abilities:
                error = await self.error(function, asked)
                self.assertEqual(error["code"], "not_supported", (ability, error))
                self.assertIn(self.backend.name, error["message"])
        self.assertEqual((await self.stats("t"))["depth"], 0)

    async def test_what_is_there_is_done(self) -> None:
        """None of it is refused."""
        for ability, function, asked in ASKED:
            if ability in self.backend.abilities:
                answer = await self.caller.result_of(self.caller.invoke(function, asked))
                self.assertNotEqual(answer.get("error", {}).get("code"), "not_supported", ability)

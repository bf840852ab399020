"""Anything may happen in any order: nothing is lost, nothing runs twice, order is kept."""

from __future__ import annotations

import random
from typing import Any

import msgspec

from iii.modules.queue.adapter import DeadFilter, Message, Outcome
from iii.modules.queue.names import named
from iii.modules.queue.settings import LaneSettings
from tests.queue.redis.direct import ABSENT, DONE, MAIL, RETURNED, DirectCase, Hands, failed

OTHER = named("other")
STEPS = 200
KINDS: dict[str, dict[str, Any]] = {
    "standard": {},
    "keyed": {"key_field": "k", "per_key": 2},
    "fifo": {"key_field": "k", "ordered": True},
    "serial": {"serial": True},
}


class Model(DirectCase):
    """Two engines and a random course of events."""

    async def run_model(self, seed: int, kinds: list[str]) -> None:
        """One course; the kind of the queue changes if there are several."""
        await self.begin_anew()
        self.chance = random.Random(seed)
        self.put_ids: set[str] = set()
        self.gone: set[str] = set()
        self.running: dict[str, int] = {}
        other = await self.start()
        self.sides = [(self.adapter, Hands()), (other, Hands())]
        self.settings = LaneSettings(
            concurrency=4, max_attempts=3, backoff_ms=3, backoff="fixed", **KINDS[kinds[0]]
        )
        for adapter, hands in self.sides:
            adapter.consume(MAIL, self.settings, hands)
        for step in range(STEPS):
            await self.step(kinds)
            if step % 10 == 0:
                await self.check()
        await self.drain()

    async def step(self, kinds: list[str]) -> None:
        """Something happens."""
        chance = self.chance
        what = chance.choices(
            ("put", "end", "cancel", "reschedule", "redrive", "missing", "pause", "kind", "wait"),
            (40, 40, 3, 3, 3, 4, 2, 2 if len(kinds) > 1 else 0, 20),
        )[0]
        adapter, hands = chance.choice(self.sides)
        if what == "put":
            more: dict[str, Any] = {}
            if chance.random() < 0.2:
                more["due_ms"] = adapter._hub.clock.wall_ms() + chance.randrange(20)
            if chance.random() < 0.1:
                more["ttl_ms"] = chance.randrange(1, 30)
            if chance.random() < 0.2:
                more["priority"] = chance.randrange(10)
            data = {"k": chance.choice("abc"), "n": len(self.put_ids)}
            name = chance.choice("fg")
            receipt = await self.put(data, adapter=adapter, function_id=name, **more)
            self.put_ids.add(receipt.id)
        elif what == "end" and hands.held:
            self.end(hands, chance.choice((DONE, DONE, DONE, failed(), RETURNED, ABSENT)))
        elif what == "cancel" and self.put_ids:
            id = chance.choice(sorted(self.put_ids))
            if await adapter.cancel(id) in ("waiting", "delayed"):
                self.assertNotIn(id, self.gone)
                self.gone.add(id)
        elif what == "reschedule" and self.put_ids:
            due_ms = adapter._hub.clock.wall_ms() + chance.randrange(-10, 10)
            await adapter.reschedule(chance.choice(sorted(self.put_ids)), due_ms)
        elif what == "redrive":
            await adapter.redrive([MAIL], DeadFilter())
        elif what == "missing":
            hands.missing ^= {chance.choice("fg")}
            adapter.look_again()
        elif what == "pause":
            await adapter.pause([MAIL], chance.random() < 0.4)
        elif what == "kind":
            changes = {"key_field": None, "ordered": False, "serial": False}
            changes |= KINDS[chance.choice(kinds)]
            self.settings = msgspec.structs.replace(self.settings, **changes)
            for adapter, hands in self.sides:
                adapter.consume(MAIL, self.settings, hands)
        else:
            await self.moment()

    def end(self, hands: Hands, outcome: Outcome) -> None:
        """One that runs ends."""
        message = hands.end(outcome, self.chance.randrange(len(hands.held)))
        if outcome is DONE:
            self.assertNotIn(message.id, self.gone, "it ran although it was done")
            self.gone.add(message.id)

    async def drain(self) -> None:
        """Let everything finish: what was put is done, cancelled or dead."""
        for adapter, hands in self.sides:
            hands.missing.clear()
            await adapter.pause([MAIL], False)

        def done(message: Message) -> Outcome:
            self.assertNotIn(message.id, self.gone, "it ran although it was done")
            self.gone.add(message.id)
            return DONE

        for adapter, hands in self.sides:
            hands.at_once = done
            while hands.held:
                self.end(hands, DONE)
            adapter.look_again()
        await self.counted(waiting=0, delayed=0, active=0)
        await self.check()
        letters = await self.adapter.messages([MAIL], "dead", 0, 10_000)
        dead = {message.id for _, _, message in letters}
        self.assertEqual(self.gone & dead, set())
        self.assertEqual(self.gone | dead, self.put_ids)
        leftovers = await self.ask("KEYS", "iii:{q:__fn_queue::mail}:busy:*")
        self.assertEqual(leftovers, [])

    async def test_standard(self) -> None:
        """By priority."""
        for seed in range(2):
            await self.run_model(seed, ["standard"])

    async def test_keyed(self) -> None:
        """Two of a key."""
        await self.run_model(11, ["keyed"])

    async def test_fifo(self) -> None:
        """One of a group."""
        await self.run_model(12, ["fifo"])

    async def test_serial(self) -> None:
        """One of all."""
        await self.run_model(13, ["serial"])

    async def test_of_changing_kinds(self) -> None:
        """Rows are made anew all the time."""
        for seed in range(2):
            await self.run_model(20 + seed, list(KINDS))


class Order(DirectCase):
    """FIFO groups over two engines."""

    async def test_one_at_a_time_and_in_order(self) -> None:
        """Whatever fails, comes back, or moves to the other engine."""
        chance = random.Random(3)
        other = await self.start()
        running: dict[str, int] = {}
        done: dict[str, list[int]] = {}
        sides = []
        for adapter in (self.adapter, other):
            hands = self.consume(
                adapter=adapter,
                key_field="k",
                ordered=True,
                concurrency=3,
                max_attempts=100,
                backoff_ms=1,
            )
            sides.append(hands)
        for number in range(90):
            await self.put({"k": "abc"[number % 3], "n": number})
        while sum(map(len, done.values())) < 90:
            hands = chance.choice(sides)
            held = [(one["k"], one["n"]) for side in sides for one in side.ids]
            running = {key: sum(1 for k, _ in held if k == key) for key, _ in held}
            self.assertLessEqual(max(running.values(), default=0), 1)
            if not hands.held:
                await self.moment()
                continue
            outcome = chance.choice((DONE, DONE, failed(), RETURNED))
            message = hands.end(outcome, chance.randrange(len(hands.held)))
            if outcome is DONE:
                data = msgspec.json.decode(message.data)
                done.setdefault(data["k"], []).append(data["n"])
        for numbers in done.values():
            self.assertEqual(numbers, sorted(numbers))
        await self.counted(waiting=0, delayed=0, active=0)
        await self.check()

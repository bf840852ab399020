"""Writers, and the account of what the engine owes them.

A *cell* is one value in one store and remembers every write that was sent and how it was
answered.  Writes of a cell leave over one connection, so they are applied in order; what
the cell may hold after a crash follows: the value after its last acknowledged write, or
after any that was sent later.  A refused write must have left nothing.

A *counter* is raised over all connections at once, so only its bounds are known.
"""

from __future__ import annotations

import select
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from random import Random
from time import monotonic
from typing import Any

from tests.durability.link import MISSING, Answer, Link

CONNECTIONS = 4
CELLS_PER_STORE = 12
COUNTERS = 4
IN_FLIGHT = 24
#: long values make pages overflow and the file grow
LENGTHS = (0, 10, 100, 1_000, 10_000, 50_000)
END_LIMIT_S = 20.0

Value = Any
Apply = Callable[[Value], Value]


@dataclass
class Write:
    """One write.

    :ivar apply: the value before it → the value after it
    :ivar told: the ``new_value`` of its answer
    """

    apply: Apply
    kept: bool = False
    refused: bool = False
    told: Value = MISSING


@dataclass
class Store:
    """How a store is spoken to.

    :ivar address: the names of a bucket's and a key's fields, and of the value's
    :ivar writes: its functions that write, by kind
    """

    address: tuple[str, str, str]
    get: str
    writes: dict[str, str]
    bucket: dict[str, str] = field(default_factory=dict)


STORES = {
    "state": Store(
        ("scope", "key", "value"),
        "state::get",
        {"set": "state::set", "update": "state::update", "delete": "state::delete"},
    ),
    "stream": Store(
        ("group_id", "item_id", "data"),
        "stream::get",
        {"set": "stream::set"},
        {"stream_name": "durable"},
    ),
    "kv": Store(("index", "key", "value"), "kv_server::get", {"set": "kv_server::set"}),
}


class Cell:
    """One value, its writes, and what it may hold."""

    def __init__(self, store: str, bucket: str, key: str) -> None:
        self.name = f"{store} {bucket}/{key}"
        self._store = STORES[store]
        bucket_field, key_field, self._value_field = self._store.address
        self._address = {**self._store.bucket, bucket_field: bucket, key_field: key}
        self._base: Value = MISSING
        self.writes: list[Write] = []

    def write(self, link: Link, chance: Random, number: int) -> tuple[str, Write]:
        """Send a write of a random kind; the invocation's id."""
        kind = chance.choice([*self._store.writes])
        data: dict[str, Any] = dict(self._address)
        apply: Apply
        if kind == "set":
            value = {"number": number, "fill": "x" * chance.choice(LENGTHS)}
            data[self._value_field] = value
            apply = _constant(value)
        elif kind == "update":
            data["ops"] = [{"type": "set", "path": "number", "value": number}]
            apply = _with_number(number)
        else:
            apply = _constant(MISSING)
        write = Write(apply)
        self.writes.append(write)
        return link.send(self._store.writes[kind], data), write

    def read(self, link: Link) -> Value:
        """What the engine says."""
        return link.call(self._store.get, self._address)

    def allowed(self) -> list[Value]:
        """What it may hold now: the acknowledged value, then those sent later."""
        value, values = self._base, [self._base]
        for write in self.writes:
            if write.refused:
                continue
            value = write.apply(value)
            values = [value] if write.kept else [*values, value]
        return values

    def misinformed(self) -> Iterator[str]:
        """Acknowledgements that spoke of another value than the one that was due."""
        value = self._base
        for write in self.writes:
            if write.refused:
                continue
            value = write.apply(value)
            if write.kept and write.told is not MISSING and write.told != value:
                yield f"{self.name}: told {_short(write.told)}, due was {_short(value)}"

    def check(self, link: Link) -> Iterator[str]:
        """Compare with the engine and go on from what it has; yields what is wrong."""
        found, allowed = self.read(link), self.allowed()
        if found not in allowed:
            unanswered = len(allowed) - 1
            yield (
                f"{self.name}: holds {_short(found)}, acknowledged was {_short(allowed[0])} "
                f"({unanswered} later without an answer)"
            )
        yield from self.misinformed()
        self._base, self.writes = found, []


class Counter:
    """One number in the state that everybody raises by one."""

    def __init__(self, key: str) -> None:
        self._address = {"scope": "counters", "key": key}
        self._base = 0
        self.writes: list[Write] = []

    def write(self, link: Link, chance: Random, number: int) -> tuple[str, Write]:
        """Raise it; the invocation's id."""
        write = Write(_constant(MISSING))
        self.writes.append(write)
        ops = [{"type": "increment", "path": "n", "by": 1}]
        return link.send("state::update", {**self._address, "ops": ops}), write

    def check(self, link: Link) -> Iterator[str]:
        """Compare with the engine and go on from what it has; yields what is wrong."""
        value = link.call("state::get", self._address)
        found: int = 0 if value is MISSING else value["n"]
        kept = [write for write in self.writes if write.kept]
        least = self._base + len(kept)
        most = self._base + sum(1 for write in self.writes if not write.refused)
        if not least <= found <= most:
            yield f"counter {self._address['key']}: {found}, due were {least} to {most}"
        told = [write.told["n"] for write in kept]
        if len(set(told)) < len(told):
            yield f"counter {self._address['key']}: two writers were told the same number"
        self._base, self.writes = found, []


class Load:
    """Many cells and the connections that write them.

    :ivar acknowledged: writes that were, since the beginning
    :ivar refused: what errors said, since the beginning
    """

    def __init__(self, chance: Random, stores: tuple[str, ...] = tuple(STORES)) -> None:
        self._chance = chance
        self.acknowledged = 0
        self.refused: list[str] = []
        self._number = 0
        self._lanes = [
            [
                Cell(store, f"lane {lane}", f"key {key}")
                for store in stores
                for key in range(CELLS_PER_STORE)
            ]
            for lane in range(CONNECTIONS)
        ]
        self._counters = [Counter(f"counter {number}") for number in range(COUNTERS)]

    def run(self, port: int, seconds: float, stop: Callable[[], None]) -> None:
        """Write from all connections, call ``stop`` after a while, go on until all have ended."""
        lanes = [_Lane(self, Link(port), cells) for cells in self._lanes]
        stop_at = monotonic() + seconds
        stopped = False
        for lane in lanes:
            lane.fill()
        while alive := [lane for lane in lanes if not lane.link.ended]:
            wait_s = END_LIMIT_S if stopped else max(0.0, stop_at - monotonic())
            ready, _, _ = select.select([lane.link for lane in alive], [], [], wait_s)
            if stopped and not ready:
                raise AssertionError(f"{len(alive)} connections still open after {END_LIMIT_S} s")
            if not stopped and monotonic() >= stop_at:
                stop()
                stopped = True
            for lane in alive:
                if lane.link in ready:
                    lane.receive()
        for lane in lanes:
            lane.link.close()

    def check(self, port: int) -> list[str]:
        """Everything that is not as it must be."""
        link = Link(port)
        try:
            checked = [*(cell for cells in self._lanes for cell in cells), *self._counters]
            return [problem for cell in checked for problem in cell.check(link)]
        finally:
            link.close()

    def next_number(self) -> int:
        """No two writes are alike."""
        self._number += 1
        return self._number

    def send(self, link: Link, cells: list[Cell]) -> tuple[str, Write]:
        """Write some cell."""
        cell: Cell | Counter = self._chance.choice([*cells, *self._counters])
        return cell.write(link, self._chance, self.next_number())


class _Lane:
    """One connection's writes under way."""

    def __init__(self, load: Load, link: Link, cells: list[Cell]) -> None:
        self._load = load
        self.link = link
        self._cells = cells
        self._under_way: dict[str, Write] = {}

    def fill(self) -> None:
        """Send until enough is in flight."""
        while self.link.open and len(self._under_way) < IN_FLIGHT:
            invocation_id, write = self._load.send(self.link, self._cells)
            self._under_way[invocation_id] = write

    def receive(self) -> None:
        """Book the answers that are there."""
        for answer in self.link.receive():
            self._book(answer, self._under_way.pop(answer.invocation_id))
        self.fill()

    def _book(self, answer: Answer, write: Write) -> None:
        if answer.error is not None:
            write.refused = True
            self._load.refused.append(f"{answer.error['code']}: {answer.error['message']}")
            return
        write.kept = True
        self._load.acknowledged += 1
        if isinstance(answer.result, dict) and "new_value" in answer.result:
            write.told = answer.result["new_value"]


def _constant(value: Value) -> Apply:
    return lambda before: value


def _with_number(number: int) -> Apply:
    return lambda before: {**({} if before is MISSING else before), "number": number}


def _short(value: Value) -> str:
    if isinstance(value, dict) and "fill" in value:
        value = {**value, "fill": f"{len(value['fill'])} bytes"}
    return repr(value)

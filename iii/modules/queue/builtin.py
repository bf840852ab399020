"""The adapter ``builtin``: messages in one file, nothing to install.

It ties together what is on disk (``Journal``), what runs (one ``Lane`` for each queue
that is worked off) and what is due later (``Delays``, ``Expiry``).  What people ask of
messages that are there is in ``shelf``.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from iii.engine.clock import Timer
from iii.engine.module import ModuleApi
from iii.modules.queue.adapter import Counts, New, Once, Receipt
from iii.modules.queue.config import BuiltinConfig
from iii.modules.queue.delays import Delays, Expiry
from iii.modules.queue.journal import Journal, LaneFacts
from iii.modules.queue.keys import key_in
from iii.modules.queue.lane import Executor, Lane
from iii.modules.queue.message import Details, Message, State
from iii.modules.queue.names import QueueName
from iii.modules.queue.settings import LaneSettings
from iii.modules.queue.shelf import Shelf
from iii.storage.database import Database
from iii.storage.kvstore import open_database
from iii.storage.store import StoreError

log = Logger()

NAME = SCHEMA = "queue"
UPKEEP_S = 60.0


class _FirstPut:
    """An idempotency key whose message is not committed yet."""

    __slots__ = ("id", "waiting")

    def __init__(self, id: str) -> None:
        self.id = id
        self.waiting: list[Deferred[Receipt]] = []


class BuiltinAdapter(Shelf):
    """Queues in a SQLite file."""

    kind = "builtin"
    config = BuiltinConfig

    def __init__(self, settings: BuiltinConfig) -> None:
        self._settings = settings
        self.topic_settings = settings.topics()
        self.retention_ms = settings.subscriber_retention_ms
        self._engine: ModuleApi
        self._journal: Journal
        self._delays: Delays
        self._expiry: Expiry
        self._folder: TemporaryDirectory[str] | None = None
        self._numbers: dict[QueueName, int] = {}
        self._names: dict[int, QueueName] = {}
        self._lanes: dict[int, Lane] = {}
        self._first_puts: dict[tuple[str, str], _FirstPut] = {}
        self._upkeep: Timer | None = None
        self._closing = False

    # Life ------------------------------------------------------------------------------

    def start(self, engine: ModuleApi, stores: dict[str, str]) -> None:
        """Adapter: open the file.

        :raises StartError: it can't be used
        """
        self._engine = engine
        journal = self._journal = Journal(engine, self._open(engine, stores))
        for text, number in journal.lanes.items():
            name = QueueName.of_text(text)
            self._numbers[name], self._names[number] = number, name
        self._delays = Delays(journal, engine.clock, self._due)
        self._expiry = Expiry(journal, engine.clock, self._expired)
        self._delays.start()
        self._expiry.start()
        self._keep_up()

    def closing(self) -> None:
        """Adapter: nothing more is taken."""
        self._closing = True
        for lane in self._lanes.values():
            lane.stop()

    async def stop(self) -> None:
        """Adapter: record everything, let go of the file."""
        self.closing()
        if self._upkeep is not None:
            self._upkeep.cancel()
        self._delays.stop()
        self._expiry.stop()
        await self._journal.close()
        if self._folder is not None:
            self._folder.cleanup()

    def _open(self, engine: ModuleApi, stores: dict[str, str]) -> Database:
        settings = self._settings
        if not settings.is_volatile:
            return open_database(engine, settings, NAME, SCHEMA, stores, durability="fsync")
        log.warn(
            "DO NOT USE IN_MEMORY STORE_METHOD IN PRODUCTION - DATA WILL BE LOST ON SHUTDOWN "
            "({name})",
            name=NAME,
        )
        # The same code for both: a file that goes with the engine.
        self._folder = TemporaryDirectory(prefix="iii-queue-")
        path = Path(self._folder.name) / f"{NAME}.sqlite"
        return Database(engine, path, NAME, SCHEMA, max_file_bytes=settings.max_file_bytes)

    def _keep_up(self) -> None:
        """Every minute: what is kept for a time only."""
        self._upkeep = self._engine.clock.call_later(UPKEEP_S, self._keep_up)
        self._journal.forget_keys(self._engine.clock.wall_ms())
        self._trim_dead(self._settings.dlq_max, self._settings.dlq_ttl_ms)

    # Queues ----------------------------------------------------------------------------

    def consume(self, queue: QueueName, settings: LaneSettings, executor: Executor) -> None:
        """Adapter: work ``queue`` off."""
        number = self._number(queue)
        lane = self._lanes.get(number)
        self._check_keys(number, settings.key_field)
        if lane is not None:
            lane.reconfigured(settings)
            return
        lane = self._lanes[number] = Lane(
            str(queue),
            number,
            self._journal,
            self._engine.clock,
            executor,
            settings,
            self._delays.add,
            complete=not self._journal.counts.get((number, State.WAITING)),
        )
        lane.closing = self._closing
        lane.pump()

    def look_again(self, queue: QueueName | None = None) -> None:
        """Adapter: functions or triggers came."""
        if queue is None:
            for lane in list(self._lanes.values()):
                lane.functions_changed()
            return
        found = self._lane(queue)
        if found is not None:
            found.functions_changed()

    def facts(self) -> dict[QueueName, LaneFacts]:
        """Adapter: every queue."""
        return {name: self._journal.facts[number] for name, number in self._numbers.items()}

    def known(self, queue: QueueName) -> LaneFacts | None:
        """Adapter: one queue."""
        number = self._numbers.get(queue)
        return None if number is None else self._journal.facts[number]

    def remember(self, queue: QueueName, **changes: Any) -> Deferred[None]:
        """Adapter: change facts."""
        number = self._number(queue)
        facts = self._journal.facts[number]
        if all(getattr(facts, name) == value for name, value in changes.items()):
            return self._journal.settled()
        return self._journal.change_facts(number, **changes)

    async def drop(self, queue: QueueName) -> int:
        """Adapter: forget a queue, unless it has dead letters or something runs."""
        number = self._numbers.get(queue)
        if number is None:
            return 0
        gone = await self._purge_lane(number, (State.WAITING, State.DELAYED))
        if any(self._journal.counts.get((number, state)) for state in State):
            return gone
        lane = self._lanes.pop(number, None)
        if lane is not None:
            lane.stop()
        self._journal.drop_lane(number)
        del self._numbers[queue], self._names[number]
        return gone

    def counts(self, queue: QueueName) -> Deferred[Counts]:
        """Adapter: how many messages there are."""
        found: Deferred[Counts] = Deferred()
        found.callback(self._count(queue))
        return found

    def _count(self, queue: QueueName) -> Counts:
        number = self._numbers.get(queue)
        if number is None:
            return Counts()
        of = self._journal.counts.get
        lane = self._lanes.get(number)
        active = 0 if lane is None else len(lane.running)
        return Counts(
            waiting=of((number, State.WAITING), 0) - active,
            delayed=of((number, State.DELAYED), 0),
            active=active,
            dead=of((number, State.DEAD), 0),
            delivered=0 if lane is None else lane.delivered_total,
            failed=0 if lane is None else lane.failed_total,
            waiting_for_worker=lane is not None and lane.waiting_for_worker,
            paused=self._journal.facts[number].paused,
        )

    # Putting ---------------------------------------------------------------------------

    def put(self, new: New, once: Once | None = None) -> Deferred[Receipt]:
        """Adapter: keep a message.

        :raises StoreError: through the Deferred; it is not kept
        """
        answer: Deferred[Receipt] = Deferred()
        try:
            if once is not None and self._known(once, answer):
                return answer
            messages = [self._message(new, queue) for queue in new.queues]
        except StoreError:
            answer.errback(Failure())
            return answer
        added = self._journal.add(messages, self._let_go)
        if once is not None:
            first = self._first_puts[once.scope, once.key] = _FirstPut(new.id)
            first.waiting.append(answer)
            if not added.called:  # else it was refused at once
                expires_ms = self._engine.clock.wall_ms() + once.ttl_ms
                self._journal.remember(once.scope, once.key, new.id, expires_ms)
            added.addCallbacks(
                self._kept_once, self._not_kept_once, callbackArgs=(once,), errbackArgs=(once,)
            )
            return answer
        return added.addCallback(_receipt, new.id)

    def _known(self, once: Once, answer: Deferred[Receipt]) -> bool:
        """Whether the key was used; ``answer`` then gets the first one's receipt."""
        first = self._first_puts.get((once.scope, once.key))
        if first is not None:
            # Not safe yet: if the first is refused, so is this one.
            first.waiting.append(answer)
            return True
        id = self._journal.known_key(once.scope, once.key, self._engine.clock.wall_ms())
        if id is None:
            return False
        answer.callback(Receipt(id, duplicate=True))
        return True

    def _message(self, new: New, queue: QueueName) -> Message:
        number = self._number(queue)
        lane = self._lanes.get(number)
        settings = None if lane is None else lane.settings
        now_ms = self._engine.clock.wall_ms()
        due_ms, ttl_ms = new.due_ms, new.ttl_ms
        if settings is not None:
            if settings.delay_ms:
                due_ms = max(due_ms, now_ms) + settings.delay_ms
            ttl_ms = settings.ttl_ms if ttl_ms is None else ttl_ms
        seq = self._journal.next_seq()
        # It may lie in the frame it came in, which is to go.
        data = new.data.copy()
        field = self._journal.facts[number].key_field
        return Message.new(
            seq,
            new.id,
            number,
            data,
            Details(new.namespace, new.traceparent, new.baggage),
            created_ms=now_ms,
            state=State.DELAYED if due_ms > now_ms else State.WAITING,
            priority=new.priority,
            due_ms=due_ms if due_ms > now_ms else 0,
            expires_ms=None if ttl_ms is None else max(due_ms, now_ms) + ttl_ms,
            key=None if field is None else key_in(data, field),
            function_id=new.function_id,
        )

    def _kept_once(self, _: None, once: Once) -> None:
        first = self._first_puts.pop((once.scope, once.key))
        for place, waiting in enumerate(first.waiting):
            waiting.callback(Receipt(first.id, duplicate=place > 0))

    def _not_kept_once(self, failure: Failure, once: Once) -> None:
        first = self._first_puts.pop((once.scope, once.key))
        for waiting in first.waiting:
            waiting.errback(failure)

    def _let_go(self, messages: Iterable[Message]) -> None:
        """Messages that are safe may run."""
        for message in messages:
            if message.expires_ms is not None:
                self._expiry.add(message.expires_ms)
            if message.state is State.DELAYED:
                self._delays.add(message)
            else:
                self._due(message)

    # Inside ----------------------------------------------------------------------------

    def _due(self, message: Message) -> None:
        lane = self._lanes.get(message.lane)
        if lane is not None:
            lane.arrived(message)

    def _expired(self, message: Message) -> None:
        """A message whose time is over was found on disk."""
        lane = self._lanes.get(message.lane)
        if self._busy(message):
            return
        self._forget(message)
        if lane is not None:
            lane.bury(message, "expired", self._engine.clock.wall_ms())
        else:
            was, message.state = message.state, State.DEAD
            message.due_ms = self._engine.clock.wall_ms()
            message.details.reason = "expired"
            self._journal.change(message, was=was)

    def _lane(self, queue: QueueName) -> Lane | None:
        number = self._numbers.get(queue)
        return None if number is None else self._lanes.get(number)

    def _number(self, queue: QueueName) -> int:
        number = self._numbers.get(queue)
        if number is None:
            number = self._numbers[queue] = self._journal.lane(queue.text)
            self._names[number] = queue
        return number

    def _check_keys(self, number: int, field: str | None) -> None:
        """Messages that are there were given keys of another member of their data."""
        if self._journal.facts[number].key_field == field:
            return
        recorded = [self._journal.change_facts(number, key_field=field)]
        if field is not None and any(self._journal.counts.get((number, s)) for s in State):
            recorded.append(self._journal.rekey(number, lambda data: key_in(data, field)))
            self._delays.reset()
        for one in recorded:
            one.addErrback(lambda failure: log.failure("keys of a queue", failure))


def _receipt(_: None, id: str) -> Receipt:
    return Receipt(id)

"""What the engines on one broker know about its queues, and tell each other.

A broker can't be asked which queues it has.  So every change of what is known of a queue
(its facts, which waits its messages go into) is a message, to a log that everybody reads
at the start, and to whoever is there.  Of two changes the later one counts, by the time
in them; so the order in which they are read doesn't matter, and the log may be rewritten
by anybody at any time.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger

from iii.engine.clock import Clock
from iii.engine.ids import next_id
from iii.modules.queue.adapters.rabbitmq.names import Names
from iii.modules.queue.journal import LaneFacts
from iii.modules.queue.names import QueueName
from iii.modules.queue.wakeups import Wakeups
from iii.rabbitmq import Broker, BrokerError, Consumer, Delivery, Got, Properties

log = Logger()

#: The log is rewritten when it has so many entries and most of them are outdated.
LONG_LOG = 500
#: How long an engine that is away misses nothing of what others tell.
EXPIRES_MS = 60_000
PREFETCH = 100
ASK_PAUSE_S = 0.02
FACTS, LOOK, FROM = "facts", "look", "x-iii-from"


class Entry(msgspec.Struct, omit_defaults=True):
    """What is known of one queue.

    :ivar at_ms: since when
    :ivar waits: milliseconds of the waits that its messages go into
    :ivar delays: of those before the exchange of a topic
    :ivar forgotten: it is no more
    """

    queue: str
    at_ms: int
    facts: LaneFacts = msgspec.field(default_factory=LaneFacts)
    waits: list[int] = []
    delays: list[int] = []
    forgotten: bool = False


class Question(msgspec.Struct, frozen=True):
    """Messages of a named queue wait for a function: who has it?

    :ivar here: no question but the answer
    """

    queue: str
    function_id: str
    namespace: str | None = None
    here: bool = False


class Known:
    """What is known.

    :param changed: told of a queue about which another engine said something new
    :param asked: told what other engines ask and answer
    """

    def __init__(
        self,
        clock: Clock,
        broker: Broker,
        names: Names,
        changed: Callable[[QueueName], None],
        asked: Callable[[Question], None],
    ) -> None:
        self._clock = clock
        self._broker = broker
        self._log = names.log
        self._changed = changed
        self._asked = asked
        self._asking: set[Question] = set()
        self._later: Wakeups[Question] = Wakeups(clock, self._ask)
        self._untold: set[QueueName] = set()
        self._entries: dict[QueueName, Entry] = {}
        self._me = next_id()
        self._consumer: Consumer | None = None

    async def start(self) -> None:
        """Read the log, and hear what others say from now on.

        :raises BrokerError: it can't be read
        """
        await self._prepare()
        self._broker.on_back.append(self._say_again)
        consumer = self._consumer = self._broker.consumer(
            self._mine, self, self._prepare, prefetch=PREFETCH
        )
        consumer.start()

    def stop(self) -> None:
        """Ask nobody any more."""
        self._later.stop()

    @property
    def _mine(self) -> str:
        return f"{self._log}.{self._me}"

    @property
    def queues(self) -> dict[QueueName, Entry]:
        """Every queue that is known."""
        return {queue: e for queue, e in self._entries.items() if not e.forgotten}

    def get(self, queue: QueueName) -> Entry | None:
        """One of them."""
        entry = self._entries.get(queue)
        return None if entry is None or entry.forgotten else entry

    def meet(self, queue: QueueName) -> Deferred[None] | None:
        """There is such a queue; None: that is known."""
        if self.get(queue) is not None:
            return None
        return self._tell(queue, Entry(queue.text, 0))

    def ask(self, question: Question) -> None:
        """Ask the other engines, or answer them; the same thing once in a moment."""
        if question not in self._asking:
            self._asking.add(question)
            self._later.add(ASK_PAUSE_S, question)

    def _ask(self, question: Question) -> None:
        self._asking.discard(question)
        if not self._broker.up:
            return  # it is asked again
        id = next_id()
        properties = Properties(id, {FROM: self._me}).encoded()
        asked = self._broker.publish(self._log, LOOK, id, properties, msgspec.json.encode(question))
        asked.addErrback(lambda failure: failure.trap(BrokerError))

    def note(self, queue: QueueName, facts: LaneFacts) -> None:
        """These are its facts from now on; ``tell`` says so to others."""
        entry = self.get(queue)
        if entry is None or entry.facts != facts:
            entry = entry or Entry(queue.text, 0)
            self._entries[queue] = msgspec.structs.replace(entry, facts=facts)
            self._untold.add(queue)

    def tell(self, queue: QueueName) -> Deferred[None]:
        """Say what is known of ``queue``, unless it is said; fires when the log has it."""
        entry = self._entries.get(queue)
        if entry is None or queue not in self._untold:
            return succeed(None)
        return self._tell(queue, entry)

    def tell_all(self) -> list[Deferred[None]]:
        """Say everything that could not be said before."""
        return [self.tell(queue) for queue in list(self._untold)]

    def use(self, queue: QueueName, ms: int, *, delay: bool) -> Deferred[None] | None:
        """Its messages go into a wait of ``ms``; None: that is known."""
        entry = self.get(queue) or Entry(queue.text, 0)
        if ms in (entry.delays if delay else entry.waits):
            return None
        if delay:
            entry = msgspec.structs.replace(entry, delays=[*entry.delays, ms])
        else:
            entry = msgspec.structs.replace(entry, waits=[*entry.waits, ms])
        return self._tell(queue, entry)

    def forget(self, queue: QueueName) -> Deferred[None]:
        """It is no more."""
        return self._tell(queue, Entry(queue.text, 0, forgotten=True))

    def _say_again(self) -> None:
        for telling in self.tell_all():
            telling.addErrback(lambda failure: failure.trap(BrokerError))

    # Telling and hearing ---------------------------------------------------------------

    def _tell(self, queue: QueueName, entry: Entry) -> Deferred[None]:
        before = self._entries.get(queue)
        entry.at_ms = max(self._clock.wall_ms(), 0 if before is None else before.at_ms + 1)
        self._entries[queue] = entry
        self._untold.add(queue)
        return self._send(self._log, FACTS, entry).addCallback(self._told, queue, entry.at_ms)

    def _told(self, _: None, queue: QueueName, at_ms: int) -> None:
        if self._entries[queue].at_ms == at_ms:
            self._untold.discard(queue)

    def _send(self, exchange: str, key: str, entry: Entry) -> Deferred[None]:
        id = next_id()
        return self._broker.publish(
            exchange, key, id, Properties(id).encoded(), msgspec.json.encode(entry)
        )

    def delivered(self, delivery: Delivery) -> None:
        """Receiver: somebody said something."""
        assert self._consumer is not None
        headers = delivery.properties.headers or {}
        if FROM not in headers:
            self._learn(delivery.body)
        elif headers[FROM] != self._me:
            self._asked(msgspec.json.decode(delivery.body, type=Question))
        self._consumer.ack(delivery)

    def gone(self) -> None:
        """Receiver: it comes again."""

    def _learn(self, body: bytes) -> Entry | None:
        try:
            entry = msgspec.json.decode(body, type=Entry)
            queue = QueueName.of_text(entry.queue)
        except msgspec.MsgspecError as error:
            log.warn("{log} has an entry that can't be read: {why}", log=self._log, why=str(error))
            return None
        before = self._entries.get(queue)
        if before is not None and before.at_ms >= entry.at_ms:
            # It is ours, or older.
            return entry
        if before is not None:
            entry.waits = sorted({*entry.waits, *before.waits})
            entry.delays = sorted({*entry.delays, *before.delays})
        self._entries[queue] = entry
        self._changed(queue)
        return entry

    async def _prepare(self) -> None:
        """Everything is there, and the log is read."""
        async with self._broker.desk() as desk:
            await desk.exchange(self._log, "direct")
            await desk.queue(f"{self._log}.log")
            await desk.bind(f"{self._log}.log", self._log, FACTS)
            await desk.queue(self._mine, {"x-expires": EXPIRES_MS})
            for key in (FACTS, LOOK):
                await desk.bind(self._mine, self._log, key)
            size = await desk.size(f"{self._log}.log")
            read: list[Got] = []
            for _ in range(0 if size is None else size[0]):
                got = await desk.get(f"{self._log}.log")
                if got is None:
                    break
                read.append(got)
                self._learn(got.body)
            if len(read) >= LONG_LOG and len(read) > 4 * len(self._entries):
                for entry in list(self._entries.values()):
                    if entry.at_ms:
                        await self._send("", f"{self._log}.log", entry)
                for got in read:
                    desk.ack(got)

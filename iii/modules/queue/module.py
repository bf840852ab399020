"""The ``iii-queue`` module: work that is kept until somebody has done it.

Topics (``topics``) and named queues (``named``) say where a message goes, ``delivery``
makes the attempts, the adapter keeps messages and decides whose turn it is.
"""

from __future__ import annotations

from contextlib import suppress

from iii.engine.adapters import Adapters
from iii.engine.clock import Clock
from iii.engine.module import Module, ModuleApi
from iii.modules.queue.adapter import NotSupported, QueueAdapter
from iii.modules.queue.admin import Admin
from iii.modules.queue.config import QueueConfig
from iii.modules.queue.delivery import Delivery
from iii.modules.queue.depths import Depths
from iii.modules.queue.figures import Figures
from iii.modules.queue.functions import Publishing
from iii.modules.queue.named import NamedQueues
from iii.modules.queue.subscriptions import TopicTrigger
from iii.modules.queue.topics import Topics
from iii.modules.queue.watched import Watched
from iii.storage.figures import show_file_size


class QueueModule(Module):
    """Topics and named queues.  Trigger types ``queue`` and ``durable:subscriber``."""

    name = "iii-queue"
    config = QueueConfig
    adapters = Adapters(
        builtin="iii.modules.queue.builtin:BuiltinAdapter",
        redis="iii.modules.queue.adapters.redis:RedisAdapter",
        rabbitmq="iii.modules.queue.adapters.rabbitmq:RabbitAdapter",
        bridge="iii.modules.queue.adapters.bridge:BridgeAdapter",
    )

    def __init__(self, settings: QueueConfig) -> None:
        super().__init__(settings)
        self.adapter: QueueAdapter
        self._delivery: Delivery | None = None
        self._topics: Topics | None = None
        self._clock: Clock
        self._looking = False
        self._closing = False

    async def start(self, engine: ModuleApi) -> None:
        """Module: open the adapter, offer functions and trigger types.

        :raises StartError: the adapter can't be opened
        """
        settings: QueueConfig = self.settings
        adapter = self.adapter
        started = adapter.start(engine, self.stores)
        if started is not None:
            await started
        delivery = self._delivery = Delivery(engine)
        figures = Figures()
        topics = self._topics = Topics(engine, adapter, delivery, figures)
        queues = NamedQueues(engine, adapter, delivery, figures)
        topics.start()
        queues.start(settings.queue_configs)
        with suppress(NotSupported):
            await queues.report_left()
        Publishing(engine, adapter, topics, queues, figures).install(engine)
        admin = Admin(engine, adapter, topics, queues)
        admin.install(engine)
        Watched(engine, admin, figures).offer(engine)
        for id, provider in (("queue", topics.queue), ("durable:subscriber", topics.durable)):
            engine.trigger_type(
                id,
                provider,
                description="Queue core module",
                trigger_schema=TopicTrigger,
            )
        figures.show(engine)
        Depths(engine, adapter, queues).show()
        show_file_size(engine, "queue", self.stores)
        self._clock = engine.clock
        engine.on_functions_changed(self._functions_changed)

    @property
    def awaited(self) -> int:
        """Module: messages that are being worked on."""
        return 0 if self._delivery is None else self._delivery.running

    def closing(self) -> None:
        """Module: take no more messages; those that run may finish."""
        self._closing = True
        self.adapter.closing()

    async def stop(self) -> None:
        """Module: what still runs is delivered again after the next start."""
        self._closing = True
        if self._topics is not None:
            self._topics.stop()
        if self._delivery is not None:
            self._delivery.stop()
        stopped = self.adapter.stop()
        if stopped is not None:
            await stopped

    def _functions_changed(self) -> None:
        """Messages may have waited for it.  A worker brings many functions in one turn."""
        if not self._looking and not self._closing:
            self._looking = True
            self._clock.call_later(0, self._look_again)

    def _look_again(self) -> None:
        self._looking = False
        if not self._closing:
            self.adapter.look_again()

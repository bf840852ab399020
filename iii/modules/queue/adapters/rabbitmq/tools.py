"""What every part of an adapter needs to do its work."""

from __future__ import annotations

from collections.abc import Callable

from iii.engine.clock import Clock
from iii.modules.queue.adapters.rabbitmq.known import Question
from iii.modules.queue.adapters.rabbitmq.names import Names
from iii.modules.queue.adapters.rabbitmq.post import Post
from iii.modules.queue.adapters.rabbitmq.topology import Topology
from iii.rabbitmq import Broker


class Tools:
    """The parts that lanes and shelf share.

    :ivar ask: asks other engines who has a function, or answers them
    """

    def __init__(
        self,
        clock: Clock,
        broker: Broker,
        names: Names,
        topology: Topology,
        post: Post,
        ask: Callable[[Question], None],
    ) -> None:
        self.clock = clock
        self.broker = broker
        self.names = names
        self.topology = topology
        self.post = post
        self.ask = ask

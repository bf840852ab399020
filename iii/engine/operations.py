"""``engine::…`` functions for those who look after an engine: its channels, a worker's end.

A worker that may not do everything may do none of this, whatever is exposed to it: what
goes through a channel, or who else is connected, is not its business.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct
from twisted.logger import Logger

from iii.engine.channels import Channel
from iii.engine.core import Engine
from iii.engine.invocations import Call
from iii.engine.module import ModuleApi
from iii.errors import Code, InvocationError

log = Logger()

#: 1012, service restart: every SDK connects again (decision 31).
CLOSE_RESTART = 1012
MAX_LISTED_CHANNELS = 1_000


class Disconnect(Struct):
    """``engine::workers::disconnect``."""

    worker_id: str


class ListChannels(Struct):
    """``engine::channels::list``."""

    limit: Annotated[int, Meta(ge=1, le=MAX_LISTED_CHANNELS)] = 100
    offset: Annotated[int, Meta(ge=0)] = 0


class Disconnected(Struct):
    """The answer: which worker it was."""

    worker_id: str
    disconnected: bool


class Peers(Struct):
    """Who is at the ends of a channel; None: nobody yet, or not any more."""

    writer: str | None
    reader: str | None


class ChannelRow(Struct):
    """An open channel.

    :ivar direction: which end is missing: ``write``, ``read``, ``both``; ``open``: none is
    :ivar bytes: written so far
    :ivar waiting_frames: written and not yet read
    """

    channel_id: str
    direction: str
    bytes: int
    waiting_frames: int
    waiting_bytes: int
    buffer_size: int
    age_ms: float
    peers: Peers


class ChannelRows(Struct):
    """The answer of ``engine::channels::list``; ``total``: how many there are."""

    channels: list[ChannelRow]
    total: int


class Operations:
    """The functions."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def install(self, api: ModuleApi) -> None:
        """Offer them."""
        api.function(
            "engine::workers::disconnect",
            self.disconnect,
            takes=Disconnect,
            gives=Disconnected,
            description="Close the connection of a worker, which then connects again",
            wants_call=True,
        )
        api.function(
            "engine::channels::list",
            self.channels,
            takes=ListChannels,
            gives=ChannelRows,
            description="List the open channels",
            wants_call=True,
        )

    def disconnect(self, asked: Disconnect, call: Call) -> Disconnected:
        """``engine::workers::disconnect``.

        :raises InvocationError: there is no such worker, or the caller may not do that
        """
        self._check(call.caller)
        worker = self._engine.workers.get(asked.worker_id)
        if worker is None:
            raise InvocationError(
                Code.WORKER_NOT_FOUND, f"no worker {asked.worker_id} is connected"
            )
        log.info("{worker} is disconnected on request", worker=worker.describe)
        worker.link.close(CLOSE_RESTART, "disconnected on request")
        return Disconnected(worker.id, True)

    def channels(self, asked: ListChannels, call: Call) -> ChannelRows:
        """``engine::channels::list``, the oldest first.

        :raises InvocationError: the caller may not know
        """
        self._check(call.caller)
        channels = sorted(self._engine.channels, key=lambda channel: channel.created)
        now = self._engine.clock.monotonic()
        page = channels[asked.offset : asked.offset + asked.limit]
        return ChannelRows([_row(channel, now) for channel in page], len(channels))

    def _check(self, caller: str | None) -> None:
        self._engine.check_unrestricted(caller)


def _row(channel: Channel, now: float) -> ChannelRow:
    frames, size = channel.waiting
    missing = [
        end
        for end, taken in (("write", channel.writer_taken), ("read", channel.reader_taken))
        if not taken
    ]
    direction = "both" if len(missing) == 2 else missing[0] if missing else "open"
    peers = Peers(_peer(channel.writer), _peer(channel.reader))
    age_ms = (now - channel.created) * 1000
    passed = channel.passed
    return ChannelRow(channel.id, direction, passed, frames, size, channel.size, age_ms, peers)


def _peer(end: object) -> str | None:
    """Who holds an end: the address of a socket, or a request in the engine."""
    return None if end is None else getattr(end, "peer", None) or "http request"

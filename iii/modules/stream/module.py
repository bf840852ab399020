"""The ``iii-stream`` module: groups of items whose every change reaches who follows them.

Functions and triggers speak through the worker port, subscribers through a port of
their own.  Where the values are kept is the adapter's business; ``stream.*`` and
``streams.*`` are the names that SDKs before 0.2 call.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred

from iii.engine.adapters import Adapters
from iii.engine.fanout import Fanout
from iii.engine.module import FunctionRow, Module, ModuleApi
from iii.modules.stream import shapes
from iii.modules.stream.adapter import Announcer
from iii.modules.stream.admission import Admission, GateTrigger
from iii.modules.stream.config import StreamConfig
from iii.modules.stream.peers import Peers
from iii.modules.stream.port import StreamPort
from iii.modules.stream.service import Streams
from iii.modules.stream.subscriptions import Subscriptions
from iii.modules.stream.triggers import StreamTriggers
from iii.modules.stream.watched import Watched
from iii.storage.figures import show_file_size
from iii.storage.store import Store
from iii.tlsport import certificates

OPERATIONS = ("get", "set", "delete", "list", "list_groups", "update", "send")

# Old name → the function.
ALIASES = {
    **{f"stream.{operation}": f"stream::{operation}" for operation in OPERATIONS},
    **{f"streams.{operation}": f"stream::{operation}" for operation in OPERATIONS},
    "streams.getGroup": "stream::list",
    "streams.listGroups": "stream::list_groups",
}


class StreamModule(Module):
    """Keeps streams.  Trigger types ``stream``, ``stream:join``, ``stream:leave``.

    :ivar streams: the functions, once it has started
    """

    name = "iii-stream"
    config = StreamConfig
    adapters = Adapters(
        kv="iii.storage.kvstore:KvStore",
        redis="iii.modules.stream.adapters.redis:RedisStreams",
        bridge="iii.modules.stream.adapters.bridge:BridgeStreams",
    )

    def __init__(self, settings: StreamConfig) -> None:
        super().__init__(settings)
        self.streams: Streams
        self._store: Store | None = None
        self._opening: Deferred[Store] | None = None
        self._fanout: Fanout | None = None
        self._port: StreamPort | None = None
        self._peers: Peers | None = None

    def start(self, engine: ModuleApi) -> Deferred[None] | None:
        """Module: open the store, offer functions and trigger types, listen."""
        opened = self.adapter.open(engine, "stream", self.stores)
        if isinstance(opened, Deferred):
            self._opening = opened
            return opened.addCallback(self._begin, engine)
        self._begin(opened, engine)
        return None

    def _begin(self, store: Store, engine: ModuleApi) -> None:
        settings: StreamConfig = self.settings
        self._store = store
        announcer = store if isinstance(store, Announcer) else None
        self._fanout = Fanout(engine, "stream")
        triggers = StreamTriggers(self._fanout, enabled=settings.triggers_enabled)
        admission = Admission(engine, fail_open=settings.auth_fail_open)
        subscriptions = Subscriptions(engine.turn)
        watched = Watched(subscriptions)
        streams = self.streams = Streams(
            engine,
            store,
            triggers,
            wants=watched.wants,
            publish=watched.publish,
            announcer=announcer,
            max_value_bytes=settings.max_value_bytes,
        )
        streams.peers = self._peers = Peers(engine, streams.heard)
        self._peers.start()
        for id, handler, takes, gives, description in _functions(streams):
            engine.function(
                id, handler, takes=takes, gives=gives, description=description, wants_call=True
            )
        engine.functions(_overview(streams), ALIASES)
        engine.feed("stream", watched.feed)
        engine.trigger_type(
            "stream",
            triggers,
            description="An item of a stream was written or deleted, or an event sent",
            trigger_schema=shapes.StreamTrigger,
        )
        for gate, provider in (("join", admission.joins), ("leave", admission.leaves)):
            for spelling in (f"stream:{gate}", f"streams:{gate}"):
                engine.trigger_type(
                    spelling,
                    provider,
                    description=f"A client is about to {gate} a stream",
                    trigger_schema=GateTrigger,
                )
        self._port = StreamPort(
            engine,
            streams,
            subscriptions,
            admission,
            host=settings.host,
            port=settings.port,
            auth_function=settings.auth_function,
            certificates=certificates(settings.tls, engine.clock, self.name),
            allowed_origins=settings.allowed_origins,
            fail_open=settings.auth_fail_open,
        )
        if announcer is not None:
            announcer.listen(streams.stamps, streams.heard, self._port.sync_again)
        self._port.listen()
        self._port.show()
        self._fanout.show("iii_stream_triggers")
        show_file_size(engine, "stream", self.stores)
        engine.announce("stream", self._port.port)

    @property
    def port(self) -> int:
        """Where subscribers connect."""
        assert self._port is not None, "not started"
        return self._port.port

    @property
    def under_way(self) -> int:
        """Module: events that wait for their turn; what runs is a call like any other."""
        return 0 if self._fanout is None else self._fanout.waiting

    def renew(self) -> None:
        """Module: read the certificate again."""
        if self._port is not None:
            self._port.renew()

    def closing(self) -> None:
        """Module: no more subscribers."""
        if self._port is not None:
            self._port.closing()

    async def stop(self) -> None:
        """Module: say goodbye to subscribers, finish the writes."""
        if self._opening is not None:
            self._opening.cancel()
        if self._port is not None:
            await self._port.stop()
        if self._peers is not None:
            self._peers.stop()
        if self._fanout is not None:
            self._fanout.stop()
        if self._store is not None:
            await self._store.close()


def _functions(streams: Streams) -> tuple[FunctionRow, ...]:
    """Triggers and providers are called below the call that made it necessary."""
    return (
        ("stream::set", streams.set, shapes.SetInput, shapes.Written, "Keep an item"),
        ("stream::get", streams.get, shapes.GetInput, None, "Get an item"),
        ("stream::delete", streams.delete, shapes.DeleteInput, shapes.Deleted, "Take an item out"),
        (
            "stream::update",
            streams.update,
            shapes.UpdateInput,
            shapes.Updated,
            "Change an item with no other write in between",
        ),
        ("stream::send", streams.send, shapes.SendInput, None, "Send an event, store nothing"),
        ("stream::list", streams.list, shapes.ListInput, None, "List the items of a group"),
        (
            "stream::list_groups",
            streams.list_groups,
            shapes.ListGroupsInput,
            None,
            "List the groups of a stream",
        ),
    )


def _overview(streams: Streams) -> tuple[FunctionRow, ...]:
    return (
        (
            "stream::list_all",
            streams.list_all,
            shapes.ListAllInput,
            shapes.AllStreams,
            "List the streams and their groups",
        ),
        (
            "engine::stream::items",
            streams.items,
            shapes.ItemsInput,
            None,
            "List the items of a group with their ids, a page at a time",
        ),
    )

"""What the unit tests of the engine share: workers without sockets, a clock that stands still."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock as Ticks
from twisted.trial.unittest import SynchronousTestCase

from iii.engine import corefunctions
from iii.engine.bindings import Binding, Registration, TriggerType
from iii.engine.clock import Clock
from iii.engine.core import Engine
from iii.engine.functions import DEFAULT_NAMESPACE, FunctionSpec, Routing
from iii.engine.ids import uuid4_text
from iii.engine.invocations import Call, ErrorBody
from iii.engine.triggers import WorkerProvider
from iii.engine.workers import Worker


def raw(value: Any) -> Raw:
    """A value as JSON bytes."""
    return Raw(msgspec.json.encode(value))


def value(data: Raw | None) -> Any:
    """JSON bytes as a value."""
    return None if data is None else msgspec.json.decode(data)


class FakeLink:
    """A connection that only remembers.

    :ivar calls: calls to run
    :ivar told: (what, trigger id, config) a provider was told
    :ivar refusals: (trigger id, code, message) an owner was told
    """

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.told: list[tuple[str, str, Any]] = []
        self.refusals: list[tuple[str, str, str]] = []
        self.closed: list[tuple[int, str]] = []

    def invoke(self, call: Call) -> None:
        """Link."""
        self.calls.append(call)

    def register_trigger(self, registration: Registration) -> None:
        """Link."""
        self.told.append(("add", registration.id, value(registration.config)))

    def unregister_trigger(self, registration: Registration) -> None:
        """Link."""
        self.told.append(("remove", registration.id, value(registration.config)))

    def registration_failed(self, registration: Registration, error: ErrorBody) -> None:
        """Link."""
        self.refusals.append((registration.id, error.code, error.message))

    def close(self, code: int, reason: str) -> None:
        """Link."""
        self.closed.append((code, reason))

    def evict(self) -> None:
        """Link."""
        self.closed.append((1012, "evicted"))


class Recorder:
    """A trigger provider that only remembers.

    :ivar log: (``add`` or ``remove``, binding id, config)
    :ivar answer: what ``add`` returns or raises next
    """

    def __init__(self) -> None:
        self.log: list[tuple[str, str, Any]] = []
        self.active: list[Binding] = []
        self.answer: Any = None

    def add(self, binding: Binding) -> Deferred[None] | None:
        """Provider."""
        if isinstance(self.answer, Exception):
            raise self.answer
        self.log.append(("add", binding.id, value(binding.config)))
        self.active.append(binding)
        answer: Deferred[None] | None = self.answer
        return answer

    def remove(self, binding: Binding) -> None:
        """Provider."""
        self.log.append(("remove", binding.id, value(binding.config)))
        self.active.remove(binding)


class CoreCase(SynchronousTestCase):
    """An engine on a clock that the test moves, and workers without sockets."""

    routing: Routing = "balance"
    with_core_functions = False

    def setUp(self) -> None:
        self.ticks = Ticks()
        self.engine = Engine(self.ticks, clock=Clock.virtual(self.ticks), routing=self.routing)
        if self.with_core_functions:
            corefunctions.install(self.engine)

    def worker(self, *functions: str, **said: Any) -> Worker:
        """A connected worker that offers ``functions``."""
        worker = Worker(FakeLink(), "127.0.0.1", self.engine.clock.wall_ms())
        for name, what in said.items():
            setattr(worker, name, what)
        self.engine.workers.add(worker)
        for id in functions:
            self.offer(worker, id)
        return worker

    def link(self, worker: Worker) -> FakeLink:
        """The worker's connection."""
        assert isinstance(worker.link, FakeLink)
        return worker.link

    def offer(self, worker: Worker, id: str, namespace: str = DEFAULT_NAMESPACE) -> None:
        """The worker registers a function."""
        self.engine.functions.register(id, FunctionSpec(worker), namespace)
        worker.functions[(namespace, id)] = None

    def withdraw(self, worker: Worker, id: str, namespace: str = DEFAULT_NAMESPACE) -> bool:
        """The worker unregisters a function."""
        done = self.engine.functions.unregister(id, worker, namespace)
        if done:
            worker.functions.pop((namespace, id))
        return done

    def serving(self, id: str, times: int = 1) -> list[Worker | None]:
        """Who gets the next calls."""
        return [self.engine.functions.owner_of(id, None) for _ in range(times)]  # type: ignore[misc]

    def provide(self, worker: Worker, id: str, namespace: str = DEFAULT_NAMESPACE) -> None:
        """The worker registers a trigger type."""
        worker.trigger_types[(namespace, id)] = None
        self.engine.triggers.add_type(
            TriggerType(id, WorkerProvider(worker), owner=worker, shared=False, namespace=namespace)
        )

    def module_type(self, id: str, *, shared: bool = True) -> Recorder:
        """A trigger type of a module."""
        provider = Recorder()
        self.engine.triggers.add_type(TriggerType(id, provider, module="iii-demo", shared=shared))
        return provider

    def bind(
        self,
        owner: Worker | None,
        type: str,
        function_id: str = "f",
        config: Any = None,
        *,
        id: str | None = None,
        **more: Any,
    ) -> tuple[Registration, Deferred[None]]:
        """Register a trigger."""
        registration = Registration(
            id or uuid4_text(),
            type,
            function_id,
            raw({} if config is None else config),
            owner=owner,
            **more,
        )
        return registration, self.engine.triggers.register(registration)

    def bound(self, *args: Any, **more: Any) -> Registration:
        """Register a trigger that is accepted at once."""
        registration, done = self.bind(*args, **more)
        self.successResultOf(done)
        return registration

    def listed(self) -> set[str]:
        """The ids of all triggers that can fire."""
        return {registration.id for registration in self.engine.triggers.registrations()}

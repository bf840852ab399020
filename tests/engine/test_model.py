"""Registries against a model: any order of events leaves exactly what is owned.

The model is the plain rule: a connection owns what it registered and has not
unregistered; what is listed is what live connections own, triggers only while
somebody provides their type.
"""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    rule,
    run_state_machine_as_test,
)
from twisted.internet.task import Clock as Ticks
from twisted.trial.unittest import SynchronousTestCase

from iii.engine.bindings import Registration, TriggerType
from iii.engine.clock import Clock
from iii.engine.core import Engine
from iii.engine.functions import FunctionSpec
from iii.engine.triggers import WorkerProvider
from iii.engine.workers import Worker
from tests.engine.cases import FakeLink, Recorder, raw

FUNCTIONS = st.sampled_from(("f", "g", "h"))
MODULE_TYPES = ("m1", "m2")
WORKER_TYPES = ("w1", "w2")
TYPES = st.sampled_from(MODULE_TYPES + WORKER_TYPES)
IDS = st.sampled_from(("t1", "t2", "t3", "t4"))
CONFIGS = st.sampled_from((0, 1))

Wish = tuple[str, str, int]


class Registries(RuleBasedStateMachine):
    """Connections register, unregister and end in any order."""

    live = Bundle("live")

    def __init__(self) -> None:
        super().__init__()
        ticks = Ticks()
        self.engine = Engine(ticks, clock=Clock.virtual(ticks))
        self.modules = {id: Recorder() for id in MODULE_TYPES}
        for id, provider in self.modules.items():
            self.engine.triggers.add_type(TriggerType(id, provider, module="iii-demo"))
        self.functions: dict[Worker, set[str]] = {}
        self.triggers: dict[Worker, dict[str, Wish]] = {}
        self.types: dict[Worker, list[str]] = {}

    @rule(target=live)
    def connect(self) -> Worker:
        """A connection."""
        worker = Worker(FakeLink(), "127.0.0.1", 0)
        self.engine.workers.add(worker)
        self.functions[worker], self.triggers[worker], self.types[worker] = set(), {}, []
        return worker

    @rule(worker=consumes(live))
    def disconnect(self, worker: Worker) -> None:
        """It ends."""
        self.engine.worker_gone(worker)
        for owned in (self.functions, self.triggers, self.types):
            del owned[worker]

    @rule(worker=live, id=FUNCTIONS)
    def register_function(self, worker: Worker, id: str) -> None:
        """``registerfunction``."""
        self.engine.functions.register(id, FunctionSpec(worker))
        worker.functions[("default", id)] = None
        self.functions[worker].add(id)

    @rule(worker=live, id=FUNCTIONS)
    def unregister_function(self, worker: Worker, id: str) -> None:
        """``unregisterfunction``."""
        removed = self.engine.functions.unregister(id, worker)
        assert removed == (id in self.functions[worker])
        worker.functions.pop(("default", id), None)
        self.functions[worker].discard(id)

    @rule(worker=live, id=IDS, type=TYPES, function=FUNCTIONS, config=CONFIGS)
    def register_trigger(
        self, worker: Worker, id: str, type: str, function: str, config: int
    ) -> None:
        """``registertrigger``."""
        self.engine.triggers.register(
            Registration(id, type, function, raw({"c": config}), owner=worker)
        )
        self.triggers[worker][id] = (type, function, config)

    @rule(worker=live, id=IDS)
    def unregister_trigger(self, worker: Worker, id: str) -> None:
        """``unregistertrigger``."""
        assert self.engine.triggers.unregister(id, worker) == (id in self.triggers[worker])
        self.triggers[worker].pop(id, None)

    @rule(worker=live, type=st.sampled_from(WORKER_TYPES))
    def provide(self, worker: Worker, type: str) -> None:
        """``registertriggertype``."""
        worker.trigger_types[("default", type)] = None
        self.engine.triggers.add_type(
            TriggerType(type, WorkerProvider(worker), owner=worker, shared=False)
        )
        if type not in self.types[worker]:
            self.types[worker].append(type)

    @rule(worker=live, type=st.sampled_from(WORKER_TYPES))
    def withdraw(self, worker: Worker, type: str) -> None:
        """``unregistertriggertype``."""
        removed = self.engine.triggers.remove_type(type, worker, "default")
        assert removed == (type in self.types[worker])
        worker.trigger_types.pop(("default", type), None)
        if removed:
            self.types[worker].remove(type)

    @invariant()
    def functions_are_what_is_owned(self) -> None:
        """Ids, owners, and who serves."""
        owned: dict[str, set[Worker]] = {}
        for worker, ids in self.functions.items():
            for id in ids:
                owned.setdefault(id, set()).add(worker)
        known = {
            function.id: {spec.owner for spec in function.specs}
            for function in self.engine.functions
        }
        assert known == owned
        for function in self.engine.functions:
            assert set(function.serving) == owned[function.id]

    @invariant()
    def triggers_are_what_is_owned(self) -> None:
        """Listed while their type is there, parked otherwise."""
        provided = set(MODULE_TYPES).union(*self.types.values())
        wishes = [
            (id, wish) for triggers in self.triggers.values() for id, wish in triggers.items()
        ]
        listed = {registration.id for registration in self.engine.triggers.registrations()}
        assert listed == {id for id, wish in wishes if wish[0] in provided}
        assert self.engine.triggers.parked == sum(
            1 for _, wish in wishes if wish[0] not in provided
        )

    @invariant()
    def modules_have_one_binding_per_likeness(self) -> None:
        """As many as the connection with the most alike triggers has (08 §2)."""
        for type, provider in self.modules.items():
            most: dict[Wish, int] = {}
            for triggers in self.triggers.values():
                mine = [wish for wish in triggers.values() if wish[0] == type]
                for wish in mine:
                    most[wish] = max(most.get(wish, 0), mine.count(wish))
            active: dict[Wish, int] = {}
            for binding in provider.active:
                config = int(bytes(binding.config)[5:-1])
                wish = (type, binding.function_id, config)
                active[wish] = active.get(wish, 0) + 1
            # A connection may leave a hole in an older binding, never lack one of its own.
            assert active.keys() == most.keys()
            for wish, count in most.items():
                assert active[wish] >= count

    def teardown(self) -> None:
        """When everybody is gone, nothing is left."""
        for worker in list(self.functions):
            self.disconnect(worker)
        assert len(self.engine.functions) == 0
        assert list(self.engine.triggers.registrations()) == []
        assert self.engine.triggers.parked == 0
        assert [provider.active for provider in self.modules.values()] == [[], []]
        assert [type.id for type in self.engine.triggers.types()] == list(MODULE_TYPES)


class RegistriesAgainstTheModel(SynchronousTestCase):
    """08 §2: nothing that is alive is ever lost, nothing that is gone stays."""

    def test_any_order_of_events(self) -> None:
        """Register, unregister, disconnect, of several connections."""
        run_state_machine_as_test(
            Registries,
            settings=settings(
                max_examples=60,
                stateful_step_count=40,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )

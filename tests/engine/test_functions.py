"""Who answers a call (``iii.engine.functions``)."""

from __future__ import annotations

from iii.engine.functions import FunctionSpec
from iii.engine.invocations import Call, ignore_outcome
from iii.engine.native import Empty, NativeFunction
from iii.errors import Code, RegistrationError
from tests.engine.cases import CoreCase, raw


class Owners(CoreCase):
    """A function lives as long as its last owner."""

    def test_the_id_goes_with_the_last_owner(self) -> None:
        """Each leaves for itself."""
        first, second = self.worker("f"), self.worker("f")
        self.assertTrue(self.withdraw(first, "f"))
        self.assertEqual(self.serving("f"), [second])
        self.assertTrue(self.withdraw(second, "f"))
        self.assertEqual(self.serving("f"), [None])
        self.assertIsNone(self.engine.functions.get("f"))

    def test_who_owns_nothing_removes_nothing(self) -> None:
        """False, and the owner goes on."""
        owner, other = self.worker("f"), self.worker()
        self.assertFalse(self.engine.functions.unregister("f", other))
        self.assertFalse(self.engine.functions.unregister("g", owner))
        self.assertEqual(self.serving("f"), [owner])

    def test_again_replaces_in_place(self) -> None:
        """The newest words count, and no owner is added."""
        worker = self.worker("f")
        self.engine.functions.register("f", FunctionSpec(worker, "new words"))
        function = self.engine.functions.get("f")
        assert function is not None
        self.assertEqual(len(function.specs), 1)
        self.assertEqual(function.spec.description, "new words")
        self.assertEqual(self.engine.functions.registered_total, 1)

    def test_again_does_not_make_an_owner_the_newest(self) -> None:
        """A replay keeps its place."""
        first, second = self.worker("f"), self.worker("f")
        self.engine.functions.register("f", FunctionSpec(first, "replayed"))
        function = self.engine.functions.get("f")
        assert function is not None
        self.assertEqual([spec.owner for spec in function.specs], [first, second])

    def test_changed_is_told_about_ids_only(self) -> None:
        """Not about a second owner, and not about new words."""
        changes: list[int] = []
        self.engine.functions.changed = lambda: changes.append(len(self.engine.functions))
        first = self.worker("f")
        second = self.worker("f")
        self.offer(first, "f")
        self.withdraw(first, "f")
        self.assertEqual(changes, [1])
        self.withdraw(second, "f")
        self.assertEqual(changes, [1, 0])

    def test_cleanup_takes_only_what_is_still_owned(self) -> None:
        """08 §2: a late goodbye removes nothing of a successor."""
        old, new = self.worker("f", "g"), self.worker("f")
        self.engine.worker_gone(old)
        self.assertEqual(self.serving("f"), [new])
        self.assertEqual(self.serving("g"), [None])
        self.engine.worker_gone(old)
        self.assertEqual(self.serving("f"), [new])


class Sharing(CoreCase):
    """Decision 2: the fewest calls in flight, ties go round."""

    def test_ties_go_round(self) -> None:
        """Everyone gets the same number of calls."""
        workers = [self.worker("f") for _ in range(3)]
        served = self.serving("f", 30)
        self.assertEqual([served.count(worker) for worker in workers], [10, 10, 10])

    def test_the_least_busy_serves(self) -> None:
        """Whoever has fewer calls in flight is next."""
        busy, idle = self.worker("f"), self.worker("f")
        for _ in range(3):
            call = Call("x", "f", raw(None), ignore_outcome)
            busy.executing[f"{len(busy.executing)}"] = call
        self.assertEqual(self.serving("f", 5), [idle] * 5)
        busy.executing.clear()
        self.assertEqual(set(self.serving("f", 2)), {busy, idle})

    def test_calls_in_flight_of_other_functions_count(self) -> None:
        """Load is the connection's, not the function's."""
        busy, idle = self.worker("f", "g"), self.worker("f")
        for _ in range(2):
            self.engine.invoke("g", 1)
        self.assertEqual(self.serving("f", 2), [idle, idle])
        self.assertEqual(len(busy.executing), 2)

    def test_a_reconnect_serves_alone(self) -> None:
        """Equal name, pid and address: only the newest; the other comes back when it goes."""
        old = self.worker("f", name="n", pid=1)
        new = self.worker("f", name="n", pid=1)
        self.assertEqual(self.serving("f", 4), [new] * 4)
        self.withdraw(new, "f")
        self.assertEqual(self.serving("f", 2), [old] * 2)

    def test_replicas_are_not_a_reconnect(self) -> None:
        """Another pid, another name, another address or none said: both serve."""
        pairs = (
            ({"name": "n", "pid": 1}, {"name": "n", "pid": 2}),
            ({"name": "n", "pid": 1}, {"name": "m", "pid": 1}),
            ({"name": "n", "pid": 1}, {"name": "n", "pid": 1, "ip_address": "10.0.0.9"}),
            ({"name": "n"}, {"name": "n"}),
            ({"pid": 1}, {"pid": 1}),
            ({}, {}),
        )
        for number, (one, two) in enumerate(pairs):
            first, second = self.worker(f"f{number}", **one), self.worker(f"f{number}", **two)
            self.assertEqual(set(self.serving(f"f{number}", 4)), {first, second}, (one, two))

    def test_an_identity_may_come_late(self) -> None:
        """SDKs describe themselves after they registered."""
        old, new = self.worker("f"), self.worker("f")
        for worker in (old, new):
            worker.name, worker.pid = "n", 1
        self.engine.functions.owner_changed("f", "default")
        self.assertEqual(self.serving("f", 4), [new] * 4)


class Newest(CoreCase):
    """``function_routing: newest``: a stack."""

    routing = "newest"

    def test_the_newest_serves_and_the_older_stand_by(self) -> None:
        """Like the original from 0.11.1."""
        first, second, third = (self.worker("f") for _ in range(3))
        self.assertEqual(self.serving("f", 3), [third] * 3)
        self.withdraw(second, "f")
        self.assertEqual(self.serving("f", 3), [third] * 3)
        self.withdraw(third, "f")
        self.assertEqual(self.serving("f", 3), [first] * 3)


class NamesAndNatives(CoreCase):
    """Namespaces, aliases, and the engine's own functions."""

    def native(self, id: str) -> NativeFunction:
        """Register a function of the engine."""
        owner = NativeFunction(id, lambda _: None, Empty, "iii-demo", self.engine.invocations)
        self.engine.functions.register(id, FunctionSpec(owner))
        return owner

    def test_namespaces_are_apart(self) -> None:
        """The same id twice, each with its own owners; ``default`` is the plain one."""
        here, there = self.worker("f"), self.worker()
        self.offer(there, "f", "shop")
        owner_of = self.engine.functions.owner_of
        self.assertIs(owner_of("f", None), here)
        self.assertIs(owner_of("f", "default"), here)
        self.assertIs(owner_of("f", "shop"), there)
        self.assertIsNone(owner_of("f", "nowhere"))
        self.assertEqual(len(self.engine.functions), 2)

    def test_the_error_names_where_else_it_is(self) -> None:
        """01 §6.2: the code is always the same."""
        worker = self.worker()
        for namespace in ("shop", "bank"):
            self.offer(worker, "f", namespace)
        not_found = self.engine.functions.not_found
        self.assertEqual(not_found("g", None).message, "Function g not found")
        self.assertEqual(not_found("g", "x").message, "Function g not found in namespace x.")
        self.assertEqual(
            not_found("f", None).message,
            "Function f not found in namespace default. "
            "It is registered in namespace(s): bank, shop.",
        )
        self.assertEqual(not_found("f", None).code, Code.FUNCTION_NOT_FOUND)

    def test_moving_keeps_the_owner_and_the_words(self) -> None:
        """Only the owner that moves."""
        stays, moves = self.worker("f"), self.worker()
        self.engine.functions.register("f", FunctionSpec(moves, "mine"))
        self.engine.functions.move("f", moves, "default", "shop")
        self.assertEqual(self.serving("f", 2), [stays, stays])
        function = self.engine.functions.get("f", "shop")
        assert function is not None
        self.assertEqual((function.spec.owner, function.spec.description), (moves, "mine"))
        self.engine.functions.move("nope", moves, "default", "shop")

    def test_an_alias_is_answered_and_not_listed(self) -> None:
        """A real function of that name wins."""
        self.engine.functions.aliases["old.name"] = "new::name"
        native = self.native("new::name")
        self.assertEqual(self.serving("old.name"), [native])
        self.assertEqual([function.id for function in self.engine.functions], ["new::name"])
        worker = self.worker("old.name")
        self.assertEqual(self.serving("old.name"), [worker])

    def test_a_worker_can_not_take_an_engine_function(self) -> None:
        """Decision 2: refused, nothing changes."""
        native, worker = self.native("engine::x"), self.worker()
        with self.assertRaises(RegistrationError) as caught:
            self.engine.functions.register("engine::x", FunctionSpec(worker))
        self.assertEqual(caught.exception.code, Code.FUNCTION_NAMESPACE_CONFLICT)
        self.assertEqual(self.serving("engine::x", 2), [native, native])
        self.assertFalse(self.engine.functions.unregister("engine::x", worker))

    def test_a_module_takes_over_from_workers(self) -> None:
        """A module that comes later serves alone, and a worker's goodbye leaves it."""
        worker = self.worker("state::get")
        native = self.native("state::get")
        self.assertEqual(self.serving("state::get", 3), [native] * 3)
        self.engine.worker_gone(worker)
        self.assertEqual(self.serving("state::get"), [native])

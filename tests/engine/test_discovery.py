"""What lists show, to callers of every release (``iii.engine.discovery``, ``rows``)."""

from __future__ import annotations

from typing import Any

from iii.engine.functions import FunctionSpec
from iii.engine.workers import Worker, clean_label
from iii.errors import InvocationError
from tests.engine.cases import CoreCase, raw, value

SCHEMA = {"type": "object", "properties": {}}
NAMED = {"name": "r", "type": "string"}


class DiscoveryCase(CoreCase):
    """An engine with its core functions and some registrations."""

    with_core_functions = True

    def ask(self, id: str, data: dict[str, Any] | None = None, by: Worker | None = None) -> Any:
        """Call a function, as a worker or as the engine."""
        asked = dict(data or {})
        if by is not None:
            asked["_caller_worker_id"] = by.id
        return value(self.successResultOf(self.engine.invoke(id, asked)))

    def error(self, id: str, data: dict[str, Any]) -> InvocationError:
        """Call a function that fails."""
        error = self.failureResultOf(self.engine.invoke(id, data), InvocationError).value
        assert isinstance(error, InvocationError)
        return error

    def old(self) -> Worker:
        """A caller of the classic dialect."""
        return self.worker(runtime="node", version="0.12.9")

    def new(self) -> Worker:
        """A caller of the discovery dialect."""
        return self.worker(runtime="node", version="0.13.0-rc.1", name="asking")

    def define(self, worker: Worker, id: str, **words: Any) -> None:
        """Register a function with words."""
        for field in ("request_format", "response_format", "metadata"):
            if field in words:
                words[field] = raw(words[field])
        self.engine.functions.register(id, FunctionSpec(worker, **words))
        worker.functions[("default", id)] = None


class Functions(DiscoveryCase):
    """``engine::functions::list`` and ``info``."""

    def ids(self, query: dict[str, Any] | None = None, by: Worker | None = None) -> list[str]:
        """The ids of a list."""
        rows = self.ask("engine::functions::list", query, by)["functions"]
        return [row["function_id"] for row in rows]

    def test_a_row_has_every_key(self) -> None:
        """01 §16.3: one superset row."""
        worker = self.worker(name="billing")
        self.define(worker, "pay", description="d", request_format=SCHEMA, metadata={"k": 1})
        self.define(self.worker(), "math::add")
        rows = self.ask("engine::functions::list")["functions"]
        self.assertEqual(
            rows,
            [
                {
                    "function_id": "math::add",
                    "description": None,
                    "request_format": None,
                    "response_format": None,
                    "metadata": None,
                    "worker_name": "math",
                    "namespace": "default",
                },
                {
                    "function_id": "pay",
                    "description": "d",
                    "request_format": SCHEMA,
                    "response_format": None,
                    "metadata": {"k": 1},
                    "worker_name": "billing",
                    "namespace": "default",
                },
            ],
        )

    def test_python_before_0_10_sees_named_formats_only(self) -> None:
        """01 §8.1: a JSON Schema makes its ``list_functions()`` raise."""
        worker = self.worker()
        self.define(worker, "f", request_format=SCHEMA, response_format=NAMED)
        rows = (
            ("python", "0.9.0", None),
            ("python", "0.2.0", None),
            ("python", "0.10.0", SCHEMA),
            ("node", "0.9.0", SCHEMA),
            ("python", None, SCHEMA),
        )
        for runtime, version, seen in rows:
            caller = self.worker(runtime=runtime, version=version)
            (row,) = self.ask("engine::functions::list", by=caller)["functions"]
            self.assertEqual((row["request_format"], row["response_format"]), (seen, NAMED))
        ancient = self.worker(runtime="python", version="0.8.0")
        query = {"include_internal": True}
        for row in self.ask("engine::functions::list", query, ancient)["functions"]:
            self.assertIn(row["request_format"], (None, NAMED))

    def test_what_is_internal_depends_on_the_dialect(self) -> None:
        """01 §17.3: queue functions and marked ones."""
        worker = self.worker()
        for id in ("f", "engine::queue::enqueue", "engine::other"):
            self.define(worker, id)
        self.define(worker, "marked", metadata={"internal": True})
        self.assertEqual(self.ids(by=self.old()), ["f", "marked"])
        self.assertEqual(self.ids(by=self.new()), ["engine::queue::enqueue", "f"])
        view = {"view": "classic"}
        self.assertEqual(self.ids(view, self.new()), ["f", "marked"])
        everything = self.ids({"include_internal": True}, self.new())
        self.assertLessEqual({"marked", "engine::other", "engine::workers::list"}, set(everything))

    def test_filters(self) -> None:
        """Prefix, worker, workers, search: hits in the id first."""
        one, two = self.worker(name="one"), self.worker(name="two")
        self.define(one, "zoo.pay")
        self.define(one, "pay.now")
        self.define(two, "audit", description="who may PAY")
        self.define(two, "other")
        self.assertEqual(self.ids({"prefix": "pay"}), ["pay.now"])
        self.assertEqual(self.ids({"worker": "two"}), ["audit", "other"])
        self.assertEqual(self.ids({"workers": ["one", "two"]}), sorted(self.ids()))
        self.assertEqual(self.ids({"search": "Pay"}), ["pay.now", "zoo.pay", "audit"])

    def test_info(self) -> None:
        """One, several, missing, too many."""
        worker = self.worker(name="billing")
        self.define(worker, "pay", request_format=SCHEMA)
        self.module_type("http")
        bound = self.bound(worker, "http", "pay", {"api_path": "p"})
        info = self.ask("engine::functions::info", {"function_id": "pay"})
        self.assertEqual(
            info,
            {
                "function_id": "pay",
                "worker_name": "billing",
                "request_schema": SCHEMA,
                "registered_triggers": [
                    {"id": bound.id, "trigger_type": "http", "config": {"api_path": "p"}}
                ],
                "namespace": "default",
            },
        )
        several = self.ask("engine::functions::info", {"function_ids": ["pay", "nope"]})
        self.assertEqual(
            several, {"functions": [info, {"function_id": "nope", "error": "not_found"}]}
        )
        error = self.error("engine::functions::info", {"function_id": "nope"})
        self.assertEqual(
            (error.code, error.message), ("NOT_FOUND", "Function 'nope' is not registered.")
        )
        for wrong in ({}, {"function_ids": ["x"] * 33}):
            code = self.error("engine::functions::info", wrong).code
            self.assertEqual(code, "INVALID_ARGUMENTS")

    def test_a_wrong_query_is_refused(self) -> None:
        """With the field's name."""
        error = self.error("engine::functions::list", {"include_internal": "yes"})
        self.assertEqual(error.code, "deserialization_error")
        self.assertIn("include_internal", error.message)


class Triggers(DiscoveryCase):
    """Trigger types and instances, in both dialects."""

    def setUp(self) -> None:
        super().setUp()
        self.module_type("http")
        self.user = self.worker(name="billing")
        self.registration = self.bound(self.user, "http", "pay", {"api_path": "p" * 100})

    def test_one_id_two_meanings(self) -> None:
        """01 §16.3: instances for old SDKs, types for new; the other list beside it."""
        classic = self.ask("engine::triggers::list", by=self.old())
        self.assertEqual([row["id"] for row in classic["triggers"]], [self.registration.id])
        self.assertEqual([row["id"] for row in classic["trigger_types"]], ["http"])
        modern = self.ask("engine::triggers::list", by=self.new())
        self.assertEqual(
            modern["triggers"],
            [{"id": "http", "worker_name": "iii-http", "description": "", "namespace": "default"}],
        )
        self.assertEqual(
            [row["id"] for row in modern["registered_triggers"]], [self.registration.id]
        )
        self.assertEqual(self.ask("engine::triggers::list"), classic)

    def test_registered_triggers(self) -> None:
        """Filters, the summary, one by its id."""
        (row,) = self.ask("engine::registered-triggers::list")["registered_triggers"]
        self.assertEqual(row["worker_name"], "billing")
        self.assertEqual(len(row["config_summary"]), 81)
        for query, count in (
            ({"trigger_type": "cron"}, 0),
            ({"function_id": "pay"}, 1),
            ({"worker": "other"}, 0),
            ({"search": "PAY"}, 1),
        ):
            rows = self.ask("engine::registered-triggers::list", query)["registered_triggers"]
            self.assertEqual(len(rows), count, query)
        info = self.ask("engine::registered-triggers::info", {"id": self.registration.id})
        self.assertEqual((info["trigger"]["id"], info["function"]), ("http", None))
        error = self.error("engine::registered-triggers::info", {"id": "nope"})
        self.assertEqual(error.message, "Registered trigger 'nope' was not found.")

    def test_types(self) -> None:
        """The engine's own are hidden by default; info counts instances."""
        listed = self.ask("engine::trigger-types::list")["trigger_types"]
        self.assertEqual(listed, [{"id": "http", "description": ""}])
        every = self.ask("engine::trigger-types::list", {"include_internal": True})
        self.assertEqual(
            [row["id"] for row in every["trigger_types"]],
            ["engine::functions-available", "engine::workers-available", "http"],
        )
        info = self.ask("engine::triggers::info", {"id": "http"})
        self.assertEqual((info["worker_name"], info["instance_count"]), ("iii-http", 1))
        self.assertEqual(self.error("engine::triggers::info", {"id": "x"}).code, "NOT_FOUND")

    def test_internal_targets_are_hidden(self) -> None:
        """01 §8.3: by the function's id."""
        self.bound(self.user, "http", "engine::x")
        rows = self.ask("engine::triggers::list")["triggers"]
        self.assertEqual(len(rows), 1)
        rows = self.ask("engine::triggers::list", {"include_internal": True})["triggers"]
        self.assertEqual(len(rows), 2)

    def test_replicas_are_listed_each(self) -> None:
        """08 §2: lists show every id, though it is one binding."""
        other = self.bound(self.worker(), "http", "pay", {"api_path": "p" * 100})
        rows = self.ask("engine::triggers::list")["triggers"]
        self.assertEqual({row["id"] for row in rows}, {self.registration.id, other.id})


class Workers(DiscoveryCase):
    """``engine::workers::list`` and ``info``."""

    def test_modules_are_workers_for_new_callers(self) -> None:
        """01 §16.3: old users count rows."""
        self.worker("f", name="billing")
        classic = self.ask("engine::workers::list", by=self.old())["workers"]
        self.assertEqual(len(classic), 2)
        modern = self.ask("engine::workers::list", by=self.new())["workers"]
        names = [row["name"] for row in modern]
        self.assertIn("iii-engine-functions", names)
        self.assertEqual(names, sorted(names, key=lambda name: name or ""))
        module = next(row for row in modern if row["name"] == "iii-engine-functions")
        self.assertEqual(
            (module["runtime"], module["isolation"], module["status"], module["internal"]),
            ("engine", "in-process", "available", True),
        )

    def test_filters(self) -> None:
        """Runtime, status, search, id."""
        self.worker(name="a", runtime="node")
        wanted = self.worker(name="b", runtime="python", description="pays bills")
        for query in (
            {"runtime": "python"},
            {"search": "BILLS"},
            {"worker_id": wanted.id},
            {"status": "connected", "search": "b"},
        ):
            rows = self.ask("engine::workers::list", query)["workers"]
            self.assertIn(wanted.id, [row["id"] for row in rows], query)
        self.assertEqual(self.ask("engine::workers::list", {"status": "busy"})["workers"], [])

    def test_info(self) -> None:
        """A worker and a module, with all that is theirs."""
        worker = self.worker("pay", name="billing")
        self.provide(worker, "tt")
        self.bound(worker, "tt", "pay")
        info = self.ask("engine::workers::info", {"name": "billing"})
        self.assertEqual(info["worker"]["id"], worker.id)
        self.assertEqual([row["function_id"] for row in info["functions"]], ["pay"])
        self.assertEqual([row["id"] for row in info["trigger_types"]], ["tt"])
        self.assertEqual(len(info["registered_triggers"]), 1)
        module = self.ask("engine::workers::info", {"name": "iii-engine-functions"})
        self.assertGreater(len(module["functions"]), 10)
        error = self.error("engine::workers::info", {"name": "x"})
        self.assertEqual(error.message, "Worker 'x' is not connected.")


class WorkerRecord(CoreCase):
    """``iii.engine.workers``: one live connection."""

    def test_labels_are_fit_for_a_terminal(self) -> None:
        """Nothing left is no label."""
        rows = (
            (None, None),
            ("", None),
            (" \x00\u202e ", None),
            ("a\nb", "ab"),
            ("x" * 300, "x" * 280),
        )
        for text, cleaned in rows:
            self.assertEqual(clean_label(text), cleaned)

    def test_versions(self) -> None:
        """Without a suffix; nonsense is none."""
        rows = (
            ("0.13.0-rc.1", (0, 13, 0)),
            ("1.2", (1, 2, 0)),
            ("10.20.30+x", (10, 20, 30)),
            ("v1", None),
            ("", None),
            (None, None),
        )
        for version, parsed in rows:
            self.assertEqual(self.worker(version=version).version_tuple, parsed)

    def test_a_telemetry_socket_is_no_worker(self) -> None:
        """Until it says something."""
        ghost, worker = self.worker(telemetry_frames=1), self.worker()
        self.assertEqual(list(self.engine.workers), [worker])
        self.assertEqual(len(self.engine.workers), 1)
        self.assertEqual(self.engine.workers.connections(), [ghost, worker])
        ghost.spoke = True
        self.assertEqual(len(self.engine.workers), 2)

    def test_log_lines_say_who(self) -> None:
        """What is known of name, runtime and version."""
        worker = self.worker()
        self.assertEqual(worker.describe, f"worker {worker.id[:8]}… (127.0.0.1)")
        worker.name, worker.runtime, worker.version = "billing", "python", "0.22.1"
        self.assertEqual(worker.describe, f"worker {worker.id[:8]}… (billing, python 0.22.1)")

    def test_gone_twice_is_gone_once(self) -> None:
        """One event each."""
        events: list[str] = []
        self.engine.workers.listen(lambda event, worker: events.append(event))
        worker = self.worker()
        for _ in range(2):
            self.engine.worker_gone(worker)
        self.assertEqual(events, ["worker_connected", "worker_disconnected"])

"""The engine's own functions and events (``iii.engine.corefunctions``)."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from iii.engine.corefunctions import CHANGES_COALESCED_S, PROVIDER_ANSWER_S
from iii.engine.invocations import ErrorBody
from iii.engine.module import ModuleApi
from iii.engine.workers import Worker
from iii.errors import InvocationError, RegistrationError
from tests.engine.cases import CoreCase, Recorder, value


class CoreFunctionCase(CoreCase):
    """An engine with its core functions."""

    with_core_functions = True

    def seen(self, worker: Worker, function_id: str) -> list[Any]:
        """The data of the calls ``worker`` got, each answered."""
        calls, self.link(worker).calls = self.link(worker).calls, []
        for call in calls:
            self.engine.invocations.finish(worker, call.id, None, None)
        return [value(call.data) for call in calls if call.function_id == function_id]


class StoredTriggers(CoreFunctionCase):
    """01 §17.4: ``engine::register_trigger``."""

    def register(self, type: str, **more: Any) -> Deferred[Any]:
        """Call it."""
        data = {"trigger_type": type, "function_id": "f", **more}
        return self.engine.invoke("engine::register_trigger", data)

    def id_of(self, answer: Deferred[Any]) -> str:
        """The id it was answered with."""
        id: str = value(self.successResultOf(answer))["id"]
        return id

    def refused(self, answer: Deferred[Any]) -> str:
        """The message of a refusal; nothing is left of the trigger."""
        error = self.failureResultOf(answer, InvocationError).value
        self.assertEqual(error.code, "trigger_registration_failed")
        self.assertEqual((self.listed(), self.engine.triggers.parked), (set(), 0))
        message: str = error.message
        return message

    def provider(self) -> Worker:
        """A worker that provides ``tt``."""
        provider = self.worker()
        self.provide(provider, "tt")
        return provider

    def asked(self, provider: Worker) -> str:
        """The id the provider was asked to activate."""
        return self.link(provider).told[-1][1]

    def test_a_module_answers(self) -> None:
        """At once, later, or with a refusal."""
        module = self.module_type("cron")
        id = self.id_of(self.register("cron", config={"a": 1}, metadata={"k": 2}))
        self.assertEqual(module.log, [("add", id, {"a": 1})])
        self.assertEqual(value(module.active[0].metadata), {"k": 2})
        slow = module.answer = Deferred()
        answer = self.register("cron")
        self.assertNoResult(answer)
        slow.callback(None)
        other = self.id_of(answer)
        self.assertEqual(self.listed(), {id, other})

    def test_a_module_refuses(self) -> None:
        """With its own words, or as ``<code>: <message>``."""
        module = self.module_type("cron")
        module.answer = RegistrationError("trigger_registration_failed", "bad expression")
        self.assertEqual(self.refused(self.register("cron")), "bad expression")
        module.answer = RegistrationError("E", "m")
        self.assertEqual(self.refused(self.register("cron")), "E: m")

    def test_a_worker_accepts(self) -> None:
        """Its result is waited for."""
        provider = self.provider()
        answer = self.register("tt")
        self.ticks.advance(PROVIDER_ANSWER_S - 1)
        self.assertNoResult(answer)
        self.engine.triggers.accepted(provider, self.asked(provider))
        self.assertEqual(self.id_of(answer), self.asked(provider))
        self.assertEqual(self.ticks.getDelayedCalls(), [])

    def test_a_worker_refuses(self) -> None:
        """``<code>: <message>``; the trigger is gone, not parked."""
        provider = self.provider()
        answer = self.register("tt")
        error = ErrorBody("no_quota", "too many")
        self.engine.triggers.refused(provider, self.asked(provider), error)
        self.assertEqual(self.refused(answer), "no_quota: too many")
        self.assertEqual(self.ticks.getDelayedCalls(), [])

    def test_a_worker_never_answers(self) -> None:
        """No answer in 10 s counts as accepted; a later refusal parks it."""
        provider = self.provider()
        answer = self.register("tt")
        self.ticks.advance(PROVIDER_ANSWER_S)
        id = self.id_of(answer)
        self.assertEqual(self.listed(), {id})
        self.engine.triggers.refused(provider, id, ErrorBody("E", "m"))
        self.assertEqual(self.engine.triggers.parked, 1)

    def test_a_worker_goes_instead(self) -> None:
        """The trigger waits for the next provider."""
        provider = self.provider()
        answer = self.register("tt")
        self.engine.worker_gone(provider)
        self.ticks.advance(PROVIDER_ANSWER_S)
        id = self.id_of(answer)
        self.assertEqual(self.engine.triggers.parked, 1)
        self.assertEqual(self.asked(self.provider()), id)

    def test_an_unknown_type_is_parked(self) -> None:
        """Answered at once."""
        self.id_of(self.register("nope"))
        self.assertEqual(self.engine.triggers.parked, 1)

    def test_removal_is_idempotent(self) -> None:
        """``removed`` says whether there was one; owned triggers are not touched."""
        module = self.module_type("cron")
        id = self.id_of(self.register("cron"))
        owned = self.bound(self.worker(), "cron")
        for wanted, removed in ((owned.id, False), (id, True), (id, False)):
            answer = self.engine.invoke("engine::unregister_trigger", {"id": wanted})
            self.assertEqual(value(self.successResultOf(answer)), {"removed": removed})
        self.assertEqual([binding.id for binding in module.active], [owned.id])


class FunctionsAvailable(CoreFunctionCase):
    """01 §8.6: once per burst of changes."""

    def setUp(self) -> None:
        super().setUp()
        self.watcher = self.worker("watch")
        self.bound(self.watcher, "engine::functions-available", "watch")

    def events(self) -> list[Any]:
        """The ids of each event since the last time."""
        return [
            {row["function_id"] for row in data["functions"]}
            for data in self.seen(self.watcher, "watch")
        ]

    def test_a_burst_is_one_event(self) -> None:
        """After 500 ms, with every id."""
        self.worker("a", "b")
        self.assertEqual(self.events(), [])
        self.ticks.advance(CHANGES_COALESCED_S)
        (ids,) = self.events()
        self.assertLessEqual({"a", "b", "watch", "engine::functions::list"}, ids)
        self.ticks.advance(10)
        self.assertEqual(self.events(), [])

    def test_never_more_often_than_every_500_ms(self) -> None:
        """However often it changes."""
        for number in range(100):
            self.worker(f"f{number}")
            self.ticks.advance(0.1)
        self.assertLessEqual(len(self.events()), 10_000 / 500 + 1)

    def test_what_is_undone_is_no_change(self) -> None:
        """And neither are words nor a second owner."""
        self.engine.worker_gone(self.worker("a"))
        self.worker("watch")
        self.ticks.advance(CHANGES_COALESCED_S)
        self.assertEqual(self.events(), [])

    def test_a_removal_is_a_change(self) -> None:
        """The list is without it."""
        worker = self.worker("a")
        self.ticks.advance(CHANGES_COALESCED_S)
        self.engine.worker_gone(worker)
        self.ticks.advance(CHANGES_COALESCED_S)
        with_a, without_a = self.events()
        self.assertEqual(with_a - without_a, {"a"})

    def test_nobody_listens_no_timer(self) -> None:
        """An engine without subscribers sleeps; stopping leaves no timer."""
        self.worker("a")
        self.engine.stop()
        self.assertEqual(self.ticks.getDelayedCalls(), [])
        self.engine.worker_gone(self.watcher)
        self.ticks.advance(CHANGES_COALESCED_S)
        self.worker("b")
        self.assertEqual(self.ticks.getDelayedCalls(), [])


class WorkersAvailable(CoreFunctionCase):
    """01 §8.7: at once."""

    def test_the_three_events(self) -> None:
        """Not of the watcher's own connection."""
        watcher = self.worker("watch")
        self.bound(watcher, "engine::workers-available", "watch")
        self.assertEqual(self.seen(watcher, "watch"), [])
        other = self.worker()
        self.successResultOf(
            self.engine.invoke(
                "engine::workers::register", {"_caller_worker_id": other.id, "runtime": "x"}
            )
        )
        self.engine.worker_gone(other)
        self.assertEqual(
            self.seen(watcher, "watch"),
            [
                {"event": "worker_connected", "worker_id": other.id},
                {"event": "worker_metadata_updated", "worker_id": other.id},
                {"event": "worker_disconnected", "worker_id": other.id},
            ],
        )

    def test_replicas_hear_it_once(self) -> None:
        """08 §2: one binding, whoever is the least busy runs it."""
        watchers = [self.worker("watch") for _ in range(3)]
        for watcher in watchers:
            self.bound(watcher, "engine::workers-available", "watch")
        other = self.worker()
        heard = [data for watcher in watchers for data in self.seen(watcher, "watch")]
        self.assertEqual(heard, [{"event": "worker_connected", "worker_id": other.id}])

    def test_describing_an_unknown_worker_succeeds(self) -> None:
        """01 §8.4: also a malformed id."""
        for id in ("nope", ""):
            answer = self.engine.invoke("engine::workers::register", {"_caller_worker_id": id})
            self.assertEqual(value(self.successResultOf(answer)), {"success": True})


class OneModule(CoreFunctionCase):
    """``ModuleApi``: what a module may do."""

    def test_a_module_from_end_to_end(self) -> None:
        """Functions, a trigger type, firing, calling, announcing."""
        api = ModuleApi(self.engine, "iii-demo")
        provider = Recorder()
        api.trigger_type("demo", provider, description="d")
        api.function("demo::echo", lambda _: "hello")
        api.announce("demo", 1)
        worker = self.worker("f")
        self.bound(worker, "demo", "f")
        answer = api.fire(provider.active[0], {"n": 1}, traceparent="t")
        (call,) = self.link(worker).calls
        self.assertEqual((value(call.data), call.traceparent), ({"n": 1}, "t"))
        self.assertEqual(self.seen(worker, "f"), [{"n": 1}])
        self.assertIsNone(self.successResultOf(answer))
        self.assertEqual(value(self.successResultOf(api.invoke("demo::echo"))), "hello")
        self.assertEqual(self.engine.ready, {"demo": 1})

    def test_telemetry_without_a_listener_is_counted(self) -> None:
        """Never stored."""
        self.engine.telemetry("OTLP", b"{}")
        self.assertEqual(self.engine.telemetry_dropped, 1)

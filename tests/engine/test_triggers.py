"""Trigger types, bindings and parking (``iii.engine.triggers``)."""

from __future__ import annotations

from twisted.internet.defer import Deferred, fail, succeed

from iii.engine.bindings import TriggerType
from iii.engine.invocations import ErrorBody
from iii.errors import Code, IIIError, RegistrationError
from tests.engine.cases import CoreCase, Recorder, raw, value

NO = RegistrationError(Code.TRIGGER_REGISTRATION_FAILED, "bad expression")


class Sharing(CoreCase):
    """08 §2: alike registrations of different connections are one binding."""

    def setUp(self) -> None:
        super().setUp()
        self.provider = self.module_type("cron")

    def test_replicas_share_one_binding(self) -> None:
        """However the configuration is spelled; it goes with the last."""
        one, two = self.worker(), self.worker()
        first = self.bound(one, "cron", config={"a": 1, "b": 2})
        second = self.bound(two, "cron", config={"b": 2, "a": 1})
        self.assertIs(first.binding, second.binding)
        self.assertEqual(len(self.provider.log), 1)
        self.assertEqual(self.listed(), {first.id, second.id})
        self.engine.worker_gone(one)
        self.assertEqual(len(self.provider.active), 1)
        self.assertEqual(self.listed(), {second.id})
        self.engine.worker_gone(two)
        self.assertEqual(self.provider.active, [])
        self.assertEqual(self.listed(), set())

    def test_two_ids_of_one_connection_stay_two(self) -> None:
        """And the other replica's two ids join one each."""
        one, two = self.worker(), self.worker()
        mine = [self.bound(one, "cron") for _ in range(2)]
        self.assertEqual(len(self.provider.active), 2)
        theirs = [self.bound(two, "cron") for _ in range(2)]
        self.assertEqual(len(self.provider.active), 2)
        self.assertEqual(
            {id(known.binding) for known in mine}, {id(known.binding) for known in theirs}
        )

    def test_what_differs_is_not_shared(self) -> None:
        """Function, configuration, metadata, namespace."""
        rows = (
            {"function_id": "g"},
            {"config": {"a": 2}},
            {"metadata": raw({"k": 1})},
            {"namespace": "shop"},
            {},
        )
        for row in rows:
            self.bound(self.worker(), "cron", **row)
        self.assertEqual(len(self.provider.active), len(rows))

    def test_a_type_may_ask_not_to_share(self) -> None:
        """``shared=False``: one binding per id."""
        provider = self.module_type("queue", shared=False)
        for _ in range(2):
            self.bound(self.worker(), "queue")
        self.assertEqual(len(provider.active), 2)

    def test_the_newest_registration_counts(self) -> None:
        """A binding calls with what its newest owner said."""
        self.bound(self.worker(), "cron", metadata=raw({"a": 1, "b": 2}))
        second = self.bound(self.worker(), "cron", metadata=raw({"b": 2, "a": 1}))
        assert second.binding is not None
        self.assertIs(second.binding.newest, second)
        self.assertEqual(value(second.binding.metadata), {"a": 1, "b": 2})


class Replacing(CoreCase):
    """01 §5.3.4: the same id again."""

    def setUp(self) -> None:
        super().setUp()
        self.provider = self.module_type("cron")
        self.owner = self.worker()

    def test_the_same_again_is_nothing(self) -> None:
        """A replay does not touch the provider."""
        for _ in range(3):
            self.bound(self.owner, "cron", config={"a": 1}, id="t")
        self.assertEqual(self.provider.log, [("add", "t", {"a": 1})])
        self.assertEqual(self.listed(), {"t"})

    def test_another_config_unbinds_first(self) -> None:
        """Remove with the old values, add with the new."""
        self.bound(self.owner, "cron", config={"a": 1}, id="t")
        self.bound(self.owner, "cron", config={"a": 2}, id="t")
        self.assertEqual(
            self.provider.log,
            [("add", "t", {"a": 1}), ("remove", "t", {"a": 1}), ("add", "t", {"a": 2})],
        )
        self.assertEqual(len(self.owner.triggers), 1)

    def test_another_type_moves(self) -> None:
        """The old provider is told, the new one gets it."""
        other = self.module_type("http")
        self.bound(self.owner, "cron", id="t")
        self.bound(self.owner, "http", id="t")
        self.assertEqual((self.provider.active, len(other.active)), ([], 1))
        self.assertEqual(self.listed(), {"t"})

    def test_one_owner_of_a_shared_binding_leaves_it(self) -> None:
        """The others' binding stays as it is."""
        other = self.worker()
        self.bound(other, "cron", config={"a": 1}, id="o")
        self.bound(self.owner, "cron", config={"a": 1}, id="t")
        self.bound(self.owner, "cron", config={"a": 2}, id="t")
        self.assertEqual(len(self.provider.active), 2)
        self.assertEqual(
            {str(value(binding.config)) for binding in self.provider.active},
            {"{'a': 1}", "{'a': 2}"},
        )

    def test_equal_ids_of_two_connections_are_two(self) -> None:
        """A worker can't replace or remove what another registered under the same id."""
        other = self.worker()
        self.bound(self.owner, "cron", config={"a": 1}, id="t")
        self.bound(other, "cron", config={"a": 2}, id="t")
        self.assertEqual(len(self.provider.active), 2)
        self.assertTrue(self.engine.triggers.unregister("t", other))
        (left,) = self.provider.active
        self.assertEqual(value(left.config), {"a": 1})
        self.assertFalse(self.engine.triggers.unregister("t", other))


class Refusals(CoreCase):
    """01 §18.4: a refusal is reported, whenever it comes."""

    def setUp(self) -> None:
        super().setUp()
        self.provider = self.module_type("cron")
        self.owner = self.worker()

    def refused(self, *owners: object) -> None:
        """Nothing is left and every owner was told."""
        self.assertEqual(self.listed(), set())
        self.assertEqual(self.engine.triggers.parked, 0)

    def test_at_once(self) -> None:
        """The provider raises."""
        self.provider.answer = NO
        registration, done = self.bind(self.owner, "cron")
        self.assertEqual(self.failureResultOf(done).value, NO)
        self.assertEqual(
            self.link(self.owner).refusals, [(registration.id, NO.code, "bad expression")]
        )
        self.refused()
        self.assertEqual(self.owner.triggers, {})

    def test_later(self) -> None:
        """The Deferred fails; both owners of the binding are told."""
        answer = self.provider.answer = Deferred()
        other = self.worker()
        waits = [self.bind(owner, "cron")[1] for owner in (self.owner, other)]
        for wait in waits:
            self.assertNoResult(wait)
        answer.errback(NO)
        for wait in waits:
            self.failureResultOf(wait, IIIError)
        for owner in (self.owner, other):
            self.assertEqual(len(self.link(owner).refusals), 1)
        self.refused()

    def test_an_unexpected_exception_is_a_refusal(self) -> None:
        """With a code; the traceback is in the log."""
        self.provider.answer = ZeroDivisionError("oh")
        _, done = self.bind(self.owner, "cron")
        self.assertEqual(self.failureResultOf(done).value.code, Code.TRIGGER_REGISTRATION_FAILED)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.refused()

    def test_success_may_be_later_too(self) -> None:
        """Whoever joins meanwhile waits for the same answer."""
        answer = self.provider.answer = Deferred()
        waits = [self.bind(self.worker(), "cron")[1] for _ in range(2)]
        answer.callback(None)
        for wait in waits:
            self.successResultOf(wait)
        self.provider.answer = None
        self.successResultOf(self.bind(self.worker(), "cron")[1])
        self.assertEqual(len(self.provider.log), 1)

    def test_a_trigger_that_went_meanwhile_is_taken_back(self) -> None:
        """Unregistered while the provider was at it."""
        answer = self.provider.answer = Deferred()
        registration, _ = self.bind(self.owner, "cron")
        self.assertTrue(self.engine.triggers.unregister(registration.id, self.owner))
        answer.callback(None)
        self.assertEqual(self.provider.active, [])
        self.refused()

    def test_a_late_refusal_spares_the_successor(self) -> None:
        """The id was registered anew while the first wish was under way."""
        answer = self.provider.answer = Deferred()
        _, first = self.bind(self.owner, "cron", config={"a": 1}, id="t")
        first.addErrback(lambda _: None)
        self.provider.answer = None
        self.bound(self.owner, "cron", config={"a": 2}, id="t")
        answer.errback(NO)
        self.assertEqual(self.listed(), {"t"})
        self.assertEqual(set(self.owner.triggers), {"t"})

    def test_a_failing_remove_is_logged(self) -> None:
        """The trigger is gone all the same."""
        registration = self.bound(self.owner, "cron")

        def broken(binding: object) -> Deferred[None]:
            raise ZeroDivisionError

        self.provider.remove = broken  # type: ignore[assignment,method-assign]
        self.engine.triggers.unregister(registration.id, self.owner)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        other = self.bound(self.owner, "cron")
        self.provider.remove = lambda _: fail(ZeroDivisionError())  # type: ignore[assignment,method-assign]
        self.engine.triggers.unregister(other.id, self.owner)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.refused()


class Parking(CoreCase):
    """01 §17.4: a trigger waits for its type."""

    def test_parked_until_the_type_comes(self) -> None:
        """Not listed, never refused, activated later."""
        owner = self.worker()
        registration = self.bound(owner, "cron")
        self.assertEqual((self.listed(), self.engine.triggers.parked), (set(), 1))
        provider = self.module_type("cron")
        self.assertEqual([binding.id for binding in provider.active], [registration.id])
        self.assertEqual((self.listed(), self.engine.triggers.parked), ({registration.id}, 0))
        self.assertEqual(self.link(owner).refusals, [])

    def test_what_is_gone_is_not_activated(self) -> None:
        """Owner disconnected, or unregistered while parked."""
        gone, stays = self.worker(), self.worker()
        self.bound(gone, "cron")
        unwanted = self.bound(stays, "cron")
        self.engine.worker_gone(gone)
        self.engine.triggers.unregister(unwanted.id, stays)
        self.assertEqual(self.engine.triggers.parked, 0)
        self.assertEqual(self.module_type("cron").active, [])

    def test_a_parked_trigger_can_be_changed(self) -> None:
        """The last wish is the one that is activated."""
        owner = self.worker()
        self.bound(owner, "cron", config={"a": 1}, id="t")
        self.bound(owner, "cron", config={"a": 1}, id="t")
        self.bound(owner, "cron", config={"a": 2}, id="t")
        self.assertEqual(self.engine.triggers.parked, 1)
        self.assertEqual(self.module_type("cron").log, [("add", "t", {"a": 2})])

    def test_replicas_that_waited_share(self) -> None:
        """One binding, as if the type had been there."""
        for _ in range(3):
            self.bound(self.worker(), "cron")
        self.assertEqual(len(self.module_type("cron").active), 1)

    def test_refused_on_activation(self) -> None:
        """The owners are told, the type is there all the same."""
        owner = self.worker()
        self.bound(owner, "cron")
        provider = Recorder()
        provider.answer = NO
        done = self.engine.triggers.add_type(TriggerType("cron", provider, module="iii-demo"))
        self.successResultOf(done)
        self.assertEqual(len(self.link(owner).refusals), 1)
        self.assertEqual(self.engine.triggers.parked, 0)


class WorkerTypes(CoreCase):
    """01 §5.2: types that workers provide."""

    def setUp(self) -> None:
        super().setUp()
        self.provider, self.user = self.worker(), self.worker()
        self.provide(self.provider, "tt")

    def told(self) -> list[tuple[str, str, object]]:
        """What the provider heard since the last time."""
        told, self.link(self.provider).told = self.link(self.provider).told, []
        return told

    def test_told_of_every_id(self) -> None:
        """Also of alike ones: a provider knows triggers by id."""
        ids = [self.bound(self.worker(), "tt").id for _ in range(2)]
        self.assertEqual([id for _, id, _ in self.told()], ids)

    def test_a_reconnect_of_the_user_is_no_change(self) -> None:
        """The same id from a second connection; the first one's end is no removal."""
        again = self.worker()
        self.bound(self.user, "tt", config={"k": 1}, id="t")
        self.told()
        self.bound(again, "tt", config={"k": 1}, id="t")
        self.engine.worker_gone(self.user)
        self.assertEqual(self.told(), [])
        self.assertEqual(self.listed(), {"t"})
        self.engine.worker_gone(again)
        self.assertEqual(self.told(), [("remove", "t", {"k": 1})])

    def test_a_reconnect_with_another_wish(self) -> None:
        """The newest counts; when it goes the older one's wish counts again."""
        again = self.worker()
        self.bound(self.user, "tt", config={"k": 1}, id="t")
        self.bound(again, "tt", config={"k": 2}, id="t")
        self.assertEqual(self.told()[-1], ("add", "t", {"k": 2}))
        self.engine.worker_gone(again)
        self.assertEqual(self.told()[-1:], [("add", "t", {"k": 1})])

    def test_a_refusal_parks_and_reports(self) -> None:
        """The provider may try again when it registers its type anew."""
        registration = self.bound(self.user, "tt")
        error = ErrorBody("E", "no")
        self.engine.triggers.refused(self.provider, registration.id, error)
        self.assertEqual(self.link(self.user).refusals, [(registration.id, "E", "no")])
        self.assertEqual((self.listed(), self.engine.triggers.parked), (set(), 1))
        self.told()
        self.engine.worker_gone(self.provider)
        provider = self.worker()
        self.provide(provider, "tt")
        self.assertEqual(self.link(provider).told, [("add", registration.id, {})])

    def test_others_reports_are_ignored(self) -> None:
        """Who does not provide the type, or an unknown id."""
        registration = self.bound(self.user, "tt")
        error = ErrorBody("E", "no")
        self.engine.triggers.refused(self.user, registration.id, error)
        self.engine.triggers.refused(self.provider, "unknown", error)
        self.engine.triggers.accepted(self.user, registration.id)
        self.assertEqual(self.listed(), {registration.id})

    def test_a_stack_of_providers(self) -> None:
        """The newest gets them all; the older one gets them back."""
        registration = self.bound(self.user, "tt")
        newer = self.worker()
        self.told()
        self.provide(newer, "tt")
        self.assertEqual(self.link(newer).told, [("add", registration.id, {})])
        # Both would fire otherwise.
        self.assertEqual(self.told(), [("remove", registration.id, {})])
        self.engine.worker_gone(newer)
        self.assertEqual(self.told()[-1], ("add", registration.id, {}))
        self.assertEqual(self.listed(), {registration.id})

    def test_an_older_provider_that_goes_changes_nothing(self) -> None:
        """Nothing moves, the newer goes on."""
        self.bound(self.user, "tt")
        newer = self.worker()
        self.provide(newer, "tt")
        before = list(self.link(newer).told)
        self.engine.worker_gone(self.provider)
        self.assertEqual(self.link(newer).told, before)
        self.assertEqual(len(self.listed()), 1)

    def test_a_replay_of_the_type_moves_nothing(self) -> None:
        """Twice on one connection is once."""
        self.bound(self.user, "tt")
        self.told()
        self.provide(self.provider, "tt")
        self.assertEqual(self.told(), [])
        self.assertTrue(self.engine.triggers.remove_type("tt", self.provider, "default"))
        self.assertFalse(self.engine.triggers.remove_type("tt", self.provider, "default"))
        self.assertEqual(self.engine.triggers.parked, 1)

    def test_a_modules_type_stays_the_modules(self) -> None:
        """Decision 10."""
        provider = self.module_type("http")
        with self.assertRaises(RegistrationError):
            self.provide(self.provider, "http")
        self.bound(self.user, "http")
        self.assertEqual(len(provider.active), 1)

    def test_namespaces_of_types(self) -> None:
        """Without one: the registering worker's own, then default; with one: only that."""
        shop = self.worker(namespace="shop")
        self.provide(shop, "tt", "shop")
        local = self.worker(namespace="shop")
        self.bound(local, "tt", id="own")
        self.bound(self.user, "tt", id="default")
        self.bound(self.user, "tt", id="strict", trigger_namespace="shop")
        self.bound(local, "tt", id="nowhere", trigger_namespace="bank")
        self.bound(local, "other", id="fallback")
        self.provide(self.provider, "other")
        self.assertEqual({id for _, id, _ in self.link(shop).told}, {"own", "strict"})
        self.assertEqual({id for _, id, _ in self.told()}, {"default", "fallback"})
        self.assertEqual(self.engine.triggers.parked, 1)


class Ownerless(CoreCase):
    """01 §17.4: triggers of nobody."""

    def test_they_outlive_every_connection(self) -> None:
        """Parked when the provider goes, removed by id only."""
        provider = self.worker()
        self.provide(provider, "tt")
        registration = self.bound(None, "tt")
        self.engine.worker_gone(provider)
        self.assertEqual((self.listed(), self.engine.triggers.parked), (set(), 1))
        again = self.worker()
        self.provide(again, "tt")
        self.assertEqual(self.listed(), {registration.id})
        self.assertFalse(self.engine.triggers.unregister(registration.id, again))
        self.assertTrue(self.engine.triggers.unregister(registration.id, None))
        self.assertFalse(self.engine.triggers.unregister(registration.id, None))
        self.assertEqual(self.listed(), set())

    def test_a_refusal_has_nobody_to_tell(self) -> None:
        """Only the one who waits."""
        provider = self.module_type("cron")
        provider.answer = NO
        _, done = self.bind(None, "cron")
        self.failureResultOf(done, IIIError)
        self.assertEqual(self.listed(), set())

    def test_two_of_nobody_are_two(self) -> None:
        """Each was asked for by a call of its own."""
        provider = self.module_type("cron")
        provider.answer = succeed(None)
        first, second = self.bound(None, "cron"), self.bound(None, "cron")
        self.assertEqual(self.listed(), {first.id, second.id})
        self.engine.triggers.unregister(first.id, None)
        self.assertEqual(self.listed(), {second.id})


class TwoModules(CoreCase):
    """Decision 11: the same module twice, such as two HTTP listeners: both serve."""

    def setUp(self) -> None:
        super().setUp()
        self.first, self.second = self.module_type("http"), self.module_type("http")

    def test_both_get_every_binding(self) -> None:
        """And both lose it."""
        registration = self.bound(self.worker(), "http")
        self.assertEqual((len(self.first.active), len(self.second.active)), (1, 1))
        assert registration.owner is not None
        self.engine.worker_gone(registration.owner)
        self.assertEqual((self.first.active, self.second.active), ([], []))

    def test_refused_by_one_is_refused(self) -> None:
        """At once or later; the other one does not keep it."""
        later: Deferred[None] = Deferred()
        for provider in (self.first, self.second):
            for answer in (NO, later):
                provider.answer = answer
                _, done = self.bind(self.worker(), "http")
                if answer is later:
                    later.errback(NO)
                    later = Deferred()
                self.failureResultOf(done, IIIError)
                provider.answer = None
                self.assertEqual(self.listed(), set())
                other = self.second if provider is self.first else self.first
                self.assertEqual(other.active, [])
                provider.active.clear()

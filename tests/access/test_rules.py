"""``expose_functions`` and grants (01 §17.5), without a connection."""

from __future__ import annotations

import re
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw
from twisted.trial.unittest import SynchronousTestCase

from iii.access.grant import INFRASTRUCTURE, Grant
from iii.access.rules import Glob, parse_rule, parse_rules
from iii.engine.corefunctions import ALIASES
from iii.engine.functions import Function, FunctionSpec
from tests.engine.cases import CoreCase


class Globs(SynchronousTestCase):
    """Only ``*`` is special."""

    def test_what_matches(self) -> None:
        """All of the text, whatever is in it."""
        for pattern, matching, others in (
            ("api::*", ("api::", "api::a::b", "api::\n"), ("api:", "xapi::a", "")),
            ("*", ("", "x", "a\nb"), ()),
            ("a", ("a",), ("", "aa", "A")),
            ("*::get", ("::get", "a::get"), ("a::get2", "get")),
            ("a*b*c", ("abc", "a--b--c", "abcbc"), ("ab", "acb", "ac", "bc")),
            ("aa*aa", ("aaaa", "aaxaa"), ("aaa", "aa")),
            ("a.c?[x]", ("a.c?[x]",), ("abcdx", "a.cd[x]")),
        ):
            glob = Glob(pattern)
            for text in matching:
                self.assertTrue(glob.matches(text), (pattern, text))
            for text in others:
                self.assertFalse(glob.matches(text), (pattern, text))

    @given(st.text("ab*", max_size=8), st.text("ab", max_size=12))
    def test_it_is_what_a_regular_expression_would_say(self, pattern: str, text: str) -> None:
        """For all short patterns and texts."""
        expected = re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), text, re.DOTALL)
        self.assertEqual(Glob(pattern).matches(text), expected is not None)

    def test_no_pattern_takes_long(self) -> None:
        """A backtracking matcher would not come back from this one."""
        self.assertFalse(Glob("*a" * 60 + "*b").matches("a" * 100_000))


class Rules(SynchronousTestCase):
    """The three forms, and nothing else."""

    def test_what_is_no_rule(self) -> None:
        """A plain name is the likeliest mistake; it must not mean something by accident."""
        for item in (
            *("api::list", "match(api)", "match(\"a')", "match('')", "*", "", None, 5, ["x"], {}),
            *({"metadata": {}}, {"metadata": None}, {"metadata": {"a": 1}, "match": "*"}),
            *({"match": ""}, {"match": 5}, {"match": "*", "namespace": ""}, {"matches": "*"}),
        ):
            with self.assertRaises(ValueError, msg=repr(item)):
                parse_rule(item)

    def test_names(self) -> None:
        """Both quotes; without a namespace it is about the default one."""
        for item in ("match('api::*')", 'match("api::*")', {"match": "api::*"}):
            rule = parse_rule(item)
            self.assertTrue(rule.exposes("api::x", "default", None))
            self.assertFalse(rule.exposes("api::x", "shop", None))
            self.assertFalse(rule.exposes("x", "default", None))
        rule = parse_rule({"match": "api::*", "namespace": "shop"})
        self.assertTrue(rule.exposes("api::x", "shop", None))
        self.assertFalse(rule.exposes("api::x", "default", None))

    def test_metadata(self) -> None:
        """Every key, exactly or by pattern; types count."""
        rule = parse_rule({"metadata": {"public": True, "tier": 'match("gold*")', "n": 1}})
        good = {"public": True, "tier": "golden", "n": 1, "more": None}
        self.assertTrue(rule.exposes("f", "default", _function(good)))
        for changes in (
            {"public": 1},
            {"public": "true"},
            {"tier": "silver"},
            {"tier": 5},
            {"n": True},
        ):
            self.assertFalse(rule.exposes("f", "default", _function({**good, **changes})), changes)
        for metadata in (None, {}, [], "public"):
            self.assertFalse(rule.exposes("f", "default", _function(metadata)))
        self.assertFalse(rule.exposes("f", "default", None))
        self.assertFalse(rule.exposes("f", "default", Function("f", "default")))

    def test_one_owner_does_not_speak_for_another(self) -> None:
        """Metadata that one connection claims exposes nothing of another's."""
        rule = parse_rule({"metadata": {"public": True}})
        function = _function(None)
        function.specs += _function({"public": True}).specs
        self.assertFalse(rule.exposes("f", "default", function))


class Grants(CoreCase):
    """Who may call what."""

    def grant(self, said: dict[str, Any] | None = None, *exposed: Any, **more: Any) -> Grant:
        raw = None if said is None else Raw(msgspec.json.encode(said))
        return Grant(self.engine.functions, parse_rules(exposed), raw, **more)

    def test_the_order_of_the_questions(self) -> None:
        """01 §17.5: forbidden, allowed, infrastructure, exposed, no."""
        grant = self.grant(
            {"allowed_functions": ["a", "b"], "forbidden_functions": ["b", "api::secret"]},
            'match("api::*")',
        )
        self.assertEqual(
            {id: grant.refusal(id) for id in ("a", "b", "c", "api::x", "api::secret")},
            {
                "a": None,
                "b": "function 'b' not allowed (remove from rbac.forbidden_functions)",
                "c": "function 'c' not allowed (add to rbac.expose_functions)",
                "api::x": None,
                "api::secret": (
                    "function 'api::secret' not allowed (remove from rbac.forbidden_functions)"
                ),
            },
        )

    def test_infrastructure(self) -> None:
        """Every SDK needs it; only forbidding takes it away, in every spelling."""
        self.engine.functions.aliases.update(ALIASES)
        grant = self.grant({})
        for id in (*INFRASTRUCTURE, "engine.workers.register"):
            self.assertTrue(grant.may_call(id), id)
        for id in ("engine::functions::list", "engine.functions.list", "engine::channels::list"):
            self.assertFalse(grant.may_call(id), id)
        forbidding = self.grant({"forbidden_functions": ["engine::workers::register"]})
        self.assertFalse(forbidding.may_call("engine::workers::register"))
        self.assertFalse(forbidding.may_call("engine.workers.register"))

    def test_namespaces(self) -> None:
        """0.23: ``allowed_functions`` is about ``default``; other namespaces by their name."""
        grant = self.grant(
            {
                "allowed_functions": ["a"],
                "forbidden_functions": ["svc::no"],
                "namespaces": {"orders": ["svc::*", "match('x')", "y"]},
            }
        )
        for id, namespace, allowed in (
            ("a", None, True),
            ("a", "default", True),
            ("a", "orders", False),
            ("svc::a", "orders", True),
            ("svc::no", "orders", False),
            ("svc::a", None, False),
            ("x", "orders", True),
            ("y", "orders", True),
            ("engine::workers::register", "orders", False),
        ):
            self.assertEqual(grant.may_call(id, namespace), allowed, (id, namespace))
        declares = [grant.may_declare(name) for name in ("orders", "default", "shop")]
        self.assertEqual(declares, [True, True, False])
        self.assertTrue(self.grant({}).may_declare("shop"))

    def test_defaults(self) -> None:
        """01 §17.5: what an auth function leaves out, and what holds without one."""
        said, silent = self.grant({}), self.grant(None)
        self.assertEqual((said.may_register_types, silent.may_register_types), (False, True))
        self.assertEqual((said.may_register_functions, silent.may_register_functions), (True, True))
        self.assertTrue(said.may_bind("http"))
        self.assertEqual((bytes(said.context), said.prefix), (b"{}", ""))
        nulls = self.grant(dict.fromkeys(("allowed_functions", "context", "allowed_trigger_types")))
        self.assertEqual((bytes(nulls.context), nulls.may_bind("http")), (b"{}", True))
        self.assertFalse(self.grant({"allowed_trigger_types": []}).may_bind("http"))

    def test_wrong_shapes(self) -> None:
        """None of them is a grant."""
        for said in (
            *([], "yes", 5, {"allowed_functions": "*"}, {"allow_function_registration": "no"}),
            *({"function_registration_prefix": ""}, {"namespaces": {"a": [""]}}),
        ):
            with self.assertRaises((ValueError, msgspec.MsgspecError), msg=repr(said)):
                self.grant(said)  # type: ignore[arg-type]

    def test_what_may_be_offered(self) -> None:
        """Not what decides about access, looks like the engine's, or is somebody else's."""
        deciding = frozenset({"auth"})
        theirs, ours = self.worker(), self.worker()
        theirs.access = self.grant({}, realm=1)
        ours.access = self.grant({}, realm=2)
        for id, owner in (("open", self.worker()), ("theirs", theirs), ("ours", ours)):
            self.engine.functions.register(id, FunctionSpec(owner))
        ids = ("auth", "engine::x", "open", "theirs", "ours", "new")
        grant = self.grant({}, 'match("*")', deciding=deciding, realm=2)
        refused = [id for id in ids if grant.offer_refusal(id, "default") is not None]
        self.assertEqual(refused, ["auth", "engine::x", "open", "theirs"])
        self.assertIsNone(grant.offer_refusal("open", "shop"))
        named = self.grant({"allowed_functions": list(ids)}, deciding=deciding, realm=2)
        refused = [id for id in ids if named.offer_refusal(id, "default") is not None]
        self.assertEqual(refused, [])
        self.assertTrue(named.is_decider("auth"))


def _function(metadata: Any) -> Function:
    function = Function("f", "default")
    raw = None if metadata is None else Raw(msgspec.json.encode(metadata))
    owner: Any = object()
    function.specs.append(FunctionSpec(owner, metadata=raw))
    return function


class Shared(SynchronousTestCase):
    """What two places say."""

    def test_the_default_namespace(self) -> None:
        """Rules can't import the engine's name for it."""
        from iii.access import rules
        from iii.engine import functions

        self.assertEqual(rules.DEFAULT_NAMESPACE, functions.DEFAULT_NAMESPACE)

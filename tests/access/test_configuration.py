"""``auth:``, ``rbac:`` and ``middleware_function_id:`` of a configuration."""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor
from twisted.logger import formatEvent, globalLogPublisher
from twisted.trial.unittest import TestCase

from iii.access.settings import Auth, NamedToken
from iii.config import Kind
from iii.masking import masked
from iii.redaction import without_secrets
from iii.summary import summary
from iii.testing import InProcessEngine, in_process
from tests.access.cases import OTHER, TOKEN
from tests.config_case import ConfigCase
from tests.process_case import ProcessCase
from tests.support.engine_case import RawWorker
from tests.support.rawsocket import RawSocket, dial, upgrade

BEARER = f"Bearer {TOKEN}"


class Mistakes(ConfigCase):
    """A mistake must not open a door."""

    def listener(self, text: str) -> list[str]:
        """The errors of an entry with this ``config:``."""
        return self.errors(f"workers:\n- name: iii-worker-manager\n  config: {text}\n")

    def test_misspelt_keys(self) -> None:
        """Errors, where they are warnings elsewhere."""
        for text in (
            "{rbac: {auth_function: f}}",
            "{rbac: {expose_function: []}}",
            "{auth: {token: [abc]}}",
            "{auth: {tokens: [{name: a, token: b, tokn: c}]}}",
            "{rbca: {}}",
            "{midleware_function_id: f}",
            "{auht: {}}",
        ):
            with self.subTest(text):
                errors = self.listener(text)
                self.assertIn("unknown key", errors[0])
        self.assertIn("did you mean 'auth'?", self.errors("auht: {tokens: [abc]}\n")[0])
        self.assertEqual(len(self.warnings("nothing_like_it: 1\n")), 1)

    def test_keys_without_a_value(self) -> None:
        """What a variable that is not set leaves."""
        for text in (
            "{rbac: }",
            "{auth: ~}",
            "{middleware_function_id: ${M:}}",
            "{rbac: {auth_function_id: ${F:}}}",
            "{rbac: {on_function_registration_function_id: ~}}",
        ):
            with self.subTest(text):
                [error] = self.listener(text)
                self.assertIn("has no value", error)
        self.assertIn("has no value", self.errors("auth: ${A:}\n")[0])

    def test_rules_that_are_none(self) -> None:
        """With their place."""
        [error] = self.listener("{rbac: {expose_functions: ['match(\"a\")', 'api::*']}}")
        self.assertTrue(error.startswith("3: workers[0].config.rbac.expose_functions[1]"), error)
        self.assertIn('a plain name is written match("name")', error)

    def test_a_port_that_nobody_can_open(self) -> None:
        """The auth function has to be offered by somebody who is in already."""
        asking = "{name: iii-worker-manager, config: {port: 1, rbac: {auth_function_id: f}}}"
        [warning] = self.warnings(f"workers:\n- {asking}\n")
        self.assertIn("nobody can offer f", warning)
        self.assertEqual(self.warnings(f"workers:\n- {asking}\n- name: iii-worker-manager#1\n"), [])

    def test_proxies_that_are_none(self) -> None:
        """Addresses and networks only."""
        [error] = self.errors("trusted_proxies: [10.0.0.0/8, '::1', caddy]\n")
        self.assertIn("trusted_proxies[2]: expected an address or a network", error)

    def test_tokens_that_can_not_be_sent(self) -> None:
        """And no message has a token in it."""
        for token in ('"secret with space"', '"sécret-secret-secret"', '"secret\\nsecret-secret"'):
            [error] = self.errors(f"auth: {{tokens: [{TOKEN}, {token}]}}\n")
            self.assertTrue(error.startswith("1: auth.tokens[1]: a token has printable"), error)
            self.assertNotIn("cret", error)

    def test_short_tokens_are_warned_about(self) -> None:
        """With a way to make a good one."""
        [warning] = self.warnings("auth: {tokens: [s3cr3t]}\n")
        self.assertIn("openssl rand", warning)
        self.assertNotIn("s3cr3t", warning)

    def test_wrong_types_quote_no_token(self) -> None:
        """Nor does anything else that is said about the block."""
        for text in (
            f"auth: {TOKEN}\n",
            f"auth: [{TOKEN}]\n",
            f"auth: {{tokens: {TOKEN}}}\n",
            f"auth: {{tokens: [[{TOKEN}]]}}\n",
            f"auth: {{tokens: [{{name: 5, token: {TOKEN}}}]}}\n",
            f"auth: {{tokens: [{{name: {TOKEN}}}]}}\n",
        ):
            with self.subTest(text):
                errors = self.errors(text)
                self.assertTrue(errors)
                self.assertNotIn(TOKEN, "\n".join(errors))

    def test_addresses_are_quoted_without_their_secrets(self) -> None:
        """A password in a URL is one, whatever the key is called."""
        for address in (f"redis://me:{TOKEN}@host:1", f"ws://h/?token={TOKEN}", f"ws://{TOKEN}@h"):
            [error] = self.errors(f"port: '{address}'\n")
            self.assertIn("://", error)
            self.assertNotIn(TOKEN[:8], error)
        self.assertEqual(
            without_secrets("ws://h/?a=1&access_token=x&key=y#z redis://u@h http://h/@a?q=1"),
            "ws://h/?a=1&access_token=***&key=***#z redis://***@h http://h/@a?q=1",
        )
        self.assertEqual(without_secrets("redis://u:p@ss,w@h/0"), "redis://***@h/0")
        names = ("client_secret", "apikey", "X-Amz-Signature", "passwd", "sig", "authorization")
        query = "&".join(f"{name}=x" for name in names)
        self.assertEqual(without_secrets(f"https://h/?{query}&design=2").count("x"), 0)
        self.assertIn("&design=2", without_secrets(f"https://h/?{query}&design=2"))

    def test_headers_of_a_configuration_are_secrets_too(self) -> None:
        """``engine::config::get`` shows the rest."""
        headers = {"Authorization": "Bearer x", "cookie": "c", "x-api-key": "k", "accept": "a"}
        shown = {"Authorization": "***", "cookie": "***", "x-api-key": "***", "accept": "a"}
        self.assertEqual(masked({"headers": headers, "pwd": "x"}), {"headers": shown, "pwd": "***"})

    def test_objects_do_not_show_their_tokens(self) -> None:
        """A traceback or a debug line may have them in it."""
        loaded = self.load(f"auth: {{tokens: [{TOKEN}, {{name: ci, token: {OTHER}}}]}}\n")
        shown = repr(loaded) + repr(Auth([TOKEN])) + repr(NamedToken("ci", OTHER))
        self.assertIn("ci", shown)
        for token in (TOKEN, OTHER):
            self.assertNotIn(token, shown)

    def test_a_sound_configuration(self) -> None:
        """Everything at once, and nothing to warn about."""
        loaded = self.load(
            f"""auth_failures_per_minute: 5
workers:
- name: iii-worker-manager
- name: iii-worker-manager#2
  config:
    port: 49200
    auth: {{tokens: [{{name: ci, token: {TOKEN}}}]}}
    middleware_function_id: access::middleware
    rbac:
      auth_function_id: access::auth
      expose_functions:
      - match("api::*")
      - {{match: "svc::*", namespace: orders}}
      - metadata: {{public: true, tier: match("gold*")}}
      on_function_registration_function_id: access::function
"""
        )
        self.assertEqual([w for w in loaded.warnings if w.kind is not Kind.NOTE], [])
        first, second = loaded.worker_listeners
        self.assertEqual((first.rbac, first.auth), (None, None))
        assert second.rbac is not None and second.auth is not None
        self.assertEqual(second.rbac.auth_function_id, "access::auth")
        self.assertEqual(second.auth.named, [("ci", TOKEN)])
        self.assertEqual(loaded.settings.auth_failures_per_minute, 5)


class Running(TestCase):
    """An engine made from a configuration enforces it."""

    timeout = 20

    async def start(self, **top: Any) -> InProcessEngine:
        """An engine with this configuration."""
        self.lines: list[str] = []

        def note(event: Any) -> None:
            self.lines.append(formatEvent(event))

        globalLogPublisher.addObserver(note)
        self.addCleanup(globalLogPublisher.removeObserver, note)
        engine = await in_process(reactor, {"modules": [], **top})
        self.addCleanup(engine.stop)
        return engine

    async def knock(self, port: int, path: str = "/", **headers: str | None) -> RawSocket:
        socket = await dial(port)
        self.addCleanup(socket.drop)
        socket.raw(upgrade(path, port, **headers))
        return socket

    async def first(self, port: int, **headers: str | None) -> str:
        """The type of the first message."""
        socket = await self.knock(port, **headers)
        return str((await socket.next_message())["type"])

    async def test_tokens_hold_for_every_port_that_asks_nobody(self) -> None:
        """Decision 26: the top-level ``auth:``; with an auth function that decides instead."""
        listener: dict[str, Any] = {"port": 0, "host": "127.0.0.1"}
        engine = await self.start(
            auth={"tokens": [TOKEN]},
            workers=[
                {"name": "iii-worker-manager", "config": listener},
                {
                    "name": "iii-worker-manager#2",
                    "config": {**listener, "rbac": {"expose_functions": []}},
                },
                {
                    "name": "iii-worker-manager#3",
                    "config": {**listener, "rbac": {"auth_function_id": "access::auth"}},
                },
            ],
        )
        plain, restricted, asking = [each.port for each in engine.service.listeners]
        for port in (plain, restricted):
            self.assertEqual(await self.first(port), "error")
            self.assertEqual(await self.first(port, authorization=BEARER), "workerregistered")
        socket = await self.knock(asking, authorization=BEARER)
        error = await socket.next_message()
        self.assertEqual(error["error"]["message"], "authentication is not possible at the moment")
        self.assertIn("access::auth", "\n".join(self.lines))

    async def test_an_open_port_is_told_only_when_it_is_open(self) -> None:
        """Decision 1, 01 §18.16."""
        for top, told in (
            ({}, True),
            ({"auth": {"tokens": [TOKEN]}}, False),
        ):
            engine = await self.start(host="0.0.0.0", **top)
            line = "reachable from other machines"
            self.assertEqual(any(line in each for each in self.lines), told)
            await engine.stop()

    async def test_the_summary_says_what_guards_a_port(self) -> None:
        """An open one is just its address."""
        rbac = {"port": 0, "rbac": {"auth_function_id": "f"}, "middleware_function_id": "m"}
        engine = await self.start(
            auth={"tokens": [TOKEN]},
            workers=[
                {"name": "iii-worker-manager", "config": {"port": 0}},
                {"name": "iii-worker-manager#2", "config": rbac},
            ],
        )
        ports = [each.port for each in engine.service.listeners]
        told = summary(engine.service)
        self.assertIn(f"ws://localhost:{ports[0]} (token)\n", told)
        self.assertIn(f"ws://localhost:{ports[1]} (auth function, rbac, middleware)\n", told)
        self.assertNotIn(TOKEN, told)

    async def test_guards_of_modules_are_guards(self) -> None:
        """A restricted worker can't become the auth function of the stream port."""
        stream = {"port": 0, "auth_function": "shop::authenticate", "adapter": {"name": "kv"}}
        http = {"port": 0, "middleware": [{"function_id": "shop::check"}]}
        engine = await self.start(
            modules=[
                {"class": "modules::stream::StreamModule", "config": stream},
                {"class": "modules::api::RestApiModule", "config": http},
            ],
            workers=[{"name": "iii-worker-manager", "config": {"port": 0, "rbac": {}}}],
        )
        socket = await self.knock(engine.service.listeners[0].port)
        worker = RawWorker(socket, await socket.next_message())
        await worker.register("shop::authenticate", "shop::check", "shop::list")
        self.assertEqual(
            [known.id for known in engine.engine.functions if known.id.startswith("shop::")],
            ["shop::list"],
        )

    async def test_refusals_are_measured(self) -> None:
        """``iii_auth_refused_total``."""
        engine = await self.start(auth={"tokens": [TOKEN]})
        port = engine.service.listeners[0].port
        await self.first(port)
        [instrument] = [
            one for one in engine.engine.instruments if one.name == "iii_auth_refused_total"
        ]
        self.assertEqual(await instrument.samples(), [((), 1)])


class Command(ProcessCase):
    """``iii check`` and ``iii`` as programs."""

    def test_check_says_no_token(self) -> None:
        """Issue, part 6: nothing secret in its output, right or wrong."""
        for text, code in (
            ("auth: {tokens: ['${SECRET}', short]}\n", 0),
            ("auth: {tokens: ['${SECRET}', 5]}\n", 1),
            ("auth: {tokens: ['${SECRET} ${SECRET}']}\n", 1),
            ("auth: {tokens: '${SECRET}'}\n", 1),
            ("auth: {tokens: ['${SECRET}'\n", 1),
        ):
            with self.subTest(text):
                self.write("config.yaml", f"modules: []\n{text}")
                done = self.iii("check", SECRET=TOKEN)
                self.assertEqual(done.returncode, code, done.stdout + done.stderr)
                self.assertNotIn(TOKEN, done.stdout + done.stderr)

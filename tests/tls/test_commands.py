"""``iii`` against an engine with TLS: every command takes the same options."""

from __future__ import annotations

import logging
from typing import Any

import click
from click.testing import CliRunner, Result
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from iii.access.doors import Doors
from iii.access.settings import Auth
from iii.cli import SHORT, cli
from iii.entries import WorkerListener as Settings
from iii.wire.listener import WorkerListener
from tests.support.certificates import Authority
from tests.tls.cases import TlsCase

#: Those that talk to no engine.
LOCAL = {"check", "cron next"}
OPTIONS = {"--address", "--port", "--url", "--token", "--ca", "--client-cert", "--client-key"}


class CommandCase(TlsCase):
    """Commands run in threads beside the engine, without the cost of a process."""

    async def setUp(self) -> None:
        await super().setUp()
        logger = logging.getLogger("iii.client")
        self.addCleanup(logger.setLevel, logger.level)
        self.url = f"wss://localhost:{self.port}"

    def iii(self, *arguments: str, **variables: str) -> Deferred[Result]:
        """Run ``iii`` to its end."""
        unset = ("III_URL", "III_TOKEN", "III_CA", "III_CLIENT_CERT", "III_CLIENT_KEY")
        env: dict[str, str | None] = dict.fromkeys(unset) | variables
        runner = CliRunner()
        answer: Deferred[Any] = deferToThread(runner.invoke, cli, arguments, env=env)
        return answer

    async def refused(self, *arguments: str, **variables: str) -> str:
        """What a command says that fails."""
        result = await self.iii(*arguments, **variables)
        self.assertEqual(result.exit_code, 1, result.output)
        self.assertTrue(result.stderr.startswith("Error: "), result.stderr)
        self.assertEqual(len(result.stderr.splitlines()), 1, result.stderr)
        return result.stderr


class Reaching(CommandCase):
    """The ways to name an engine."""

    async def test_options(self) -> None:
        await self.worker("greet")
        result = await self.iii("functions", "--url", self.url, "--ca", str(self.authority.path))
        self.assertEqual(result.exit_code, 0, result.output)
        self.assertIn("greet", result.stdout)

    async def test_variables(self) -> None:
        result = await self.iii("workers", III_URL=self.url, III_CA=str(self.authority.path))
        self.assertEqual(result.exit_code, 0, result.output)

    async def test_a_call(self) -> None:
        worker = await self.worker("echo")
        running = self.iii(
            "trigger", "echo", "n=1", "--url", self.url, III_CA=str(self.authority.path)
        )
        call = await worker.expect("invokefunction", 10, function_id="echo")
        worker.reply(call, result={"n": 2})
        result = await running
        self.assertEqual((result.exit_code, result.stdout), (0, '{\n  "n": 2\n}\n'))

    async def test_an_authority_nobody_trusts(self) -> None:
        text = await self.refused("functions", "--url", self.url)
        self.assertIn("the certificate is not trusted", text)
        self.assertIn("III_CA", text)
        self.assertNotIn("is it running", text)

    async def test_the_wrong_scheme(self) -> None:
        text = await self.refused("functions", "--port", str(self.port))
        self.assertIn("if the port has TLS, use wss://", text)

    async def test_two_addresses(self) -> None:
        result = await self.iii("functions", "--url", self.url, "--port", "1")
        self.assertEqual(result.exit_code, 2)
        self.assertIn("leave --address and --port out", result.stderr)

    async def test_a_web_address(self) -> None:
        result = await self.iii("functions", "--url", "https://u:secret@localhost")
        self.assertEqual(result.exit_code, 2)
        self.assertIn("an engine's address is wss://", result.stderr)
        self.assertNotIn("secret", result.stderr)

    async def test_nobody_there(self) -> None:
        await self.listener.stop_listening()
        text = await self.refused(
            "functions", "--url", f"wss://u:secret@localhost:{self.port}/?t=secret"
        )
        self.assertIn(f"no engine at wss://localhost:{self.port}/: ", text)
        self.assertIn("is it running?", text)
        self.assertNotIn("secret", text)


class Mutual(CommandCase):
    """An engine that asks for certificates."""

    mutual = True

    async def test_with_one(self) -> None:
        cert, key = self.authority.issue("client")
        files = ("--client-cert", str(cert), "--client-key", str(key))
        result = await self.iii(
            "workers", "--url", self.url, *files, III_CA=str(self.authority.path)
        )
        self.assertEqual(result.exit_code, 0, result.output)

    async def test_without_one(self) -> None:
        text = await self.refused("workers", "--url", self.url, III_CA=str(self.authority.path))
        self.assertIn("the engine asks for a certificate of yours", text)

    async def test_with_one_of_somebody_else(self) -> None:
        cert, key = Authority(self.directory, "other").issue("client")
        text = await self.refused(
            *("workers", "--url", self.url),
            III_CA=str(self.authority.path),
            III_CLIENT_CERT=str(cert),
            III_CLIENT_KEY=str(key),
        )
        self.assertIn("the engine does not accept your certificate", text)


class Token(CommandCase):
    """A port with TLS and a token."""

    token = "a-token-nobody-would-guess"

    def make_listener(self) -> WorkerListener:
        """TlsCase: with a token."""
        listener = super().make_listener()
        listener.factory.gate = Doors(self.engine, 10, ()).gate(
            Settings(), Auth(tokens=[self.token])
        )
        return listener

    async def test_the_right_one(self) -> None:
        files = ("--url", self.url, "--ca", str(self.authority.path))
        for given in (("--token", self.token), ()):
            variables = {} if given else {"III_TOKEN": self.token}
            result = await self.iii("workers", *files, *given, **variables)
            self.assertEqual(result.exit_code, 0, result.output)

    async def test_none_and_a_wrong_one(self) -> None:
        files = ("--url", self.url, "--ca", str(self.authority.path))
        text = await self.refused("workers", *files)
        self.assertIn("the engine refuses this client: ", text)
        self.assertIn("token", text)
        text = await self.refused("workers", *files, III_TOKEN="wrong-and-secret")
        self.assertIn("the engine refuses this client: ", text)
        self.assertNotIn("secret", text)

    async def test_a_refused_call_has_the_code(self) -> None:
        result = await self.iii(
            *("trigger", "f", "--url", self.url, "--token", "wrong"),
            III_CA=str(self.authority.path),
        )
        self.assertEqual(result.exit_code, 1)
        self.assertIn("AUTH_ERROR", result.stderr)


class Uniform(CommandCase):
    """No command is left out."""

    async def test_all_commands_take_the_same_options(self) -> None:
        seen = 0
        for name, command in _leaves(cli):
            if name in LOCAL or name == "console":
                continue  # the console's are those of the known program, tests/console
            seen += 1
            found = {option for each in command.params for option in each.opts}
            self.assertLessEqual(OPTIONS, found, name)
        self.assertGreater(seen, 15)


def _leaves(group: Any, prefix: str = "") -> Any:
    """Every command below ``group`` with its full name."""
    context = click.Context(group)
    names = [name for name in group.list_commands(context) if name not in SHORT]
    for name in names:
        command = group.get_command(context, name)
        full = f"{prefix}{name}"
        if isinstance(command, click.Group):
            yield from _leaves(command, f"{full} ")
        else:
            yield full, command

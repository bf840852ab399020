"""`iii health`: what health checks call."""

from __future__ import annotations

import json
from typing import Any
from unittest import TestCase, mock

from click.testing import CliRunner
from twisted.internet.defer import succeed

from iii.cli import cli
from tests.process_case import ProcessCase, taken_port

MINIMAL = (
    "port: 0\nmodules:\n  - class: modules::observability::OtelModule\n"
    "    config: {enabled: false, prometheus_port: 0}\n"
)


class Health(ProcessCase):
    """08 §7: exit codes say it."""

    def test_a_running_engine_is_healthy(self) -> None:
        """Issue 7, part 9: also one that records nothing."""
        self.write("config.yaml", MINIMAL)
        port = str(self.start().ready["worker"])
        done = self.iii("health", "--port", port)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertTrue(done.stdout.startswith("healthy, version "), done.stdout)
        told = json.loads(self.iii("health", "--json", "--port", port).stdout)
        self.assertEqual(told["status"], "healthy")

    def test_nobody_there_is_a_failure(self) -> None:
        """Issue 7, part 9: a check must fail when the engine is gone."""
        port = taken_port(self)
        done = self.iii("health", "--port", str(port))
        self.assertEqual(done.returncode, 1)
        self.assertIn("no engine at", done.stderr)


class Unwell(TestCase):
    """An engine that answers, but not that all is well."""

    def test_what_is_not_healthy_fails(self) -> None:
        """05 A6.10: later engines may say `degraded`."""
        component = {"status": "degraded", "details": {"stored_logs": 4}}
        answer = {"status": "degraded", "version": "9", "components": {"logs": component}}
        client = mock.Mock()
        client.invoke.side_effect = lambda *_: succeed(answer)

        def talk(_: Any, work: Any) -> None:
            try:
                work(client).send(None)
            except StopIteration:
                return
            raise AssertionError("it waits for something else")

        with mock.patch("iii.cli.health.talk", talk):
            done = CliRunner().invoke(cli, ["health"])
        self.assertEqual(done.exit_code, 1)
        self.assertIn("degraded, version 9", done.output)
        self.assertIn("stored_logs", done.output)

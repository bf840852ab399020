"""`iii cron`."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import datetime
from unittest import TestCase

from click.testing import CliRunner, Result
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from iii.cli.cron import cron
from iii.engine.module import ModuleApi
from iii.modules.cron.adapters.local import LocalClaims, LocalConfig
from iii.modules.cron.config import CronConfig
from iii.modules.cron.module import CronModule
from tests.support.engine_case import EngineCase

AFTER = "2026-03-04T10:00:00Z"


def command(*arguments: str) -> Result:
    """Run ``iii cron``."""
    return CliRunner().invoke(cron, arguments)


class Next(TestCase):
    """08 §7: `iii cron next`."""

    def test_one_time_a_line(self) -> None:
        """ISO 8601 with the offset."""
        done = command("next", "0 */5 * * * *", "--after", AFTER, "-n", "2")
        self.assertEqual(done.exit_code, 0, done.output)
        self.assertEqual(done.stdout, "2026-03-04T10:05:00+00:00\n2026-03-04T10:10:00+00:00\n")

    def test_a_time_zone(self) -> None:
        """Its wall clock; a time without an offset is of that zone."""
        rows = (
            ("2026-03-28T12:00:00", "2026-03-29T09:00:00+02:00"),
            (AFTER, "2026-03-05T09:00:00+01:00"),
        )
        for after, expected in rows:
            done = command(
                "next", "0 9 * * *", "--after", after, "--timezone", "Europe/Berlin", "-n", "1"
            )
            self.assertEqual(done.stdout, f"{expected}\n")

    def test_from_now_on_without_after(self) -> None:
        """Five of them."""
        done = command("next", "* * * * * *")
        times = [datetime.fromisoformat(line) for line in done.stdout.splitlines()]
        self.assertEqual(len(times), 5)
        self.assertEqual(times, sorted(set(times)))

    def test_what_is_wrong_is_named(self) -> None:
        """Exit code 2."""
        rows = (
            (("0 99 * * *",), "Hours"),
            (("0 0 0 * * 0",), "Days of Week"),
            (("0 9 * *",), "6 or 7 fields"),
            (("@daily", "--timezone", "Mars"), "--timezone"),
            (("@daily", "--after", "soon"), "--after"),
            (("@daily", "-n", "0"), "-n"),
        )
        for arguments, expected in rows:
            done = command("next", *arguments)
            self.assertEqual(done.exit_code, 2, done.output)
            self.assertIn(expected, done.output)

    def test_what_never_runs_is_said(self) -> None:
        """On stderr; stdout is for times."""
        done = command("next", "0 0 0 1 1 * 2100", "--after", AFTER)
        self.assertEqual(done.stdout, "2100-01-01T00:00:00+00:00\n")
        done = command("next", "0 0 0 30 2 *", "--after", AFTER)
        self.assertEqual((done.exit_code, done.stdout), (0, ""))
        self.assertIn("does not run again", done.stderr)

    def test_it_needs_no_twisted(self) -> None:
        """The command comes up quickly."""
        code = (
            "import sys; from iii.cli.cron import cron; "
            "cron(['next', '@daily'], standalone_mode=False); "
            "sys.exit('twisted' in sys.modules)"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)


class Running(EngineCase):
    """08 §7: the commands that talk to an engine."""

    def prepare(self) -> None:
        """EngineCase: load the module."""
        self.module = CronModule(CronConfig())
        self.module.adapter = LocalClaims(LocalConfig(store_method="in_memory"))
        self.module.start(ModuleApi(self.engine, "iii-cron"))

    async def tearDown(self) -> None:
        await super().tearDown()
        self.module.stop()

    def command(self, *arguments: str) -> Deferred[Result]:
        """Run ``iii cron`` in a thread, the engine goes on in this one."""
        where = ("--address", "127.0.0.1", "--port", str(self.port))
        done: Deferred[Result] = deferToThread(command, *arguments, *where)
        return done

    async def test_jobs_are_listed(self) -> None:
        """As a table and as JSON."""
        empty = await self.command("list")
        self.assertIn("no cron jobs", empty.stdout)
        worker = await self.worker("job")
        await worker.trigger("cron", "job", {"expression": "0 9 * * 1-5"}, id="t")
        listed = await self.command("list")
        self.assertIn("at 09:00, Monday to Friday (UTC)", listed.stdout)
        as_json = await self.command("list", "--json")
        [row] = json.loads(as_json.stdout)["jobs"]
        self.assertEqual((row["id"], row["function_id"]), ("t", "job"))

    async def test_a_job_is_run(self) -> None:
        """Exit code 1 while it runs already, and for an unknown id."""
        worker = await self.worker("job")
        await worker.trigger("cron", "job", {"expression": "@yearly"}, id="t")
        done = await self.command("run", "t")
        self.assertEqual((done.exit_code, json.loads(done.stdout)["started"]), (0, True))
        call = await worker.invoked("job")
        again = await self.command("run", "t")
        self.assertEqual((again.exit_code, json.loads(again.stdout)["started"]), (1, False))
        worker.reply(call)
        unknown = await self.command("run", "x")
        self.assertEqual(unknown.exit_code, 1)
        self.assertIn("Cron job 'x' not found", unknown.stderr)

    async def test_no_engine_is_said(self) -> None:
        """Exit code 1."""
        done = await deferToThread(command, "list", "--address", "127.0.0.1", "--port", "1")
        self.assertEqual(done.exit_code, 1)
        self.assertIn("no engine at", done.stderr)

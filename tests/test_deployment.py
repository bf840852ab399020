"""The files for deploying, as far as they can be checked without the machines they are for.

The images are built and run by `make test-image` (tests/image).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any
from unittest import SkipTest, TestCase

from iii.yaml12 import parse
from tests.image.dockerfile import Builder, instructions
from tests.process_case import LIMIT_S, ROOT, ProcessCase

#: `systemd-analyze security`, in tenths: 0 is a unit that may do nothing, 100 is root.
MAX_EXPOSURE = 20
SECRETS = {
    "III_TOKEN": "of-the-test",
    "III_DOMAIN": "example.com",
    "RABBITMQ_PASSWORD": "of-the-broker",
}


def run(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a program of the machine.

    :raises SkipTest: it is not there
    """
    if shutil.which(command[0]) is None:
        raise SkipTest(f"{command[0]} is not on this machine")
    # Those written in Python have modules of their own.
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        command,
        cwd=ROOT,
        env={**kept, **environment},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )


def yaml(path: Path) -> Any:
    """A file's value."""
    return parse(path.read_text()).value


class Images(TestCase):
    """Dockerfile and Dockerfile.debug."""

    def test_every_step_is_one_that_the_image_test_carries_out(self) -> None:
        """Issue 7, part 9: nothing in them is left untried."""
        for name in ("Dockerfile", "Dockerfile.debug"):
            for step in instructions((ROOT / name).read_text()):
                self.assertTrue(hasattr(Builder, f"_{step.name.lower()}"), f"{name}:{step.line}")

    def test_what_is_copied_is_not_ignored(self) -> None:
        """`docker build` sees only what .dockerignore lets through."""
        kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().split() if line[0] == "!"}
        for name in ("Dockerfile", "Dockerfile.debug"):
            for step in instructions((ROOT / name).read_text()):
                if step.name == "COPY" and "from" not in step.options:
                    for source in step.text.split()[:-1]:
                        self.assertTrue((ROOT / source).exists(), source)
                        self.assertIn(source, kept)

    def test_both_run_alike(self) -> None:
        """The same user, ports, volume, health check and program."""
        alike = ("USER", "EXPOSE", "VOLUME", "HEALTHCHECK", "ENTRYPOINT", "CMD", "STOPSIGNAL")
        found = [
            {
                step.name: (step.options, step.text)
                for step in instructions((ROOT / name).read_text())
                if step.name in alike
            }
            for name in ("Dockerfile", "Dockerfile.debug")
        ]
        self.assertEqual(set(found[0]), set(alike))
        self.assertEqual(*found)


class Compose(TestCase):
    """docker-compose.yml and docker-compose.prod.yml."""

    def configured(self, name: str, **environment: str) -> Any:
        """What Compose makes of a file."""
        command = ("docker-compose", "-f", name, "config")
        done = run(*command, **{**dict.fromkeys(SECRETS, ""), **environment})
        self.assertEqual(done.returncode, 0, done.stderr)
        return parse(done.stdout).value

    def test_both_files_are_valid(self) -> None:
        """Issue 7, part 9: checked by Compose itself."""
        for name in ("docker-compose.yml", "docker-compose.prod.yml"):
            services = self.configured(name, **SECRETS)["services"]
            self.assertEqual(set(services) - {"caddy"}, {"iii", "redis", "rabbitmq"})
            self.assertEqual(services["iii"]["stop_grace_period"], "30s")
            self.assertEqual(services["iii"]["environment"]["III_TOKEN"], "of-the-test")
            command = services["redis"]["command"]
            self.assertIn("--appendfsync always", command)

    def test_without_a_token_nothing_starts(self) -> None:
        """An engine on a public machine that asks for no token would be everybody's."""
        for name in ("docker-compose.yml", "docker-compose.prod.yml"):
            without = {**SECRETS, "III_TOKEN": ""}
            done = run("docker-compose", "-f", name, "config", **without)
            self.assertNotEqual(done.returncode, 0)
            self.assertIn("III_TOKEN", done.stderr)

    def test_in_production_only_caddy_has_ports(self) -> None:
        """Brokers, metrics and the worker port are reached through it, or from inside."""
        services = self.configured("docker-compose.prod.yml", **SECRETS)["services"]
        self.assertEqual([name for name in services if "ports" in services[name]], ["caddy"])
        engine = services["iii"]
        self.assertTrue(engine["read_only"])
        self.assertEqual(engine["cap_drop"], ["ALL"])
        self.assertEqual(engine["cap_add"], ["NET_BIND_SERVICE"])
        self.assertEqual(engine["security_opt"], ["no-new-privileges:true"])
        self.assertEqual(engine["tmpfs"], ["/tmp"])

    def test_in_development_ports_are_of_this_machine_only(self) -> None:
        """`0.0.0.0` in a compose file opens a port past most firewalls."""
        ports = yaml(ROOT / "docker-compose.yml")["services"]["iii"]["ports"]
        self.assertTrue(ports)
        for port in ports:
            self.assertTrue(port.startswith("127.0.0.1:"), port)


class Configuration(ProcessCase):
    """deploy/docker/config.yaml."""

    def test_it_has_no_problem(self) -> None:
        """`iii check --strict`."""
        path = str(ROOT / "deploy" / "docker" / "config.yaml")
        done = self.iii("check", "--strict", "-c", path, **SECRETS)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)


class Proxy(TestCase):
    """deploy/Caddyfile."""

    def test_caddy_takes_it(self) -> None:
        """Issue 7, part 9: `caddy validate`, with and without a domain."""
        command = ("caddy", "validate", "--adapter", "caddyfile", "--config", "deploy/Caddyfile")
        for domain in ("example.com", "localhost"):
            done = run(*command, III_DOMAIN=domain)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertNotIn('"warn"', done.stderr)


class Unit(TestCase):
    """deploy/iii.service."""

    def test_systemd_takes_it(self) -> None:
        """Issue 7, part 9: `systemd-analyze verify`."""
        with tempfile.TemporaryDirectory() as directory:
            unit = Path(directory) / "iii.service"
            text = (ROOT / "deploy" / "iii.service").read_text()
            # The only thing that can't be here: what it starts.
            unit.write_text(text.replace("/opt/iii/bin/iii", "/bin/true"))
            done = run("systemd-analyze", "verify", str(unit))
        self.assertEqual((done.returncode, done.stderr), (0, ""))

    def test_it_leaves_the_engine_few_rights(self) -> None:
        """Issue 7, part 9: hardening, as systemd itself judges it."""
        done = run(
            *("systemd-analyze", "security", "--offline=yes", f"--threshold={MAX_EXPOSURE}"),
            "deploy/iii.service",
        )
        self.assertEqual(done.returncode, 0, done.stdout[-300:] + done.stderr)

    def test_it_restarts_reloads_and_is_watched(self) -> None:
        """Issue 7, part 9: watchdog; SIGHUP reads the configuration again."""
        text = (ROOT / "deploy" / "iii.service").read_text()
        for line in ("Type=notify", "WatchdogSec=30", "Restart=on-failure"):
            self.assertIn(f"\n{line}\n", text)
        self.assertIn("ExecReload=/bin/kill -HUP $MAINPID", text)


class Logs(TestCase):
    """deploy/logrotate/iii."""

    def test_logrotate_takes_it(self) -> None:
        """Issue 7, part 9: read by logrotate, which changes nothing here."""
        with tempfile.TemporaryDirectory() as directory:
            state = Path(directory) / "state"
            done = run("logrotate", "--debug", "--state", str(state), "deploy/logrotate/iii")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("rotating pattern: /var/log/iii/*.log", done.stderr)
        self.assertNotIn("error:", done.stderr)


class Release(TestCase):
    """.github/workflows/release.yml."""

    def test_it_is_a_workflow_that_says_that_it_was_not_run(self) -> None:
        """Issue 7, part 9: bill of materials, provenance, scan; marked as not run here."""
        path = ROOT / ".github" / "workflows" / "release.yml"
        self.assertIn("NOT RUN HERE", path.read_text())
        jobs = yaml(path)["jobs"]
        self.assertEqual(set(jobs), {"test", "wheel", "image"})
        used = {step.get("uses", "").split("@")[0] for step in jobs["image"]["steps"]}
        for action in ("aquasecurity/trivy-action", "actions/attest-build-provenance"):
            self.assertIn(action, used)
        self.assertIn(
            "cyclonedx", {s.get("with", {}).get("format") for s in jobs["image"]["steps"]}
        )

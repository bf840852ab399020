"""What importing ``iii`` does, and does not do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from unittest import TestCase

import iii


def run(program: str) -> str:
    """Run a program in an interpreter of its own, next to the package; what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=Path(iii.__file__).resolve().parents[1],
        text=True,
        timeout=60,
        check=False,
    )
    return done.stdout.strip()


class Import(TestCase):
    """Decision 27: the client is light, the engine side is loaded lazily."""

    def test_the_client_never_imports_twisted(self) -> None:
        """Using every public name but ``Engine`` loads neither Twisted nor Autobahn."""
        loaded = run(
            "import sys, iii\n"
            "[getattr(iii, name) for name in iii.__all__ if name != 'Engine']\n"
            "import iii.client.socket\n"
            "print([m for m in sys.modules if m.split('.')[0] in ('twisted', 'autobahn')])"
        )
        self.assertEqual(loaded, "[]")

    def test_importing_the_package_loads_nothing_else(self) -> None:
        """``import iii`` alone imports no asyncio, no websockets, no client."""
        loaded = run(
            "import sys, iii\n"
            "heavy = 'asyncio', 'websockets', 'msgspec', 'iii.client'\n"
            "print([m for m in heavy if m in sys.modules])"
        )
        self.assertEqual(loaded, "[]")

    def test_the_client_class_does_not_load_websockets(self) -> None:
        """The WebSocket library is imported on the first connect only."""
        loaded = run("import sys; from iii import III; III(); print('websockets' in sys.modules)")
        self.assertEqual(loaded, "False")

    def test_no_telemetry_library_is_needed(self) -> None:
        """07.44: the client works without OpenTelemetry; none is imported."""
        loaded = run(
            "import sys; sys.modules['opentelemetry'] = None\n"
            "from iii import III, init, http; III()\n"
            "print(sorted(m for m in sys.modules if m.startswith('opentelemetry')))"
        )
        self.assertEqual(loaded, "['opentelemetry']")

    def test_the_engine_is_loaded_when_it_is_named(self) -> None:
        """``iii.Engine`` is the engine's class, from its own module."""
        from iii.engine.core import Engine

        self.assertIs(iii.Engine, Engine)

    def test_every_public_name_exists(self) -> None:
        """``__all__`` names only what can be had."""
        for name in iii.__all__:
            with self.subTest(name):
                self.assertIsNotNone(getattr(iii, name))

    def test_an_unknown_name_is_an_attribute_error(self) -> None:
        """A misspelled name says so."""
        with self.assertRaisesRegex(AttributeError, "has no attribute 'IIII'"):
            iii.IIII  # noqa: B018

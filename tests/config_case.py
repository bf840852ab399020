"""A case that writes a configuration and reads it, and modules to configure."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal
from unittest import TestCase

import msgspec

from iii import config
from iii.catalogue import Catalogue
from iii.config import Configuration, InvalidConfiguration, Report

ROOT = Path(__file__).parent.parent


class Cors(msgspec.Struct):
    """Part of a module's configuration."""

    allowed_origins: list[str] = []


class DemoConfig(msgspec.Struct):
    """What a module declares."""

    port: Annotated[int, msgspec.Meta(ge=0, le=65535)] = 3111
    host: str | None = None
    flag: bool = False
    ratio: float = 1.0
    mode: Literal["standard", "fifo"] = "standard"
    cors: Cors | None = None
    queues: dict[str, Cors] = {}
    api_token: int = 0


class DemoModule:
    """A module as the catalogue sees it."""

    name = "iii-demo"
    config = DemoConfig


class LenientModule:
    """A module whose published configurations quote numbers."""

    name = "iii-lenient"
    config = DemoConfig
    coerce_strings = True


class ConfigCase(TestCase):
    """Writes a text to a file and reads it."""

    def setUp(self) -> None:
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.path = Path(scratch.name) / "config.yaml"
        self.catalogue = Catalogue()
        self.catalogue.register_module("demo::Demo", DemoModule)

    def examine(
        self, text: str | bytes, environ: Mapping[str, str] | None = None, *, strict: bool = False
    ) -> Report:
        self.path.write_bytes(text.encode() if isinstance(text, str) else text)
        return config.examine(
            self.path, environ=environ or {}, catalogue=self.catalogue, strict=strict
        )

    def load(self, text: str, environ: Mapping[str, str] | None = None) -> Configuration:
        report = self.examine(text, environ)
        self.assertEqual([str(p) for p in report.errors], [])
        assert report.configuration is not None
        return report.configuration

    def errors(self, text: str | bytes, environ: Mapping[str, str] | None = None) -> list[str]:
        """The errors as ``line: message``."""
        report = self.examine(text, environ)
        self.assertIsNone(report.configuration)
        for problem in report.errors:
            self.assertEqual(problem.path, str(self.path))
        return [f"{problem.line}: {problem.message}" for problem in report.errors]

    def warnings(self, text: str) -> list[str]:
        return [f"{p.line}: {p.message}" for p in self.load(text).warnings]

    def demo(self, text: str) -> DemoConfig:
        """The checked configuration of the only ``demo::Demo`` entry."""
        [entry] = [e for e in self.load(text).entries if e.name == "iii-demo"]
        return config.check_config(entry, DemoConfig)

    def demo_errors(self, block: str) -> list[str]:
        """Errors of a ``config:`` block whose keys begin on line 4."""
        text = "modules:\n  - class: demo::Demo\n    config:\n" + re.sub("(?m)^", "      ", block)
        with self.assertRaises(InvalidConfiguration) as caught:
            self.demo(text)
        return [f"{p.line}: {p.message}" for p in caught.exception.problems]

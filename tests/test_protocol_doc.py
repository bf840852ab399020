"""docs/protocol.md and docs/architecture.md say what the code does."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path
from types import ModuleType
from unittest import TestCase

import msgspec

from iii.engine import corefunctions
from iii.engine.channels import DEFAULT_SIZE, MAX_SIZE, UNTAKEN_TTL_S
from iii.engine.module import ModuleApi
from iii.errors import Code
from iii.websocket import codes, frames, outbox, server
from iii.wire import connection, link, listener, session
from iii.wire.messages import CATALOGUE, Message
from tests.engine.cases import CoreCase, value

ROOT = Path(__file__).parent.parent
MIB = 1024 * 1024
ARROWS = {"worker -> engine": "→", "engine -> worker": "←"}

_ROW = re.compile(r"^\| `([^`]+)` \| ([^|]*)\|", re.MULTILINE)


def page(name: str) -> str:
    """A page of the documentation."""
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


def sections(text: str, level: int) -> dict[str, str]:
    """Heading → what stands below it, for headings of one level."""
    mark = "#" * level
    found: dict[str, str] = {}
    for part in re.split(rf"^{mark} ", text, flags=re.MULTILINE)[1:]:
        heading, _, body = part.partition("\n")
        found[heading.strip().strip("`")] = re.split(f"^#{{1,{level}}} ", body, flags=re.M)[0]
    return found


class Messages(TestCase):
    """The messages of docs/protocol.md are those of ``iii.wire.messages``."""

    def setUp(self) -> None:
        self.page = page("protocol.md")
        self.sections = sections(sections(self.page, 2)["Messages"], 3)

    def test_every_message_has_its_section(self) -> None:
        """And none more, in the order of the code."""
        self.assertEqual(list(self.sections), [tag_of(message) for message in CATALOGUE])

    def test_every_field_is_there(self) -> None:
        """And none more; required is what has no default."""
        for message in CATALOGUE:
            rows = dict(_ROW.findall(self.sections[tag_of(message)]))
            fields = msgspec.structs.fields(message)
            with self.subTest(tag_of(message)):
                self.assertEqual(list(rows), [field.name for field in fields])
                for field in fields:
                    self.assertEqual("required" in rows[field.name], field.required, field.name)

    def test_directions(self) -> None:
        """As the docstrings of the structs say."""
        for message in CATALOGUE:
            said = (message.__doc__ or "").replace("\n", " ").partition("  ")[0]
            body = self.sections[tag_of(message)]
            for words, arrow in ARROWS.items():
                if words in said:
                    with self.subTest(tag_of(message)):
                        self.assertIn(arrow, body)


class Figures(TestCase):
    """Codes and numbers of docs/protocol.md."""

    def setUp(self) -> None:
        self.sections = sections(page("protocol.md"), 2)

    def test_error_codes(self) -> None:
        """All of ``iii.errors.Code``, and none more."""
        rows = re.findall(r"^\| (`.*?`) \|", self.sections["Errors"], re.MULTILINE)
        codes = [code for row in rows for code in re.findall(r"`(\w+)`", row)]
        self.assertEqual(codes, [code.value for code in Code])

    def test_limits(self) -> None:
        """Each figure stands where it is promised."""
        rows = (
            ("Framing and limits", f"a frame up to {frames.MAX_FRAME_BYTES // MIB} MiB"),
            ("Framing and limits", f"a message up to {frames.MAX_MESSAGE_BYTES // MIB} MiB"),
            ("Framing and limits", f"frame up to {outbox.FRAGMENT_ABOVE_BYTES // MIB} MiB"),
            ("Framing and limits", f"fragments of {outbox.FRAGMENT_BYTES // MIB} MiB"),
            ("Framing and limits", f"at most {session.MAX_ID_BYTES:,} bytes"),
            ("Framing and limits", f"at most {session.MAX_FUNCTIONS:,} functions"),
            ("Framing and limits", f"{session.MAX_TRIGGERS:,} triggers"),
            ("Endpoints", f"The worker port is {listener.DEFAULT_PORT}"),
            ("Endpoints", connection.CHANNEL_PREFIX),
            ("Invocations", f"More than {outbox.MAX_QUEUED_BYTES // MIB} MiB"),
            ("Close codes", f"more than {outbox.MAX_QUEUED_BYTES // MIB} MiB"),
            ("Close codes", str(codes.CLOSE_OVERLOAD)),
            ("Close codes", str(codes.CLOSE_RESTART)),
            ("Liveness", f"every {server.PING_S:g} s"),
            ("Liveness", f"came for {server.SILENT_S:g} s"),
            ("Liveness", f"within {server.HANDSHAKE_S:g} s"),
            ("Liveness", f"within {server.CLOSE_S:g} s"),
            ("Liveness", f"takes nothing for {outbox.STALL_S:g} s"),
            ("Channels", f"default {DEFAULT_SIZE}, 1 to {MAX_SIZE}"),
            ("Channels", "five minutes" if UNTAKEN_TTL_S == 300 else "another time"),
            ("Discovery", f"up to {corefunctions.PROVIDER_ANSWER_S:g} s"),
            ("Discovery", f"{corefunctions.CHANGES_COALESCED_S * 1000:g} ms after"),
            ("Client size ceilings", f"{link.PYTHON_LIMIT_BYTES // MIB} MiB"),
            ("Client size ceilings", ".".join(map(str, link.PYTHON_RAISED_LIMIT))),
            ("Client size ceilings", link.LARGE_MESSAGES),
        )
        for section, words in rows:
            self.assertIn(words, self.sections[section])


class Discovery(CoreCase):
    """The functions of docs/protocol.md are the engine's own."""

    with_core_functions = True

    def test_every_function_is_there(self) -> None:
        """And none more; aliases too."""
        section = sections(page("protocol.md"), 2)["Discovery"]
        told = [id for id, _ in _ROW.findall(section) if "-available" not in id]
        self.assertEqual(sorted(told), sorted(known.id for known in self.engine.functions))
        for alias in self.engine.functions.aliases:
            self.assertIn(f"`{alias}`", section)

    def test_every_trigger_type_is_there(self) -> None:
        """And none more."""
        section = sections(page("protocol.md"), 2)["Discovery"]
        told = [id for id, _ in _ROW.findall(section) if "-available" in id]
        self.assertEqual(sorted(told), sorted(type.id for type in self.engine.triggers.types()))


class Architecture(CoreCase):
    """docs/architecture.md names what exists, and its module runs."""

    def setUp(self) -> None:
        super().setUp()
        self.page = page("architecture.md")

    def test_every_file_exists(self) -> None:
        """Paths of the repository in backticks."""
        paths = set(re.findall(r"`((?:iii|tests|docs|benchmarks)/[\w./-]*)`", self.page))
        self.assertGreater(len(paths), 10)
        missing = [path for path in sorted(paths) if not (ROOT / path).exists()]
        self.assertEqual(missing, [])

    def test_every_file_of_the_engine_has_its_line(self) -> None:
        """In the layout."""
        for folder in ("engine", "websocket", "wire"):
            for path in (ROOT / "iii" / folder).glob("*.py"):
                if path.name != "__init__.py":
                    self.assertIn(f"`{path.name}`", self.page)

    def test_every_function_exists(self) -> None:
        """``module.Class.method`` on the way of a call."""
        names = re.findall(r"`(iii(?:\.\w+)+)`", self.page)
        self.assertGreater(len(names), 10)
        for name in names:
            self.assertTrue(resolves(name), name)

    def sample(self) -> ModuleType:
        """The code of the page as an imported module."""
        (code,) = re.findall(r"^```python\n(.*?)^```", self.page, re.MULTILINE | re.DOTALL)
        sample = ModuleType("sample_of_the_architecture_page")
        # msgspec looks annotations up in the module.
        sys.modules[sample.__name__] = sample
        self.addCleanup(sys.modules.pop, sample.__name__)
        exec(compile(code, "docs/architecture.md", "exec"), vars(sample))
        return sample

    def test_the_sample_module_runs(self) -> None:
        """Started with its settings, fired, called, refused, stopped."""
        class_ = self.sample().TickModule
        module = class_(msgspec.convert({"every_s": 2.0}, class_.config))
        module.start(ModuleApi(self.engine, class_.name))
        worker = self.worker("f")
        self.bound(worker, "tick", "f", {"label": "x"})
        self.ticks.advance(2.0)
        (call,) = self.link(worker).calls
        self.assertEqual(value(call.data), {"label": "x", "n": 1})
        self.engine.invocations.finish(worker, call.id, None, None)
        answer = self.engine.invoke("tick::count")
        self.assertEqual(value(self.successResultOf(answer)), {"ticks": 1})
        _, refused = self.bind(worker, "tick", "f", {"label": 5})
        self.failureResultOf(refused)
        self.engine.worker_gone(worker)
        self.bound(self.worker(), "tick", "nobody")
        self.ticks.advance(2.0)
        module.stop()
        self.assertEqual(self.ticks.getDelayedCalls(), [])


def resolves(name: str) -> bool:
    """Whether a dotted name is a module, class or attribute."""
    parts = name.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            found: object = importlib.import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        for part in parts[cut:]:
            annotations = getattr(found, "__annotations__", {})
            slots = getattr(found, "__slots__", ())
            if not hasattr(found, part):
                return part in annotations or part in slots
            found = getattr(found, part)
        return True
    return False


def tag_of(message: type[Message]) -> str:
    """What ``type`` says."""
    return str(message.__struct_config__.tag)

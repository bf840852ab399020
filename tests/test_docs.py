"""The documentation: every command in it is run, every dependency has its reason.

A page is followed from top to bottom in a copy of the checkout (links, really), with
the environment's programs on the path, as a reader would.  What a block of shell
commands needs to say to this test stands in an HTML comment above it:

``<!-- serves -->``, ``<!-- serves until: TEXT -->``
    does not end by itself: it runs until the end of the page; with a text, the page goes
    on when the output has it
``<!-- runs until: TEXT -->``
    the same for a program beside the demo, which runs for pages where nothing ``serves``
``<!-- fails -->``
    ends with an error, on purpose
``<!-- not run: REASON -->``
    can't be run here
``<!-- file: NAME -->``
    (any language) is not run but saved, for the blocks after it

Examples of HTTP calls must answer 2xx, unless the block below shows, as JSON, the error
that they get.  A page with commands that starts nothing itself is followed beside a running demo.
The ports are the ones the pages name: when somebody has them, the pages are skipped,
and in CI that is a failure.
"""

from __future__ import annotations

import ast
import configparser
import importlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from unittest import SkipTest, TestCase

from tests.process_case import LIMIT_S, ROOT, environment
from tests.support.ports import taken_default_ports

PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    ROOT / "examples" / "demo" / "README.md",
    ROOT / "examples" / "live-board" / "README.md",
    ROOT / "examples" / "custom_queue_adapter" / "README.md",
]
SHELLS = frozenset(("bash", "sh", "shell", "console"))
MAX_NOT_RUN = 6
BLOCK_LIMIT_S = 60.0

_BLOCK = re.compile(
    r"""(?: ^[ ]* <!--[ ] (?P<note> [^\n]*? ) [ ]--> \n+ )?
        ^[ ]* ``` (?P<language> \w* ) [^\n]* \n
        (?P<text> .*? )
        ^[ ]* ``` $""",
    re.MULTILINE | re.DOTALL | re.VERBOSE,
)


@dataclass(frozen=True)
class Block:
    """One fenced block of a page.

    :ivar note: the comment above it, split at the first colon
    :ivar gets_error: whether the next block shows the error it gets
    """

    line: int
    language: str
    text: str
    note: tuple[str, str]
    gets_error: bool = False

    @property
    def runnable(self) -> bool:
        return self.language in SHELLS and self.note[0] not in ("not run", "file")


def blocks_of(text: str) -> Iterator[Block]:
    """The fenced blocks of a page, in order."""
    matches = list(_BLOCK.finditer(text))
    for match, following in zip_longest(matches, matches[1:]):
        word, _, rest = (match["note"] or "").partition(":")
        line = text.count("\n", 0, match.start("text"))
        gets_error = (
            following is not None
            and following["language"] == "json"
            and '"error"' in following["text"]
        )
        note = (word.strip(), rest.strip())
        yield Block(line, match["language"], match["text"], note, gets_error)


class Follower:
    """Follows one page.

    :param folder: where its commands run
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.serving: list[subprocess.Popen[str]] = []
        for item in ROOT.iterdir():
            if item.name not in (".git", ".venv", "data", "_trial_temp"):
                (folder / item.name).symlink_to(item)
        # The environment that runs this test, as `make` has made it: `make` would otherwise
        # install what lies here, and this folder is gone in a minute.
        environment = folder / ".venv"
        environment.mkdir()
        for item in Path(sys.prefix).iterdir():
            if not item.name.startswith(".installed"):
                (environment / item.name).symlink_to(item)
        (environment / ".installed-dev").touch()
        # A worker that has just been started may need a moment to be there.
        (folder / ".curlrc").write_text(
            "silent\nshow-error\nfail\nretry = 10\nretry-delay = 1\nretry-all-errors\n"
        )

    def environment(self, *, strict: bool = True) -> dict[str, str]:
        """The environment of the commands.

        :param strict: HTTP errors are errors
        """
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        curl = str(self.folder if strict else self.folder / ".venv")
        return environment(PROMETHEUS_PORT=None, PATH=path, CURL_HOME=curl, PYTHONUNBUFFERED="1")

    def follow(self, block: Block) -> str | None:
        """Do what a block says; what went wrong, or None."""
        kind, detail = block.note
        if kind == "file":
            (self.folder / detail).write_text(block.text)
            return None
        if not block.runnable:
            return None
        if kind.startswith(("serves", "runs")):
            return self.serve(block.text, detail)
        try:
            done = subprocess.run(
                ("bash", "-euo", "pipefail", "-c", block.text),
                cwd=self.folder,
                env=self.environment(strict=not block.gets_error),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=BLOCK_LIMIT_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return f"does not end within {BLOCK_LIMIT_S:g} s\n{block.text}"
        if (done.returncode != 0) is (kind == "fails"):
            return None
        return f"exit code {done.returncode}\n{block.text}{done.stdout}{done.stderr}"

    def serve(self, command: str, until: str) -> str | None:
        """Start a command that does not end."""
        process = subprocess.Popen(
            ("bash", "-euc", command),
            cwd=self.folder,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.serving.append(process)
        seen = threading.Event()
        text: list[str] = []

        def read() -> None:
            assert process.stdout is not None
            for line in process.stdout:
                text.append(line)
                if until and until in line:
                    seen.set()
            seen.set()

        threading.Thread(target=read, daemon=True).start()
        seen.wait(BLOCK_LIMIT_S if until else 1.0)
        if process.poll() is not None or (until and not any(until in line for line in text)):
            return f"does not serve\n{command}{''.join(text)}"
        return None

    def close(self) -> list[str]:
        """Ctrl-C for everything that serves, the last one first; what did not stop."""
        left = []
        for process in reversed(self.serving):
            try:
                os.killpg(process.pid, signal.SIGINT)
                process.wait(LIMIT_S)
            except ProcessLookupError:
                process.wait(LIMIT_S)  # it had nothing more to do
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait(LIMIT_S)
                left.append(f"{process.args}: Ctrl-C does not stop it")
            if process.stdout is not None:
                process.stdout.close()
        return left


def require_ports() -> None:
    """Skip when somebody has the default ports; in CI, fail."""
    if taken := taken_default_ports():
        text = f"ports {taken} are taken: the commands of the pages can't be run"
        if os.environ.get("CI") == "true":
            raise AssertionError(text)
        raise SkipTest(text)


class Commands(TestCase):
    """Issue: every command in README and docs is run by a test."""

    timeout = 600

    def test_every_command_works(self) -> None:
        """Issue, Done when: the commands of all pages, followed from top to bottom."""
        require_ports()
        for page in PAGES:
            blocks = list(blocks_of(page.read_text()))
            if any(block.runnable for block in blocks):
                with self.subTest(page=str(page.relative_to(ROOT))):
                    self.follow(page, blocks)

    def follow(self, page: Path, blocks: list[Block]) -> None:
        with tempfile.TemporaryDirectory(prefix="iii-docs-") as name:
            follower = Follower(Path(name))
            faults = []
            try:
                if not any(block.note[0].startswith("serves") for block in blocks):
                    fault = follower.serve("exec make --silent run", "Ctrl-C stops both")
                    self.assertIsNone(fault, fault)
                for block in blocks:
                    if fault := follower.follow(block):
                        faults.append(f"{page.name}:{block.line}: {fault}")
            finally:
                faults += follower.close()
            self.assertEqual(faults, [], "\n".join(faults))

    def test_few_commands_are_not_run_and_each_says_why(self) -> None:
        """Issue: the exceptions are explicit and few."""
        excused = [
            (page.name, block)
            for page in PAGES
            for block in blocks_of(page.read_text())
            if block.language in SHELLS and block.note[0] == "not run"
        ]
        self.assertLessEqual(len(excused), MAX_NOT_RUN)
        for page, block in excused:
            self.assertGreater(len(block.note[1]), 10, f"{page}:{block.line} gives no reason")

    def test_links_lead_somewhere(self) -> None:
        """Issue, part 1: relative links of all pages."""
        for page in PAGES:
            for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text()):
                if "://" not in target and not target.startswith("mailto:"):
                    self.assertTrue((page.parent / target).exists(), f"{page.name}: {target}")


class Blocks(TestCase):
    """The reader of pages itself."""

    def test_a_comment_belongs_to_the_block_below_it(self) -> None:
        """Design: notes, languages and line numbers."""
        text = (
            "# Page\n\n<!-- not run: no network here -->\n```bash\npip x\n```\n\n"
            "```python\n1\n```\n<!-- serves until: ready now -->\n\n```sh\nmake run\n```\n"
            '```json\n{"error":{}}\n```\n'
        )
        found = [(b.line, b.language, b.note, b.runnable, b.gets_error) for b in blocks_of(text)]
        self.assertEqual(
            found,
            [
                (4, "bash", ("not run", "no network here"), False, False),
                (8, "python", ("", ""), False, False),
                (13, "sh", ("serves until", "ready now"), True, True),
                (16, "json", ("", ""), False, False),
            ],
        )


class Dependencies(TestCase):
    """Issue, part 1: every dependency with a reason in docs/dependencies.md."""

    def setUp(self) -> None:
        self.setup = configparser.ConfigParser()
        self.setup.read(ROOT / "setup.cfg")

    def names(self, section: str, option: str) -> set[str]:
        lines = self.setup[section][option].splitlines()
        return {re.split(r"[ <>=!~;\[]", line)[0].lower() for line in lines if line}

    def test_the_page_lists_exactly_what_is_installed(self) -> None:
        """Issue, part 1: neither more nor less than setup.cfg."""
        page = (ROOT / "docs" / "dependencies.md").read_text()
        listed = {name.lower() for name in re.findall(r"^\| `([^`]+)` \|", page, re.MULTILINE)}
        installed = self.names("options", "install_requires")
        extras = [self.names("options.extras_require", key) for key in ("dev", "bench")]
        self.assertEqual(listed, installed.union(*extras))

    def test_the_engine_imports_nothing_else(self) -> None:
        """Issue, part 1: an installation without extras has everything the engine imports."""
        known = {
            "pyyaml": "yaml",
            "twisted": "twisted",
            "prometheus-client": "prometheus_client",
            "pyopenssl": "OpenSSL",
            "opentelemetry-sdk": "opentelemetry",
            "opentelemetry-exporter-otlp-proto-grpc": "grpc",
        }
        allowed = {known.get(name, name) for name in self.names("options", "install_requires")}
        # Twisted's own interfaces are zope's.
        allowed |= {"iii", "zope"} | set(sys.stdlib_module_names)
        imported = {
            (module, path.relative_to(ROOT))
            for path in (ROOT / "iii").rglob("*.py")
            for module in _imports(path)
        }
        strange = {(module, str(path)) for module, path in imported if module not in allowed}
        self.assertEqual(strange, set())


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.split(".")[0]


class Limits(TestCase):
    """08 §7: docs/limits.md lists every bound."""

    UNITS = {"KiB": 1024, "MiB": 1024**2}
    BOUND = re.compile(r"^(?:MAX_\w+|\w+_BYTES|\w+_LIMIT)$")

    def rows(self) -> dict[str, str]:
        """Constant → the bound as the page has it."""
        page = (ROOT / "docs" / "limits.md").read_text()
        return {
            name: bound
            for bound, name in re.findall(
                r"^\| [^|]+ \| ([^|]+) \| [^|]*\| `([\w.]+)` \|$", page, re.MULTILINE
            )
        }

    def constants(self) -> dict[str, int]:
        """Every constant of the package that bounds bytes or counts."""
        found = {}
        for path in (ROOT / "iii").rglob("*.py"):
            module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            for name in re.findall(r"^([A-Z][A-Z_]+) = ", path.read_text(), re.MULTILINE):
                value = getattr(importlib.import_module(module), name)
                if self.BOUND.match(name) and type(value) is int:
                    found[f"{module}.{name}"] = value
        return found

    def test_the_figures_are_those_of_the_code(self) -> None:
        """08 §7: a bound that changes must change on the page."""
        for name, bound in self.rows().items():
            module, _, constant = name.rpartition(".")
            value = getattr(importlib.import_module(module), constant)
            shown = [
                int(number) * self.UNITS.get(unit, 1)
                for number, unit in re.findall(r"(\d+)(?: (KiB|MiB))?", bound)
            ]
            self.assertIn(value, shown, name)

    def test_every_bound_of_the_code_is_on_the_page(self) -> None:
        """08 §7: none is forgotten."""
        own = {"iii.testing.LOG_TAIL_BYTES"}
        self.assertEqual(set(self.constants()) - set(self.rows()) - own, set())

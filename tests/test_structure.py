"""What the code promises about its own shape (docs/architecture.md), read from the code."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from unittest import TestCase

PACKAGE = Path(__file__).parent.parent / "iii"
MAX_LINES = 600

#: Folder → what its files may not import.
FORBIDDEN = {
    "engine": (
        "autobahn",
        "twisted.web",
        "socket",
        "iii.modules",
        "iii.websocket",
        "iii.wire",
        "iii.client",
    ),
    "redis": ("iii.modules", "iii.wire", "iii.client", "twisted.web"),
    "rabbitmq": ("iii.modules", "iii.wire", "iii.client", "twisted.web"),
    "bridge": ("iii.modules", "iii.client", "iii.engine.core", "iii.service", "twisted.web"),
    "websocket": ("iii.modules", "iii.wire", "iii.client", "iii.engine.core", "twisted.web"),
    "modules": ("iii.wire", "iii.client", "iii.service"),
    "client": ("twisted", "autobahn", "iii.engine", "iii.websocket", "iii.wire", "iii.modules"),
    "access": ("autobahn", "twisted.web", "iii.modules", "iii.wire", "iii.client", "iii.service"),
    "wire": ("iii.modules", "iii.client", "twisted.web"),
}

#: Wall time is read in one place; loggers and command lines may stamp what they print.
TIME_CALLS = {
    ("time", "time"),
    ("time", "time_ns"),
    ("datetime", "now"),
    ("datetime", "utcnow"),
    ("datetime", "today"),
    ("date", "today"),
}
TIME_HOME = PACKAGE / "engine" / "clock.py"
#: Not engine behaviour: the client's and the command line's own time.
TIME_ELSEWHERE = ("client", "cli")


def sources(folder: str = "") -> Iterator[Path]:
    """The Python files below a folder of the package."""
    return (path for path in sorted((PACKAGE / folder).rglob("*.py")))


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Line and full name of everything a file imports, wherever in the file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            for alias in node.names:
                yield node.lineno, f"{node.module}.{alias.name}"


def is_below(name: str, package: str) -> bool:
    """Whether ``name`` is ``package`` or inside it."""
    return name == package or name.startswith(package + ".")


class Borders(TestCase):
    """Who may know whom."""

    def test_folders_import_nothing_forbidden(self) -> None:
        """The engine knows no socket and no module, the client no Twisted."""
        found = [
            f"{path.relative_to(PACKAGE)}:{line} imports {name}"
            for folder, forbidden in FORBIDDEN.items()
            for path in sources(folder)
            for line, name in imports(path)
            if any(is_below(name, package) for package in forbidden)
        ]
        self.assertEqual(found, [])

    def test_modules_do_not_know_each_other(self) -> None:
        """What one needs of another it calls as a function."""
        found = []
        for path in sources("modules"):
            own = path.relative_to(PACKAGE / "modules").parts[0].removesuffix(".py")
            for line, name in imports(path):
                if is_below(name, "iii.modules") and not is_below(name, f"iii.modules.{own}"):
                    found.append(f"{path.relative_to(PACKAGE)}:{line} imports {name}")
        self.assertEqual(found, [])

    def test_the_rules_are_about_folders_that_exist(self) -> None:
        """A renamed folder must not switch its rule off."""
        for folder in (*FORBIDDEN, *TIME_ELSEWHERE):
            self.assertTrue(list(sources(folder)), folder)
        self.assertTrue(TIME_HOME.exists())


class Habits(TestCase):
    """What is counted rather than argued about."""

    def test_no_file_is_longer_than_600_lines(self) -> None:
        """What is longer is two things."""
        lengths = {
            str(path.relative_to(PACKAGE)): len(path.read_text(encoding="utf-8").splitlines())
            for path in sources()
        }
        self.assertEqual({path: n for path, n in lengths.items() if n > MAX_LINES}, {})

    def test_time_is_read_in_one_place(self) -> None:
        """``engine/clock.py``; everything else asks the engine's clock."""
        found = []
        for path in sources():
            if path == TIME_HOME or path.relative_to(PACKAGE).parts[0] in TIME_ELSEWHERE:
                continue
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Attribute):
                    owner = node.value
                    holder = (
                        owner.id if isinstance(owner, ast.Name) else getattr(owner, "attr", None)
                    )
                    if (holder, node.attr) in TIME_CALLS:
                        found.append(f"{path.relative_to(PACKAGE)}:{node.lineno}")
            found += [
                f"{path.relative_to(PACKAGE)}:{line}"
                for line, name in imports(path)
                if name in ("time.time", "time.time_ns")
            ]
        self.assertEqual(found, [])

    def test_no_exception_is_swallowed(self) -> None:
        """``except …: pass`` says nothing to anybody."""
        found = [
            f"{path.relative_to(PACKAGE)}:{node.lineno}"
            for path in sources()
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.ExceptHandler)
            and len(node.body) == 1
            and isinstance(node.body[0], ast.Pass)
        ]
        self.assertEqual(found, [])

    def test_every_file_says_what_it_is(self) -> None:
        """A docstring at the top."""
        found = [
            str(path.relative_to(PACKAGE))
            for path in sources()
            if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
        ]
        self.assertEqual(found, [])

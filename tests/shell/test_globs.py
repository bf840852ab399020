"""Which paths a list of globs means."""

from __future__ import annotations

from unittest import TestCase

from iii.modules.shell.globs import MAX_ALTERNATIVES, Globs, alternatives


class GlobsCase(TestCase):
    """Globs relative to ``/app``."""

    def globs(self, *patterns: str, ignore: tuple[str, ...] = ()) -> Globs:
        return Globs(patterns, ignore, "/app")

    def assertMeans(self, pattern: str, yes: str, no: str) -> None:
        """``pattern`` means the first paths and not the second ones (relative to /app)."""
        globs = self.globs(pattern)
        for path in yes.split():
            self.assertTrue(globs.matches(f"/app/{path}"), f"{pattern} {path}")
        for path in no.split():
            self.assertFalse(globs.matches(f"/app/{path}"), f"{pattern} {path}")


class Matching(GlobsCase):
    """05 B5: a true glob matcher."""

    def test_each_wildcard_means_what_it_means_everywhere(self) -> None:
        table = {
            "src/**/*.ts": ("src/a.ts src/b/c/d.ts src/.x/.y.ts", "a.ts src/a.js lib/src/a.ts"),
            "src/*.ts": ("src/a.ts src/a.d.ts", "src/b/a.ts src/a.tsx"),
            "**/*.py": ("a.py b/c.py", "a.pyc"),
            "src/main*.ts": ("src/main.ts src/main2.ts", "src/other.ts src/x/main.ts"),
            "src/?.c": ("src/a.c", "src/ab.c src/.c"),
            "[a-c]?/x[!0-9]": ("b1/xy", "d1/xy b1/x7"),
            "*/src/*.go": ("a/src/m.go", "src/m.go a/b/src/m.go"),
            "config.yaml": ("config.yaml", "a/config.yaml config.yaml.bak"),
            "./src/../lib/*.c": ("lib/a.c", "src/a.c"),
            "src/**": ("src/a src/b/c", "src2/a"),
            "a/**/b/**/c": ("a/b/c a/x/b/y/z/c", "a/c b/c"),
        }
        for pattern, (yes, no) in table.items():
            self.assertMeans(pattern, yes, no)

    def test_braces_are_alternatives(self) -> None:
        self.assertMeans("src/**/*.{ts,js}", "src/a.ts src/b/c.js", "src/a.tsx")
        self.assertMeans("{src,lib/x}/*.{c,h{,pp}}", "src/a.c lib/x/b.hpp src/c.h", "lib/a.c")
        self.assertMeans("src/*.{ts}", "src/a.ts", "src/a.js")
        self.assertEqual(alternatives("a{b"), ["a{b"])

    def test_a_glob_can_be_absolute_or_outside(self) -> None:
        globs = self.globs("/srv/x/**/*.py", "../lib/*.py")
        for path, meant in (
            ("/srv/x/a/b.py", True),
            ("/lib/c.py", True),
            ("/app/srv/x/b.py", False),
        ):
            self.assertIs(globs.matches(path), meant, path)
        self.assertEqual(globs.starts(), ["/"])

    def test_an_exclamation_mark_excludes_files_and_whole_directories(self) -> None:
        globs = self.globs("src/**/*.ts", "!src/**/*.test.ts", "!src/{gen,old/**}")
        for path, meant in (
            ("a.ts", True),
            ("b/a.test.ts", False),
            ("gen/x/a.ts", False),
            ("old/a.ts", False),
            ("general/a.ts", True),
        ):
            self.assertIs(globs.matches(f"/app/src/{path}"), meant, path)

    def test_too_many_alternatives_are_refused(self) -> None:
        """Design: sixteen braces of two are 65,536 globs."""
        with self.assertRaisesRegex(ValueError, f"more than {MAX_ALTERNATIVES} alternatives"):
            alternatives("{a,b}" * 16)


class LikeTheOriginal(GlobsCase):
    """05 B5: the original's looser matching stays for ``dir/**/*.ext``."""

    def test_the_common_form_means_what_it_meant(self) -> None:
        """05 B3: every file with the extension, at any depth, hidden ones too."""
        self.assertMeans("src/**/*.{ts,js}", "src/a.ts src/a/b.js src/.h/.x.ts src/a.b.ts", "src/a")

    def test_stars_grown_together_with_a_name_look_into_directories(self) -> None:
        """05 B3: ``**`` anywhere made a pattern recursive."""
        self.assertMeans("src/**.ts", "src/a.ts src/b/c.ts", "src/a.js")


class Ignoring(GlobsCase):
    """05 B5: what is never looked at."""

    def test_tools_directories_and_editors_files_are_left_alone(self) -> None:
        self.assertMeans(
            "**/*",
            "src/a.py dist/a.js .env",
            ".git/index node_modules/a/b.js src/__pycache__/a.pyc .venv/bin/x a.py~ .a.py.swp "
            ".#a.py #a.py# 4913 a.py___jb_tmp___",
        )

    def test_the_setting_adds_names_and_globs(self) -> None:
        globs = self.globs("**/*", ignore=("dist", "*.log", "web/gen/*.js", "build/"))
        for path, meant in (
            ("dist/a.js", False),
            ("x/dist/a.js", False),
            ("a.log", False),
            ("web/gen/a.js", False),
            ("web/a.js", True),
            ("build/x", False),
            ("node_modules/x", False),
        ):
            self.assertIs(globs.matches(f"/app/{path}"), meant, path)

    def test_a_glob_that_names_an_ignored_directory_means_it(self) -> None:
        self.assertMeans(
            "node_modules/mine/**/*.js",
            "node_modules/mine/a/b.js",
            "node_modules/mine/node_modules/c.js node_modules/a.js",
        )


class Leading(GlobsCase):
    """Only directories that may hold such files are watched."""

    def test_only_what_leads_somewhere_is_looked_at(self) -> None:
        globs = self.globs("src/**/*.ts", "lib/*/x.c", "!src/gen")
        for directory, leads in (
            ("/app", True),
            ("/app/src", True),
            ("/app/src/a/b", True),
            ("/app/src/node_modules", False),
            ("/app/src/gen", False),
            ("/app/lib", True),
            ("/app/lib/a", True),
            ("/app/lib/a/b", False),
            ("/app/other", False),
        ):
            self.assertIs(globs.leads(directory), leads, directory)
        self.assertEqual(globs.starts(), ["/app"])
        self.assertEqual(globs.steps("/app"), {"/app/src", "/app/lib"})

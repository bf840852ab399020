"""`.ci/run`: how the results of several runners become one line and one exit code."""

from __future__ import annotations

import subprocess
import sys

from tests.process_case import ROOT, ProcessCase

PASSED = "Ran 3 tests in 1.0s\n\nPASSED (successes=3)\n"
FAILED = "Ran 5 tests in 1.0s\n\nFAILED (skips=1, failures=1, errors=1, successes=2)\n"
SKIPPED = (
    "[SKIPPED]\nno redis-server\n\ntests.a.A.test_one\ntests.a.A.test_two\n"
    "===\n[SKIPPED]\nsoak: make soak runs it\n\ntests.a.A.test_long\n---\n"
    "Ran 4 tests in 1.0s\n\nPASSED (skips=3, successes=1)\n"
)
SDKS = "ok   npm-0.2.1: 20/20 checks, 1.0 s\n20 passed, 0 failed, 0 skipped\n"


class Summary(ProcessCase):
    """Issue: the closing line of `.ci/run`."""

    def summary(self, *outputs: str, options: tuple[str, ...] = ("--ci",)) -> tuple[int, str, str]:
        names = []
        for number, output in enumerate(outputs):
            names.append(str(self.write(f"{number}.log", output)))
        script = str(ROOT / ".ci" / "summary.py")
        done = self.run_python(script, *options, *names)
        return done.returncode, done.stdout, done.stderr

    def test_results_of_all_runners_are_added_up(self) -> None:
        """Issue: one line over all runners."""
        code, line, _ = self.summary(PASSED, SDKS)
        self.assertEqual((code, line), (0, "23 passed, 0 failed, 0 skipped\n"))

    def test_failures_and_errors_fail(self) -> None:
        """Issue: non-zero exit on any failure."""
        code, line, _ = self.summary(FAILED, SDKS, options=())
        self.assertEqual((code, line), (1, "22 passed, 2 failed, 1 skipped\n"))

    def test_a_failed_step_without_tests_counts(self) -> None:
        """Issue: ruff and mypy too."""
        code, line, _ = self.summary(PASSED, options=("--failed-steps", "2"))
        self.assertEqual((code, line), (1, "3 passed, 2 failed, 0 skipped\n"))

    def test_a_runner_that_broke_fails(self) -> None:
        """Issue: a crash before the end is no success."""
        for broken in ("", "Traceback (most recent call last):\n"):
            code, line, said = self.summary(PASSED, broken)
            self.assertEqual((code, line), (1, "3 passed, 1 failed, 0 skipped\n"))
            self.assertIn("did not reach its end", said)

    def test_a_run_without_tests_fails(self) -> None:
        """Issue: nothing executed is a failure."""
        code, line, said = self.summary("Ran 0 tests in 0.0s\n\nPASSED\n", SDKS)
        self.assertEqual((code, line), (1, "20 passed, 1 failed, 0 skipped\n"))
        self.assertIn("no test was executed", said)

    def test_a_missing_program_fails_in_ci_only(self) -> None:
        """Issue: a visible skip at home, a failure in CI; long tests are skipped on purpose."""
        code, line, _ = self.summary(SKIPPED, options=())
        self.assertEqual((code, line), (0, "1 passed, 0 failed, 3 skipped\n"))
        code, line, said = self.summary(SKIPPED)
        self.assertEqual((code, line), (1, "1 passed, 1 failed, 3 skipped\n"))
        self.assertIn("2 skipped for want of something", said)

    def test_the_output_of_trial_is_understood(self) -> None:
        """Issue: against the real runner, with several processes."""
        self.write(
            "test_sample.py",
            "import unittest\n"
            "class T(unittest.TestCase):\n"
            "    def test_a(self): pass\n"
            "    def test_b(self): pass\n"
            "    @unittest.skip('no luck')\n"
            "    def test_c(self): pass\n"
            "    def test_d(self): self.fail('x')\n",
        )
        for jobs in ((), ("-j2",)):
            done = subprocess.run(
                (sys.executable, "-m", "twisted.trial", *jobs, "test_sample"),
                cwd=self.directory,
                capture_output=True,
                text=True,
                check=False,
            )
            code, line, _ = self.summary(done.stdout, options=())
            self.assertEqual((code, line), (1, "2 passed, 1 failed, 1 skipped\n"), done.stdout)

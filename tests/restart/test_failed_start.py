"""A start that fails half-way stops what it had started, and says one thing."""

from __future__ import annotations

from tests.process_case import ProcessCase, taken_port


class FailedStart(ProcessCase):
    """The stores that were open are closed before the process ends."""

    def test_a_taken_port_behind_a_store(self) -> None:
        port = taken_port(self)
        self.write(
            "config.yaml",
            "port: 0\n"
            "modules:\n"
            "  - class: iii-queue\n"
            "  - class: iii-state\n"
            "  - class: iii-http\n"
            f"    config: {{port: {port}}}\n",
        )
        ended = self.iii()
        self.assertEqual(ended.returncode, 1)
        self.assertEqual(ended.stderr.count("Error: "), 1, ended.stderr)
        self.assertNotIn("Traceback", ended.stdout + ended.stderr)
        self.assertIn(str(port), ended.stderr)
        # Closed properly: nothing is left of the write-ahead log.
        self.assertEqual(list(self.directory.rglob("*.sqlite-wal")), [])

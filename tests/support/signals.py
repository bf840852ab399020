"""Signals of processes that tests start."""

import signal


def hang_up_counts() -> None:
    """In a new process: SIGHUP is for it, also when the tests run under ``nohup``."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

"""``iii``: run the engine in the foreground."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from iii.catalogue import Catalogue
from iii.cli.output import tell_error
from iii.errors import IIIError


def run_engine(
    path: Path | None,
    *,
    port: int | None,
    ready_fd: int | None,
    ready_file: Path | None,
) -> int:
    """Run until a signal; returns the exit code.

    :param path: the configuration file; None for the default modules
    """
    # Twisted is loaded only when an engine is wanted.
    from twisted.logger import globalLogBeginner

    from iii.config import load
    from iii.logging import LogOutput
    from iii.process import EngineProcess, ReadyLine
    from iii.reactor import install
    from iii.service import EngineService, with_port

    reactor = install()
    try:
        configuration = load(path, environ=os.environ, catalogue=Catalogue.with_entry_points())
        configuration = with_port(configuration, port)
    except IIIError as error:
        tell_error(error)
        return 1
    output: Any = LogOutput.from_environment(sys.stdout, os.environ)
    globalLogBeginner.beginLoggingTo([output], redirectStandardIO=False)
    service = EngineService(reactor, configuration, environ=os.environ, output=output)
    process = EngineProcess(
        reactor,
        service,
        environ=os.environ,
        say=output.say,
        ready=ReadyLine(ready_fd, ready_file),
    )
    try:
        return process.run()
    except Exception as error:
        # Its traceback, when it deserves one, is in the log.
        tell_error(error)
        return 1

"""``iii``: run the engine in the foreground."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from iii.catalogue import Catalogue
from iii.cli.output import tell_error
from iii.errors import IIIError

if TYPE_CHECKING:
    from iii.entries import Configuration


def run_engine(
    path: Path | None,
    *,
    port: int | None,
    ready_fd: int | None,
    ready_file: Path | None,
    watch: bool = True,
    console: bool = False,
) -> int:
    """Run until a signal; returns the exit code.

    :param path: the configuration file; None for the default modules
    :param watch: False: it is read again only when somebody asks for it
    :param console: serve the console, whatever the configuration has
    """
    # Twisted is loaded only when an engine is wanted.
    from twisted.logger import globalLogBeginner

    from iii.config import load
    from iii.logging import LogOutput
    from iii.process import EngineProcess, ReadyLine
    from iii.reactor import install
    from iii.reload import source_of
    from iii.service import EngineService, with_module, with_port

    reactor = install()
    catalogue = Catalogue.with_entry_points()

    def finish(configuration: Configuration) -> Configuration:
        if console:
            configuration = with_module(configuration, catalogue, "iii-console")
        return with_port(configuration, port)

    source = None
    if path is not None:
        source = source_of(
            path, environ=os.environ, catalogue=catalogue, finish=finish, watch=watch
        )
    try:
        configuration = finish(load(path, environ=os.environ, catalogue=catalogue))
    except IIIError as error:
        tell_error(error)
        return 1
    output: Any = LogOutput.from_environment(sys.stdout, os.environ)
    globalLogBeginner.beginLoggingTo([output], redirectStandardIO=False)
    service = EngineService(
        reactor, configuration, environ=os.environ, output=output, source=source
    )
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

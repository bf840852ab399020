"""The settings of the exec module (docs/exec.md)."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from iii.modules.shell.globs import alternatives

Restart = Literal["never", "on-failure", "always"]
#: No program can be given a NUL.
Command = Annotated[str, Meta(pattern=r"^[^\0]*$")]
Pattern = Annotated[str, Meta(min_length=1)]
HalfMinute = Annotated[int, Meta(ge=0, le=30_000)]


class ExecConfig(Struct):
    """The ``config:`` block of ``iii-exec``."""

    #: Shell commands.  Each must succeed before the next one starts; the last one stays.
    exec: list[Command]
    #: Globs of the files whose change starts the list over; ``!`` excludes.
    watch: list[Pattern] | None = None
    #: Names and globs that are never looked at, besides those of ``globs.IGNORED``.
    ignore: list[Pattern] | None = None
    #: How long after the last change the list starts over.
    debounce_ms: HalfMinute = 200
    #: How long a command has between SIGTERM and SIGKILL.
    kill_timeout_ms: HalfMinute = 3000
    #: What happens when the last command ends by itself.
    restart: Restart = "never"
    #: Put the program's name, or this text, before each line of output.
    prefix: bool | str = False

    def __post_init__(self) -> None:
        for pattern in (*(self.watch or ()), *(self.ignore or ())):
            alternatives(pattern)

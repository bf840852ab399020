"""A Dockerfile, read and carried out in directories.

Where a container engine stacks layers this copies directories, and a step runs in a
``chroot`` with namespaces of its own.  Everything the Dockerfiles of this project use is
known; an instruction or option that is not is an error, never skipped.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from string import Template

TRUSTED = "etc/ssl/host-certificates.crt"
_LENT = {"etc/resolv.conf": "/etc/resolv.conf", TRUSTED: "/etc/ssl/certs/ca-certificates.crt"}
_OPTION = re.compile(r"--([a-z-]+)=(\S+)\s+")


class DockerfileError(Exception):
    """A Dockerfile that can't be carried out."""


@dataclass(frozen=True, slots=True)
class Instruction:
    """``COPY --from=build /opt/iii /opt/iii``.

    :ivar options: ``{"from": "build"}``
    :ivar text: what follows the options
    """

    line: int
    name: str
    options: Mapping[str, str]
    text: str


@dataclass
class Image:
    """What a stage has become.

    :ivar root: its files
    :ivar environment: what its processes see
    """

    root: Path
    environment: dict[str, str] = field(default_factory=dict)
    workdir: str = "/"
    user: tuple[int, int] = (0, 0)
    volumes: list[str] = field(default_factory=list)
    ports: list[int] = field(default_factory=list)
    entrypoint: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)
    health: list[str] = field(default_factory=list)
    stop_signal: str = "SIGTERM"


def instructions(text: str) -> Iterator[Instruction]:
    """The instructions of a Dockerfile, continued lines joined."""
    parts: list[str] = []
    first = 0
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        first = first if parts else number
        if stripped.endswith("\\"):
            parts.append(stripped[:-1].strip())
            continue
        parts.append(stripped)
        name, _, rest = " ".join(parts).partition(" ")
        parts = []
        options = {}
        while found := _OPTION.match(rest):
            options[found[1]] = found[2]
            rest = rest[found.end() :]
        yield Instruction(first, name.upper(), options, rest.strip())


class Builder:
    """Carries out a Dockerfile.

    :param context: the directory that ``COPY`` takes files from
    :param bases: a root directory for each image name that ``FROM`` may name
    :param work: where stages are built
    """

    def __init__(self, context: Path, bases: Mapping[str, Path], work: Path) -> None:
        self._context = context
        self._bases = bases
        self._work = work
        self._arguments: dict[str, str] = {}
        self._stages: dict[str, Image] = {}
        self._image: Image | None = None

    def build(self, dockerfile: Path) -> Image:
        """The last stage.

        :raises DockerfileError: an instruction is unknown, or failed
        """
        for step in instructions(dockerfile.read_text()):
            carry_out = getattr(self, f"_{step.name.lower()}", None)
            if carry_out is None:
                raise DockerfileError(f"{dockerfile.name}:{step.line}: {step.name} is not known")
            try:
                carry_out(step)
            except subprocess.CalledProcessError as error:
                output = error.stdout.decode(errors="replace")[-4000:]
                where = f"{dockerfile.name}:{step.line}"
                raise DockerfileError(f"{where}: {step.text}\n{output}") from error
        return self._now

    @property
    def _now(self) -> Image:
        if self._image is None:
            raise DockerfileError("no FROM yet")
        return self._image

    def _arg(self, step: Instruction) -> None:
        name, _, default = step.text.partition("=")
        self._arguments.setdefault(name, default)

    def _from(self, step: Instruction) -> None:
        name, _, alias = Template(step.text).substitute(self._arguments).partition(" AS ")
        root = self._work / f"stage{len(self._stages)}"
        if name == "scratch":
            root.mkdir()
            self._image = Image(root)
        elif name in self._stages:
            raise DockerfileError(f"line {step.line}: FROM a stage is not known")
        else:
            if name not in self._bases:
                raise DockerfileError(f"line {step.line}: no root for the image {name}")
            _run("cp", "-a", str(self._bases[name]), str(root))
            path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
            self._image = Image(root, {"PATH": path})
        self._stages[alias or str(len(self._stages))] = self._image

    def _run(self, step: Instruction) -> None:
        image = self._now
        # Name servers, and whom this machine trusts: a proxy may stand between it and PyPI.
        for place, source in _LENT.items():
            lent = image.root / place
            lent.parent.mkdir(parents=True, exist_ok=True)
            if lent.exists():
                lent.rename(f"{lent}.own")
            shutil.copyfile(source, lent)
        try:
            self._execute(image, step.text)
        finally:
            for place in _LENT:
                lent = image.root / place
                lent.unlink()
                if (own := Path(f"{lent}.own")).exists():
                    own.rename(lent)

    def _execute(self, image: Image, command: str) -> None:
        if image.user != (0, 0):
            raise DockerfileError("RUN as another user is not known")
        inside = f"cd {shlex.quote(image.workdir)} && {command}"
        environment = {
            "HOME": "/root",
            "DEBIAN_FRONTEND": "noninteractive",
            **{name: text for name, text in os.environ.items() if name.startswith("PIP_")},
            "PIP_CERT": f"/{TRUSTED}",
            **image.environment,
        }
        _run(
            *("unshare", "--mount", "--pid", "--ipc", "--uts", "--fork", "--kill-child"),
            *(f"--mount-proc={image.root}/proc", "chroot", str(image.root)),
            *("/usr/bin/env", "-i", *(f"{name}={value}" for name, value in environment.items())),
            *("/bin/sh", "-ec", inside),
        )

    def _copy(self, step: Instruction) -> None:
        if unknown := set(step.options) - {"from"}:
            raise DockerfileError(f"line {step.line}: COPY --{unknown.pop()} is not known")
        *sources, target = shlex.split(step.text)
        origin = step.options.get("from")
        top = self._stages[origin].root if origin is not None else self._context
        image = self._now
        inside = target if target.startswith("/") else f"{image.workdir}/{target}"
        place = image.root / inside.lstrip("/")
        for source in sources:
            taken = top / source.lstrip("/")
            if taken.is_dir():
                place.mkdir(parents=True, exist_ok=True)
                _run("cp", "-a", f"{taken}/.", str(place))
            else:
                to = place / taken.name if target.endswith("/") else place
                to.parent.mkdir(parents=True, exist_ok=True)
                _run("cp", "-a", str(taken), str(to))

    def _workdir(self, step: Instruction) -> None:
        self._now.workdir = step.text
        (self._now.root / step.text.lstrip("/")).mkdir(parents=True, exist_ok=True)

    def _env(self, step: Instruction) -> None:
        for pair in shlex.split(step.text):
            name, _, value = pair.partition("=")
            self._now.environment[name] = value

    def _expose(self, step: Instruction) -> None:
        self._now.ports.extend(map(int, step.text.split()))

    def _volume(self, step: Instruction) -> None:
        self._now.volumes.extend(json.loads(step.text))

    def _user(self, step: Instruction) -> None:
        user, _, group = step.text.partition(":")
        self._now.user = (int(user), int(group))

    def _stopsignal(self, step: Instruction) -> None:
        self._now.stop_signal = step.text

    def _healthcheck(self, step: Instruction) -> None:
        _, _, command = step.text.partition("CMD ")
        self._now.health = json.loads(command)

    def _entrypoint(self, step: Instruction) -> None:
        self._now.entrypoint = json.loads(step.text)

    def _cmd(self, step: Instruction) -> None:
        self._now.command = json.loads(step.text)


def _run(*command: str) -> None:
    subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

"""Running an image as ``docker run --read-only --cap-drop=ALL …`` would, without Docker.

    unshare … python container.py SPECIFICATION

runs in namespaces of its own as process 1: it mounts, gives up its rights and becomes the
program of the image.  ``Container`` does that and looks into it.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from tests.image.dockerfile import Image

LIMIT_S = 60
CAP_NET_BIND_SERVICE = 10
_LAST_CAP = 63
_PR_SET_NO_NEW_PRIVS = 38
_PR_CAPBSET_DROP = 24
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_CLEAR_ALL = 4
_SIOCSIFFLAGS = 0x8914
_IFF_UP_RUNNING = 0x41
# Bits of mount(2).
_RDONLY, _NOSUID, _NODEV, _NOEXEC, _REMOUNT, _BIND, _REC, _PRIVATE = (
    *(1, 2, 4, 8, 32, 4096, 16384),
    1 << 18,
)


@dataclass(frozen=True, slots=True)
class Specification:
    """What ``docker run`` is told.

    :ivar volumes: place in the container → directory or file, writable
    :ivar read_only: the same, not writable
    """

    root: str
    argv: list[str]
    environment: dict[str, str]
    workdir: str
    uid: int
    gid: int
    volumes: dict[str, str]
    read_only: dict[str, str]


class Container:
    """An image that runs with a read-only root, ``/tmp`` in memory and no rights.

    :param mounts: place → file that is there, read-only
    :param work: for the volumes of the image
    :param arguments: instead of the image's ``CMD``
    """

    def __init__(
        self,
        image: Image,
        work: Path,
        *,
        mounts: Mapping[str, Path] | None = None,
        arguments: list[str] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        volumes = {}
        for place in image.volumes:
            # As a new volume: with the files and the owner that the image has there.
            volume = work / place.strip("/").replace("/", "-")
            inside = image.root / place.lstrip("/")
            if not volume.exists():
                shutil.copytree(inside, volume, symlinks=True)
                os.chown(volume, inside.stat().st_uid, inside.stat().st_gid)
            volumes[place] = str(volume)
        hosts = work / "hosts"
        hosts.write_text("127.0.0.1 localhost\n::1 localhost\n")
        command = image.command if arguments is None else arguments
        self.image = image
        self._specification = Specification(
            root=str(image.root),
            argv=[*image.entrypoint, *command],
            environment={**image.environment, **(environment or {}), "HOME": image.workdir},
            workdir=image.workdir,
            uid=image.user[0],
            gid=image.user[1],
            volumes=volumes,
            read_only={"/etc/hosts": str(hosts)}
            | {place: str(path) for place, path in (mounts or {}).items()},
        )
        self._log: IO[bytes] = (work / "container.log").open("w+b")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Run it."""
        checkout = Path(__file__).resolve().parents[2]
        self._process = subprocess.Popen(
            [
                *("unshare", "--mount", "--pid", "--net", "--ipc", "--uts", "--fork"),
                *(sys.executable, "-m", "tests.image.container"),
                json.dumps(asdict(self._specification)),
            ],
            stdout=self._log,
            stderr=subprocess.STDOUT,
            cwd=checkout,
            start_new_session=True,
        )

    @property
    def output(self) -> str:
        """What it has printed."""
        self._log.seek(0)
        return self._log.read().decode(errors="replace")

    @property
    def pid(self) -> int:
        """Process 1 of the container, as the host sees it."""
        assert self._process is not None
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        return int(children.read_text().split()[0])

    @property
    def runs(self) -> bool:
        """Whether it has not ended yet."""
        return self._process is not None and self._process.poll() is None

    def execute(self, *argv: str) -> subprocess.CompletedProcess[str]:
        """``docker exec``: a program of the image, as its user."""
        image = self.image
        return self._enter(
            *("--mount", "--pid", "--root", "--wd"),
            *("--setgid", str(image.user[1]), "--setuid", str(image.user[0]), "--"),
            *argv,
            environment=image.environment,
        )

    def beside(self, *argv: str, cwd: Path) -> subprocess.CompletedProcess[str]:
        """A program of this machine that reaches the ports of the container."""
        return self._enter("--", *argv, environment=dict(os.environ), cwd=cwd)

    def alongside(
        self, *argv: str, environment: Mapping[str, str], log: IO[bytes]
    ) -> subprocess.Popen[bytes]:
        """As ``beside``, for a program that goes on running."""
        return subprocess.Popen(
            ["nsenter", "--target", str(self.pid), "--net", "--", *argv],
            env={**os.environ, **environment},
            stdout=log,
            stderr=subprocess.STDOUT,
        )

    def _enter(
        self, *argv: str, environment: Mapping[str, str], cwd: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["nsenter", "--target", str(self.pid), "--net", *argv],
            env=dict(environment),
            cwd=cwd,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )

    def stop(self) -> int:
        """``docker stop``; its exit code."""
        assert self._process is not None
        if self.runs:
            os.kill(self.pid, getattr(signal, self.image.stop_signal))
        return self._process.wait(LIMIT_S)

    def close(self) -> None:
        """Whatever state it is in, end it."""
        if self.runs:
            assert self._process is not None
            os.kill(self.pid, signal.SIGKILL)
            self._process.wait(LIMIT_S)
        self._log.close()


# Inside: process 1 ---------------------------------------------------------------------


def become(specification: Specification) -> None:
    """Never comes back."""
    libc = ctypes.CDLL(None, use_errno=True)

    def call(name: str, *arguments: object) -> None:
        if getattr(libc, name)(*arguments) != 0:
            number = ctypes.get_errno()
            raise OSError(number, f"{name}{arguments}: {os.strerror(number)}")

    def mount(source: str, target: str, kind: str, flags: int, options: str = "") -> None:
        texts = (text.encode() for text in (source, target, kind))
        call("mount", *texts, ctypes.c_ulong(flags), options.encode())

    root = specification.root
    mount("none", "/", "", _REC | _PRIVATE)
    mount(root, root, "", _BIND | _REC)
    for place in ("proc", "dev"):
        Path(root, place).mkdir(exist_ok=True)
    mount("proc", f"{root}/proc", "proc", _NOSUID | _NODEV | _NOEXEC)
    mount("tmpfs", f"{root}/dev", "tmpfs", _NOSUID, "mode=755,size=64k")
    for device in ("null", "zero", "full", "random", "urandom"):
        Path(f"{root}/dev/{device}").touch()
        mount(f"/dev/{device}", f"{root}/dev/{device}", "", _BIND)
    mount("tmpfs", f"{root}/tmp", "tmpfs", _NOSUID | _NODEV, "mode=1777")
    for place, source in specification.volumes.items():
        mount(source, root + place, "", _BIND)
    for place, source in specification.read_only.items():
        Path(root + place).touch()
        mount(source, root + place, "", _BIND)
        mount("", root + place, "", _BIND | _REMOUNT | _RDONLY)
    mount("", root, "", _BIND | _REMOUNT | _RDONLY)
    with socket.socket() as any_socket:
        up = struct.pack("16sh14x", b"lo", _IFF_UP_RUNNING)
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, up)
    os.chroot(root)
    os.chdir(specification.workdir)
    for capability in range(_LAST_CAP + 1):
        if capability != CAP_NET_BIND_SERVICE:
            libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)  # the kernel may know fewer
    libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    os.setgroups([])
    os.setresgid(specification.gid, specification.gid, specification.gid)
    os.setresuid(specification.uid, specification.uid, specification.uid)
    call("prctl", _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    os.execvpe(specification.argv[0], specification.argv, specification.environment)


if __name__ == "__main__":
    become(Specification(**json.loads(sys.argv[1])))

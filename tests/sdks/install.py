"""Each release in an environment of its own, outside the checkout.

``${XDG_CACHE_HOME:-~/.cache}/iii-engine/sdks/<registry>-<version>-<key>`` is made
once; the key is the hash of the lock file in ``locks/`` (for Rust ``Cargo.lock``)
and of the tool that installs.  The stamp is written last, so an interrupted
install is done again.  The programs are copied in before each run; a Rust program
is built again only when its sources changed.

The locks pin everything below the SDK too: what an old release resolves to today
may not be what it resolves to next year.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
import re
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from tests.sdks.engine import outside_environment
from tests.sdks.releases import Release

HERE = Path(__file__).resolve().parent
INSTALL_LIMIT_S = 1200.0
LOCK_POLL_S = 0.2
CARGO_AT_LEAST = (1, 85)
RECIPE = "1"
"""Part of every key: raise it when the steps below change."""


class InstallFailed(Exception):
    """A tool of the package registry refused; the message has its output."""


@dataclass
class Missing(Exception):
    """This machine lacks a tool, so the release is skipped; says which."""

    why: str

    def __str__(self) -> str:
        return self.why


@dataclass
class Installed:
    """How to start the programs of one release."""

    folder: Path
    worker: tuple[str, ...]

    def command(self, engine_url: str, prefix: str) -> tuple[str, ...]:
        return (*self.worker, engine_url, prefix)


def cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()
    return Path(base) / "iii-engine" / "sdks"


async def run(*command: str, cwd: Path, env: dict[str, str] | None = None) -> str:
    """Run a tool to its end; its output, or ``InstallFailed``."""
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=cwd,
        env=env or outside_environment(),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(INSTALL_LIMIT_S):
            output, _ = await process.communicate()
    except BaseException:
        process.kill()
        await process.wait()
        raise
    text = output.decode(errors="replace")
    if process.returncode != 0:
        shown = "\n".join(text.splitlines()[-40:])
        raise InstallFailed(f"{' '.join(command)} ended with {process.returncode}\n{shown}")
    return text


def digest(*parts: str | bytes) -> str:
    mixed = hashlib.sha256()
    for part in parts:
        mixed.update(part if isinstance(part, bytes) else part.encode())
        mixed.update(b"\0")
    return mixed.hexdigest()[:12]


@asynccontextmanager
async def locked(folder: Path) -> AsyncIterator[None]:
    """Only one run at a time works in a folder of the cache."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(folder.suffix + ".lock").open("w") as handle:
        while not taken(handle):  # noqa: ASYNC110 -- the other one is another process
            await asyncio.sleep(LOCK_POLL_S)
        yield


def taken(handle: IO[str]) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise Missing(f"no {name} on PATH")
    return found


async def install(release: Release) -> Installed:
    """The environment of a release, made if need be."""
    installers = {"npm": install_npm, "pypi": install_pypi, "crates": install_crate}
    return await installers[release.registry](release)


async def install_npm(release: Release) -> Installed:
    quickstart = HERE / "quickstarts" / "readme-node" / "quickstart.mjs"
    programs = [*files_below(HERE / "programs" / "node"), quickstart]
    folder = await npm_project(f"npm-{release.version}", programs)
    return Installed(folder, (tool("node"), "worker.mjs"))


async def install_stream_clients() -> Installed:
    """All published clients of the stream port, side by side under aliases."""
    folder = await npm_project("stream-clients", files_below(HERE / "programs" / "stream-clients"))
    return Installed(folder, (tool("node"), "watch.mjs"))


async def npm_project(name: str, programs: list[Path]) -> Path:
    """The folder with what ``locks/<name>`` names, and the programs."""
    tool("node")
    npm = tool("npm")
    manifests = HERE / "locks" / name
    lock = (manifests / "package-lock.json").read_bytes()
    folder = cache() / f"{name}-{digest(RECIPE, lock)}"
    async with locked(folder):
        if not (folder / "stamp").exists():
            folder.mkdir(parents=True, exist_ok=True)
            for manifest in manifests.iterdir():
                shutil.copy(manifest, folder)
            await run(npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts", cwd=folder)
            (folder / "stamp").write_text("complete\n")
        # A module finds its packages from where it lies, so the programs lie beside them.
        for source in programs:
            copy_if_changed(source, folder / source.name)
    return folder


async def install_pypi(release: Release) -> Installed:
    lock = HERE / "locks" / f"pypi-{release.version}.txt"
    key = digest(RECIPE, lock.read_bytes(), sys.version, sys.base_prefix)
    folder = cache() / f"pypi-{release.version}-{key}"
    python = folder / "bin" / "python"
    async with locked(folder):
        if not (folder / "stamp").exists():
            folder.mkdir(parents=True, exist_ok=True)
            options = ("--clear", "--without-pip")
            await run(sys.executable, "-m", "venv", *options, str(folder), cwd=folder)
            pip = (sys.executable, "-m", "pip", "--python", str(python), "--quiet")
            quiet = ("--disable-pip-version-check", "--no-deps", "--only-binary", ":all:")
            await run(*pip, "install", *quiet, "-r", str(lock), cwd=folder)
            (folder / "stamp").write_text("complete\n")
    worker = HERE / "programs" / "python" / "worker.py"
    # -B: the program's folder is part of the checkout.
    return Installed(folder, (str(python), "-B", str(worker)))


async def install_crate(release: Release) -> Installed:
    project = HERE / "programs" / "rust" / f"crates-{release.version}"
    shared = sorted((HERE / "programs" / "rust" / "src").iterdir())
    binaries = await build(f"crates-{release.version}", project, shared)
    return Installed(binaries, (str(binaries / "worker"),))


async def install_rust_quickstart() -> Path:
    """The folder with the binaries ``plain`` and ``kept`` of the Rust quick start."""
    return await build("rust-quickstart", HERE / "quickstarts" / "readme-rust", [])


async def build(name: str, project: Path, shared: list[Path]) -> Path:
    """Compile a cargo project in the cache; returns the folder of its binaries."""
    cargo = tool("cargo")
    version = await run(cargo, "--version", cwd=HERE)
    found = re.search(r"(\d+)\.(\d+)", version)
    if found is None or tuple(map(int, found.groups())) < CARGO_AT_LEAST:
        wanted = ".".join(map(str, CARGO_AT_LEAST))
        raise Missing(f"cargo is {version.strip()!r}, {wanted} is needed")
    lock = (project / "Cargo.lock").read_bytes()
    folder = cache() / f"{name}-{digest(RECIPE, lock, version)}"
    sources = contents([*shared, *files_below(project)])
    sources_key = digest(*(part for item in sources.items() for part in (str(item[0]), item[1])))
    stamp = folder / "stamp"
    async with locked(folder):
        if not stamp.exists() or stamp.read_text() != sources_key:
            for path, content in sources.items():
                copy = folder / "source" / path
                copy.parent.mkdir(parents=True, exist_ok=True)
                copy.write_bytes(content)
            manifest = folder / "source" / project.relative_to(HERE) / "Cargo.toml"
            await run(
                *(cargo, "build", "--locked", "--quiet", "--bins"),
                *("--manifest-path", str(manifest), "--target-dir", str(folder / "target")),
                cwd=folder,
            )
            stamp.write_text(sources_key)
    return folder / "target" / "debug"


def files_below(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def contents(files: list[Path]) -> dict[Path, bytes]:
    """Path below this folder and content of each."""
    return {path.relative_to(HERE): path.read_bytes() for path in files}


def copy_if_changed(source: Path, target: Path) -> None:
    content = source.read_bytes()
    if not target.exists() or target.read_bytes() != content:
        target.write_bytes(content)

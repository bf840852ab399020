"""State as a file: JSON Lines out of an engine and into one.

A page or a batch at a time, so a million values need no more memory than a few
thousand.  Progress goes to stderr, and only when a person looks at it.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import click
import msgspec
from msgspec import Raw

from iii.client.client import III
from iii.client.connection import IIIConnectionState
from iii.errors import Code, IIIError, InvocationError

PAGE_ENTRIES = 1000
PAGE_SIZE = 1_000_000
LARGEST_PAGE = 8_000_000
BATCH_LINES = 200
BATCH_SIZE = 4 * 1024 * 1024
TOLD_LINES = 100


class Line(msgspec.Struct):
    """One line of the file."""

    scope: str
    key: str
    value: Raw


class Entries(msgspec.Struct):
    """A page of ``state::list_entries``; values stay as they are."""

    entries: list[tuple[str, Raw]]
    next_cursor: str | None
    done: bool
    total: int


async def pages(client: III, scope: str) -> AsyncIterator[Entries]:
    """The pages of a scope (``state::list_entries``)."""
    cursor = None
    while True:
        page = await _page(client, scope, cursor)
        yield page
        cursor = page.next_cursor
        if page.done:
            return


async def _page(client: III, scope: str, cursor: str | None) -> Entries:
    asked = {"scope": scope, "cursor": cursor, "limit": PAGE_ENTRIES, "max_bytes": PAGE_SIZE}
    try:
        page = await client.invoke_raw("state::list_entries", asked)
    except InvocationError as error:
        if error.code != Code.ROW_TOO_LARGE:
            raise
        page = await client.invoke_raw(
            "state::list_entries", asked | {"limit": 1, "max_bytes": LARGEST_PAGE}
        )
    return msgspec.json.decode(page or b"", type=Entries)


@contextmanager
def complete_file(name: str) -> Iterator[BinaryIO]:
    """A file to write that appears under ``name`` (`-`: stdout) when all went well.

    Click's atomic files also appear when it did not.

    :raises OSError: it can't be written
    """
    if name == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    path = Path(name)
    if path.exists() and not path.is_file():
        # A device or a pipe is written to; a file in its place would be a surprise.
        with path.open("wb") as device:
            yield device
        return
    path = path.resolve()  # a link stays one
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None
    part = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
        # mkstemp's files are for their owner alone; this one is like any other.
        umask = os.umask(0)
        os.umask(umask)
        part.chmod(0o666 & ~umask)
        part.replace(path)
    except BaseException:
        part.unlink()
        raise


async def export_values(client: III, scope: str | None, target: BinaryIO) -> int:
    """Write the values of ``scope`` (None: all) to the binary file ``target``; how many."""
    scopes = [] if scope is None else [scope]
    if scope is None:
        scopes = (await client.invoke("state::list_groups", {}))["groups"]
    count = 0
    with _Progress("exported") as progress:
        for name in scopes:
            async for page in pages(client, name):
                for key, value in page.entries:
                    target.write(msgspec.json.encode(Line(name, key, value)) + b"\n")
                count += len(page.entries)
                progress.show(count)
    return count


async def import_values(client: III, source: BinaryIO) -> tuple[int, int]:
    """Keep the values of a file; how many were kept and how many lines were refused.

    :raises IIIError: the engine went away
    """
    kept = refused = 0
    with _Progress("imported") as progress:
        for batch in _batches(source):
            outcomes = await asyncio.gather(*(_keep(client, data) for _, data in batch))
            for (number, _), error in zip(batch, outcomes, strict=True):
                if error is not None:
                    refused += 1
                    progress.clear()
                    _tell(number, error, refused)
            kept += sum(1 for error in outcomes if error is None)
            if client.get_connection_state() is not IIIConnectionState.CONNECTED:
                raise IIIError(
                    Code.SHUTDOWN,
                    f"the engine went away: {kept} value(s) imported, the file up to line"
                    f" {batch[0][0] - 1} is done",
                )
            progress.show(kept)
    return kept, refused


def _tell(number: int, error: str, refused: int) -> None:
    if refused <= TOLD_LINES:
        click.echo(f"Error: line {number}: {error}", err=True)
    elif refused == TOLD_LINES + 1:
        click.echo("Error: more lines are left out; they are only counted", err=True)


def _batches(source: BinaryIO) -> Iterator[list[tuple[int, bytes]]]:
    """Numbered lines in handy numbers, without the blank ones."""
    batch: list[tuple[int, bytes]] = []
    size = 0
    for number, line in enumerate(source, 1):
        if not line.strip():
            continue
        batch.append((number, line))
        size += len(line)
        if len(batch) == BATCH_LINES or size > BATCH_SIZE:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


async def _keep(client: III, data: bytes) -> str | None:
    """Keep one line's value; what is wrong with it."""
    try:
        line = msgspec.json.decode(data, type=Line)
        # Looked into here, because a broken value would break the whole message.
        msgspec.json.decode(line.value)
        await client.invoke("state::set", line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        return f'not {{"scope", "key", "value"}}: {error}'
    except IIIError as error:
        return error.message
    return None


class _Progress:
    """A count on stderr that stays on its line; nothing when nobody looks."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._shown = False

    def __enter__(self) -> _Progress:
        return self

    def __exit__(self, *failure: object) -> None:
        self.clear()

    def show(self, count: int) -> None:
        """So many so far."""
        if sys.stderr.isatty():
            click.echo(f"\r{self._what} {count}", err=True, nl=False)
            self._shown = True

    def clear(self) -> None:
        """Make room for a line."""
        if self._shown:
            click.echo("\r\x1b[K", err=True, nl=False)
            self._shown = False

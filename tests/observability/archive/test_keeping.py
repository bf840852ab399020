"""Spans survive: restarts, kills, full disks."""

from __future__ import annotations

import os
import signal
import sqlite3
import sys
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from iii.errors import IIIError, StartError
from iii.modules.observability.archive import archive as archive_file
from iii.modules.observability.archive import rows
from iii.modules.observability.archive.archive import RETRY_S, Archive
from iii.modules.observability.model import Event, Link
from iii.storage.store import StoreError
from tests.observability.archive.cases import MS, T0, ArchiveCase, ids, span


class Restart(ArchiveCase):
    """05 A15, 0.23: what memory loses is on disk."""

    async def test_spans_are_there_after_a_restart(self) -> None:
        first = self.open()
        self.hub.add_spans([span("a"), span("a", "2", parent="1"), span("b")])
        await self.close(first)
        second = self.open()
        self.assertEqual(ids(await second.spans_of("a".rjust(32, "0"))), ["a/1", "a/2"])
        self.assertEqual(await self.traces(second), ["a/1", "b/1"])

    async def test_a_span_comes_back_as_it_was(self) -> None:
        whole = span(
            "a",
            kind="server",
            status="error",
            status_description="no",
            attributes=[("k", "v"), ("k", "w")],
            events=[Event("exception", T0, [("exception.type", "boom")])],
            links=[Link("c" * 32, "d" * 16, "x=y", [("l", "m")], 1)],
            scope_name="sdk",
            scope_version="1",
            flags=1,
            trace_state="x=y",
            resource={"service.name": "orders"},
        )
        first = self.open()
        self.hub.add_spans([whole])
        await self.close(first)
        self.assertEqual(await self.open().spans_of(whole.trace_id), [whole])

    async def test_the_engines_own_spans_are_kept_too(self) -> None:
        archive = self.open()
        tracing = self.engine.invocations.tracing
        context = tracing.context(None, "GET /orders")
        tracing.span("GET /orders", "server", None, context, 0.0, True)
        self.assertEqual((await self.page(archive)).spans[0].name, "GET /orders")

    async def test_the_file_is_named_for_the_start_up_summary(self) -> None:
        self.open()
        self.assertEqual(self.stores, {"traces": str(self.file)})

    async def test_a_second_engine_is_refused(self) -> None:
        self.open()
        error = self.assertRaises(StartError, self.open)
        self.assertEqual(error.code, "store_locked")

    async def test_a_file_that_is_none_is_moved_aside(self) -> None:
        self.directory.mkdir(parents=True)
        self.file.write_bytes(b"not a database" * 1000)
        archive = self.open()
        self.hub.add_spans([span("a")])
        self.assertEqual(await self.traces(archive), ["a/1"])
        self.assertEqual(len(list(self.directory.glob("traces.sqlite.corrupt-*"))), 1)

    async def test_a_closed_archive_says_so(self) -> None:
        archive = self.open()
        self.hub.add_spans([span("a")])
        waiting = Deferred.fromCoroutine(archive.spans_of("a"))
        await self.close(archive)
        await self.assertFailure(waiting, StoreError)
        error = await self.assertFailure(Deferred.fromCoroutine(archive.clear()), IIIError)
        self.assertEqual(error.code, "trace_storage_clear_failed")


class Kill(ArchiveCase):
    """08 §1: a file that nobody closed opens cleanly."""

    async def test_what_was_stored_survives_a_kill_in_the_middle_of_writing(self) -> None:
        victim = _Victim(str(self.directory))
        stored = await victim.said
        victim.process.signalProcess("KILL")
        self.assertEqual(await victim.ended, signal.SIGKILL)
        archive = self.open()
        self.assertGreaterEqual((await self.page(archive)).total, int(stored))
        self.assertEqual(list(self.directory.glob("*.corrupt-*")), [])
        self.assertEqual(archive.status().archive, "ready")

    async def test_a_file_left_before_it_was_shrinkable_is_made_so(self) -> None:
        self.patch(archive_file, "make_shrinkable", lambda connection: None)
        await self.close(self.open())
        self.patch(archive_file, "make_shrinkable", _make_shrinkable)
        self.assertEqual(await self.in_file(self.open(), "auto_vacuum"), 2)


class Replacing(ArchiveCase):
    """05 A4.5 and probe 52: a start snapshot gives way to the whole span."""

    async def test_a_final_span_replaces_its_beginning(self) -> None:
        archive = self.open()
        self.hub.add_spans([span("a", end_ns=0)])
        (pending,) = await archive.spans_of("a".rjust(32, "0"))
        self.assertTrue(pending.pending)
        self.hub.add_spans([span("a", status="ok")])
        (final,) = await archive.spans_of("a".rjust(32, "0"))
        self.assertEqual((final.pending, final.status), (False, "ok"))

    async def test_a_beginning_that_comes_late_changes_nothing(self) -> None:
        archive = self.open()
        self.hub.add_spans([span("a", status="ok"), span("a", end_ns=0)])
        self.hub.add_spans([span("a", end_ns=0)])
        (final,) = await archive.spans_of("a".rjust(32, "0"))
        self.assertEqual((final.pending, final.status), (False, "ok"))


class Trouble(ArchiveCase):
    """08 §1: a disk that refuses is told once, and nobody else suffers."""

    def full(self, archive: Archive, full: bool = True) -> Deferred[Any]:
        """Make the disk full, or free again."""
        done: Deferred[Any] = Deferred()

        def limit(connection: sqlite3.Connection) -> None:
            pages = connection.execute("PRAGMA page_count").fetchone()[0] if full else 2**30
            connection.execute(f"PRAGMA max_page_count = {pages}")

        archive._database.submit(limit, done.callback)
        return done

    async def test_spans_wait_for_a_full_disk(self) -> None:
        archive = self.open()
        await self.full(archive)
        self.hub.add_spans([span("a", attributes=[("k", "x" * 100_000)])])
        self.assertEqual(await self.traces(archive), [])
        state = archive.status()
        self.assertEqual(state.archive, "failing")
        self.assertIn("no space left", str(state.last_error))
        self.assertEqual(state.known_dropped_spans, 0)

        await self.full(archive, False)
        self.timers.advance(RETRY_S)
        await self.committed(archive)
        self.assertEqual(await self.traces(archive), ["a/1"])
        self.assertEqual(archive.status().archive, "ready")

    async def test_it_is_told_once(self) -> None:
        told: list[str] = []
        self.patch(archive_file.log, "error", lambda text, **fields: told.append(text))
        archive = self.open()
        await self.full(archive)
        self.hub.add_spans([span("a", attributes=[("k", "x" * 100_000)])])
        for _ in range(3):
            await self.traces(archive)
            self.timers.advance(RETRY_S)
            await self.committed(archive)
        self.assertEqual(len(told), 1)

    async def test_what_is_left_at_a_stop_is_told(self) -> None:
        told: list[int] = []
        self.patch(archive_file.log, "error", lambda text, **fields: told.append(fields["count"]))
        archive = self.open()
        await self.full(archive)
        self.hub.add_spans([span("a", attributes=[("k", "x" * 100_000)]), span("b")])
        await self.close(archive)
        self.assertEqual(told, [2])

    async def test_a_batch_that_can_never_be_written_is_dropped(self) -> None:
        def refuse(*_: Any) -> None:
            raise TypeError("no such type")

        archive = self.open()
        real = rows.write
        self.patch(rows, "write", refuse)
        self.hub.add_spans([span("a"), span("b")])
        self.assertEqual(await self.traces(archive), [])
        self.patch(rows, "write", real)
        self.timers.advance(RETRY_S)
        self.hub.add_spans([span("c")])
        self.assertEqual(await self.traces(archive), ["c/1"])
        self.assertEqual(archive.status().known_dropped_spans, 2)

    async def test_more_than_the_backlog_holds_is_dropped_and_counted(self) -> None:
        self.patch(archive_file, "MAX_BACKLOG_BYTES", 10 * (rows.ROW_BYTES + 100))
        archive = self.open()
        self.hub.add_spans([span(f"{n:x}") for n in range(1, 101)])
        kept = len(await self.traces(archive))
        self.assertTrue(1 <= kept <= 12, kept)
        state = archive.status()
        self.assertEqual(state.known_dropped_spans, 100 - kept)
        self.assertEqual(state.completeness, "partial")
        self.assertEqual(self.hub.dropped, {"archive.spans": 100 - kept})

    async def test_how_many_were_dropped_is_known_after_a_restart(self) -> None:
        self.patch(archive_file, "MAX_BACKLOG_BYTES", 5 * (rows.ROW_BYTES + 100))
        first = self.open()
        self.hub.add_spans([span(f"{n:x}") for n in range(1, 101)])
        await self.traces(first)
        self.hub.add_spans([span(f"{n:x}") for n in range(1, 101)])
        dropped = first.status().known_dropped_spans
        await self.close(first)
        self.assertEqual(self.open().status().known_dropped_spans, dropped)

    async def test_also_when_the_first_write_after_that_is_refused(self) -> None:
        def refuse(*_: Any) -> None:
            raise sqlite3.OperationalError("disk I/O error")

        self.patch(archive_file, "MAX_BACKLOG_BYTES", 5 * (rows.ROW_BYTES + 100))
        first = self.open()
        real = rows.write
        self.patch(rows, "write", refuse)
        self.hub.add_spans([span(f"{n:x}") for n in range(1, 101)])
        await self.traces(first)
        self.patch(rows, "write", real)
        dropped = first.status().known_dropped_spans
        self.assertGreater(dropped, 0)
        await self.close(first)
        self.assertEqual(self.open().status().known_dropped_spans, dropped)

    async def test_a_span_that_does_not_fit_into_a_row_is_dropped_alone(self) -> None:
        archive = self.open()
        self.hub.add_spans([span("a", flags=2**70), span("b"), span("c", end_ns=2**64 - 1)])
        self.assertEqual(await self.traces(archive), ["b/1", "c/1"])
        self.assertEqual(archive.status().known_dropped_spans, 1)


class Clearing(ArchiveCase):
    """05 A6.5 and ``trace_storage_clear_failed``."""

    async def test_everything_up_to_now_goes(self) -> None:
        archive = self.open()
        self.hub.add_spans([span("a")])
        await self.traces(archive)
        self.hub.add_spans([span("b")])
        await archive.clear()
        self.hub.add_spans([span("c")])
        self.assertEqual(await self.traces(archive), ["c/1"])

    async def test_nothing_is_known_to_be_missing_afterwards(self) -> None:
        self.patch(archive_file, "MAX_BACKLOG_BYTES", 2 * rows.ROW_BYTES)
        archive = self.open()
        self.hub.add_spans([span("a"), span("b"), span("c")])
        self.assertEqual(archive.status().completeness, "partial")
        await archive.clear()
        self.assertEqual(archive.status().completeness, "complete")
        await self.close(archive)
        self.assertEqual(self.open().status().known_dropped_spans, 0)

    async def test_a_refusal_has_its_own_code(self) -> None:
        def refuse(connection: sqlite3.Connection) -> None:
            raise sqlite3.OperationalError("disk I/O error")

        archive = self.open()
        self.hub.add_spans([span("a")])
        await self.traces(archive)
        self.patch(rows, "clear", refuse)
        error = await self.assertFailure(Deferred.fromCoroutine(archive.clear()), IIIError)
        self.assertEqual(error.code, "trace_storage_clear_failed")
        self.assertIn("disk I/O error", error.message)
        self.assertEqual(await self.traces(archive), ["a/1"])

    async def test_a_reader_that_waits_is_answered(self) -> None:
        archive = self.open()
        self.hub.add_spans([span("a")])
        reading = Deferred.fromCoroutine(self.traces(archive))
        self.hub.add_spans([span("b")])
        late = Deferred.fromCoroutine(self.traces(archive))
        await archive.clear()
        await reading
        self.assertEqual(await late, [])


class Idle(ArchiveCase):
    """What nobody asks for is written all the same."""

    async def test_spans_are_written_a_moment_after_they_came(self) -> None:
        archive = self.open()
        await self.looked_after(archive)
        self.hub.add_spans([span("a", start_ns=T0 + MS)])
        self.assertFalse(archive._busy)
        self.timers.advance(archive_file.GATHER_S)
        self.assertTrue(archive._busy)
        await self.committed(archive)
        self.assertFalse(archive._busy or archive._backlog)


_make_shrinkable = archive_file.make_shrinkable


class _Victim(ProcessProtocol):
    """A process that writes spans until it is killed.

    :ivar said: fires with how many are stored for sure
    :ivar ended: fires with the signal that ended it
    """

    def __init__(self, directory: str) -> None:
        self.said: Deferred[bytes] = Deferred()
        self.ended: Deferred[int] = Deferred()
        self._errors = b""
        command = (sys.executable, "-m", "tests.observability.archive.victim", directory)
        self.process: Any = reactor.spawnProcess(  # type: ignore[attr-defined]
            self, sys.executable, command, {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        )

    def outReceived(self, data: bytes) -> None:
        """It has stored some."""
        if not self.said.called:
            self.said.callback(data.split()[0])

    def errReceived(self, data: bytes) -> None:
        """It complains."""
        self._errors += data

    def processEnded(self, reason: Failure) -> None:
        """It is over."""
        if not self.said.called:
            self.said.errback(AssertionError(self._errors.decode()))
        self.ended.callback(reason.value.signal)

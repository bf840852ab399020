"""The archive keeps within its age and its size."""

from __future__ import annotations

from iii.modules.observability.archive import upkeep
from iii.modules.observability.archive.archive import SHRINK_PAUSE_S, UPKEEP_S, Archive
from tests.observability.archive.cases import ArchiveCase, span

DAY_S = 24 * 3600
KIB = 1024
MIB = 1024 * KIB


class Age(ArchiveCase):
    """``retention_seconds``, ``pending_max_age_seconds``."""

    async def aged(self, archive: Archive, seconds: float) -> None:
        """Time passes, and upkeep has done its work."""
        await self.traces(archive)  # what came is written
        self.timers.advance(seconds)
        await self.looked_after(archive)

    async def test_old_traces_go(self) -> None:
        archive = self.open(retention_seconds=10 * DAY_S)
        self.hub.add_spans([span("a"), span("a", "2", parent="1")])
        await self.aged(archive, 9 * DAY_S)
        self.assertEqual(await self.traces(archive), ["a/1"])
        self.hub.add_spans([span("b")])
        await self.aged(archive, DAY_S + UPKEEP_S)
        self.assertEqual(await self.traces(archive), ["b/1"])
        self.assertEqual(await archive.spans_of("a".rjust(32, "0")), [])

    async def test_a_trace_goes_whole_however_late_its_last_span_came(self) -> None:
        archive = self.open(retention_seconds=10 * DAY_S)
        self.hub.add_spans([span("a")])
        await self.aged(archive, 9 * DAY_S)
        self.hub.add_spans([span("a", "2", parent="1")])
        await self.aged(archive, DAY_S + UPKEEP_S)
        self.assertEqual(await self.found(archive, children=True), [])

    async def test_the_clocks_of_workers_do_not_matter(self) -> None:
        archive = self.open(retention_seconds=10 * DAY_S)
        self.hub.add_spans([span("a", start_ns=0, end_ns=1)])
        await self.aged(archive, UPKEEP_S)
        self.assertEqual(await self.traces(archive), ["a/1"])

    async def test_zero_keeps_them_for_ever(self) -> None:
        archive = self.open(retention_seconds=0)
        self.hub.add_spans([span("a")])
        await self.aged(archive, 10_000 * DAY_S)
        self.assertEqual(await self.traces(archive), ["a/1"])

    async def test_what_grew_old_while_the_engine_was_away_goes_at_the_start(self) -> None:
        first = self.open(retention_seconds=DAY_S)
        self.hub.add_spans([span("a")])
        await self.close(first)
        self.timers.advance(2 * DAY_S)
        second = self.open(retention_seconds=DAY_S)
        await self.looked_after(second)
        self.assertEqual(await self.traces(second), [])

    async def test_many_go_in_steps_with_writes_in_between(self) -> None:
        self.patch(upkeep, "STEP_ROWS", 10)
        self.patch(upkeep, "PART_ROWS", 5)
        archive = self.open(retention_seconds=DAY_S)
        self.hub.add_spans([span("a", f"{n:x}") for n in range(1, 31)])
        self.hub.add_spans([span(f"{n:x}") for n in range(1, 31)])
        await self.traces(archive)
        self.timers.advance(DAY_S + UPKEEP_S)
        self.hub.add_spans([span("f00")])
        await archive._settled()
        # It is written, and most of the old ones are still to go.
        self.assertTrue(archive._upkeep_due)
        await self.looked_after(archive)
        self.assertEqual(await self.traces(archive), ["f00/1"])

    async def test_what_is_left_of_a_long_trace_is_still_the_oldest(self) -> None:
        """So the next step goes on there, also after a restart."""
        archive = self.open()
        self.hub.add_spans([span("a", f"{n:x}", parent="1") for n in range(1, 31)])
        self.hub.add_spans([span("b")])
        await self.traces(archive)
        self.patch(upkeep, "STEP_ROWS", 10)
        self.patch(upkeep, "PART_ROWS", 10)
        with archive._database._file.connect() as connection:
            self.assertTrue(upkeep._remove(connection, 2**62))
        connection.close()
        left = await archive.spans_of("a".rjust(32, "0"))
        self.assertEqual({int(one.span_id, 16) for one in left}, set(range(1, 21)))
        self.assertIn("b/1", await self.found(archive, children=True))

    async def test_a_span_that_never_ends_is_forgotten_and_its_children_are_roots(self) -> None:
        archive = self.open(pending_max_age_seconds=3600)
        self.hub.add_spans([span("a", end_ns=0), span("a", "2", parent="1"), span("b")])
        await self.aged(archive, 3600 - UPKEEP_S)
        self.assertEqual(await self.traces(archive), ["a/1", "b/1"])
        await self.aged(archive, 2 * UPKEEP_S)
        self.assertEqual(await self.traces(archive), ["a/2", "b/1"])


class Size(ArchiveCase):
    """``max_disk_bytes``: the oldest traces go first, and the file shrinks."""

    async def write(self, archive: Archive, first: int, count: int) -> None:
        """Store traces of two spans and about 8 KiB each."""
        long = [("k", "x" * 4 * KIB)]
        for start in range(first, first + count, 50):
            numbers = range(start, min(start + 50, first + count))
            self.hub.add_spans(
                [
                    one
                    for n in numbers
                    for one in (
                        span(f"{n:x}", "1", attributes=long),
                        span(f"{n:x}", "2", parent="1", attributes=long),
                    )
                ]
            )
            await self.traces(archive)
            await self.looked_after(archive)

    async def used_bytes(self, archive: Archive) -> int:
        """Without pages that are free."""
        pages = await self.in_file(archive, "page_count")
        free = await self.in_file(archive, "freelist_count")
        return (pages - free) * await self.in_file(archive, "page_size")

    async def test_the_oldest_traces_make_room(self) -> None:
        # A quarter of so small a limit is for traces: 1 MiB.
        archive = self.open(max_disk_bytes=4 * MIB)
        self.patch(upkeep, "STEP_BYTES", 64 * KIB)
        self.patch(upkeep, "PART_ROWS", 20)
        await self.write(archive, 1, 400)
        self.assertLess(await self.used_bytes(archive), 1 * MIB)
        left = [int(one.split("/")[0], 16) for one in await self.traces(archive)]
        # Nearly as many as fit, and the newest ones.
        self.assertTrue(60 <= len(left) <= 130, len(left))
        self.assertEqual(sorted(left), list(range(401 - len(left), 401)))

    async def test_no_half_of_a_trace_is_left(self) -> None:
        archive = self.open(max_disk_bytes=4 * MIB)
        self.patch(upkeep, "STEP_BYTES", 64 * KIB)
        self.patch(upkeep, "PART_ROWS", 20)
        await self.write(archive, 1, 300)
        page = await self.page(archive, children=True, limit=100_000)
        of_trace: dict[str, int] = {}
        for one in page.spans:
            of_trace[one.trace_id] = of_trace.get(one.trace_id, 0) + 1
        self.assertEqual(set(of_trace.values()), {2})

    async def test_places_that_became_free_are_used_again(self) -> None:
        archive = self.open(max_disk_bytes=4 * MIB)
        await self.write(archive, 1, 200)
        pages = await self.in_file(archive, "page_count")
        await self.write(archive, 1000, 400)
        self.assertLess(await self.in_file(archive, "page_count"), 1.5 * pages)

    async def test_a_lower_limit_makes_the_file_smaller_in_steps(self) -> None:
        first = self.open()
        await self.write(first, 1, 1000)
        await self.close(first)
        large = self.file.stat().st_size
        self.assertGreater(large, 8 * MIB)

        second = self.open(max_disk_bytes=4 * MIB)
        await self.looked_after(second)
        sizes = [await self.in_file(second, "page_count")]
        while second._upkeep_now in second._timers:
            self.timers.advance(SHRINK_PAUSE_S)
            await self.looked_after(second)
            sizes.append(await self.in_file(second, "page_count"))
        self.assertGreater(len(sizes), 3)
        self.assertEqual(sizes, sorted(sizes, reverse=True))
        await self.close(second)
        self.assertLess(self.file.stat().st_size, 3 * MIB)

    async def test_a_cleared_file_gets_small(self) -> None:
        archive = self.open()
        await self.write(archive, 1, 600)
        await archive.clear()
        await self.looked_after(archive)
        while archive._upkeep_now in archive._timers:
            self.timers.advance(SHRINK_PAUSE_S)
            await self.looked_after(archive)
        await self.close(archive)
        self.assertLess(self.file.stat().st_size, 2 * MIB)

    async def test_what_it_takes_is_told_with_its_log(self) -> None:
        archive = self.open()
        await self.write(archive, 1, 50)
        state = archive.status()
        files = (self.file, self.file.with_name("traces.sqlite-wal"))
        self.assertEqual(state.physical_bytes, sum(file.stat().st_size for file in files))
        self.assertEqual(state.max_disk_bytes, 1024 * MIB)
        self.assertEqual((state.archive, state.completeness), ("ready", "complete"))

    async def test_a_log_that_grew_leaves_less_for_traces(self) -> None:
        self.directory.mkdir(parents=True)
        log = self.directory / "log"
        keeper = upkeep.Upkeep(1024 * MIB, log)
        self.assertEqual(keeper._budget(), 992 * MIB)
        with log.open("wb") as file:
            file.truncate(500 * MIB)
        self.assertEqual(keeper._budget(), 524 * MIB)
        with log.open("wb") as file:
            file.truncate(5000 * MIB)
        self.assertEqual(keeper._budget(), 256 * MIB)

"""The push channel: what pages hear, and what that costs."""

from __future__ import annotations

from tests.console.page_case import PageCase
from tests.support.probes import probe


class Topics(PageCase):
    """What is pushed."""

    @probe("06.22")
    async def test_a_log_line_arrives(self) -> None:
        await self.serve()
        worker = await self.here()
        page = await self.page()
        await page.watch("logs")

        await worker.call("engine::log::info", {"message": "hello from here"})

        row = await page.item(lambda row: row["body"] == "hello from here")
        self.assertEqual(row["severity_text"], "INFO")
        self.assertIsInstance(row["timestamp_unix_nano_str"], str)

    @probe("06.23")
    async def test_a_worker_comes_and_goes(self) -> None:
        await self.serve()
        page = await self.page()
        await page.watch("workers")
        before = await page.next(id="s", event="snapshot")
        self.assertEqual(before["items"], [])

        worker = await self.here()
        worker.socket.drop()

        added = await page.next(id="s", event="add")
        self.assertEqual([row["id"] for row in added["items"]], [worker.id])
        gone = await page.next(id="s", event="remove")
        self.assertEqual(gone["items"], [{"id": worker.id}])
        self.assertGreater(gone["seq"], added["seq"])

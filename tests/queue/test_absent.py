"""Without the queue module (03 §1.5, §5)."""

from __future__ import annotations

from tests.support.engine_case import EngineCase
from tests.support.probes import probe


class Absent(EngineCase):
    """A worker may provide ``engine::queue::enqueue``; nobody has to."""

    @probe("03.32")
    async def test_nobody_provides_it(self) -> None:
        """``enqueue_error``."""
        caller = await self.worker()
        error = await caller.error_of("f", 1, action={"type": "enqueue", "queue": "q"})
        self.assertEqual(error["code"], "enqueue_error")

    @probe("03.33")
    async def test_a_worker_provides_it(self) -> None:
        """It gets everything; the caller gets its receipt."""
        provider, caller = await self.worker("engine::queue::enqueue"), await self.worker()
        trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        id = caller.invoke(
            "f",
            {"a": 1},
            action={"type": "enqueue", "queue": "q"},
            traceparent=trace,
            baggage="k=v",
        )
        call = await provider.invoked("engine::queue::enqueue")
        asked = call["data"]
        self.assertEqual((asked["queue"], asked["function_id"]), ("q", "f"))
        self.assertEqual((asked["data"], asked["baggage"]), ({"a": 1}, "k=v"))
        self.assertEqual(asked["traceparent"], trace)
        receipt = {"messageReceiptId": asked["messageReceiptId"]}
        provider.reply(call, result=receipt)
        self.assertEqual((await caller.result_of(id))["result"], receipt)

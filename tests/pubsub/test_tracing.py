"""Context of messages (05 A8.1): what a subscriber runs belongs to the call of ``publish``."""

from __future__ import annotations

from tests.pubsub.cases import PubSubCase
from tests.support.recording import Recording

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331-01"


class Subscribers(PubSubCase):
    """Everything is recorded."""

    def prepare(self) -> None:
        """PubSubCase: and record."""
        super().prepare()
        self.recording = Recording(self.engine)

    async def test_they_are_below_the_publisher(self) -> None:
        worker = await self.subscriber("one", config={"condition_function_id": "check"})
        await worker.register("check", "two")
        await worker.trigger("subscribe", "two", {"topic": "t"})
        await self.publish(1, traceparent=PARENT)
        for function in ("check", "two", "one"):
            await worker.answer(function, result=True)
        await worker.settled()
        lines = self.recording.tree(TRACE)
        self.assertEqual(lines[:2], ["handle_invocation publish", "  call publish"])
        self.assertEqual(sorted(lines[2:]), ["    call check", "    call one", "    call two"])

    async def test_what_is_not_recorded_stays_so(self) -> None:
        worker = await self.subscriber("one")
        await self.publish(1, traceparent=f"{PARENT[:-2]}00")
        call = await worker.answer("one", result=None)
        await worker.settled()
        self.assertEqual(self.recording.spans, [])
        self.assertEqual((call["traceparent"][3:35], call["traceparent"][-3:]), (TRACE, "-00"))

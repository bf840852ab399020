"""Triggers whose function is one of the engine's own."""

from __future__ import annotations

from tests.state.cases import StateCase


class Loops(StateCase):
    """04 §3.3: a write made inside a handler fires triggers again; nobody else suffers."""

    async def test_a_trigger_that_sets_itself_off_leaves_time_for_others(self) -> None:
        worker = await self.worker()
        id = await worker.trigger("state", "state::delete", {"scope": "s"})
        # Deleting what is not there is an event as well, so this goes on for ever.
        await worker.call("state::set", {"scope": "s", "key": "k", "value": 1})
        for n in range(20):
            self.assertEqual(
                await worker.call("state::set", {"scope": "t", "key": "k", "value": n}),
                {"old_value": n - 1 if n else None, "new_value": n},
            )
        worker.send("unregistertrigger", id=id)
        await worker.settled()
        self.assertIsNone(await worker.call("state::get", {"scope": "s", "key": "k"}))

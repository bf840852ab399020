"""What the state module makes of its store's answers: when they come, and when they fail."""

from __future__ import annotations

from typing import Any

from msgspec import Raw
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from iii.errors import Code
from iii.modules.state import StateModule
from iii.modules.state.adapters.redis import RedisState
from iii.storage.kvstore import KvStore
from iii.storage.memory import MemoryStore
from iii.storage.store import Bucket, Change, Compute, Page, Store, StoreError
from tests.state.cases import StateCase

FULL = StoreError(Code.STORE_FULL, "the disk is full")


class SlowStore:
    """A store whose answers wait until the test gives them.

    :ivar held: answers that wait, oldest first
    :ivar broken: every answer is this error, at once
    """

    def __init__(self) -> None:
        self._memory = MemoryStore()
        self.held: list[tuple[Deferred[Any], Deferred[Any]]] = []
        self.broken: StoreError | None = None

    def _hold(self, answer: Deferred[Any]) -> Deferred[Any]:
        waiting: Deferred[Any] = Deferred()
        if self.broken is not None:
            answer.addErrback(lambda failure: None)
            waiting.errback(self.broken)
        else:
            self.held.append((waiting, answer))
        return waiting

    def commit(self) -> None:
        """Give every answer."""
        held, self.held = self.held, []
        for waiting, answer in held:
            answer.addCallbacks(waiting.callback, waiting.errback)

    def get(self, bucket: Bucket, key: str) -> Raw | Deferred[Raw | None] | None:
        """Store."""
        answer: Deferred[Raw | None] = Deferred()
        answer.callback(self._memory.get(bucket, key))
        return self._hold(answer)

    def set(self, bucket: Bucket, key: str, value: Raw) -> Deferred[Change]:
        """Store."""
        return self._hold(self._memory.set(bucket, key, value))

    def delete(self, bucket: Bucket, key: str) -> Deferred[Change]:
        """Store."""
        return self._hold(self._memory.delete(bucket, key))

    def update(self, bucket: Bucket, key: str, compute: Compute) -> Deferred[Change]:
        """Store: computes twice, as one may whose first try lost a race."""
        if self.broken is None:
            compute(Raw(b'{"n":"a string"}'))
        return self._hold(self._memory.update(bucket, key, compute))

    def values(self, bucket: Bucket) -> Deferred[list[Raw]]:
        """Store."""
        return self._hold(self._memory.values(bucket))

    def keys(self, bucket: Bucket) -> Deferred[list[str]]:
        """Store."""
        return self._hold(self._memory.keys(bucket))

    def page(self, bucket: Bucket, after: int, limit: int, max_bytes: int) -> Deferred[Page]:
        """Store."""
        return self._hold(self._memory.page(bucket, after, limit, max_bytes))

    def buckets(self, first: str | None = None) -> Deferred[list[Bucket]]:
        """Store."""
        return self._hold(self._memory.buckets(first))

    def close(self) -> Deferred[None]:
        """Store."""
        return self._memory.close()


class Waiting(StateCase):
    """08 §1: no answer and no event before the value is safe."""

    def make_store(self) -> Store:
        """StateCase."""
        self.slow = SlowStore()
        return self.slow

    async def test_reply_and_event_wait_for_the_commit(self) -> None:
        """Then they come in the order of the writes."""
        hook = await self.hooked()
        what = {"scope": "s", "key": "k"}
        asked = [self.caller.invoke("state::set", {**what, "value": n}) for n in range(3)]
        asked.append(self.caller.invoke("state::delete", what))
        await self.quiet(self.caller, hook)
        self.slow.commit()
        for id in asked:
            await self.caller.result_of(id)
        kinds = [kind for kind, _, _ in await self.events(hook)]
        self.assertEqual(kinds, ["created", "updated", "updated", "deleted"])

    async def test_reads_may_wait_too(self) -> None:
        """A value that has to be fetched is the result all the same."""
        asked = self.caller.invoke("state::set", {"scope": "s", "key": "k", "value": {"a": 1}})
        await self.caller.settled()
        self.slow.commit()
        await self.caller.result_of(asked)
        found = self.caller.invoke("state::get", {"scope": "s", "key": "k"})
        missing = self.caller.invoke("state::get", {"scope": "s", "key": "x"})
        await self.caller.settled()
        self.slow.commit()
        self.assertEqual((await self.caller.result_of(found))["result"], {"a": 1})
        self.assertNotIn("result", await self.caller.result_of(missing))

    async def test_an_update_that_is_computed_again_tells_only_the_last_errors(self) -> None:
        """``Compute`` may be called more than once."""
        ops = [{"type": "increment", "path": "n", "by": 1}]
        asked = self.caller.invoke("state::update", {"scope": "s", "key": "k", "ops": ops})
        await self.caller.settled()
        self.slow.commit()
        result = (await self.caller.result_of(asked))["result"]
        self.assertEqual(result, {"old_value": None, "new_value": {"n": 1}})

    async def test_a_store_that_fails_is_told_in_the_words_clients_know(self) -> None:
        """04 §3.5; and there is no event."""
        hook = await self.hooked()
        self.slow.broken = FULL
        what = {"scope": "s", "key": "k"}
        rows: tuple[tuple[str, dict[str, Any], str, str], ...] = (
            ("set", {**what, "value": 1}, "SET_ERROR", "Failed to set value"),
            ("get", what, "GET_ERROR", "Failed to get value"),
            ("delete", what, "DELETE_ERROR", "Failed to delete value"),
            ("update", {**what, "ops": []}, "UPDATE_ERROR", "Failed to update value"),
            ("list", {"scope": "s"}, "LIST_ERROR", "Failed to list values"),
            ("list_groups", {}, "LIST_GROUPS_ERROR", "Failed to list groups"),
            ("list_keys", {"scope": "s"}, "LIST_KEYS_ERROR", "Failed to list keys"),
            ("list_entries", {"scope": "s"}, "LIST_ERROR", "Failed to list values"),
        )
        for name, data, code, words in rows:
            error = await self.caller.error_of(f"state::{name}", data)
            self.assertEqual(
                (error["code"], error["message"]), (code, f"{words}: the disk is full"), name
            )
        await self.quiet(hook)


class Adapters(TestCase):
    """04 §1.1."""

    def test_values_are_kept_by_the_kv_adapter_or_in_redis(self) -> None:
        """The first is the default one."""
        self.assertIs(next(iter(StateModule.adapters.values())), KvStore)
        self.assertIs(StateModule.adapters["redis"], RedisState)

"""Streams that a worker keeps itself: functions called ``stream::set(<stream>)`` and so on.

They are looked up anew for every call, so the module's own store answers again as soon
as the worker is gone.  What they return is read generously: SDKs return nothing where
a result is due.

Writes of one item go to its provider one after the other.  So events have the order
of the writes, and an update that is read, computed and set here is not torn apart.
Nobody waits longer than ``LIMIT_S`` for a provider, or for those before him.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import msgspec
from msgspec import Raw, Struct
from twisted.internet.defer import CancelledError, Deferred, DeferredLock

from iii.engine.inputs import explain
from iii.engine.invocations import NULL, Call
from iii.engine.module import ModuleApi
from iii.errors import Code, IIIError, InvocationError
from iii.modules.stream.failures import DELETE, SET, UPDATE
from iii.modules.stream.shapes import (
    DeleteInput,
    GetInput,
    ItemInput,
    ListGroupsInput,
    ListInput,
    SetInput,
    UpdateInput,
)
from iii.storage.refusals import What
from iii.storage.store import Change

LIMIT_S = 30.0

T = TypeVar("T", bound=Struct)

_ItemKey = tuple[str, str, str]


class _Written(Struct):
    """What ``set`` and ``update`` of a provider return."""

    new_value: Raw
    old_value: Raw = NULL
    errors: list[Any] = []


class _Deleted(Struct):
    """What ``delete`` of a provider returns."""

    old_value: Raw = NULL


class Providers:
    """The providers of all streams.

    :param engine: knows them and calls them
    """

    def __init__(self, engine: ModuleApi) -> None:
        self._engine = engine
        self._locks: dict[_ItemKey, DeferredLock] = {}

    def have(self, operation: str, stream: str) -> bool:
        """Whether somebody provides ``operation`` of ``stream`` right now."""
        return self._engine.offers(f"stream::{operation}({stream})")

    def read(
        self,
        operation: str,
        asked: GetInput | ListInput | ListGroupsInput,
        call: Call | None,
    ) -> Deferred[Raw | None]:
        """What the provider says, unchanged, also its error.

        :param call: the one that asks; None: the engine itself does
        """
        return self._ask(operation, asked, call)

    # Writes: within ``alone`` -------------------------------------------------------------

    async def set(self, asked: SetInput, call: Call, what: What = SET) -> Change:
        """``set``; a provider that returns nothing has set what it was given."""
        result = await self._write("set", asked, call, what)
        if _is_nothing(result):
            return Change(None, asked.data)
        written = _read(result, _Written)
        return Change(_value(written.old_value), written.new_value)

    async def delete(self, asked: DeleteInput, call: Call) -> Change:
        """``delete``; a provider that returns nothing had nothing."""
        result = await self._write("delete", asked, call, DELETE)
        old = NULL if _is_nothing(result) else _read(result, _Deleted).old_value
        return Change(_value(old), None)

    async def update(self, asked: UpdateInput, call: Call) -> tuple[Change, list[Any]]:
        """``update``: the change, and what could not be done."""
        result = await self._write("update", asked, call, UPDATE)
        if _is_nothing(result):
            raise UPDATE.failed("Function returned no result")
        written = _read(result, _Written)
        return Change(_value(written.old_value), written.new_value), written.errors

    async def update_by_rewriting(
        self, asked: UpdateInput, call: Call, compute: Callable[[Raw | None], Raw]
    ) -> Change:
        """``get``, ``compute``, ``set``: for providers without ``update``."""
        where = (asked.stream_name, asked.group_id, asked.item_id)
        found = await self._write("get", GetInput(*where), call, UPDATE)
        old = None if found is None else _value(found)
        change = await self.set(SetInput(*where, data=compute(old)), call, UPDATE)
        return Change(old, change.new)

    @asynccontextmanager
    async def alone(self, asked: ItemInput, what: What) -> AsyncIterator[None]:
        """Wait until no other write of the item is at its provider; keep others away.

        :raises IIIError: that took too long
        """
        item = (asked.stream_name, asked.group_id, asked.item_id)
        lock = self._locks.get(item)
        if lock is None:
            lock = self._locks[item] = DeferredLock()
        acquiring = lock.acquire()
        timer = self._engine.clock.call_later(LIMIT_S, acquiring.cancel)
        try:
            await acquiring
        except CancelledError as error:
            why = f"the writes of this item before it took longer than {LIMIT_S:g} s"
            raise what.failed(why) from error
        finally:
            if timer.active():
                timer.cancel()
        try:
            yield
        finally:
            lock.release()
            if not lock.locked and self._locks.get(item) is lock:
                del self._locks[item]

    def _ask(
        self,
        operation: str,
        asked: ItemInput | ListInput | ListGroupsInput,
        call: Call | None,
    ) -> Deferred[Raw | None]:
        return self._engine.invoke(
            f"stream::{operation}({asked.stream_name})",
            asked,
            traceparent=None if call is None else call.traceparent,
            baggage=None if call is None else call.baggage,
            timeout_s=LIMIT_S,
        )

    async def _write(self, operation: str, asked: ItemInput, call: Call, what: What) -> Raw | None:
        try:
            return await self._ask(operation, asked, call)
        except InvocationError as error:
            raise what.failed(_shown(error)) from error


def _is_nothing(result: Raw | None) -> bool:
    return result is None or result == NULL


def _value(raw: Raw) -> Raw | None:
    """Providers say null for "there is none"."""
    return None if raw == NULL else raw


def _read(result: Raw | None, type_: type[T]) -> T:
    """A provider's result.

    :raises IIIError: ``JSON_ERROR``: it is something else
    """
    try:
        return msgspec.json.decode(result or NULL, type=type_)
    except msgspec.MsgspecError as error:
        text = f"Failed to convert result to value: {explain(error)}"
        raise IIIError(Code.JSON_ERROR, text) from error


def _shown(error: InvocationError) -> str:
    """A provider's error as clients know it from the original engine."""
    code, message = (msgspec.json.encode(text).decode() for text in (error.code, error.message))
    stack = error.stacktrace
    stacktrace = "None" if stack is None else f"Some({msgspec.json.encode(stack).decode()})"
    return (
        "Failed to invoke function: "
        f"ErrorBody {{ code: {code}, message: {message}, stacktrace: {stacktrace} }}"
    )

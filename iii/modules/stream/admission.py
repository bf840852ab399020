"""Who may join a stream: the trigger types ``stream:join`` and ``stream:leave``.

Every ``stream:join`` handler whose trigger concerns the stream is called, one after the
other, and any of them can refuse.  A handler that fails refuses, too, unless the
configuration says ``auth_fail_open``: it may be the guard.  ``stream:leave`` handlers are
told, and that is all.
"""

from __future__ import annotations

import msgspec
from msgspec import Raw
from twisted.logger import Logger

from iii.engine.bindings import Binding
from iii.engine.module import ModuleApi
from iii.errors import IIIError
from iii.modules.stream.frames import Subscription

log = Logger()

HANDLER_LIMIT_S = 30.0
NULL = Raw(b"null")


class GateTrigger(msgspec.Struct):
    """The configuration of a ``stream:join`` or ``stream:leave`` trigger."""

    #: Only for this stream; none or empty: for all.
    stream_name: str | None = None
    #: Asked first; the handler is skipped when it returns ``false``.
    condition_function_id: str | None = None


class GateEvent(msgspec.Struct):
    """What the handlers get.  ``context`` is what ``auth_function`` said."""

    subscription_id: str
    stream_name: str
    group_id: str
    id: str | None
    context: Raw


class _Verdict(msgspec.Struct):
    unauthorized: object = None


class Gate:
    """Provider of one of the two trigger types, under its names of all releases."""

    def __init__(self) -> None:
        self._triggers: dict[Binding, GateTrigger] = {}

    def add(self, binding: Binding) -> None:
        """Provider: any configuration is accepted, what makes no sense in it has no effect."""
        try:
            trigger = msgspec.json.decode(binding.config, type=GateTrigger | None) or GateTrigger()
        except msgspec.MsgspecError as error:
            trigger = GateTrigger()
            log.warn(
                "{type} trigger {id}: its configuration has no effect: {error}",
                type=binding.type.id,
                id=binding.id,
                error=error,
            )
        self._triggers[binding] = trigger

    def remove(self, binding: Binding) -> None:
        """Provider."""
        self._triggers.pop(binding, None)

    def concerned(self, stream: str) -> list[tuple[Binding, str | None]]:
        """The triggers for ``stream`` in the order they came, each with its condition."""
        return [
            (binding, trigger.condition_function_id or None)
            for binding, trigger in self._triggers.items()
            if not trigger.stream_name or trigger.stream_name == stream
        ]


class Admission:
    """Asks and tells the handlers.

    :param fail_open: a join handler that fails does not refuse
    :ivar joins: provider of ``stream:join`` (and ``streams:join``)
    :ivar leaves: provider of ``stream:leave`` (and ``streams:leave``)
    """

    def __init__(self, api: ModuleApi, *, fail_open: bool = False) -> None:
        self.joins = Gate()
        self.leaves = Gate()
        self._api = api
        self._fail_open = fail_open

    async def allows(self, wanted: Subscription, context: Raw) -> bool:
        """Whether ``wanted`` may be joined.  All handlers are asked, also after a refusal."""
        allowed = True
        for binding, condition in self.joins.concerned(wanted.stream_name):
            event = _event(wanted, context)
            if await self._concerns(binding, condition, event):
                allowed &= await self._is_allowed(binding, event)
        return allowed

    async def left(self, ended: Subscription, context: Raw) -> None:
        """Tell that ``ended`` is over."""
        for binding, condition in self.leaves.concerned(ended.stream_name):
            event = _event(ended, context)
            if await self._concerns(binding, condition, event):
                try:
                    await self._api.fire(binding, event, timeout_s=HANDLER_LIMIT_S)
                except IIIError as error:
                    _failed(binding, binding.function_id, error, "its result does not matter")

    async def _is_allowed(self, binding: Binding, event: Raw) -> bool:
        try:
            result = await self._api.fire(binding, event, timeout_s=HANDLER_LIMIT_S)
        except IIIError as error:
            outcome = "allowed (auth_fail_open)" if self._fail_open else "refused"
            _failed(binding, binding.function_id, error, f"the join is {outcome}")
            return self._fail_open
        return not _refuses(result)

    async def _concerns(self, binding: Binding, condition: str | None, event: Raw) -> bool:
        """What the condition says.  One that fails does not skip the handler: it may guard."""
        if condition is None:
            return True
        try:
            verdict = await self._api.invoke(
                condition,
                event,
                namespace=binding.namespace,
                metadata=binding.metadata,
                timeout_s=HANDLER_LIMIT_S,
            )
        except IIIError as error:
            _failed(binding, condition, error, "the handler is called all the same")
            return True
        return verdict is None or bytes(verdict).strip() != b"false"


def _event(subscription: Subscription, context: Raw) -> Raw:
    event = GateEvent(
        subscription.subscription_id,
        subscription.stream_name,
        subscription.group_id,
        subscription.id,
        context,
    )
    return Raw(msgspec.json.encode(event))


def _refuses(result: Raw | None) -> bool:
    """Only ``unauthorized: true`` does."""
    if result is None:
        return False
    try:
        return msgspec.json.decode(result, type=_Verdict).unauthorized is True
    except msgspec.MsgspecError:
        return False  # no object


def _failed(binding: Binding, function_id: str, error: IIIError, outcome: str) -> None:
    log.warn(
        "{type} trigger {id}: {function} failed: {error}: {outcome}",
        type=binding.type.id,
        id=binding.id,
        function=function_id,
        error=error,
        outcome=outcome,
    )

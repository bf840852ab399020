"""Values that another engine keeps: how its answers and errors become those of a store."""

from __future__ import annotations

from typing import Any, NamedTuple, NoReturn, TypeVar

import msgspec
from msgspec import Raw
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from iii.bridge.errors import BridgeError, RemoteError
from iii.bridge.link import Link
from iii.engine.invocations import NULL
from iii.errors import Code, IIIError
from iii.storage.store import Change, StoreError
from iii.storage.updates import OpError
from iii.storage.updating import Updating

T = TypeVar("T")

#: Errors that mean the same here as there.
_UNCHANGED = frozenset({Code.VALUE_TOO_LARGE, Code.ROW_TOO_LARGE})


class Asked(NamedTuple):
    """A function of the other engine, for its errors.

    :ivar doing: e.g. ``set value``
    """

    function_id: str
    doing: str


class Written(msgspec.Struct):
    """What a write answers."""

    old_value: Raw
    errors: list[OpError] = []
    new_value: Raw = msgspec.field(default_factory=lambda: NULL)


def ask(link: Link, asked: Asked, data: dict[str, Any]) -> Deferred[Raw | None]:
    """Call it.

    The Deferred fails with ``StoreError``, but for what is wrong with a value itself.
    """
    return link.call(asked.function_id, data).addErrback(_failed, asked)


def read(answer: Raw | None, type: type[T], asked: Asked, expected: str) -> T:
    """What the other engine answered.

    :param expected: what it should have, for the error
    :raises StoreError: it is something else
    """
    try:
        return msgspec.json.decode(NULL if answer is None else answer, type=type)
    except (msgspec.ValidationError, RecursionError) as error:
        text = f"invalid {asked.function_id} response: missing {expected}"
        raise StoreError(Code.STORE_ERROR, text) from error


def written(answer: Raw | None, asked: Asked, value: Raw) -> Change:
    """The change that set ``value``."""
    return Change(present(read(answer, Written, asked, "'old_value' field").old_value), value)


def updated(answer: Raw | None, asked: Asked, updating: Updating) -> Change:
    """The change that operations made."""
    done = read(answer, Written, asked, "'old_value' field")
    updating.errors[:] = done.errors
    return Change(present(done.old_value), done.new_value)


def present(old: Raw) -> Raw | None:
    """A value before a write; a stored null and nothing look the same from here."""
    return None if old == NULL else old


def _failed(failure: Failure, asked: Asked) -> NoReturn:
    error = failure.value
    if not isinstance(error, BridgeError | RemoteError):
        failure.raiseException()
    if error.code in _UNCHANGED:
        raise IIIError(error.code, error.message) from error
    raise StoreError(error.code, f"Failed to {asked.doing} via bridge: {error.text}") from error

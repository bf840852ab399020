"""What a module's functions say when their store, or a limit of theirs, refuses."""

from __future__ import annotations

from typing import NamedTuple, TypeVar

import msgspec
from msgspec import Raw
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from iii.errors import Code, IIIError
from iii.storage.store import StoreError

T = TypeVar("T")


class What(NamedTuple):
    """What was tried: the code of its failure, and how it is put."""

    code: str
    text: str

    def failed(self, why: str) -> IIIError:
        """It failed."""
        return IIIError(self.code, f"{self.text}: {why}")

    def refuse(self, failure: Failure) -> Failure:
        """The store's errors as clients know them; an errback."""
        error = failure.value
        return Failure(self.failed(error.message)) if isinstance(error, StoreError) else failure

    def told(self, answer: Deferred[T]) -> Deferred[T]:
        """``answer``, or the error clients know."""
        answer.addErrback(self.refuse)
        return answer


def check_size(value: Raw, limit: int | None) -> None:
    """Refuse a value that is larger than ``max_value_bytes`` allows.

    :raises IIIError: ``VALUE_TOO_LARGE``
    """
    if limit is None or memoryview(value).nbytes <= limit:
        return
    # White space doesn't count.
    size = len(msgspec.json.format(bytes(value), indent=-1))
    if size > limit:
        raise IIIError(
            Code.VALUE_TOO_LARGE,
            f"value of {size} bytes exceeds the configured max_value_bytes limit of {limit}",
        )

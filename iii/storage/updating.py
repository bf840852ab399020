"""Operations on a value, for a store that does them itself and for one that doesn't.

``Store.update`` takes a function of the old value.  This one also says which operations it
stands for, so that a store in another engine can have them done where the value is.
"""

from __future__ import annotations

from msgspec import Raw

from iii.storage import updates
from iii.storage.refusals import check_size


class Updating:
    """The function that does ``ops``.

    :param max_value_bytes: a larger value is refused; None: no limit
    :ivar ops: the operations as they were sent
    :ivar errors: what could not be done, once they were
    """

    __slots__ = ("_max_value_bytes", "_read", "errors", "ops")

    def __init__(self, ops: Raw, max_value_bytes: int | None) -> None:
        self.ops = ops
        self._read = updates.read_ops(ops)
        self._max_value_bytes = max_value_bytes
        self.errors: list[updates.OpError] = []

    def __call__(self, old: Raw | None) -> Raw:
        """The new value.

        :raises IIIError: ``VALUE_TOO_LARGE``
        """
        outcome = updates.apply(old, self._read)
        self.errors[:] = outcome.errors
        check_size(outcome.new, self._max_value_bytes)
        return outcome.new

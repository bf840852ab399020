"""What the ``stream::*`` functions take and give.

Values are ``Raw``: JSON that passes through unread.  The field names are the
protocol's (docs/streams.md, "Functions").
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from msgspec import Meta, Raw, Struct, field

from iii.engine.inputs import Check, Input
from iii.engine.invocations import NULL
from iii.storage.updates import OpError, read_ops


class ItemInput(Input):
    """Base of what is about one item."""

    stream_name: str
    group_id: str
    item_id: str


class SetInput(ItemInput):
    """``stream::set``."""

    called: ClassVar[str] = "StreamSetInput"

    data: Raw


class GetInput(ItemInput):
    """``stream::get``."""

    called: ClassVar[str] = "StreamGetInput"


class DeleteInput(ItemInput):
    """``stream::delete``."""

    called: ClassVar[str] = "StreamDeleteInput"


class UpdateInput(ItemInput):
    """``stream::update``.  The operations: ``iii.storage.updates``."""

    called: ClassVar[str] = "StreamUpdateInput"
    checks: ClassVar[dict[str, Check]] = {"ops": read_ops}

    ops: Raw


class ListInput(Input):
    """``stream::list``."""

    called: ClassVar[str] = "StreamListInput"

    stream_name: str
    group_id: str


class ItemsInput(Input, kw_only=True):
    """``engine::stream::items``.

    :ivar cursor: the ``next_cursor`` of the page before
    """

    called: ClassVar[str] = "StreamItemsInput"

    stream_name: str
    group_id: str
    cursor: str | None = None
    limit: Annotated[int, Meta(ge=1, le=1000)] = 100


class ItemRow(Struct):
    """An item of a group."""

    id: str
    data: Raw
    size_bytes: int


class Items(Struct):
    """The answer of ``engine::stream::items``.

    :ivar next_cursor: where the next page begins; None after the last
    :ivar total: how many there are
    """

    items: list[ItemRow]
    next_cursor: str | None
    total: int


class ListGroupsInput(Input):
    """``stream::list_groups``."""

    called: ClassVar[str] = "StreamListGroupsInput"

    stream_name: str


class ListAllInput(Input):
    """``stream::list_all``."""

    called: ClassVar[str] = "StreamListAllInput"


class SendInput(Input, kw_only=True):
    """``stream::send``.

    :ivar id: the item it is about; None: the whole group
    :ivar type: the event's own type
    """

    called: ClassVar[str] = "StreamSendInput"

    stream_name: str
    group_id: str
    id: str | None = None
    type: str
    # Not a default: listings can't show a Raw.
    data: Raw = field(default_factory=lambda: NULL)


class Written(Struct):
    """The result of ``stream::set``."""

    old_value: Raw
    new_value: Raw


class Updated(Written, omit_defaults=True):
    """The result of ``stream::update``; ``errors`` only when there are any."""

    errors: list[OpError] = []


class Deleted(Struct):
    """The result of ``stream::delete``."""

    old_value: Raw


class StreamRow(Struct):
    """A stream that holds something.  ``id`` is its name."""

    id: str
    groups: list[str]


class AllStreams(Struct):
    """The result of ``stream::list_all``; the key is ``stream``, as clients know it."""

    stream: list[StreamRow]
    count: int


class StreamTrigger(Struct):
    """The ``config`` of a ``stream`` trigger.  None and ``""``: any."""

    stream_name: str | None = None
    group_id: str | None = None
    item_id: str | None = None
    condition_function_id: str | None = None

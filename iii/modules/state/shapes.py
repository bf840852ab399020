"""What the ``state::*`` functions take and give, and what a ``state`` event says.

Values are ``Raw``: JSON that passes through unread.  The field names are the
protocol's (docs/state.md, "Functions").
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from msgspec import Meta, Raw, Struct

from iii.engine.inputs import Check, Input
from iii.storage.updates import OpError, read_ops

Aliases = dict[str, tuple[str, ...]]

_SCOPE: Aliases = {"scope": ("group_id",)}
_KEY: Aliases = {**_SCOPE, "key": ("item_id",)}

MAX_PAGE_BYTES = 8_000_000


class SetInput(Input):
    """``state::set``."""

    called: ClassVar[str] = "StateSetInput"
    aliases: ClassVar[Aliases] = {**_KEY, "value": ("data",)}

    scope: str
    key: str
    value: Raw


class GetInput(Input):
    """``state::get``."""

    called: ClassVar[str] = "StateGetInput"
    aliases: ClassVar[Aliases] = _KEY

    scope: str
    key: str


class DeleteInput(Input):
    """``state::delete``."""

    called: ClassVar[str] = "StateDeleteInput"
    aliases: ClassVar[Aliases] = _KEY

    scope: str
    key: str


class UpdateInput(Input):
    """``state::update``.  The operations: ``iii.storage.updates``."""

    called: ClassVar[str] = "StateUpdateInput"
    aliases: ClassVar[Aliases] = _KEY
    checks: ClassVar[dict[str, Check]] = {"ops": read_ops}

    scope: str
    key: str
    ops: Raw


class ListInput(Input):
    """``state::list`` and ``state::list_keys``."""

    called: ClassVar[str] = "StateGetGroupInput"
    aliases: ClassVar[Aliases] = _SCOPE

    scope: str


class ListGroupsInput(Input):
    """``state::list_groups``."""

    called: ClassVar[str] = "StateListGroupsInput"


class ListEntriesInput(Input):
    """``state::list_entries``.

    :ivar cursor: the ``next_cursor`` of the page before
    """

    called: ClassVar[str] = "StateListEntriesInput"
    aliases: ClassVar[Aliases] = _SCOPE

    scope: str
    cursor: str | None = None
    limit: Annotated[int, Meta(ge=1, le=1000)] | None = None
    max_bytes: Annotated[int, Meta(ge=256, le=MAX_PAGE_BYTES)] | None = None


class ScopesInput(Input, kw_only=True):
    """``engine::state::scopes``; ``search`` is part of a name."""

    called: ClassVar[str] = "StateScopesInput"

    search: str = ""
    offset: Annotated[int, Meta(ge=0)] = 0
    limit: Annotated[int, Meta(ge=1, le=1000)] = 100


class BrowseInput(Input, kw_only=True):
    """``engine::state::entries``.

    :ivar prefix: of the keys
    :ivar cursor: the ``next_cursor`` of the page before
    """

    called: ClassVar[str] = "StateBrowseInput"
    aliases: ClassVar[Aliases] = _SCOPE

    scope: str
    prefix: str = ""
    cursor: str | None = None
    limit: Annotated[int, Meta(ge=1, le=1000)] = 100


class ScopeRow(Struct):
    """A scope and how many keys it has."""

    id: str
    count: int


class Scopes(Struct):
    """The answer of ``engine::state::scopes``; ``total``: how many match."""

    scopes: list[ScopeRow]
    total: int


class EntryRow(Struct):
    """A key with its value; ``size_bytes``: of the value as JSON."""

    key: str
    value: Raw
    size_bytes: int


class Browsed(Struct):
    """The answer of ``engine::state::entries``.

    :ivar next_cursor: where the next page begins; None after the last
    :ivar total: how many keys the scope has, whatever the prefix
    """

    entries: list[EntryRow]
    next_cursor: str | None
    total: int


class Written(Struct):
    """The result of ``state::set``."""

    old_value: Raw
    new_value: Raw


class Updated(Written, omit_defaults=True):
    """The result of ``state::update``; ``errors`` only when there are any."""

    errors: list[OpError] = []


class Groups(Struct):
    """The result of ``state::list_groups``."""

    groups: list[str]


class Keys(Struct):
    """The result of ``state::list_keys``."""

    keys: list[str]


class Entries(Struct):
    """The result of ``state::list_entries``.

    :ivar entries: keys with their values
    :ivar next_cursor: where the next page begins; None after the last
    :ivar offset: how many entries came before this page
    :ivar total: how many there are
    """

    entries: list[tuple[str, Raw]]
    next_cursor: str | None
    done: bool
    offset: int
    total: int


class StateTrigger(Struct):
    """The ``config`` of a ``state`` trigger.  None: every scope, every key."""

    scope: str | None = None
    key: str | None = None
    condition_function_id: str | None = None


class StateEvent(Struct, tag_field="type", tag="state"):
    """What a ``state`` trigger hands to its function."""

    event_type: Literal["state:created", "state:updated", "state:deleted"]
    scope: str
    key: str
    old_value: Raw
    new_value: Raw

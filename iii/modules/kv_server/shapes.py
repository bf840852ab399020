"""What the ``kv_server::*`` functions take and give.

Values are ``Raw``: JSON that passes through unread.  The fields are called ``index``
and ``key`` and nothing else: ``scope`` is state's word, and a mistake here.
"""

from __future__ import annotations

from typing import ClassVar

from msgspec import Raw, Struct

from iii.engine.inputs import Check, Input
from iii.storage.updates import OpError, read_ops


class SetInput(Input):
    """``kv_server::set``."""

    called: ClassVar[str] = "KvSetInput"

    index: str
    key: str
    value: Raw


class GetInput(Input):
    """``kv_server::get``."""

    called: ClassVar[str] = "KvGetInput"

    index: str
    key: str


class DeleteInput(Input):
    """``kv_server::delete``."""

    called: ClassVar[str] = "KvDeleteInput"

    index: str
    key: str


class UpdateInput(Input):
    """``kv_server::update``.  The operations: ``iii.storage.update_ops``."""

    called: ClassVar[str] = "KvUpdateInput"
    checks: ClassVar[dict[str, Check]] = {"ops": read_ops}

    index: str
    key: str
    ops: Raw


class ListInput(Input):
    """``kv_server::list``."""

    called: ClassVar[str] = "KvListInput"

    index: str


class ListKeysWithPrefixInput(Input):
    """``kv_server::list_keys_with_prefix``."""

    called: ClassVar[str] = "KvListKeysWithPrefixInput"

    prefix: str


class ListGroupsInput(Input):
    """``kv_server::list_groups``."""

    called: ClassVar[str] = "KvListGroupsInput"


class Written(Struct):
    """The result of ``kv_server::set``."""

    old_value: Raw
    new_value: Raw


class Updated(Struct, omit_defaults=True):
    """The result of ``kv_server::update``; ``errors`` only when there are any."""

    old_value: Raw
    new_value: Raw
    errors: list[OpError] = []


class Deleted(Struct):
    """The result of ``kv_server::delete``."""

    old_value: Raw


class Groups(Struct):
    """The result of ``kv_server::list_groups``."""

    groups: list[str]

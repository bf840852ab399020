"""The queue's tables: their statements, and what runs in the threads beside the reactor.

A *row* (of waiting messages) is what a window reads on in: the messages of a lane, those
of one key of it, or the delayed ones of all lanes.  A ``Piece`` is a part of one.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Iterable
from itertools import chain
from typing import Any, NamedTuple

import msgspec

from iii.modules.queue.message import Message, all_of_json, of_json

Row = tuple[Any, ...]
Place = tuple[int, int]
Target = tuple[str, str]
"""Function and namespace ("" is the default one)."""
KeyOf = Callable[[bytes], str]

START: Place = (-1, -(2**62))
"""The place before every other."""

_COLUMNS = (
    "seq, id, lane, state, urgency, rank, due_ms, expires_ms, key, created_ms, "
    "function_id, details, data"
)
_INSERT = f"INSERT INTO messages ({_COLUMNS}) VALUES "
_VALUES = f"({', '.join('?' * 13)})"
#: So many rows are inserted by one statement; the connection keeps these few prepared.
_AT_ONCE = (64, 16, 4, 1)
_INSERTS = {count: _INSERT + ", ".join([_VALUES] * count) for count in _AT_ONCE}
_REPLACE = (
    "UPDATE messages SET id = ?2, lane = ?3, state = ?4, urgency = ?5, rank = ?6, due_ms = ?7, "
    "expires_ms = ?8, key = ?9, created_ms = ?10, function_id = ?11, details = ?12, data = ?13 "
    "WHERE seq = ?1"
)
_DELETE = "DELETE FROM messages WHERE seq IN (SELECT value FROM json_each(?))"
#: A message as the JSON array of its columns: what is JSON already goes into it as it is.
_AS_JSON = (
    "'[' || seq || ',' || json_quote(id) || ',' || lane || ',' || state || ',' || urgency || ',' "
    "|| rank || ',' || due_ms || ',' || coalesce(expires_ms, 'null') || ',' || json_quote(key) "
    "|| ',' || created_ms || ',' || json_quote(function_id) || ',' || CAST(details AS TEXT) "
    "|| ',' || CAST(data AS TEXT) || ']'"
)
SELECT = f"SELECT {_AS_JSON} FROM messages"
_OF_LANE = "WHERE lane = ? AND state = 0 AND (urgency, rank) > (?, ?)"
_OF_KEY = "WHERE lane = ? AND key = ? AND state = 0 AND (urgency, rank) > (?, ?)"
_WITHOUT = (
    " AND (function_id, coalesce(json_extract(CAST(details AS TEXT), '$.namespace'), '')) "
    "NOT IN (SELECT value ->> 0, value ->> 1 FROM json_each(?))"
)
_IN_ORDER = " ORDER BY urgency, rank LIMIT ?"
_NEXT_KEY = (
    "SELECT key FROM messages WHERE lane = ? AND key > ? AND key IS NOT NULL AND state = 0 "
    "ORDER BY key LIMIT 1"
)
_DELAYED = "WHERE state = 1 AND (due_ms, seq) > (?, ?) ORDER BY due_ms, seq LIMIT ?"
_SIZE = "SELECT sum(length(data)) FROM (SELECT data FROM messages {})"
_ALL = (
    "SELECT '[' || group_concat(message) || ']' "
    f"FROM (SELECT {_AS_JSON} AS message FROM messages {{}})"
)
NEXT_EXPIRY = (
    "SELECT min(expires_ms) FROM messages "
    "WHERE expires_ms IS NOT NULL AND state < 2 AND expires_ms > ?"
)
REMEMBER = "INSERT OR REPLACE INTO idempotency (scope, key, id, expires_ms) VALUES (?, ?, ?, ?)"
KNOWN_KEY = "SELECT id FROM idempotency WHERE scope = ? AND key = ? AND expires_ms > ?"
FORGET_KEYS = "DELETE FROM idempotency WHERE expires_ms <= ?"
_REKEY = "UPDATE messages SET key = ? WHERE seq = ?"
_ALL_OF_LANE = "SELECT seq, data FROM messages WHERE lane = ? AND seq > ? ORDER BY seq LIMIT ?"
LANES = "SELECT number, name, facts FROM lanes"
_PUT_LANE = "INSERT OR REPLACE INTO lanes (number, name, facts) VALUES (?, ?, ?)"
_DELETE_LANE = "DELETE FROM lanes WHERE number IN (SELECT value FROM json_each(?))"
COUNTS = "SELECT lane, state, count(*), max(rank) FROM messages GROUP BY lane, state"
LAST = "SELECT max(seq) FROM messages"


class Piece(NamedTuple):
    """A part of a row.

    :ivar end: nothing is left out up to here; None: up to the row's end
    :ivar key: whose row it is, when the lane has keys
    """

    messages: list[Message]
    end: Place | None
    key: str = ""


class Changes:
    """Writes that have to happen sooner or later; of several for one thing the last counts.

    :ivar messages: seq → its new row, or None to delete it
    :ivar lanes: number → its row, or None to delete it
    :ivar keys: lane → how to give its messages new keys
    """

    __slots__ = ("keys", "lanes", "messages")

    def __init__(self) -> None:
        self.messages: dict[int, Row | None] = {}
        self.lanes: dict[int, Row | None] = {}
        self.keys: dict[int, KeyOf] = {}

    def __bool__(self) -> bool:
        return bool(self.messages or self.lanes or self.keys)

    def then(self, later: Changes) -> Changes:
        """Both, one after the other."""
        both = Changes()
        both.messages = self.messages | later.messages
        both.lanes = self.lanes | later.lanes
        both.keys = self.keys | later.keys
        return both

    def apply(self, connection: sqlite3.Connection) -> None:
        """Writer thread: write them."""
        for lane, key_of in self.keys.items():
            _rekey(connection, lane, key_of)
        if self.messages:
            _write(connection, self.messages, _DELETE, _REPLACE)
        if self.lanes:
            _write(connection, self.lanes, _DELETE_LANE, _PUT_LANE)


def insert(connection: sqlite3.Connection, added: list[Row]) -> None:
    """Writer thread: write new messages, many with one statement.

    Every statement gives up the interpreter's lock and has to wait for it afterwards,
    so a row must not cost one.
    """
    place = 0
    for count in _AT_ONCE:
        while len(added) - place >= count:
            part = added[place : place + count]
            connection.execute(_INSERTS[count], list(chain.from_iterable(part)))
            place += count


def _write(
    connection: sqlite3.Connection, changes: dict[int, Row | None], delete: str, put: str
) -> None:
    deleted = [number for number, row in changes.items() if row is None]
    if deleted:
        connection.execute(delete, (msgspec.json.encode(deleted).decode(),))
    written = [row for row in changes.values() if row is not None]
    if written:
        connection.executemany(put, written)


def _rekey(connection: sqlite3.Connection, lane: int, key_of: KeyOf) -> None:
    last = -1
    while found := connection.execute(_ALL_OF_LANE, (lane, last, 500)).fetchall():
        last = found[-1][0]
        connection.executemany(_REKEY, [(key_of(data), seq) for seq, data in found])


# Keeper thread -------------------------------------------------------------------------


def piece_of_lane(
    connection: sqlite3.Connection,
    lane: int,
    after: Place,
    limit: int,
    max_bytes: int,
    without: list[Target],
) -> Piece:
    """The waiting messages of a lane behind ``after``."""
    which, left_out = _leaving_out(_OF_LANE, without)
    given = (lane, *after, *left_out, limit)
    return _piece(connection, which, given, max_bytes, waiting_place)


def piece_of_key(
    connection: sqlite3.Connection,
    lane: int,
    key: str,
    after: Place,
    limit: int,
    max_bytes: int,
    without: list[Target],
) -> Piece:
    """The waiting messages of one key of a lane behind ``after``."""
    which, left_out = _leaving_out(_OF_KEY, without)
    given = (lane, key, *after, *left_out, limit)
    return _piece(connection, which, given, max_bytes, waiting_place, key)


def heads(
    connection: sqlite3.Connection,
    lane: int,
    after: str,
    keys: int,
    limit: int,
    max_bytes: int,
    known: Collection[str],
    without: list[Target],
) -> list[Piece]:
    """The first messages of the keys behind ``after``; of ``known`` ones nothing is read."""
    pieces: list[Piece] = []
    key = after
    while len(pieces) < keys:
        found = connection.execute(_NEXT_KEY, (lane, key)).fetchone()
        if found is None:
            break
        key = found[0]
        if key in known:
            pieces.append(Piece([], START, key))
        else:
            pieces.append(piece_of_key(connection, lane, key, START, limit, max_bytes, without))
    return pieces


def piece_of_delayed(
    connection: sqlite3.Connection, after: Place, limit: int, max_bytes: int
) -> Piece:
    """The delayed messages behind ``after``."""
    return _piece(connection, _DELAYED, (*after, limit), max_bytes, due_place)


def waiting_place(message: Message) -> Place:
    """The order of messages that wait in a lane."""
    return (message.urgency, message.rank)


def due_place(message: Message) -> Place:
    """The order of delayed messages."""
    return (message.due_ms, message.seq)


def _leaving_out(which: str, without: list[Target]) -> tuple[str, list[str]]:
    if not without:
        return which + _IN_ORDER, []
    return which + _WITHOUT + _IN_ORDER, [msgspec.json.encode(without).decode()]


def _piece(
    connection: sqlite3.Connection,
    which: str,
    given: tuple[Any, ...],
    max_bytes: int,
    place: Callable[[Message], Place],
    key: str = "",
) -> Piece:
    """The messages of ``which``; the last of ``given`` is how many at most."""
    (size,) = connection.execute(_SIZE.format(which), given).fetchone()
    if size is None:
        return Piece([], None, key)
    if size <= max_bytes:
        # In one step: every row that is fetched gives up the interpreter's lock.
        (text,) = connection.execute(_ALL.format(which), given).fetchone()
        messages = all_of_json(text)
    else:
        messages = _so_many(connection.execute(f"{SELECT} {which}", given), max_bytes)
    complete = size <= max_bytes and len(messages) < given[-1]
    return Piece(messages, None if complete else place(messages[-1]), key)


def _so_many(found: Iterable[Row], max_bytes: int) -> list[Message]:
    """The first of ``found``, up to the one with which they have ``max_bytes``."""
    messages: list[Message] = []
    size = 0
    for (text,) in found:
        messages.append(of_json(text))
        size += len(messages[-1].data)
        if size >= max_bytes:
            break
    return messages

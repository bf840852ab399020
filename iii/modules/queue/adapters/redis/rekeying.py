"""Rows of another generation: every message that waits is given its key anew.

Any engine may do it, also several at once, and go on with what another one left.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from iii.modules.queue.adapters.redis.codec import data_of, pieces
from iii.modules.queue.adapters.redis.facts_scripts import REKEY, UNKEYED
from iii.modules.queue.adapters.redis.hub import Hub
from iii.modules.queue.keys import key_in

if TYPE_CHECKING:
    from iii.redis.protocol import Part

PIECE = 200


async def rekey(hub: Hub, name: str) -> None:
    """Make the rows of the queue ``name`` anew.

    :raises RedisError: it is not done
    """
    more = 1
    while more:
        field, gen, part, *found = await hub.run(UNKEYED, name, PIECE)
        parts: list[Part] = []
        rows = pieces(found, 2)
        for id, body in rows:
            key = key_in(data_of(body or b""), field.decode()) if field else ""
            parts += (id, key)
        more = await hub.run(REKEY, name, gen, part, PIECE, len(rows), *parts)

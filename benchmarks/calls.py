"""What the caller calls: the data of every function that is measured, and of messages.

Keys are taken at random from the whole range, so a store can't live from the last ones,
and have one length, so every frame of a measure has the same size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import repeat
from random import random

from benchmarks.configs import PARKED_QUEUE

SCOPE = "bench"
STREAM, GROUP = "bench", "all"
KEY = b"k%07d"
#: of a value in the store that ``fill`` makes
STORED_BYTES = 50
#: what takes the messages of the queues
CONSUMER = "bench.consume"
#: of FIFO queues
GROUPS = 100
#: the data of a message: its group, which is its number's last two digits, and its number
MESSAGE = b'{"group":"g%d","n":"%08d","payload":"xxxxxxxxxxxxxxxx"}'

_STATE_GET = b'{"scope":"%b","key":"%%b"}' % SCOPE.encode()
_STATE_SET = b'{"scope":"%b","key":"%%b","value":%%b}' % SCOPE.encode()
_STREAM_SET = b'{"stream_name":"%b","group_id":"%b","item_id":"%%b","data":%%b}' % (
    STREAM.encode(),
    GROUP.encode(),
)


def value(size: int) -> bytes:
    """A JSON object with a string of ``size`` bytes."""
    return b'{"payload":"%b"}' % (b"x" * size)


@dataclass(frozen=True)
class Target:
    """A function, and the data of one call of it.

    :ivar data: made anew for every call, from a key
    :ivar least_result_bytes: a shorter message can't hold the right answer
    :ivar queue: a named queue that keeps the call, and is what answers
    """

    function_id: bytes
    data: Callable[[bytes], bytes]
    least_result_bytes: int
    queue: str | None = None


def echo(payload: int) -> Target:
    """The other worker sends the data back."""
    data = value(payload)
    return Target(b"bench.echo", lambda key: data, len(data))


def bridged(payload: int) -> Target:
    """The same by a worker of another engine."""
    data = value(payload)
    return Target(b"bridged.echo", lambda key: data, len(data))


def state_get(payload: int) -> Target:
    """Read a value."""
    return Target(b"state::get", lambda key: _STATE_GET % key, len(value(payload)))


def state_set(payload: int) -> Target:
    """Write a value; the answer has it too."""
    data = value(payload)
    return Target(b"state::set", lambda key: _STATE_SET % (key, data), len(data))


def stream_set(payload: int) -> Target:
    """Write an item; the answer has it too."""
    data = value(payload)
    return Target(b"stream::set", lambda key: _STREAM_SET % (key, data), len(data))


def parked(payload: int) -> Target:
    """Put a call on the queue that isn't worked off; the answer is a receipt."""
    data = value(payload)
    receipt_bytes = len(b'{"messageReceiptId":""}') + 36
    return Target(CONSUMER.encode(), lambda key: data, receipt_bytes, PARKED_QUEUE)


def message(number: int) -> bytes:
    """The data of a message."""
    return MESSAGE % (number % GROUPS, number)


TARGETS: dict[str, Callable[[int], Target]] = {
    "bench.echo": echo,
    "bridged.echo": bridged,
    "state::get": state_get,
    "state::set": state_set,
    "stream::set": stream_set,
    "enqueue": parked,
}


def random_keys(count: int) -> Iterator[bytes]:
    """Uniformly from ``count`` keys, for ever; without any, always an empty one."""
    if not count:
        yield from repeat(b"")
    while True:
        yield KEY % int(random() * count)


def all_keys(count: int) -> Iterator[bytes]:
    """Each once, in order."""
    for number in range(count):
        yield KEY % number

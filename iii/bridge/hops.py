"""Calls that go from engine to engine, and in the end round in circles.

A function that is forwarded to an engine that forwards it back would call itself until
every time limit has passed, each round with one more call under way.  So the hops a call has
made *from bridge to bridge* are counted, in a member of its baggage, and a call that has made
``MOST_HOPS`` goes no further.  A worker in between begins anew: what it calls is its business.

The first hop says nothing, so ordinary calls travel with the baggage they came with.
"""

from __future__ import annotations

import re

from iii.bridge.link import RUNTIME
from iii.bridge.offers import Incoming
from iii.engine.invocations import Call
from iii.engine.module import ModuleApi

MOST_HOPS = 16
MEMBER = "iii-bridge-hops"
#: How a bridge of the original calls itself from 0.23 on.
_BRIDGE = "iii-bridge-client"

_member = re.compile(rf"(?:^|,)\s*{MEMBER}\s*=\s*(\d{{1,4}})[^,]*")


def next_hop(engine: ModuleApi, call: Call) -> tuple[int, str | None]:
    """The number of the hop that ``call`` is about to make, and its baggage with that."""
    if not _came_over_a_bridge(engine, call):
        return 1, call.baggage
    said = call.baggage or ""
    known = _member.search(said)
    hop = (int(known[1]) if known else 1) + 1
    rest = _member.sub("", said).strip(" ,")
    member = f"{MEMBER}={hop}"
    return hop, f"{rest},{member}" if rest else member


def _came_over_a_bridge(engine: ModuleApi, call: Call) -> bool:
    if call.caller is None:
        return isinstance(call.requester, Incoming)
    worker = engine.worker(call.caller)
    return worker is not None and (worker.runtime == RUNTIME or worker.name == _BRIDGE)

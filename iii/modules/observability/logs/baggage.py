"""``engine::baggage::*``: what a call brought along, as W3C baggage.

``set`` has no lasting effect and never had: what a function sets would have to be in the
calls its caller makes next, and only the caller's SDK can do that.
"""

from __future__ import annotations

from urllib.parse import unquote

from msgspec import Struct

from iii.engine.invocations import Call
from iii.engine.module import ModuleApi
from iii.engine.native import Empty

NOTE = "Baggage set in new context. For propagation, use SDK-level baggage headers."


class GetInput(Struct):
    """``engine::baggage::get``."""

    key: str


class SetInput(Struct):
    """``engine::baggage::set``."""

    key: str
    value: str


class Value(Struct):
    """The answer of ``get``."""

    value: str | None


class AllValues(Struct):
    """The answer of ``get_all``."""

    baggage: dict[str, str]


class SetAnswer(Struct):
    """The answer of ``set``."""

    success: bool = True
    note: str = NOTE


def parsed(baggage: str | None) -> dict[str, str]:
    """``k=v;property,…`` as a table; what is no pair is left out."""
    found = {}
    for member in (baggage or "").split(","):
        key, separator, value = member.partition(";")[0].partition("=")
        if separator and key.strip():
            found[unquote(key.strip())] = unquote(value.strip())
    return found


def offer(engine: ModuleApi) -> None:
    """Offer the three functions."""
    engine.function(
        "engine::baggage::get",
        lambda said, call: Value(parsed(call.baggage).get(said.key)),
        takes=GetInput,
        gives=Value,
        description="Get a baggage item of the current context",
        wants_call=True,
    )
    engine.function(
        "engine::baggage::set",
        lambda said: SetAnswer(),
        takes=SetInput,
        gives=SetAnswer,
        description="Set a baggage item; without effect on later calls",
    )
    engine.function(
        "engine::baggage::get_all",
        _get_all,
        gives=AllValues,
        description="Get all baggage of the current context",
        wants_call=True,
    )


def _get_all(_: Empty, call: Call) -> AllValues:
    return AllValues(parsed(call.baggage))

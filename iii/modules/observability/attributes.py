"""What some attributes say: whose call it was, and what a whole trace is called."""

from __future__ import annotations

from collections.abc import Iterable

from iii.engine.functions import ENGINE_PREFIX
from iii.modules.observability.model import Pairs

TAG_PREFIX = "iii.tag."
TAGS = frozenset({"iii.session.id", "iii.session.name", "iii.message.id"})

Tags = dict[str, str]
"""What is said of a whole trace."""


def is_internal(attributes: Pairs) -> bool:
    """Whether this is a span of the engine's own functions."""
    for key, value in attributes:
        if key == "function_id" and value.startswith(ENGINE_PREFIX):
            return True
        if key == "iii.function.kind" and value == "internal":
            return True
    return False


def is_tag(attribute: str) -> bool:
    """Whether an attribute says something about its whole trace."""
    return attribute.startswith(TAG_PREFIX) or attribute in TAGS


def tags_of(spans: Iterable[tuple[str, Pairs]]) -> dict[str, Tags]:
    """Trace → its tags; of two values the later one's.

    :param spans: trace ids and attributes, by the start of the spans
    """
    tags: dict[str, Tags] = {}
    for trace_id, attributes in spans:
        said = {name: value for name, value in attributes if is_tag(name)}
        if said:
            tags.setdefault(trace_id, {}).update(said)
    return tags

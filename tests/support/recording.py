"""What an engine records, as a tree that a test can read.

``Recording(engine)`` is the sink.  A *line* is a span with its depth below the root, e.g.
``("    ", "call f")`` written as ``"    call f"``; so a whole trace is compared at once.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from iii.engine.core import Engine
from iii.engine.instruments import Sample
from iii.engine.module import ModuleApi
from iii.engine.tracecontext import span_id, trace_id
from iii.engine.tracing import CallRecord, Error, record_of


@dataclass(frozen=True)
class Recorded:
    """One span."""

    name: str
    kind: str
    context: str
    parent: str | None
    ok: bool | None = None
    error: Error | None = None
    attributes: dict[str, Any] | None = None

    @property
    def trace(self) -> str:
        """The id of its trace."""
        return trace_id(self.context)


class Recording:
    """Everything that an engine records from now on."""

    def __init__(self, engine: Engine) -> None:
        self._records: list[tuple[Any, ...]] = []
        self._tracing = engine.invocations.tracing
        self._tracing.sink = self._records.extend

    @property
    def spans(self) -> list[Recorded]:
        """All spans, in the order in which they began."""
        self._tracing.flush()
        records = sorted(self._records, key=lambda fields: record_of(fields).started)
        return [span for fields in records for span in _spans(fields)]

    def named(self, name: str) -> list[Recorded]:
        """Those with this name."""
        return [span for span in self.spans if span.name == name]

    def one(self, name: str) -> Recorded:
        """The only one with this name."""
        [span] = self.named(name)
        return span

    def tree(self, trace: str) -> list[str]:
        """The spans of a trace, indented, children behind their parent."""
        return _lines(None, [span for span in self.spans if span.trace == trace])


def _spans(fields: tuple[Any, ...]) -> Iterable[Recorded]:
    record = record_of(fields)
    if not isinstance(record, CallRecord):
        names, *values = record.attributes or ((),)
        yield Recorded(
            record.name,
            record.kind,
            record.context,
            record.parent,
            record.ok,
            record.error,
            dict(zip(names, values, strict=True)),
        )
        return
    above = record.parent
    if record.received is not None:
        yield Recorded(f"handle_invocation {record.function_id}", "server", record.received, above)
        above = record.received
    yield Recorded(f"call {record.function_id}", "server", record.context, above)


def _lines(parent: str | None, spans: list[Recorded]) -> list[str]:
    known = {span_id(span.context) for span in spans}
    lines = []
    for span in spans:
        above = None if span.parent is None else span_id(span.parent)
        if above == parent or (parent is None and above not in known):
            below = _lines(span_id(span.context), spans)
            lines += [span.name, *(f"  {line}" for line in below)]
    return lines


async def figures(engine: Engine, name: str) -> dict[tuple[str, ...], Any]:
    """The samples of an instrument: values of its labels → value."""
    [instrument] = [one for one in ModuleApi(engine, "test").instruments if one.name == name]
    read: Any = instrument.read()
    samples: Iterable[Sample] = await read if hasattr(read, "__await__") else read
    return dict(samples)

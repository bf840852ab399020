"""How functions, triggers and workers look in lists, for clients of every release.

One superset row serves all (01 §16.3); where two releases give one call
different meanings, the caller's *dialect* decides: ``discovery`` for SDKs from
0.13 on, ``classic`` for everyone else.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw

from iii.engine.bindings import Registration, TriggerType
from iii.engine.functions import DEFAULT_NAMESPACE, ENGINE_PREFIX, Function, FunctionOwner
from iii.engine.native import NativeFunction
from iii.engine.workers import Worker

SUMMARY_CHARS = 80
DISCOVERY_SINCE = (0, 13, 0)
SCHEMAS_SINCE = (0, 10, 0)

Row = dict[str, Any]

TYPE_OWNERS = {
    "http": "iii-http",
    "cron": "iii-cron",
    "subscribe": "iii-pubsub",
    "state": "iii-state",
    "durable:subscriber": "queue",
    "stream": "iii-stream",
    "stream:join": "iii-stream",
    "stream:leave": "iii-stream",
    "log": "iii-observability",
    "trace": "iii-observability",
    "configuration": "configuration",
}


class Caller:
    """Who asks for a list, as far as it changes the answer."""

    def __init__(self, worker: Worker | None, view: str | None = None) -> None:
        version = None if worker is None else worker.version_tuple
        #: what it may see; None: everything
        self.access = None if worker is None else worker.access
        if view in ("classic", "discovery"):
            self.discovery = view == "discovery"
        else:
            self.discovery = version is not None and version >= DISCOVERY_SINCE
        # The published Python SDK before 0.10 raises on a format that is a JSON Schema;
        # our own client says what it can take.
        self.only_named_formats = (
            worker is not None
            and worker.runtime == "python"
            and version is not None
            and version < SCHEMAS_SINCE
            and not worker.features
        )

    def format(self, value: Raw | None) -> Raw | None:
        """A request or response format this caller can read."""
        if value is None or not self.only_named_formats:
            return value
        parsed = msgspec.json.decode(value)
        named = isinstance(parsed, dict) and all(
            isinstance(parsed.get(key), str) for key in ("name", "type")
        )
        return value if named else None


def is_internal(id: str) -> bool:
    """Whether default lists leave it out."""
    return id.startswith(ENGINE_PREFIX)


def owner_name(owner: FunctionOwner | Worker | None, id: str) -> str:
    """The worker name a row shows."""
    if isinstance(owner, NativeFunction):
        return owner.module
    if isinstance(owner, Worker) and owner.name:
        return owner.name
    return id.partition("::")[0]


def function_row(function: Function, caller: Caller) -> Row:
    """``engine::functions::list``."""
    spec = function.spec
    return {
        "function_id": function.id,
        "description": spec.description,
        "request_format": caller.format(spec.request_format),
        "response_format": caller.format(spec.response_format),
        "metadata": spec.metadata,
        "worker_name": owner_name(spec.registrant, function.id),
        "namespace": function.namespace,
    }


def function_detail(function: Function, triggers: list[Registration]) -> Row:
    """``engine::functions::info``."""
    spec = function.spec
    row: Row = {
        "function_id": function.id,
        "worker_name": owner_name(spec.registrant, function.id),
        "description": spec.description,
        "request_schema": spec.request_format,
        "response_schema": spec.response_format,
        "metadata": spec.metadata,
        "registered_triggers": [
            {"id": known.id, "trigger_type": known.trigger_type, "config": known.config}
            for known in triggers
            if known.function_id == function.id and known.namespace == function.namespace
        ],
        "namespace": function.namespace,
    }
    return without_nulls(row)


def instance_row(registration: Registration) -> Row:
    """A trigger in ``engine::triggers::list`` of old releases."""
    row: Row = {
        "id": registration.id,
        "trigger_type": registration.trigger_type,
        "function_id": registration.function_id,
        "config": registration.config,
        "worker_name": registrant_name(registration),
    }
    if registration.metadata is not None:
        row["metadata"] = registration.metadata
    return row


def registered_row(registration: Registration) -> Row:
    """``engine::registered-triggers::list``."""
    summary = bytes(registration.config).decode()
    if len(summary) > SUMMARY_CHARS:
        summary = summary[:SUMMARY_CHARS] + "…"
    return {**instance_row(registration), "config_summary": summary}


def registrant_name(registration: Registration) -> str:
    """Who registered a trigger."""
    return owner_name(registration.owner, registration.function_id)


def type_owner(type: TriggerType) -> str:
    """Who provides a trigger type."""
    if type.owner is not None:
        return owner_name(type.owner, type.id)
    return TYPE_OWNERS.get(type.id) or type.module or type.id.partition("::")[0]


def type_row(type: TriggerType) -> Row:
    """A trigger type in ``engine::triggers::list`` of new releases."""
    return {
        "id": type.id,
        "worker_name": type_owner(type),
        "description": type.description,
        "namespace": type.namespace,
    }


def type_format_row(type: TriggerType) -> Row:
    """``engine::trigger-types::list``."""
    row: Row = {
        "id": type.id,
        "description": type.description,
        "trigger_request_format": type.trigger_request_format,
        "call_request_format": type.call_request_format,
    }
    return without_nulls(row)


def type_detail(type: TriggerType, instances: int) -> Row:
    """``engine::triggers::info``."""
    row: Row = {
        **type_row(type),
        "configuration_schema": type.trigger_request_format,
        "request_schema": type.call_request_format,
        "instance_count": instances,
    }
    return without_nulls(row)


def worker_row(worker: Worker, metrics: Row | None) -> Row:
    """``engine::workers::list``."""
    functions = [id for _, id in worker.functions]
    row: Row = {
        "id": worker.id,
        "name": worker.name,
        "runtime": worker.runtime,
        "version": worker.version,
        "os": worker.os,
        "ip_address": worker.ip_address,
        "status": "connected",
        "connected_at_ms": worker.connected_at_ms,
        "function_count": len(functions),
        "functions": functions,
        "active_invocations": worker.active_invocations,
        "latest_metrics": metrics,
        "description": worker.description,
        "isolation": worker.isolation,
        "namespace": worker.namespace,
        "internal": False,
    }
    if worker.pid is not None:
        row["pid"] = worker.pid
    return row


def module_row(name: str, functions: list[str], since_ms: int) -> Row:
    """An in-process module among the workers, for new releases."""
    return {
        "id": name,
        "name": name,
        "runtime": "engine",
        "version": None,
        "os": None,
        "ip_address": None,
        "status": "available",
        "connected_at_ms": since_ms,
        "function_count": len(functions),
        "functions": functions,
        "active_invocations": 0,
        "latest_metrics": None,
        "description": None,
        "isolation": "in-process",
        "namespace": DEFAULT_NAMESPACE,
        "internal": True,
    }


def without_nulls(row: Row) -> Row:
    """The row without the keys that have no value."""
    return {key: value for key, value in row.items() if value is not None}

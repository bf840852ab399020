"""The ``engine::…`` functions that tell what is there (docs/protocol.md, "Discovery").

Each is a function like any other: callable by workers, modules and the CLI.
Rows are made in ``rows``; this file filters, sorts and names them.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
from msgspec import Raw, field

from iii.engine.bindings import Registration, TriggerType
from iii.engine.core import Engine
from iii.engine.functions import Function
from iii.engine.module import ModuleApi
from iii.engine.native import NativeFunction
from iii.engine.rows import (
    Caller,
    Row,
    function_detail,
    function_row,
    instance_row,
    is_internal,
    module_row,
    owner_name,
    registered_row,
    registrant_name,
    type_detail,
    type_format_row,
    type_owner,
    type_row,
    worker_row,
)
from iii.engine.workers import Access, Worker
from iii.errors import Code, InvocationError

MAX_INFO_IDS = 32
QUEUE_PREFIX = "engine::queue::"


class Query(msgspec.Struct):
    """What every list takes; a list ignores what doesn't concern it."""

    include_internal: bool | None = None
    search: str | None = None
    prefix: str | None = None
    worker: str | None = None
    workers: list[str] | None = None
    worker_id: str | None = None
    runtime: str | None = None
    status: str | None = None
    trigger_type: str | None = None
    function_id: str | None = None
    view: str | None = None
    caller: str | None = field(name="_caller_worker_id", default=None)


class FunctionInfo(msgspec.Struct):
    """``engine::functions::info``: one id, or up to 32."""

    function_id: str | None = None
    function_ids: list[str] | None = None
    namespace: str | None = None
    caller: str | None = field(name="_caller_worker_id", default=None)


class ById(msgspec.Struct):
    """A trigger or trigger type by its id."""

    id: str
    namespace: str | None = None
    caller: str | None = field(name="_caller_worker_id", default=None)


class ByName(msgspec.Struct):
    """A worker by its name."""

    name: str
    namespace: str | None = None
    caller: str | None = field(name="_caller_worker_id", default=None)


class Discovery:
    """Answers questions about one engine.

    A worker that may not call a function does not see it either, wherever it would show.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def install(self, api: ModuleApi) -> None:
        """Register the functions."""
        api.function("engine::functions::list", self.functions, takes=Query)
        api.function("engine::functions::info", self.function_info, takes=FunctionInfo)
        api.function("engine::triggers::list", self.triggers, takes=Query)
        api.function("engine::triggers::info", self.trigger_type_info, takes=ById)
        api.function("engine::trigger-types::list", self.trigger_types, takes=Query)
        api.function("engine::registered-triggers::list", self.registered, takes=Query)
        api.function("engine::registered-triggers::info", self.registered_info, takes=ById)
        api.function("engine::workers::list", self.workers, takes=Query)
        api.function("engine::workers::info", self.worker_info, takes=ByName)

    # Functions -------------------------------------------------------------------------

    def functions(self, query: Query) -> Row:
        """``engine::functions::list``: sorted by id; a search puts id hits first."""
        caller = self._caller(query)
        found = [
            function
            for function in self._engine.functions
            if self._shows(function, query, caller) and _matches(function, query)
        ]
        needle = (query.search or "").lower()
        found.sort(key=lambda function: (_rank(function, needle), function.id))
        return {"functions": [function_row(function, caller) for function in found]}

    def _shows(self, function: Function, query: Query, caller: Caller) -> bool:
        if not _may_see(caller.access, function.id, function.namespace):
            return False
        if query.include_internal:
            return True
        if is_internal(function.id):
            return caller.discovery and function.id.startswith(QUEUE_PREFIX)
        return not (caller.discovery and _marked_internal(function.spec.metadata))

    def function_info(self, wanted: FunctionInfo) -> Row:
        """``engine::functions::info``."""
        triggers = list(self._engine.triggers.registrations())
        access = self._access(wanted.caller)
        if wanted.function_ids is not None:
            if len(wanted.function_ids) > MAX_INFO_IDS:
                message = f"function_ids takes up to {MAX_INFO_IDS} ids"
                raise InvocationError(Code.INVALID_ARGUMENTS, message)
            rows: list[Row] = []
            for id in wanted.function_ids:
                function = self._engine.functions.get(id, wanted.namespace)
                if not _may_see(access, id, wanted.namespace):
                    rows.append({"function_id": id, "error": "forbidden"})
                elif function is None:
                    rows.append({"function_id": id, "error": "not_found"})
                else:
                    rows.append(function_detail(function, triggers))
            return {"functions": rows}
        if not wanted.function_id:
            raise InvocationError(Code.INVALID_ARGUMENTS, "function_id or function_ids is required")
        if not _may_see(access, wanted.function_id, wanted.namespace):
            message = f"Function '{wanted.function_id}' is not allowed."
            raise InvocationError(Code.FORBIDDEN, message)
        function = self._engine.functions.get(wanted.function_id, wanted.namespace)
        if function is None:
            message = f"Function '{wanted.function_id}' is not registered."
            raise InvocationError(Code.NOT_FOUND, message)
        return function_detail(function, triggers)

    # Triggers --------------------------------------------------------------------------

    def triggers(self, query: Query) -> Row:
        """``engine::triggers::list``: instances for old SDKs, types for new ones."""
        instances = [instance_row(known) for known in self._instances(query)]
        types = self._types(query)
        if self._caller(query).discovery:
            return {
                "triggers": [type_row(type) for type in types],
                "registered_triggers": instances,
            }
        return {
            "triggers": instances,
            "trigger_types": [type_format_row(type) for type in types],
        }

    def trigger_types(self, query: Query) -> Row:
        """``engine::trigger-types::list``."""
        return {"trigger_types": [type_format_row(type) for type in self._types(query)]}

    def trigger_type_info(self, wanted: ById) -> Row:
        """``engine::triggers::info``."""
        type = self._engine.triggers.find_type(wanted.id, wanted.namespace)
        if type is None:
            message = f"Trigger '{wanted.id}' was not found."
            raise InvocationError(Code.NOT_FOUND, message)
        count = sum(1 for known in self._all_instances() if known.trigger_type == type.id)
        return type_detail(type, count)

    def registered(self, query: Query) -> Row:
        """``engine::registered-triggers::list``."""
        rows = [registered_row(known) for known in self._instances(query)]
        rows.sort(key=lambda row: (row["trigger_type"], row["function_id"], row["id"]))
        return {"registered_triggers": rows}

    def registered_info(self, wanted: ById) -> Row:
        """``engine::registered-triggers::info``."""
        access = self._access(wanted.caller)
        for known in self._all_instances():
            if known.id != wanted.id:
                continue
            if not _may_see(access, known.function_id, known.namespace):
                continue
            type = known.binding.type if known.binding is not None else None
            function = self._engine.functions.get(known.function_id, known.namespace)
            return {
                **instance_row(known),
                "trigger": None if type is None else type_row(type),
                "function": None if function is None else function_detail(function, []),
            }
        message = f"Registered trigger '{wanted.id}' was not found."
        raise InvocationError(Code.NOT_FOUND, message)

    def _all_instances(self) -> Iterable[Registration]:
        return self._engine.triggers.registrations()

    def _instances(self, query: Query) -> list[Registration]:
        access = self._access(query.caller)
        return [
            known
            for known in self._all_instances()
            if _may_see(access, known.function_id, known.namespace)
            and (query.include_internal or not is_internal(known.function_id))
            and (query.trigger_type is None or known.trigger_type == query.trigger_type)
            and (query.function_id is None or known.function_id == query.function_id)
            and (query.worker is None or registrant_name(known) == query.worker)
            and _contains(query.search, known.id, known.trigger_type, known.function_id)
        ]

    def _types(self, query: Query) -> list[TriggerType]:
        types = [
            type
            for type in self._engine.triggers.types()
            if (query.include_internal or not is_internal(type.id))
            and (query.prefix is None or type.id.startswith(query.prefix))
            and (query.worker is None or type_owner(type) == query.worker)
            and _contains(query.search, type.id, type.description)
        ]
        return sorted(types, key=lambda type: type.id)

    # Workers ---------------------------------------------------------------------------

    def workers(self, query: Query) -> Row:
        """``engine::workers::list``."""
        access = self._access(query.caller)
        rows = [
            self._worker_row(worker, access)
            for worker in self._engine.workers
            if query.worker_id is None or worker.id == query.worker_id
        ]
        if self._caller(query).discovery and query.worker_id is None:
            rows += self._module_rows(access)
            rows.sort(key=lambda row: (row["name"] or "", row["id"]))
        rows = [
            row
            for row in rows
            if (query.runtime is None or row["runtime"] == query.runtime)
            and (query.status is None or row["status"] == query.status)
            and _contains(query.search, row["name"], row["id"], row["description"])
        ]
        return {"workers": rows, "timestamp": self._engine.clock.wall_ms()}

    def worker_info(self, wanted: ByName) -> Row:
        """``engine::workers::info``."""
        everyone = Query(include_internal=True)
        access = self._access(wanted.caller)
        rows = [self._worker_row(worker, access) for worker in self._engine.workers]
        rows += self._module_rows(access)
        for row in rows:
            if row["name"] != wanted.name:
                continue
            caller = Caller(None, "discovery")
            mine = [
                function_row(function, caller)
                for function in self._engine.functions
                if wanted.name in _owner_names(function)
                and _may_see(access, function.id, function.namespace)
            ]
            types = [type for type in self._types(everyone) if type_owner(type) == wanted.name]
            theirs = Query(include_internal=True, worker=wanted.name, caller=wanted.caller)
            triggers = self._instances(theirs)
            return {
                "worker": row,
                "functions": mine,
                "trigger_types": [type_row(type) for type in types],
                "registered_triggers": [registered_row(known) for known in triggers],
            }
        raise InvocationError(Code.NOT_FOUND, f"Worker '{wanted.name}' is not connected.")

    def _worker_row(self, worker: Worker, access: Access | None) -> Row:
        row = worker_row(worker, self._engine.worker_metrics(worker))
        if access is not None and worker.access is not access:
            seen = [id for namespace, id in worker.functions if access.may_call(id, namespace)]
            row["functions"], row["function_count"] = seen, len(seen)
        return row

    def _module_rows(self, access: Access | None) -> list[Row]:
        functions: dict[str, list[str]] = {}
        for function in self._engine.functions:
            owner = function.spec.owner
            seen = _may_see(access, function.id, function.namespace)
            if isinstance(owner, NativeFunction) and seen:
                functions.setdefault(owner.module, []).append(function.id)
        for type in self._engine.triggers.types():
            if type.module is not None:
                functions.setdefault(type.module, [])
        since = self._engine.started_at_ms
        return [module_row(name, sorted(ids), since) for name, ids in functions.items()]

    def _access(self, caller: str | None) -> Access | None:
        """What the worker that asks may do; None: everything."""
        worker = self._engine.workers.get(caller)
        return None if worker is None else worker.access

    def _caller(self, query: Query) -> Caller:
        worker: Worker | None = self._engine.workers.get(query.caller)
        return Caller(worker, query.view)


def _may_see(access: Access | None, id: str, namespace: str | None) -> bool:
    return access is None or access.may_call(id, namespace)


def _matches(function: Function, query: Query) -> bool:
    if query.prefix is not None and not function.id.startswith(query.prefix):
        return False
    wanted = [name for name in (query.worker, *(query.workers or ())) if name]
    if wanted and not any(name in wanted for name in _owner_names(function)):
        return False
    return _contains(query.search, function.id, function.spec.description)


def _owner_names(function: Function) -> list[str]:
    """Every worker that serves ``function``."""
    return [owner_name(spec.owner, function.id) for spec in function.specs]


def _contains(needle: str | None, *texts: str | None) -> bool:
    if not needle:
        return True
    return any(needle.lower() in text.lower() for text in texts if text)


def _rank(function: Function, needle: str) -> int:
    """0: the id starts with it; 1: the id contains it; 2: the description does."""
    id = function.id.lower()
    if not needle or id.startswith(needle):
        return 0
    return 1 if needle in id else 2


def _marked_internal(metadata: Raw | None) -> bool:
    if metadata is None:
        return False
    parsed = msgspec.json.decode(metadata)
    return isinstance(parsed, dict) and parsed.get("internal") is True

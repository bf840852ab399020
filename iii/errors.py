"""Error codes, and one exception class per family.

Every error that reaches a worker, an HTTP client or a person has a code from
``Code``: clients match on codes, never on texts.  Errors are raised where they
are found and become wire objects in one place (``ErrorBody`` in ``iii.wire``,
the error envelope in ``iii.modules.http``).

Pure Python: the client shares this file and never imports Twisted.
"""

from __future__ import annotations

from enum import StrEnum


class Code(StrEnum):
    """Error codes the engine and the client produce (docs/protocol.md, "Errors")."""

    FUNCTION_NOT_FOUND = "function_not_found"
    WORKER_NOT_FOUND = "worker_not_found"
    INVOCATION_STOPPED = "invocation_stopped"
    INVOCATION_FAILED = "invocation_failed"
    INVOCATION_TIMEOUT = "invocation_timeout"
    DESERIALIZATION_ERROR = "deserialization_error"
    SERIALIZATION_ERROR = "serialization_error"
    INVALID_JSON = "invalid_json"
    ENQUEUE_ERROR = "enqueue_error"
    PAYLOAD_TOO_LARGE = "payload_too_large"
    OVERLOADED = "overloaded"
    SHUTTING_DOWN = "shutting_down"
    STARTING = "starting"
    INVALID_NAMESPACE = "INVALID_NAMESPACE"

    TRIGGER_REGISTRATION_FAILED = "trigger_registration_failed"
    TRIGGER_TYPE_NOT_FOUND = "trigger_type_not_found"
    UNREGISTER_FAILED = "unregister_failed"
    FUNCTION_NAMESPACE_CONFLICT = "FUNCTION_NAMESPACE_CONFLICT"
    LIMIT_EXCEEDED = "limit_exceeded"

    NOT_FOUND = "NOT_FOUND"
    INVALID_ARGUMENTS = "INVALID_ARGUMENTS"
    FORBIDDEN = "FORBIDDEN"
    AUTH_ERROR = "AUTH_ERROR"

    ROUTE_NOT_FOUND = "route_not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    CONDITION_NOT_MET = "condition_not_met"
    INTERNAL_ERROR = "internal_error"
    BAD_REQUEST = "bad_request"

    SET_ERROR = "SET_ERROR"
    GET_ERROR = "GET_ERROR"
    DELETE_ERROR = "DELETE_ERROR"
    UPDATE_ERROR = "UPDATE_ERROR"
    LIST_ERROR = "LIST_ERROR"
    LIST_GROUPS_ERROR = "LIST_GROUPS_ERROR"
    LIST_KEYS_ERROR = "LIST_KEYS_ERROR"
    VALUE_TOO_LARGE = "VALUE_TOO_LARGE"
    INVALID_CURSOR = "INVALID_CURSOR"
    ROW_TOO_LARGE = "ROW_TOO_LARGE"

    STREAM_SET_ERROR = "STREAM_SET_ERROR"
    STREAM_GET_ERROR = "STREAM_GET_ERROR"
    STREAM_DELETE_ERROR = "STREAM_DELETE_ERROR"
    STREAM_UPDATE_ERROR = "STREAM_UPDATE_ERROR"
    STREAM_GET_GROUP_ERROR = "STREAM_GET_GROUP_ERROR"
    STREAM_LIST_GROUPS_ERROR = "STREAM_LIST_GROUPS_ERROR"
    STREAM_LIST_ALL_ERROR = "STREAM_LIST_ALL_ERROR"
    STREAM_SEND_ERROR = "STREAM_SEND_ERROR"
    JSON_ERROR = "JSON_ERROR"

    TOPIC_NOT_SET = "topic_not_set"
    PUBLISH_FAILED = "publish_failed"
    TOPIC_REQUIRED = "topic_required"
    QUEUE_NOT_SET = "queue_not_set"
    MESSAGE_ID_NOT_SET = "message_id_not_set"
    INVALID_QUEUE_CONFIG = "invalid_queue_config"
    NOT_SUPPORTED = "not_supported"
    TOPIC_STATS_FAILED = "topic_stats_failed"
    DLQ_TOPICS_FAILED = "dlq_topics_failed"
    DLQ_MESSAGES_FAILED = "dlq_messages_failed"
    REDRIVE_FAILED = "redrive_failed"
    REDRIVE_MESSAGE_FAILED = "redrive_message_failed"
    DISCARD_MESSAGE_FAILED = "discard_message_failed"

    MEMORY_EXPORTER_NOT_ENABLED = "memory_exporter_not_enabled"
    TRACE_STORAGE_CLEAR_FAILED = "trace_storage_clear_failed"
    URL_VALIDATION_FAILED = "url_validation_failed"
    SECRET_NOT_FOUND = "secret_not_found"
    TOKEN_NOT_FOUND = "token_not_found"
    API_KEY_NOT_FOUND = "api_key_not_found"
    MISSING_ENV_VAR = "missing_env_var"
    HTTP_REQUEST_FAILED = "http_request_failed"
    HTTP_RESPONSE_FAILED = "http_response_failed"
    HTTP_ERROR = "http_error"
    INVALID_RESPONSE = "invalid_response"
    TIMESTAMP_ERROR = "timestamp_error"

    STORE_FULL = "store_full"
    STORE_READ_ONLY = "store_read_only"
    STORE_LOCKED = "store_locked"
    STORE_CORRUPT = "store_corrupt"
    STORE_ERROR = "store_error"
    REDIS_UNAVAILABLE = "redis_unavailable"
    REDIS_ERROR = "redis_error"
    BRIDGE_ERROR = "bridge_error"
    RABBITMQ_UNAVAILABLE = "rabbitmq_unavailable"
    RABBITMQ_ERROR = "rabbitmq_error"

    CONFIG_ERROR = "config_error"
    ADDRESS_IN_USE = "address_in_use"

    INVALID_AGGREGATE_INTERVAL = "invalid_aggregate_interval"

    TIMEOUT = "TIMEOUT"
    SHUTDOWN = "SHUTDOWN"
    UNKNOWN = "UNKNOWN"


class IIIError(Exception):
    """Base of all errors with a code.

    :param code: one of ``Code``, or a code another party chose
    :param message: one sentence for a person
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(code, message)
        self.code = str(code)
        self.message = message

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


class InvocationError(IIIError):
    """A function call failed: the executor's own error, or the engine's.

    :param stacktrace: the executor's stack as text, when it sent one
    :param function_id: the function that was called, when known
    :param invocation_id: the call's id, when known
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        stacktrace: str | None = None,
        function_id: str | None = None,
        invocation_id: str | None = None,
    ) -> None:
        super().__init__(code, message)
        self.stacktrace = stacktrace
        self.function_id = function_id
        self.invocation_id = invocation_id


class RegistrationError(IIIError):
    """A function, trigger type or trigger was refused."""


class ConfigError(IIIError):
    """The configuration can't be used.

    :param path: the file, when there is one
    :param line: its line, counted from 1
    """

    def __init__(self, message: str, *, path: str | None = None, line: int | None = None) -> None:
        super().__init__(Code.CONFIG_ERROR, message)
        self.path = path
        self.line = line

    def __str__(self) -> str:
        where = ":".join(str(part) for part in (self.path, self.line) if part is not None)
        return f"{where}: {self.message}" if where else self.message


class StartError(IIIError):
    """A listener or module could not be started; the engine does not run."""

"""What a failed call raises.

``InvocationError`` (shared with the engine) is the base; here are the failures
that only a client knows.  A time-out is also a ``TimeoutError`` and a broken
channel also a ``ConnectionError``, so code that catches the built-in kinds works.
"""

from __future__ import annotations

from typing import Any

from iii.errors import Code, IIIError, InvocationError


class IIITimeoutError(InvocationError, TimeoutError):
    """No answer within the call's time limit.  ``code`` is ``TIMEOUT``."""


class IIIForbiddenError(InvocationError):
    """The engine does not allow this worker to call the function.  ``code`` is ``FORBIDDEN``."""


class RegistrationRejectedError(IIIError):
    """The engine refused this worker; the client gives up and does not reconnect.

    :param namespace: where the conflict is
    :param worker_name: the name both workers use, when that is the conflict
    :param owner_worker_id: the worker that was there first
    """

    def __init__(
        self,
        code: str,
        *,
        namespace: str | None = None,
        worker_name: str | None = None,
        owner_worker_id: str | None = None,
    ) -> None:
        where = f" in namespace {namespace}" if namespace else ""
        who = f" (worker {owner_worker_id} was there first)" if owner_worker_id else ""
        super().__init__(code, f"the engine refused this worker{where}{who}")
        self.namespace = namespace
        self.worker_name = worker_name
        self.owner_worker_id = owner_worker_id


class UnwelcomeError(ConnectionError):
    """An engine is there and does not take this client: its token, or TLS."""


class ChannelError(ConnectionError):
    """A channel could not be opened, or ended before its end."""


#: Codes that have a class of their own.
_CLASSES: dict[str, type[InvocationError]] = {"FORBIDDEN": IIIForbiddenError}


def error_from_wire(value: Any, *, function_id: str, invocation_id: str) -> InvocationError:
    """Make an exception of whatever stood in ``error``: an object, or not even that."""
    code, message, stacktrace = str(Code.UNKNOWN), "<no message>", None
    if isinstance(value, dict):
        code = value["code"] if isinstance(value.get("code"), str) else code
        message = value["message"] if isinstance(value.get("message"), str) else message
        stacktrace = value["stacktrace"] if isinstance(value.get("stacktrace"), str) else None
    else:
        message = str(value)
    return _CLASSES.get(code, InvocationError)(
        code,
        message,
        stacktrace=stacktrace,
        function_id=function_id,
        invocation_id=invocation_id,
    )

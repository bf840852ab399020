"""What can go wrong between two engines.

What the other engine answered and what happened on the way to it are told apart: the
first has the other's code, the second is always ``bridge_error``.
"""

from __future__ import annotations

from iii.engine.invocations import ErrorBody
from iii.errors import Code, IIIError, InvocationError

NOT_CONNECTED_TEXT = "iii is not connected"
TIMED_OUT_TEXT = "invocation timed out"


class BridgeError(IIIError):
    """The other engine could not be asked, or did not answer in time."""

    def __init__(self, message: str) -> None:
        super().__init__(Code.BRIDGE_ERROR, message)

    @property
    def text(self) -> str:
        """For a message around it."""
        return self.message


class RemoteError(InvocationError):
    """The other engine, or a function behind it, answered with an error."""

    @property
    def text(self) -> str:
        """For a message around it; as the original puts it."""
        return remote_text(self)


class LinkFailure(ErrorBody):
    """An ``ErrorBody`` that is not the other engine's: it never got the call, or is silent."""


def failure(message: str) -> LinkFailure:
    """What happened on the way."""
    return LinkFailure(Code.BRIDGE_ERROR, message)


def remote_text(error: ErrorBody | InvocationError) -> str:
    """How the error of another engine is told to those here."""
    return f"remote error ({error.code}): {error.message}"


def collapsed(error: ErrorBody) -> ErrorBody:
    """The one error that callers of a bridge see: ``bridge_error``, with the reason in words."""
    if isinstance(error, LinkFailure):
        return ErrorBody(error.code, error.message)
    return ErrorBody(Code.BRIDGE_ERROR, remote_text(error), error.stacktrace)


def exception(error: ErrorBody) -> BridgeError | RemoteError:
    """The same as an exception."""
    if isinstance(error, LinkFailure):
        return BridgeError(error.message)
    return RemoteError(error.code, error.message, stacktrace=error.stacktrace)

"""The errors of calls over HTTP, and the exception of a target that may not be called."""

from __future__ import annotations

from iii.errors import Code, InvocationError, RegistrationError


class Refused(RegistrationError):
    """A target breaks a rule or lacks a secret: at its registration, or later at a call."""


def invalid_url(message: str) -> Refused:
    """The URL breaks a rule."""
    return Refused(Code.URL_VALIDATION_FAILED, message)


def not_sent(cause: str) -> InvocationError:
    """No response came.  Texts name neither URL nor address: they reach HTTP clients."""
    return InvocationError(Code.HTTP_REQUEST_FAILED, f"error sending request: {cause}")


def not_read(cause: str) -> InvocationError:
    """A response began and can't be used."""
    return InvocationError(Code.HTTP_RESPONSE_FAILED, f"error reading response: {cause}")

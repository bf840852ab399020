"""Functions that are run by an HTTP request to somewhere else (docs/external-functions.md)."""

from iii.modules.http_functions.module import HttpFunctionsModule

__all__ = ["HttpFunctionsModule"]

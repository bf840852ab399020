"""The HTTP module (docs/http.md)."""

from iii.modules.http.config import HttpConfig
from iii.modules.http.module import HttpModule

__all__ = ["HttpConfig", "HttpModule"]

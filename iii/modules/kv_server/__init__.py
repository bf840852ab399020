"""The KV server module: the functions ``kv_server::*``."""

from iii.modules.kv_server.module import KvServerModule

__all__ = ["KvServerModule"]

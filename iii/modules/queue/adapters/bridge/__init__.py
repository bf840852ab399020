"""The adapter ``bridge``: queues that another engine keeps (docs/adapters.md)."""

from iii.modules.queue.adapters.bridge.adapter import BridgeAdapter

__all__ = ["BridgeAdapter"]

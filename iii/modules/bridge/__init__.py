"""The bridge module (docs/bridge.md)."""

from iii.modules.bridge.config import BridgeConfig, Expose, Forward
from iii.modules.bridge.module import BridgeModule

__all__ = ["BridgeConfig", "BridgeModule", "Expose", "Forward"]

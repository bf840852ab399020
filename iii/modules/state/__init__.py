"""The state module (docs/state.md)."""

from iii.modules.state.config import StateConfig
from iii.modules.state.module import StateModule

__all__ = ["StateConfig", "StateModule"]

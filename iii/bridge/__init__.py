"""Links to other engines, for the bridge module and the bridge adapters (docs/bridge.md)."""

from iii.bridge.address import Remote, parse_url
from iii.bridge.config import BridgeAdapterConfig
from iii.bridge.errors import BridgeError, LinkFailure, RemoteError
from iii.bridge.link import Link
from iii.bridge.offers import Incoming

__all__ = [
    "BridgeAdapterConfig",
    "BridgeError",
    "Incoming",
    "Link",
    "LinkFailure",
    "Remote",
    "RemoteError",
    "parse_url",
]

"""Cross-origin headers: on every answer, and the answer to ``OPTIONS``.

Without settings everything is allowed.  An origin outside the list is still
served; only its browser is not told that it may read the answer.
"""

from __future__ import annotations

from twisted.logger import Logger

from iii.modules.http.config import CorsConfig
from iii.modules.http.fields import JSON_TYPE, Fields, Pair

log = Logger()

_VARY: Pair = (
    b"vary",
    b"origin, access-control-request-method, access-control-request-headers",
)
_ORIGIN = b"access-control-allow-origin"
_EXPOSE: Pair = (b"access-control-expose-headers", b"*")


class Cors:
    """The CORS headers for each kind of answer."""

    def __init__(self, config: CorsConfig | None) -> None:
        origins = [] if config is None else config.allowed_origins
        methods = [] if config is None else config.allowed_methods
        if "*" in origins and len(set(origins)) > 1:
            log.warn('http: cors.allowed_origins has "*" and more: every origin is allowed')
        self._methods = ",".join(methods).encode() or b"*"
        exposed = [] if config is not None else [_EXPOSE]
        everyone = Fields([(_ORIGIN, b"*"), *exposed, _VARY])
        nobody = Fields([*exposed, _VARY])
        self._any = not origins or "*" in origins
        self._default = everyone if self._any else nobody
        self._of_origin = {
            origin: Fields([(_ORIGIN, origin.encode()), *exposed, _VARY]) for origin in origins
        }
        self._json = {
            id(fields): Fields((JSON_TYPE, *fields.pairs))
            for fields in (self._default, *self._of_origin.values())
        }
        self.json_default = self._json[id(self._default)]

    def fields(self, origin: str | None) -> Fields:
        """What an answer to ``origin`` carries."""
        if self._any or origin is None:
            return self._default
        return self._of_origin.get(origin, self._default)

    def json(self, origin: str | None) -> Fields:
        """The same together with ``content-type: application/json``."""
        if self._any or origin is None:
            return self.json_default
        return self._json[id(self.fields(origin))]

    def preflight(self, origin: str | None, allow: bytes) -> Fields:
        """The answer to ``OPTIONS``; ``allow`` lists the methods of a known path."""
        pairs = [pair for pair in self.fields(origin).pairs if pair is not _EXPOSE]
        pairs.append((b"access-control-allow-methods", self._methods))
        pairs.append((b"access-control-allow-headers", b"*"))
        if allow:
            pairs.append((b"allow", allow))
        return Fields(pairs)

    def merge(self, own: list[Pair], origin: str | None) -> Fields:
        """The fields a function set, with ours over them; ``vary`` is joined."""
        ours = self.fields(origin).pairs
        names = {name for name, _ in ours}
        vary = [value for name, value in own if name == b"vary"]
        merged = [pair for pair in own if pair[0] not in names]
        for name, value in ours:
            joined = b", ".join([*vary, value]) if name == b"vary" else value
            merged.append((name, joined))
        return Fields(merged)

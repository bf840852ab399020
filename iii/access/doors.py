"""The gates of all listeners of an engine, and what they share.

Failed attempts count for the whole engine, and a function that decides about access to one
listener is kept out of the hands of restricted connections of every listener.  That set
only grows: a listener that is closed by a reload may still have connections.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from iii.access.failures import FailedAttempts
from iii.access.gate import Gate
from iii.access.proxies import Proxies
from iii.access.settings import Auth, Rbac, deciding_functions
from iii.engine.core import Engine
from iii.engine.instruments import Instrument


class Door(Protocol):
    """What a configuration says about one listener, as far as access is concerned."""

    @property
    def auth(self) -> Auth | None: ...

    @property
    def rbac(self) -> Rbac | None: ...

    @property
    def middleware_function_id(self) -> str | None: ...


class Doors:
    """Makes gates.

    :param failures_per_minute: how many wrong credentials an address may try; 0: no limit
    :param trusted_proxies: addresses and networks whose ``X-Forwarded-For`` is believed
    """

    def __init__(
        self, engine: Engine, failures_per_minute: int, trusted_proxies: Iterable[str] = ()
    ) -> None:
        self._engine = engine
        self._proxies = Proxies(trusted_proxies)
        self._failures = FailedAttempts(engine.clock, failures_per_minute)
        self._deciding: set[str] = set()
        engine.instruments.add(
            Instrument(
                "iii_auth_refused_total",
                "counter",
                "Connections to worker ports that were not let in",
                (),
                lambda: [((), self._failures.total)],
            )
        )

    def keep(self, configs: Iterable[Mapping[str, Any]]) -> None:
        """Modules have guards of their own: keep them out of restricted hands as well.

        :param configs: the ``config:`` blocks of modules
        """
        for config in configs:
            middleware = config.get("middleware")
            guards = [config.get("auth_function"), config.get("not_found_function")]
            for each in middleware if isinstance(middleware, list) else ():
                guards.append(each.get("function_id") if isinstance(each, dict) else None)
            self._deciding.update(each for each in guards if isinstance(each, str))

    def gate(self, door: Door, auth: Auth | None) -> Gate | None:
        """The gate of one listener; None when everybody may do everything.

        :param auth: the top-level tokens; a listener with an auth function, or with tokens
            of its own, does without them
        """
        rbac, middleware = door.rbac, door.middleware_function_id
        self._deciding.update(deciding_functions(rbac, middleware))
        own = door.auth
        if own is None and (rbac is None or rbac.auth_function_id is None):
            own = auth
        if own is None and rbac is None and middleware is None:
            return None
        return Gate(
            self._engine,
            self._failures,
            auth=own,
            rbac=rbac,
            middleware=middleware,
            deciding=self._deciding,
            proxies=self._proxies,
        )

"""The ``iii-http-functions`` module: functions that are run by an HTTP request."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from msgspec import Raw
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.web.client import Agent

from iii.engine.external import Run
from iii.engine.module import Module, ModuleApi
from iii.errors import IIIError
from iii.modules.http_functions.auth import Variables
from iii.modules.http_functions.config import HttpFunctionsConfig
from iii.modules.http_functions.connections import Pool
from iii.modules.http_functions.endpoints import CheckedEndpoints
from iii.modules.http_functions.exchange import Exchanges
from iii.modules.http_functions.registration import Remote, read

log = Logger()

MAX_LOOKUPS = 32


class HttpFunctionsModule(Module):
    """Runs the functions that workers register with an ``invocation``.

    :param environ: where secrets are
    :param trust_root: whom to trust instead of the system's certificate authorities
    """

    name = "iii-http-functions"
    config = HttpFunctionsConfig

    def __init__(
        self,
        settings: HttpFunctionsConfig,
        *,
        environ: Mapping[str, str] = os.environ,
        trust_root: Any = None,
    ) -> None:
        super().__init__(settings)
        self._environ = environ
        self._trust_root = trust_root
        self._exchanges: Exchanges | None = None
        self._pool: Pool | None = None
        self._looked_up: set[str] = set()

    def start(self, engine: ModuleApi) -> None:
        """Module: take over what workers register."""
        settings: HttpFunctionsConfig = self.settings
        security = settings.security
        rules = security.rules
        variables = Variables(self._environ, security.variable_allowlist)
        endpoints = CheckedEndpoints(engine.reactor, rules, self._trust_root)
        pool = self._pool = Pool(engine.reactor)  # type: ignore[no-untyped-call]
        agent = Agent.usingEndpointFactory(engine.reactor, endpoints, pool)
        exchanges = self._exchanges = Exchanges(engine, settings, agent, variables)

        def accept(worker: str, id: str, invocation: Raw) -> Run:
            remote = read(id, invocation, rules, variables, settings.default_timeout_ms)
            self._look_up(worker, remote, endpoints)
            return lambda call: exchanges.run(remote, call)

        engine.external_functions(accept)
        engine.instrument(
            "iii_http_functions_in_flight",
            "gauge",
            "Calls over HTTP that are not over",
            lambda: [((), float(exchanges.under_way))],
        )

    @property
    def under_way(self) -> int:
        """Module: calls that wait for a response."""
        return 0 if self._exchanges is None else self._exchanges.under_way

    def stop(self) -> Deferred[None] | None:
        """Module: end what runs, close the connections."""
        if self._exchanges is None or self._pool is None:
            return None
        self._exchanges.stop()
        closed: Deferred[None] = self._pool.closeCachedConnections()  # type: ignore[no-untyped-call]
        return closed

    def _look_up(self, worker: str, remote: Remote, endpoints: CheckedEndpoints) -> None:
        """Say at once when the host of a function can't be called as things are.

        The registration stands: every call looks for itself, and a name server that is away
        for a moment must not cost a worker its functions.
        """
        host = remote.target.host
        if remote.target.address is not None or host in self._looked_up:
            return
        if len(self._looked_up) >= MAX_LOOKUPS:
            return
        self._looked_up.add(host)
        Deferred.fromCoroutine(self._try_host(worker, remote, endpoints))

    async def _try_host(self, worker: str, remote: Remote, endpoints: CheckedEndpoints) -> None:
        try:
            await endpoints.addresses_of(remote.target.host, remote.target.port)
        except IIIError as error:
            log.error(
                "{worker}: calls of {id} will fail while this is so: {reason}",
                worker=worker,
                id=remote.id,
                reason=error.message,
            )
        finally:
            self._looked_up.discard(remote.target.host)
